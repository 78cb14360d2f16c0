//! When Storm learns that a worker did not start: at once the first time, later each time it
//! happens again.
//!
//! Storm relaunches a worker as soon as it learns of its end. For a worker that runs and crashes
//! that is right. One whose image or code is broken would be launched anew every second, and with
//! it a JVM, until somebody mends it. So what ends before its first heartbeat is told after a pause
//! that doubles with each time in a row.
//!
//! The pause is in the telling, never in the launch: a slot's thread that waits there looks hung.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The pause after the second failure in a row; the first is told at once.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Failures in a row, by the port they happened on.
#[derive(Debug)]
pub(crate) struct Relaunch {
    longest: Duration,
    slots: HashMap<i64, Failures>,
}

#[derive(Debug)]
struct Failures {
    topology: String,
    cause: String,
    in_a_row: u32,
    pause: Duration,
    /// When the pause is over.
    told: Instant,
}

/// What a failure to start comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    /// How many there have been in a row, this one included.
    pub(crate) in_a_row: u32,
    /// Whether the one before had the same cause.
    pub(crate) repeated: bool,
    /// How long to wait before Storm is told.
    pub(crate) pause: Duration,
}

impl Relaunch {
    /// No pause is longer than this.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, slots: HashMap::new() }
    }

    /// Notes that a topology's worker did not start on a port. `cause` is a text that is the same
    /// for the same cause.
    pub(crate) fn failed(&mut self, port: i64, topology: &str, cause: &str) -> Failure {
        let before = self.slots.remove(&port).filter(|before| before.topology == topology);
        let repeated = before.as_ref().is_some_and(|before| before.cause == cause);
        let in_a_row = before.map_or(0, |before| before.in_a_row).saturating_add(1);
        let pause = self.pause(in_a_row);
        let (topology, cause) = (topology.to_owned(), cause.to_owned());
        let told = Instant::now() + pause;
        self.slots.insert(port, Failures { topology, cause, in_a_row, pause, told });
        Failure { in_a_row, repeated, pause }
    }

    /// The longest of the pauses that are not over; zero when all are.
    pub(crate) fn longest_now(&self) -> Duration {
        let now = Instant::now();
        let pauses = self.slots.values().filter(|failures| failures.told > now);
        pauses.map(|failures| failures.pause).max().unwrap_or_default()
    }

    /// Notes that a worker had started on a port.
    pub(crate) fn started(&mut self, port: i64) {
        self.slots.remove(&port);
    }

    fn pause(&self, in_a_row: u32) -> Duration {
        match in_a_row.checked_sub(2) {
            None => Duration::ZERO,
            Some(doubled) => {
                let factor = 1_u32.checked_shl(doubled).unwrap_or(u32::MAX);
                FIRST_PAUSE.saturating_mul(factor).min(self.longest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(relaunch: &mut Relaunch, times: u32) -> Vec<u64> {
        (0..times).map(|_| relaunch.failed(6700, "t-1", "c").pause.as_secs()).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut relaunch = Relaunch::new(Duration::from_secs(10));
        assert_eq!(pauses(&mut relaunch, 8), [0, 1, 2, 4, 8, 10, 10, 10]);
        assert_eq!(pauses(&mut Relaunch::new(Duration::ZERO), 4), [0; 4]);
        let mut relaunch = Relaunch::new(Duration::from_secs(60));
        assert_eq!(pauses(&mut relaunch, 200).last(), Some(&60));
        assert_eq!(relaunch.longest_now(), Duration::from_secs(60));
        relaunch.started(6700);
        assert_eq!(pauses(&mut relaunch, 1), [0]);
        assert_eq!(relaunch.longest_now(), Duration::ZERO);
    }

    #[test]
    fn a_start_another_topology_and_another_port_begin_anew() {
        let mut relaunch = Relaunch::new(Duration::from_secs(60));
        assert_eq!(pauses(&mut relaunch, 3), [0, 1, 2]);
        assert_eq!(relaunch.failed(6701, "t-1", "c").pause, Duration::ZERO);
        relaunch.started(6700);
        assert_eq!(pauses(&mut relaunch, 2), [0, 1]);
        assert_eq!(relaunch.failed(6700, "t-2", "c").in_a_row, 1);
    }

    #[test]
    fn the_same_cause_is_known_again() {
        let mut relaunch = Relaunch::new(Duration::from_secs(60));
        assert!(!relaunch.failed(6700, "t", "one").repeated);
        assert!(relaunch.failed(6700, "t", "one").repeated);
        assert!(!relaunch.failed(6700, "t", "two").repeated);
        assert_eq!(relaunch.failed(6700, "t", "two").in_a_row, 4);
    }
}
