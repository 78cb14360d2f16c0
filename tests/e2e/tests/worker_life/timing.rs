//! How long things took. Nothing of it is asserted.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use storm_oci_e2e::commanded::{self, Worker};
use storm_oci_e2e::container::Container;
use storm_oci_e2e::exit_note::ExitNote;
use storm_oci_e2e::{E2eError, Layout};

/// Now, in milliseconds since the epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// From the end of one container to its successor's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comeback {
    launched: u64,
    works: u64,
}

impl Comeback {
    /// The successor works as of now.
    pub(crate) fn of(end: &ExitNote, next: &Container) -> Self {
        Self {
            launched: next.record.launched_millis.saturating_sub(end.ended_millis),
            works: now().saturating_sub(end.ended_millis),
        }
    }
}

impl fmt::Display for Comeback {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { launched, works } = *self;
        write!(
            formatter,
            "next container {} after the end, seen at work {} after it",
            Seconds(launched),
            Seconds(works)
        )
    }
}

/// Milliseconds as seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds(pub(crate) u64);

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:01} s", self.0 / 1000, self.0 % 1000 / 100)
    }
}

/// The pauses between the ends of containers that failed to start and their successors' launches.
pub(crate) fn pauses(notes: &[ExitNote]) -> Vec<u64> {
    notes
        .windows(2)
        .filter_map(|pair| {
            let [one, next] = pair else { return None };
            Some(next.launched_millis.saturating_sub(one.ended_millis))
        })
        .collect()
}

/// The worker of a topology that comes after another, once it works, and its container.
pub(crate) fn successor(
    layout: &Layout,
    name: &str,
    before: &Worker,
) -> Result<(Worker, Container), E2eError> {
    let next = commanded::works(layout, name, Some(before))?;
    let container = commanded::container(layout, name, &next)?;
    Ok((next, container))
}
