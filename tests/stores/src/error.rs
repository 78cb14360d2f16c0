//! What keeps a store from starting.

use std::fmt;
use std::path::Path;

/// A line of a daemon's log that says why it ended is among the last ones.
const EXCERPT_LINES: usize = 30;

/// Why a store cannot be used: a sentence, and what the daemon's log says.
///
/// Its `Debug` is its `Display`, so that a test's `unwrap` shows the log as it is.
pub struct TestbedError(String);

impl TestbedError {
    pub(crate) fn new(doing: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self(format!("cannot {doing}: {cause}"))
    }

    pub(crate) fn with_log(self, log: &Path) -> Self {
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let excerpt = lines.get(lines.len().saturating_sub(EXCERPT_LINES)..).unwrap_or_default();
        Self(format!("{}\n--- end of {}:\n{}", self.0, log.display(), excerpt.join("\n")))
    }
}

impl fmt::Display for TestbedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for TestbedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for TestbedError {}

/// Says what was done when it failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl fmt::Display) -> Result<T, TestbedError>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Result<T, TestbedError> {
        self.map_err(|cause| TestbedError::new(what, cause))
    }
}
