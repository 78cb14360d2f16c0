//! What Storm's configuration says about containers: every `storm.oci.*` key, Storm's defaults,
//! and what must not contradict.

mod reader;

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};
use storm_oci_request::{CgroupPath, CpuList, HostPath, Seccomp};
use storm_oci_store::{Location, StoreSettings};
use tracing::warn;

use crate::documents::PrepareDocument;
use crate::error::SupervisorError;
use reader::{Reader, number, whole};

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
    pub(crate) const LAYERS_TO_KEEP: &str = "storm.oci.layer.mounts.to.keep";
    pub(crate) const MEMORY_ENFORCEMENT: &str = "storm.cgroup.memory.enforcement.enable";
    pub(crate) const CPU_LIMIT: &str = "storm.worker.cgroup.cpu.limit";
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
const DEFAULT_REFRESH: Duration = Duration::from_secs(60);
const DEFAULT_MANIFESTS_TO_CACHE: NonZeroUsize = NonZeroUsize::new(10).expect("10 is not 0");

/// Where localized files go below `<storm.local.dir>/supervisor`.
const RESOURCES: &str = "oci-resources";

/// The entry of `storm.oci.allowed.images` that allows every image.
const ANY_IMAGE: &str = "*";

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
    pub(crate) enforce_memory: bool,
    /// Percent of one core; takes the place of what the scheduler asks for.
    pub(crate) cpu_limit: Option<u64>,
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
        let enforce_memory = reader.boolean(keys::MEMORY_ENFORCEMENT, false);
        let cpu_limit = reader.positive(keys::CPU_LIMIT);
        let numa = NumaZones::read(reader);
        let supervisor_local_dir = named_path(
            reader,
            keys::LOCAL_DIR,
            &document.paths.supervisor_local_dir,
        );
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
                enforce_memory,
                cpu_limit,
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

/// The images that may run.
#[derive(Debug, Default)]
pub(crate) struct AllowedImages {
    list: Vec<String>,
    default: Option<String>,
}

impl AllowedImages {
    fn read(reader: &mut Reader<'_>) -> Self {
        let list = reader.strings(keys::ALLOWED_IMAGES);
        let default = reader.string(keys::IMAGE);
        let images = Self { list, default };
        if reader.value(keys::ALLOWED_IMAGES).is_none() {
            reader.problems.push(SupervisorError::SettingMissing {
                key: keys::ALLOWED_IMAGES,
                why: "no image may run without it",
            });
        } else if let Some(default) = images.default.as_deref()
            && !images.allows(default)
        {
            reader.problems.push(SupervisorError::SettingsContradict {
                key: keys::IMAGE,
                value: default.to_owned(),
                other: keys::ALLOWED_IMAGES,
                other_value: images.list.join(", "),
            });
        }
        if reader.value(keys::IMAGE).is_none() {
            reader.problems.push(SupervisorError::SettingMissing {
                key: keys::IMAGE,
                why: "topologies that name no image get it",
            });
        }
        images
    }

    /// The tag to run: the topology's, else the default one, if it is allowed.
    pub(crate) fn choose(&self, asked: Option<&str>) -> Result<String, SupervisorError> {
        let tag = asked
            .or(self.default.as_deref())
            .ok_or(SupervisorError::ImageUnset)?;
        if self.allows(tag) {
            return Ok(tag.to_owned());
        }
        Err(SupervisorError::ImageNotAllowed {
            tag: crate::text::shown(tag),
            allowed: self.list.join(", "),
        })
    }

    fn allows(&self, tag: &str) -> bool {
        self.list
            .iter()
            .any(|allowed| allowed == ANY_IMAGE || allowed == tag)
    }
}

/// The processors of each NUMA zone.
#[derive(Debug, Default)]
pub(crate) struct NumaZones(HashMap<String, CpuList>);

impl NumaZones {
    fn read(reader: &mut Reader<'_>) -> Self {
        const EXPECTED: &str =
            "a map of zone ids to maps whose `numa.cores` is a list of core numbers";
        let Some(value) = reader.value(keys::NUMA_META) else {
            return Self::default();
        };
        let zones = value.as_object().and_then(|zones| {
            zones
                .iter()
                .map(|(id, zone)| Some((id.clone(), cores(zone)?)))
                .collect()
        });
        zones
            .or_else(|| reader.wrong(keys::NUMA_META, value, EXPECTED))
            .map(Self)
            .unwrap_or_default()
    }

    /// The processors of a zone.
    pub(crate) fn cores(&self, zone: &str) -> Option<&CpuList> {
        self.0.get(zone)
    }
}

fn cores(zone: &Value) -> Option<CpuList> {
    let cores = zone.get("numa.cores")?.as_array()?;
    let numbers: Option<Vec<String>> = cores
        .iter()
        .map(|core| {
            let core = number(core).filter(|core| core.fract() == 0.0)?;
            Some(whole(core)?.to_string())
        })
        .collect();
    CpuList::parse(&numbers?.join(","))
}

/// The settings of the store alone, for Storm's plugin interfaces.
pub(crate) fn store_settings(
    conf: &Map<String, Value>,
) -> Result<StoreSettings, Vec<SupervisorError>> {
    let mut reader = Reader::new(conf);
    let supervisor = match reader.value(keys::RESOURCES_DIR) {
        Some(_) => None,
        None => reader
            .path(keys::LOCAL_DIR)
            .and_then(|path| below(&path, "supervisor")),
    };
    let settings = read_store(&mut reader, supervisor.as_ref());
    match settings {
        Some(settings) if reader.problems.is_empty() => Ok(settings),
        _ => Err(reader.problems),
    }
}

fn read_store(
    reader: &mut Reader<'_>,
    supervisor_local_dir: Option<&HostPath>,
) -> Option<StoreSettings> {
    let top_level = reader.location(keys::TOP_LEVEL);
    if reader.value(keys::TOP_LEVEL).is_none() {
        reader.problems.push(SupervisorError::SettingMissing {
            key: keys::TOP_LEVEL,
            why: "images come from there",
        });
    }
    let remote_tag_map: Option<Location> = reader.location(keys::REMOTE_TAG_MAP);
    let local_tag_map = reader.path(keys::LOCAL_TAG_MAP);
    let refresh_interval = reader
        .whole(keys::REFRESH_SECS, "a whole number of seconds")
        .map_or(DEFAULT_REFRESH, Duration::from_secs);
    let manifests_to_cache = reader
        .whole::<NonZeroUsizeFromI64>(keys::MANIFESTS_TO_CACHE, "a whole number of at least 1")
        .map_or(DEFAULT_MANIFESTS_TO_CACHE, |number| number.0);
    let local_dir = match reader.value(keys::RESOURCES_DIR) {
        Some(_) => reader.path(keys::RESOURCES_DIR),
        None => supervisor_local_dir.and_then(|path| below(path, RESOURCES)),
    };
    if local_dir.is_none() && reader.value(keys::RESOURCES_DIR).is_none() {
        reader.problems.push(SupervisorError::SettingMissing {
            key: keys::RESOURCES_DIR,
            why: "`storm.local.dir`, below which it lies by default, is not set either",
        });
    }
    Some(StoreSettings {
        top_level: top_level?,
        local_tag_map: local_tag_map.map(|path| PathBuf::from(path.as_str())),
        remote_tag_map,
        refresh_interval,
        manifests_to_cache,
        local_dir: PathBuf::from(local_dir?.as_str()),
    })
}

/// A count of at least one.
struct NonZeroUsizeFromI64(NonZeroUsize);

impl TryFrom<i64> for NonZeroUsizeFromI64 {
    type Error = std::num::TryFromIntError;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        let number = usize::try_from(number)?;
        NonZeroUsize::try_from(number).map(Self)
    }
}

fn require_tag_map(reader: &mut Reader<'_>) {
    let set = |key| reader.value(key).is_some();
    if !set(keys::LOCAL_TAG_MAP) && !set(keys::REMOTE_TAG_MAP) {
        reader.problems.push(SupervisorError::SettingMissing {
            key: keys::REMOTE_TAG_MAP,
            why: "nothing tells which image a tag is; `…local.hash.file` would do too",
        });
    }
}

/// A relative parent would be taken below this process' own cgroup, another one in every
/// hierarchy, so it is made absolute as Storm does.
fn read_cgroup_parent(reader: &mut Reader<'_>) -> Option<CgroupPath> {
    let text = reader
        .string(keys::CGROUP_PARENT)
        .unwrap_or_else(|| DEFAULT_CGROUP_PARENT.to_owned());
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
            reader
                .problems
                .push(SupervisorError::SettingName { key, source });
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
    for (key, paths) in [
        (keys::READONLY_BINDS, &readonly),
        (keys::READWRITE_BINDS, &readwrite),
    ] {
        for path in paths.iter().filter(|path| is_missing(path)) {
            warn!(target: "storm_oci.config", "`{key}` names `{path}`, which does not exist: no worker can start until it does");
        }
    }
    (readonly, readwrite)
}

/// Whether a path is known not to exist. What this account cannot look at may exist: the launcher
/// opens it as the topology's user.
pub(crate) fn is_missing(path: &HostPath) -> bool {
    Path::new(path.as_str())
        .try_exists()
        .is_ok_and(|exists| !exists)
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
        .map_err(|source| SupervisorError::SettingFile {
            key,
            path: path.clone(),
            source,
        })
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
            reader
                .problems
                .push(SupervisorError::SettingName { key, source });
            None
        }
    }
}

fn below(path: &HostPath, name: &str) -> Option<HostPath> {
    HostPath::parse(&format!("{}/{name}", path.as_str().trim_end_matches('/'))).ok()
}

#[cfg(test)]
pub(crate) mod tests;
