//! From options and a storm.yaml to a store.

use std::env;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use storm_oci_store::{Location, Platform, RemoteSettings};
use storm_oci_supervisor::StoreAccess;

use crate::args::AccessArgs;
use crate::failure::CliError;

/// A store, and how it is reached.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) top_level: Location,
    pub(crate) tag_map: Location,
    pub(crate) platform: Platform,
    pub(crate) remote: RemoteSettings,
}

/// The name of the tag map in a store.
const TAG_MAP: &str = "image-tag-to-hash";

const NO_STORE: &str = "no store is named: give --store, or --storm-conf with a storm.yaml that has \
                        `storm.oci.image.hdfs.toplevel.dir`";

impl Access {
    /// Reads the options, and the file that they name.
    pub(crate) fn of(args: &AccessArgs) -> Result<Self, CliError> {
        let access = read(args)?;
        let top_level = access.top_level.ok_or_else(|| CliError::Usage(NO_STORE.to_owned()))?;
        // The key in the file is about the store in the file.
        let tag_map = match (&args.tag_map, &args.store) {
            (None, Some(_)) => None,
            _ => access.tag_map,
        };
        let usual = Self::usual(top_level, access.platform, access.remote);
        Ok(match tag_map {
            Some(tag_map) => Self { tag_map, ..usual },
            None => usual,
        })
    }

    /// Another store that is reached alike.
    pub(crate) fn at(args: &AccessArgs, top_level: &Location) -> Result<Self, CliError> {
        let access = read(args)?;
        Ok(Self::usual(top_level.clone(), access.platform, access.remote))
    }

    /// A directory of this host.
    pub(crate) fn local(top_level: Location) -> Self {
        Self::usual(top_level, Platform::host(), RemoteSettings::default())
    }

    /// A store with its tag map where it is unless somebody says otherwise.
    fn usual(top_level: Location, platform: Platform, remote: RemoteSettings) -> Self {
        Self { tag_map: top_level.join(TAG_MAP), top_level, platform, remote }
    }
}

/// Options become the keys that they stand for, so that there is one reader of both.
fn read(args: &AccessArgs) -> Result<StoreAccess, CliError> {
    let mut conf = match &args.storm_conf {
        Some(path) => storm_yaml(path)?,
        None => Map::new(),
    };
    for (key, value) in &args.set {
        let value = serde_saphyr::from_str(value)
            .map_err(|error| CliError::Usage(format!("cannot use --set {key}: {error}")))?;
        conf.insert(key.clone(), value);
    }
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| absolute(path).to_string_lossy().into_owned())
    };
    for (key, value) in [
        ("storm.oci.image.hdfs.toplevel.dir", args.store.as_deref().map(place)),
        (
            "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file",
            args.tag_map.as_deref().map(place),
        ),
        ("storm.oci.hadoop.conf.dir", path(&args.hadoop_conf_dir)),
        ("storm.hdfs.login.keytab", path(&args.keytab)),
        ("storm.hdfs.login.principal", args.principal.clone()),
        ("storm.oci.store.credentials.file", path(&args.credentials_file)),
        ("storm.oci.store.ca.file", path(&args.store_ca_file)),
    ] {
        if let Some(value) = value {
            conf.insert(key.to_owned(), Value::String(value));
        }
    }
    StoreAccess::read(&conf).map_err(CliError::Settings)
}

/// A location, where a relative path means one below the working directory, as in a shell.
pub(crate) fn place(text: &str) -> String {
    if text.is_empty() || text.starts_with('/') || text.contains(':') {
        return text.to_owned();
    }
    absolute(Path::new(text)).to_string_lossy().into_owned()
}

/// Without `.` components; keys want absolute paths.
fn absolute(path: &Path) -> std::path::PathBuf {
    let whole = env::current_dir().map_or_else(|_| path.to_owned(), |current| current.join(path));
    whole.components().filter(|part| *part != std::path::Component::CurDir).collect()
}

fn storm_yaml(path: &Path) -> Result<Map<String, Value>, CliError> {
    let text = fs::read_to_string(path).map_err(|cause| CliError::Local {
        operation: "read",
        path: path.to_owned(),
        cause,
    })?;
    // A file of comments alone is an empty map.
    let conf: Option<Map<String, Value>> = serde_saphyr::from_str(&text).map_err(|error| {
        CliError::StormConf { path: path.to_owned(), problem: error.to_string() }
    })?;
    Ok(conf.unwrap_or_default())
}
