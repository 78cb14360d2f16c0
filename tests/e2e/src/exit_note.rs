//! How a container ended, as its worker's artifacts tell it.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::{E2eError, files};

/// `exit-<container id>.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitNote {
    /// The container.
    pub container_id: String,
    /// The topology, where that is known.
    pub topology_id: Option<String>,
    /// The same in words.
    pub message: String,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether Storm had asked for it.
    pub requested: bool,
    /// Whether Storm had not heard of the worker yet.
    pub before_heartbeat: bool,
    /// Whether an earlier supervisor had launched it.
    pub adopted: bool,
    /// Whether memory ran out, and whose.
    pub out_of_memory: OutOfMemory,
    /// The most memory it used, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// The processor time it used, in microseconds.
    pub cpu_micros: Option<u64>,
    /// When it was launched, in milliseconds since the epoch.
    pub launched_millis: u64,
    /// When it ended, in milliseconds since the epoch.
    pub ended_millis: u64,
    /// The steps of its launch.
    pub launch_phases: Vec<Value>,
    /// What it printed last.
    pub last_output: LastOutput,
}

/// Whether memory ran out.
#[derive(Clone, Debug, Deserialize)]
pub struct OutOfMemory {
    /// How many processes the kernel killed for it.
    pub kills: Option<u64>,
    /// Whose it was.
    pub of: Option<String>,
}

/// The end of what a container printed.
#[derive(Clone, Debug, Deserialize)]
pub struct LastOutput {
    /// Lines of its output.
    pub stdout: Vec<String>,
    /// Lines of its error output.
    pub stderr: Vec<String>,
}

impl ExitNote {
    /// The code as a shell tells it.
    #[must_use]
    pub fn shell_code(&self) -> Option<i32> {
        self.exit_code.or_else(|| self.signal.map(|signal| signal.saturating_add(128)))
    }

    /// The note on one container, once it is there.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn of(artifacts: &Path, container_id: &str) -> Result<Option<Self>, E2eError> {
        let path = artifacts.join(format!("exit-{container_id}.json"));
        if !path.exists() {
            return Ok(None);
        }
        // A reader may come between its making and its writing.
        Ok(serde_json::from_str(&files::read(&path)?).ok())
    }

    /// The notes on all containers that ended in this place, in the order of their launches.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn all(artifacts: &Path) -> Result<Vec<Self>, E2eError> {
        let mut notes = Vec::new();
        for path in files::list(artifacts)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let id = name.strip_prefix("exit-").and_then(|rest| rest.strip_suffix(".json"));
            if let Some(id) = id {
                notes.extend(Self::of(artifacts, id)?);
            }
        }
        notes.sort_by_key(|note| note.launched_millis);
        Ok(notes)
    }
}
