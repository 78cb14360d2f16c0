//! Where images come from and where they are kept.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use storm_oci_request::HostPath;
use storm_oci_store::{
    CacheBudget, Location, Platform, RemoteSettings, StoreSettings, Verification,
};

use super::keys;
use super::reader::Reader;
use super::remote::read_remote;
use crate::error::SupervisorError;

/// Storm's defaults.
const DEFAULT_REFRESH: Duration = Duration::from_secs(60);
const DEFAULT_MANIFESTS_TO_CACHE: NonZeroUsize = NonZeroUsize::new(10).expect("10 is not 0");
/// Ours.
const DEFAULT_FETCH_TIMEOUT: Duration = Duration::from_secs(600);
const DEFAULT_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

const BYTES: &str = "a whole number of bytes";

/// Where localized files go below `<storm.local.dir>/supervisor`.
const RESOURCES: &str = "oci-resources";

/// The settings of the store alone, for Storm's plugin interfaces.
pub(crate) fn store_settings(
    conf: &Map<String, Value>,
) -> Result<StoreSettings, Vec<SupervisorError>> {
    let mut reader = Reader::new(conf);
    let supervisor = match reader.value(keys::RESOURCES_DIR) {
        Some(_) => None,
        None => reader.path(keys::LOCAL_DIR).and_then(|path| below(&path, "supervisor")),
    };
    let settings = read_store(&mut reader, supervisor.as_ref());
    match settings {
        Some(settings) if reader.problems.is_empty() => Ok(settings),
        _ => Err(reader.problems),
    }
}

/// Which store the configuration names and how it is reached, for programs other than a supervisor.
#[derive(Clone, Debug)]
pub struct StoreAccess {
    /// `storm.oci.image.hdfs.toplevel.dir`.
    pub top_level: Option<Location>,
    /// `storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file`.
    pub tag_map: Option<Location>,
    /// `storm.oci.image.platform`.
    pub platform: Platform,
    /// The keys that begin with `storm.oci.store`, `storm.oci.hadoop` and `storm.hdfs.login`.
    pub remote: RemoteSettings,
}

impl StoreAccess {
    /// Reads Storm's configuration; keys that are about something else are not looked at.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn read(conf: &Map<String, Value>) -> Result<Self, Vec<SupervisorError>> {
        let mut reader = Reader::new(conf);
        let access = Self {
            top_level: reader.location(keys::TOP_LEVEL),
            tag_map: reader.location(keys::REMOTE_TAG_MAP),
            platform: read_platform(&mut reader),
            remote: read_remote(&mut reader),
        };
        if reader.problems.is_empty() { Ok(access) } else { Err(reader.problems) }
    }
}

pub(super) fn read_store(
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
    let remote_tag_map = reader.location(keys::REMOTE_TAG_MAP);
    let local_tag_map = reader.path(keys::LOCAL_TAG_MAP);
    let refresh_interval = reader
        .whole(keys::REFRESH_SECS, "a whole number of seconds")
        .map_or(DEFAULT_REFRESH, Duration::from_secs);
    let manifests_to_cache = count(reader, keys::MANIFESTS_TO_CACHE, DEFAULT_MANIFESTS_TO_CACHE);
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
    let budget = CacheBudget {
        max_bytes: reader.whole(keys::CACHE_BYTES, BYTES),
        min_free_bytes: reader.whole(keys::FREE_BYTES, BYTES).unwrap_or(0),
    };
    let platform = read_platform(reader);
    let verification = read_verification(reader);
    let fetch_timeout = reader.seconds(keys::FETCH_TIMEOUT).unwrap_or(DEFAULT_FETCH_TIMEOUT);
    let connections = count(reader, keys::CONNECTIONS, DEFAULT_CONNECTIONS);
    let remote = read_remote(reader);
    Some(StoreSettings {
        top_level: top_level?,
        local_tag_map: local_tag_map.map(|path| PathBuf::from(path.as_str())),
        remote_tag_map,
        refresh_interval,
        manifests_to_cache,
        local_dir: PathBuf::from(local_dir?.as_str()),
        budget,
        platform,
        verification,
        fetch_timeout,
        connections,
        remote,
    })
}

fn count(reader: &mut Reader<'_>, key: &'static str, default: NonZeroUsize) -> NonZeroUsize {
    let count = reader.count(key).and_then(|count| NonZeroUsize::try_from(count).ok());
    count.unwrap_or(default)
}

fn read_platform(reader: &mut Reader<'_>) -> Platform {
    let key = keys::PLATFORM;
    let platform = reader.string(key).map(|text| Platform::parse(&text));
    platform.unwrap_or_else(|| Ok(Platform::host())).unwrap_or_else(|source| {
        reader.problems.push(SupervisorError::SettingStore { key, source });
        Platform::host()
    })
}

fn read_verification(reader: &mut Reader<'_>) -> Verification {
    let Some(value) = reader.value(keys::VERIFICATION) else {
        return Verification::default();
    };
    let read = match value.as_str() {
        Some("required") => Some(Verification::Required),
        Some("when-available") => Some(Verification::WhenAvailable),
        _ => reader.wrong(keys::VERIFICATION, value, "required or when-available"),
    };
    read.unwrap_or_default()
}

pub(super) fn require_tag_map(reader: &mut Reader<'_>) {
    let set = |key| reader.value(key).is_some();
    if !set(keys::LOCAL_TAG_MAP) && !set(keys::REMOTE_TAG_MAP) {
        reader.problems.push(SupervisorError::SettingMissing {
            key: keys::REMOTE_TAG_MAP,
            why: "nothing tells which image a tag is; `…local.hash.file` would do too",
        });
    }
}

fn below(path: &HostPath, name: &str) -> Option<HostPath> {
    HostPath::parse(&format!("{}/{name}", path.as_str().trim_end_matches('/'))).ok()
}
