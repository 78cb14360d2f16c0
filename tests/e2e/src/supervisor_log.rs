//! What the supervisor says.

use std::time::Duration;

use crate::{E2eError, Layout, files, interrupt};

/// From a request to the line in the log: Storm's timers and one failed launch.
const LIMIT: Duration = Duration::from_secs(120);

/// The whole log.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn read(layout: &Layout) -> Result<String, E2eError> {
    files::read(&layout.supervisor_log())
}

/// Its length in bytes: a place to look from later.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn length(layout: &Layout) -> Result<usize, E2eError> {
    read(layout).map(|log| log.len())
}

/// The lines from byte `start` on.
pub fn after(log: &str, start: usize) -> impl Iterator<Item = &str> {
    log.get(start..).unwrap_or_default().lines()
}

/// Waits until one line, from byte `start` on, has all these words; gives that line.
///
/// # Errors
///
/// [`E2eError::TimedOut`].
pub fn said(layout: &Layout, start: usize, words: &[String]) -> Result<String, E2eError> {
    let line = interrupt::poll(LIMIT, || {
        let log = read(layout)?;
        let found =
            after(&log, start).find(|line| words.iter().all(|word| line.contains(word.as_str())));
        Ok(found.map(str::to_owned))
    })?;
    line.ok_or_else(|| E2eError::TimedOut {
        what: format!("a log line with {}", words.join(", ")),
        seconds: LIMIT.as_secs(),
        log: layout.kept("supervisor.log"),
    })
}
