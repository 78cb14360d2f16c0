//! What Storm's configuration says about containers: every `storm.oci.*` key, Storm's defaults,
//! and what must not contradict.

mod images;
mod limits;
mod numa;
mod reader;
mod remote;
mod store;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use storm_oci_request::{CgroupPath, HostPath, Seccomp};
use storm_oci_store::StoreSettings;
use tracing::warn;

use crate::documents::PrepareDocument;
use crate::error::SupervisorError;
pub(crate) use images::AllowedImages;
pub(crate) use limits::WorkerLimits;
pub(crate) use numa::NumaZones;
use reader::Reader;
pub use store::StoreAccess;
pub(crate) use store::store_settings;
use store::{read_store, require_tag_map};

/// The names of the settings.
pub(crate) mod keys {
    pub(crate) const ALLOWED_IMAGES: &str = "storm.oci.allowed.images";
    pub(crate) const IMAGE: &str = "storm.oci.image";
    pub(crate) const CGROUP_ROOT: &str = "storm.oci.cgroup.root";
    pub(crate) const CGROUP_PARENT: &str = "storm.oci.cgroup.parent";
    pub(crate) const READONLY_BINDS: &str = "storm.oci.readonly.bindmounts";
    pub(crate) const READWRITE_BINDS: &str = "storm.oci.readwrite.bindmounts";
    pub(crate) const NSCD_DIR: &str = "storm.oci.nscd.dir";
    pub(crate) const SECCOMP_PROFILE: &str = "storm.oci.seccomp.profile";
    pub(crate) const TOP_LEVEL: &str = "storm.oci.image.hdfs.toplevel.dir";
    pub(crate) const REMOTE_TAG_MAP: &str =
        "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file";
    pub(crate) const LOCAL_TAG_MAP: &str =
        "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.local.hash.file";
    pub(crate) const REFRESH_SECS: &str =
        "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.cache.refresh.interval.secs";
    pub(crate) const MANIFESTS_TO_CACHE: &str =
        "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.num.manifests.to.cache";
    pub(crate) const RESOURCES_DIR: &str = "storm.oci.resources.local.dir";
    pub(crate) const VERIFICATION: &str = "storm.oci.layer.verification";
    pub(crate) const CACHE_BYTES: &str = "storm.oci.resources.cache.max.bytes";
    pub(crate) const FREE_BYTES: &str = "storm.oci.resources.cache.min.free.bytes";
    pub(crate) const PLATFORM: &str = "storm.oci.image.platform";
    pub(crate) const FETCH_TIMEOUT: &str = "storm.oci.store.fetch.timeout.secs";
    pub(crate) const CONNECTIONS: &str = "storm.oci.store.connections";
    pub(crate) const REQUEST_TIMEOUT: &str = "storm.oci.store.request.timeout.secs";
    pub(crate) const STORE_OPTIONS: &str = "storm.oci.store.options";
    pub(crate) const CREDENTIALS_FILE: &str = "storm.oci.store.credentials.file";
    pub(crate) const CA_FILE: &str = "storm.oci.store.ca.file";
    pub(crate) const HADOOP_CONF_DIR: &str = "storm.oci.hadoop.conf.dir";
    pub(crate) const HADOOP_OPTIONS: &str = "storm.oci.hadoop.options";
    pub(crate) const HDFS_KEYTAB: &str = "storm.hdfs.login.keytab";
    pub(crate) const HDFS_PRINCIPAL: &str = "storm.hdfs.login.principal";
    pub(crate) const INIT: &str = "storm.oci.init";
    pub(crate) const RELAUNCH_PAUSE: &str = "storm.oci.relaunch.backoff.max.secs";
    pub(crate) const METRICS_FILE: &str = "storm.oci.metrics.prometheus.file";
    pub(crate) const LAYERS_TO_KEEP: &str = "storm.oci.layer.mounts.to.keep";
    pub(crate) const MEMORY_ENFORCEMENT: &str = "storm.cgroup.memory.enforcement.enable";
    pub(crate) const CPU_LIMIT: &str = "storm.worker.cgroup.cpu.limit";
    pub(crate) const PIDS_LIMIT: &str = "storm.oci.pids.limit";
    pub(crate) const MEMORY_SWAP: &str = "storm.oci.memory.swap.mb";
    pub(crate) const MEMORY_HIGH: &str = "storm.oci.memory.high.ratio";
    pub(crate) const OOM_GROUP: &str = "storm.oci.memory.oom.group";
    pub(crate) const NUMA_META: &str = "supervisor.numa.meta";
    pub(crate) const LOCAL_DIR: &str = "storm.local.dir";
    /// A system property rather than a setting.
    pub(crate) const STORM_HOME: &str = "storm.home";
    pub(crate) const LAUNCHER: &str = "supervisor.worker.launcher";
}

/// Storm's defaults.
const DEFAULT_CGROUP_ROOT: &str = "/sys/fs/cgroup";
const DEFAULT_CGROUP_PARENT: &str = "/storm";
const DEFAULT_NSCD_DIR: &str = "/var/run/nscd";
const DEFAULT_LAYERS_TO_KEEP: u32 = 100;

/// Half of the time that Storm gives a worker to start: a worker whose end is told no later is
/// launched anew because of that, and not because its time is over.
const DEFAULT_RELAUNCH_PAUSE: Duration = Duration::from_secs(60);

/// The configuration of one supervisor, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) images: AllowedImages,
    pub(crate) cgroup_root: HostPath,
    pub(crate) cgroup_parent: CgroupPath,
    pub(crate) readonly_binds: Vec<HostPath>,
    pub(crate) readwrite_binds: Vec<HostPath>,
    pub(crate) nscd_dir: HostPath,
    pub(crate) seccomp: Option<Seccomp>,
    pub(crate) layers_to_keep: u32,
    /// Whether the launcher's init is the first process of a container.
    pub(crate) init: bool,
    /// How long a worker's failure to start may be kept from Storm.
    pub(crate) longest_relaunch_pause: Duration,
    /// Where the metrics are written for Prometheus' node exporter.
    pub(crate) metrics_file: Option<HostPath>,
    pub(crate) limits: WorkerLimits,
    pub(crate) numa: NumaZones,
    /// `None` when custom plugins resolve images.
    pub(crate) store: Option<StoreSettings>,
    pub(crate) supervisor_local_dir: HostPath,
    pub(crate) workers_root: HostPath,
}

impl Settings {
    /// Reads all settings, and all problems rather than the first.
    pub(crate) fn read(document: &PrepareDocument) -> Result<Self, Vec<SupervisorError>> {
        let mut reader = Reader::new(&document.conf);
        let reader = &mut reader;
        let images = AllowedImages::read(reader);
        let cgroup_root = path_or(reader, keys::CGROUP_ROOT, DEFAULT_CGROUP_ROOT);
        let cgroup_parent = read_cgroup_parent(reader);
        let nscd_dir = path_or(reader, keys::NSCD_DIR, DEFAULT_NSCD_DIR);
        let (readonly_binds, readwrite_binds) = read_binds(reader);
        let seccomp = read_seccomp(reader);
        let layers_to_keep = reader
            .whole(keys::LAYERS_TO_KEEP, "a whole number of at least 0")
            .unwrap_or(DEFAULT_LAYERS_TO_KEEP);
        let init = reader.boolean(keys::INIT, true);
        let longest_relaunch_pause = reader
            .whole(keys::RELAUNCH_PAUSE, "a whole number of seconds, 0 for none")
            .map_or(DEFAULT_RELAUNCH_PAUSE, |secs: u32| Duration::from_secs(secs.into()));
        let metrics_file = reader.path(keys::METRICS_FILE);
        let limits = WorkerLimits::read(reader);
        let numa = NumaZones::read(reader);
        let supervisor_local_dir =
            named_path(reader, keys::LOCAL_DIR, &document.paths.supervisor_local_dir);
        let workers_root = named_path(reader, keys::LOCAL_DIR, &document.paths.workers_root);
        let storm_home = named_path(reader, keys::STORM_HOME, &document.paths.storm_home);
        named_path(reader, keys::LAUNCHER, &document.paths.launcher);
        warn_of_tmp([&storm_home, &supervisor_local_dir, &workers_root]);
        let store = if document.plugins.all_native() {
            let store = read_store(reader, supervisor_local_dir.as_ref());
            require_tag_map(reader);
            store
        } else {
            None
        };
        let complete = (|| {
            Some(Self {
                images,
                cgroup_root: cgroup_root?,
                cgroup_parent: cgroup_parent?,
                readonly_binds,
                readwrite_binds,
                nscd_dir: nscd_dir?,
                seccomp,
                layers_to_keep,
                init,
                longest_relaunch_pause,
                metrics_file,
                limits,
                numa,
                store,
                supervisor_local_dir: supervisor_local_dir?,
                workers_root: workers_root?,
            })
        })();
        match complete {
            Some(settings) if reader.problems.is_empty() => Ok(settings),
            _ => Err(std::mem::take(&mut reader.problems)),
        }
    }
}

/// A relative parent would be taken below this process' own cgroup, another one in every
/// hierarchy, so it is made absolute as Storm does.
fn read_cgroup_parent(reader: &mut Reader<'_>) -> Option<CgroupPath> {
    let text =
        reader.string(keys::CGROUP_PARENT).unwrap_or_else(|| DEFAULT_CGROUP_PARENT.to_owned());
    let absolute = if text.starts_with('/') {
        text
    } else {
        let absolute = format!("/{text}");
        warn!(target: "storm_oci.config", "`{}` = `{text}` is relative, using `{absolute}`", keys::CGROUP_PARENT);
        absolute
    };
    match CgroupPath::parse(&absolute) {
        Ok(path) => Some(path),
        Err(source) => {
            let key = keys::CGROUP_PARENT;
            reader.problems.push(SupervisorError::SettingName { key, source });
            None
        }
    }
}

fn read_binds(reader: &mut Reader<'_>) -> (Vec<HostPath>, Vec<HostPath>) {
    let readonly = reader.paths(keys::READONLY_BINDS);
    let readwrite = reader.paths(keys::READWRITE_BINDS);
    for path in readonly.iter().filter(|path| readwrite.contains(path)) {
        reader.problems.push(SupervisorError::SettingsContradict {
            key: keys::READONLY_BINDS,
            value: path.to_string(),
            other: keys::READWRITE_BINDS,
            other_value: path.to_string(),
        });
    }
    for (key, paths) in [(keys::READONLY_BINDS, &readonly), (keys::READWRITE_BINDS, &readwrite)] {
        for path in paths.iter().filter(|path| is_missing(path)) {
            warn!(target: "storm_oci.config", "`{key}` names `{path}`, which does not exist: no worker can start until it does");
        }
    }
    (readonly, readwrite)
}

/// Whether a path is known not to exist. What this account cannot look at may exist: the launcher
/// opens it as the topology's user.
pub(crate) fn is_missing(path: &HostPath) -> bool {
    Path::new(path.as_str()).try_exists().is_ok_and(|exists| !exists)
}

/// The worker's own directory is mounted on `/tmp` last, which covers everything below.
fn warn_of_tmp(paths: [&Option<HostPath>; 3]) {
    for path in paths.into_iter().flatten() {
        if path.components().next() == Some("tmp") {
            warn!(target: "storm_oci.config", "`{path}` is below `/tmp`, which every worker has for itself: no worker will see it");
        }
    }
}

/// Reads the system call filter, once.
fn read_seccomp(reader: &mut Reader<'_>) -> Option<Seccomp> {
    let key = keys::SECCOMP_PROFILE;
    let path = PathBuf::from(reader.path(key)?.as_str());
    let read = fs::read(&path)
        .map_err(|source| SupervisorError::SettingFile { key, path: path.clone(), source })
        .and_then(|bytes| {
            Seccomp::parse(&bytes).map_err(|source| SupervisorError::Seccomp { path, source })
        });
    read.map_err(|problem| reader.problems.push(problem)).ok()
}

fn path_or(reader: &mut Reader<'_>, key: &'static str, default: &str) -> Option<HostPath> {
    match reader.value(key) {
        Some(_) => reader.path(key),
        None => HostPath::parse(default).ok(),
    }
}

/// A path that Storm derived from the setting `key`.
fn named_path(reader: &mut Reader<'_>, key: &'static str, text: &str) -> Option<HostPath> {
    match HostPath::parse(text) {
        Ok(path) => Some(path),
        Err(source) => {
            reader.problems.push(SupervisorError::SettingName { key, source });
            None
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
