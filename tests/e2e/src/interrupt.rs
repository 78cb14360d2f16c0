//! Ctrl-C and requests to end: noted, so that every wait ends soon and what was made is removed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::E2eError;

/// Signals belong to the process, so the note of one does too.
static NOTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Between two looks at a condition: short against what is awaited, seconds of JVM start.
const LOOK: Duration = Duration::from_millis(50);

/// From now on Ctrl-C is noted instead of ending the process.
///
/// # Errors
///
/// [`E2eError::Start`] when the kernel refuses the handlers.
pub fn listen() -> Result<(), E2eError> {
    let flag = NOTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag))
            .map_err(|source| E2eError::Start { program: "signal handler".to_owned(), source })?;
    }
    Ok(())
}

/// Fails once the process was asked to end.
///
/// # Errors
///
/// [`E2eError::Interrupted`].
pub fn check() -> Result<(), E2eError> {
    match NOTED.get() {
        Some(flag) if flag.load(Ordering::Relaxed) => Err(E2eError::Interrupted),
        _ => Ok(()),
    }
}

/// Looks until `found` gives something or `limit` is over; `Ok(None)` then.
///
/// # Errors
///
/// The error of `found`, or [`E2eError::Interrupted`].
pub fn poll<T>(
    limit: Duration,
    mut found: impl FnMut() -> Result<Option<T>, E2eError>,
) -> Result<Option<T>, E2eError> {
    let end = Instant::now() + limit;
    loop {
        check()?;
        if let Some(value) = found()? {
            return Ok(Some(value));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// Looks until `done` says so or `limit` is over, whose answer it gives. Goes on when interrupted:
/// for what must be done even then.
///
/// # Errors
///
/// The error of `done`.
pub fn wait(
    limit: Duration,
    mut done: impl FnMut() -> Result<bool, E2eError>,
) -> Result<bool, E2eError> {
    let end = Instant::now() + limit;
    loop {
        if done()? {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
}
