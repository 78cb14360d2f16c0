//! The metrics as a file that Prometheus' node exporter reads: the "textfile" collector.
//!
//! # References
//!
//! Prometheus node exporter, "Textfile Collector"

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::Mode;
use tracing::{info, warn};

use super::Observation;
use crate::beneath::Directory;
use crate::error::SupervisorError;

/// How often the file is written: Prometheus asks no exporter more often than that by default.
const EVERY: Duration = Duration::from_secs(15);

/// Everybody reads it: the exporter runs as an account of its own.
const MODE: u32 = 0o644;

/// What comes after the file's name while it is written; the collector reads `*.prom` only.
const PARTIAL: &str = ".partial";

/// A thread that writes the file until this is dropped.
#[derive(Debug)]
pub(crate) struct TextFile {
    stop: Arc<Stop>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Stop {
    is_asked: Mutex<bool>,
    asked: Condvar,
}

impl TextFile {
    pub(crate) fn start(
        path: PathBuf,
        observation: Arc<Observation>,
    ) -> Result<Self, SupervisorError> {
        let stop = Arc::new(Stop::default());
        let thread = std::thread::Builder::new()
            .name("storm-oci-metrics".to_owned())
            .spawn({
                let stop = Arc::clone(&stop);
                move || run(&path, &observation, &stop)
            })
            .map_err(|source| SupervisorError::Kernel {
                what: "start the thread that writes metrics",
                source,
            })?;
        Ok(Self { stop, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread. The file stays.
    pub(crate) fn close(&self) {
        *self.stop.is_asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.asked.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // If it panicked, its panic was logged, and there is nothing to end.
        let _ended = thread.map(JoinHandle::join);
    }
}

impl Drop for TextFile {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(path: &Path, observation: &Observation, stop: &Stop) {
    let mut is_failing = false;
    loop {
        let written = observation.text().map_err(|error| error.report());
        let written =
            written.and_then(|text| write(path, &text).map_err(|error| error.to_string()));
        match &written {
            Ok(()) if is_failing => {
                info!(target: "storm_oci.metrics", "writing metrics to `{}` again", path.display());
            }
            Err(error) if !is_failing => {
                warn!(target: "storm_oci.metrics", "cannot write metrics to `{}`: {error}; trying on every {} s", path.display(), EVERY.as_secs());
            }
            _ => {}
        }
        is_failing = written.is_err();
        let is_asked = stop.is_asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = stop.asked.wait_timeout_while(is_asked, EVERY, |is_asked| !*is_asked);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return;
        }
    }
}

/// Puts a text in the file's place, whole or not at all. The directory may be one that others
/// write to.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?;
    let directory = path.parent().ok_or_else(invalid)?;
    let directory = Directory::open(&fs::canonicalize(directory)?)?;
    let partial = format!("{name}{PARTIAL}");
    let mut file = directory.replace(&partial, MODE)?;
    // Whatever the umask.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(MODE))?;
    file.write_all(text.as_bytes())?;
    directory.rename(&partial, name)
}
