//! The JSON documents that cross JNI: what Java hands in and what it gets back.
//!
//! Names are checked later, where a bad one costs one worker; here only the shape counts.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::SupervisorError;

/// What [`crate::Containers::prepare`] gets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PrepareDocument {
    /// Storm's configuration, as it is.
    pub(crate) conf: Map<String, Value>,
    pub(crate) paths: PathsDocument,
    #[serde(default)]
    pub(crate) plugins: PluginsDocument,
    /// Whether this process is the one that tells the node's metrics: the supervisor, and not a
    /// command beside it.
    #[serde(default)]
    pub(crate) reports_metrics: bool,
}

/// Where things are on this node, as Storm's own `ConfigUtils` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PathsDocument {
    pub(crate) storm_home: String,
    /// `<storm.local.dir>/supervisor`.
    pub(crate) supervisor_local_dir: String,
    /// The directory of the worker directories.
    pub(crate) workers_root: String,
    /// The setuid program.
    pub(crate) launcher: String,
}

/// Which of Storm's three image plugins are ours.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PluginsDocument {
    #[serde(default)]
    tag_to_manifest: PluginKind,
    #[serde(default)]
    manifest_to_resources: PluginKind,
    #[serde(default)]
    localizer: PluginKind,
}

impl PluginsDocument {
    /// Whether this library resolves images itself. With a class of somebody else under any of
    /// the three keys, Java resolves through the classes and hands over paths.
    pub(crate) const fn all_native(&self) -> bool {
        matches!(
            (self.tag_to_manifest, self.manifest_to_resources, self.localizer),
            (PluginKind::Native, PluginKind::Native, PluginKind::Native)
        )
    }
}

/// Whose class is configured under a plugin key.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum PluginKind {
    #[default]
    Native,
    Custom,
}

/// What [`crate::Containers::reserve`] gets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReserveDocument {
    pub(crate) worker_id: String,
    pub(crate) memory_mb: Option<i64>,
    /// Percent of one core.
    pub(crate) cpu: Option<i64>,
    pub(crate) numa_id: Option<String>,
}

/// What [`crate::Containers::profile`] gets, without the environment: that may hold secrets, and
/// nothing here has a use for it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProfileDocument {
    pub(crate) user: String,
    pub(crate) worker_id: String,
    /// The artifacts directory.
    pub(crate) target_dir: String,
    pub(crate) command: Vec<String>,
}

/// What [`crate::Containers::launch`] gets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LaunchDocument {
    pub(crate) user: String,
    pub(crate) topology_id: String,
    pub(crate) port: i64,
    pub(crate) worker_id: String,
    pub(crate) worker_dir: String,
    /// `<worker dir>/artifacts`, a link to the next one.
    pub(crate) artifacts_dir: String,
    pub(crate) worker_artifacts_root: String,
    pub(crate) worker_tmp: String,
    pub(crate) worker_user_file: String,
    pub(crate) shared_by_topology: String,
    pub(crate) storm_home: String,
    pub(crate) script: String,
    #[serde(default)]
    pub(crate) environment: Environment,
    pub(crate) image: ImageDocument,
}

/// The image of one launch: a tag, or what custom plugins made of one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ImageDocument {
    pub(crate) tag: Option<String>,
    pub(crate) manifest: Option<String>,
    pub(crate) config_path: Option<String>,
    pub(crate) layers: Option<Vec<String>>,
}

/// A JSON object of strings, kept in its own order; entries with a null value are dropped.
#[derive(Debug, Default)]
pub(crate) struct Environment(pub(crate) Vec<(String, String)>);

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Environment;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Option<String>>()? {
                    entries.extend(value.map(|value| (name, value)));
                }
                Ok(Environment(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// What a launch came to.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum LaunchOutcome {
    /// The container runs.
    #[serde(rename_all = "camelCase")]
    Started { started: bool, container_id: String, pid: u32, phases: Vec<PhaseDocument> },
    /// It does not, and this is why. An exit event tells the same.
    #[serde(rename_all = "camelCase")]
    Failed { started: bool, code: &'static str, message: String, hint: Option<String> },
}

/// One step and how long it took.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PhaseDocument {
    pub(crate) name: String,
    pub(crate) micros: u64,
}

/// A remote file in the words of Storm's `OciResource`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResourceDocument {
    pub(crate) uri: String,
    pub(crate) file_name: String,
    pub(crate) size: u64,
    /// Milliseconds since the epoch.
    pub(crate) modified: i64,
    #[serde(rename = "type")]
    pub(crate) kind: ResourceType,
}

/// What a remote file is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum ResourceType {
    /// An image config.
    Config,
    /// A layer.
    Layer,
}

/// All remote files of one image, layers lowest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResourcesDocument {
    pub(crate) config: ResourceDocument,
    pub(crate) layers: Vec<ResourceDocument>,
}

/// Where a localized file is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LocalizedDocument {
    pub(crate) path: String,
}

/// Reads one document.
pub(crate) fn read<'json, T: Deserialize<'json>>(
    what: &'static str,
    json: &'json str,
) -> Result<T, SupervisorError> {
    serde_json::from_str(json).map_err(|source| SupervisorError::Document { what, source })
}

/// Writes one document.
pub(crate) fn write<T: Serialize>(
    what: &'static str,
    document: &T,
) -> Result<String, SupervisorError> {
    serde_json::to_string(document).map_err(|source| SupervisorError::Document { what, source })
}
