//! How a container ended, in words and as an event.

use std::fmt;

use storm_oci_request::{CgroupPath, ContainerId, ExitRecord};

use crate::beneath::Directory;
use crate::documents::PhaseDocument;
use crate::events::ExitEvent;
use crate::hierarchy::Hierarchies;
use crate::limits::Limits;
use crate::metrics::ExitCause;
use crate::oom::{HitsAbove, Shortage};

/// The code that stands for an unknown one.
pub(crate) const UNKNOWN_CODE: i32 = -1;

/// What a shell adds to a signal's number.
const SIGNALLED: i32 = 128;

/// The largest number of a signal.
const LAST_SIGNAL: i32 = 64;

/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

/// What is known of a container before its end.
#[derive(Debug)]
pub(crate) struct Known {
    /// The port that this process launched it for; `None` when an earlier process did.
    pub(crate) launched_on: Option<i64>,
    /// `None` when it cannot be told from the artifacts.
    pub(crate) topology_id: Option<String>,
    /// The steps of the launch: of one by an earlier process, the launcher's.
    pub(crate) phases: Vec<PhaseDocument>,
    pub(crate) cgroup: CgroupPath,
    pub(crate) hits_above: HitsAbove,
    /// What held for it when it was first looked at.
    pub(crate) limits: Limits,
    /// `None` when it cannot be opened.
    pub(crate) artifacts: Option<Directory>,
}

/// The end of one container.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) container: ContainerId,
    /// `None` when the monitor left no record.
    pub(crate) record: Option<ExitRecord>,
    /// Whether Storm had asked for it: nobody need look at it then.
    pub(crate) requested: bool,
    pub(crate) known: Known,
    /// Whose memory ran out, once it is looked up.
    pub(crate) shortage: Option<Shortage>,
}

impl End {
    /// How it ended, in words that are the same whenever it ends so.
    pub(crate) fn cause(&self) -> String {
        let killed = self.record.as_ref().is_some_and(out_of_memory);
        let memory = if killed { ", out of memory," } else { "" };
        format!("{}{memory}", Outcome(self.record.as_ref()))
    }

    /// Looks up whose memory ran out, if any did.
    pub(crate) fn look_up_shortage(&mut self, hierarchies: &Hierarchies) {
        let Known { hits_above, cgroup, .. } = &self.known;
        let killed = self.record.as_ref().is_some_and(out_of_memory);
        self.shortage = killed.then(|| hits_above.shortage(hierarchies, cgroup));
    }

    /// How it ended, as it is counted. Who asked for an end knows why it came.
    pub(crate) fn exit_cause(&self) -> ExitCause {
        let Some(record) = &self.record else {
            return if self.requested { ExitCause::Requested } else { ExitCause::Unknown };
        };
        match shell_code(record) {
            _ if self.requested => ExitCause::Requested,
            _ if out_of_memory(record) => ExitCause::OutOfMemory,
            0 => ExitCause::Completed,
            UNKNOWN_CODE => ExitCause::Unknown,
            // Also below our init, which ends as a shell would.
            code if (SIGNALLED + 1..=SIGNALLED + LAST_SIGNAL).contains(&code) => ExitCause::Signal,
            _ => ExitCause::Failed,
        }
    }

    /// How many of its processes the kernel had killed for memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        self.record.as_ref().and_then(|record| record.oom_kills).unwrap_or_default()
    }

    pub(crate) fn event(&self, before_heartbeat: bool) -> ExitEvent {
        let message = format!("container {} {self}", self.container);
        let record = self.record.as_ref();
        ExitEvent {
            worker_id: self.container.worker_id().to_string(),
            container_id: Some(self.container.to_string()),
            exit_code: record.and_then(|record| record.exit_code),
            signal: record.and_then(|record| record.signal),
            shell_code: record.map_or(UNKNOWN_CODE, shell_code),
            out_of_memory: record.is_some_and(out_of_memory),
            requested: self.requested,
            launch_failed: false,
            before_heartbeat,
            adopted: self.known.launched_on.is_none(),
            message,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Outcome(self.record.as_ref()).fmt(formatter)?;
        let Some(record) = &self.record else {
            return self.fmt_request(formatter);
        };
        let millis = record.ended_millis.saturating_sub(record.launched_millis);
        write!(formatter, " after {}.{:03} s", millis / 1000, millis % 1000)?;
        self.fmt_request(formatter)?;
        if out_of_memory(record) {
            let kills = record.oom_kills.unwrap_or_default();
            write!(formatter, "; out of memory: the kernel killed {kills} of its processes")?;
            if let Some(shortage) = self.shortage {
                write!(formatter, " {shortage}")?;
            }
        }
        if let Some(peak) = record.peak_memory_bytes {
            write!(formatter, "; peak memory {} MiB", peak / MIB)?;
        }
        Ok(())
    }
}

impl End {
    fn fmt_request(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.requested { ", as asked" } else { "" })
    }
}

/// What a monitor's record says of an end, in words.
struct Outcome<'a>(Option<&'a ExitRecord>);

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.map(|record| (record.exit_code, record.signal)) {
            None => formatter.write_str("ended; its exit code is not known: its monitor left none"),
            Some((Some(code), _)) => write!(formatter, "ended with exit code {code}"),
            Some((None, Some(signal))) => write!(formatter, "was ended by {}", SignalName(signal)),
            Some((None, None)) => formatter.write_str("ended"),
        }
    }
}

/// Whether the kernel killed any of the container's processes for memory.
fn out_of_memory(record: &ExitRecord) -> bool {
    record.oom_kills.is_some_and(|kills| kills > 0)
}

/// The code as a shell tells it: the exit code, or 128 plus the signal.
fn shell_code(record: &ExitRecord) -> i32 {
    match (record.exit_code, record.signal) {
        (Some(code), _) => code,
        (None, Some(signal)) => SIGNALLED.saturating_add(signal),
        (None, None) => UNKNOWN_CODE,
    }
}

/// A signal by number, and by name where it is one that ends workers.
struct SignalName(i32);

impl fmt::Display for SignalName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rustix::process::Signal;
        const NAMES: [(Signal, &str); 9] = [
            (Signal::HUP, "SIGHUP"),
            (Signal::INT, "SIGINT"),
            (Signal::QUIT, "SIGQUIT"),
            (Signal::ABORT, "SIGABRT"),
            (Signal::KILL, "SIGKILL"),
            (Signal::BUS, "SIGBUS"),
            (Signal::SEGV, "SIGSEGV"),
            (Signal::SYS, "SIGSYS"),
            (Signal::TERM, "SIGTERM"),
        ];
        let name =
            NAMES.iter().find_map(|(signal, name)| (signal.as_raw() == self.0).then_some(*name));
        match name {
            Some(name) => write!(formatter, "signal {} ({name})", self.0),
            None => write!(formatter, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::hierarchy::tests::UUID;
    use crate::oom::OutOf;

    fn id() -> ContainerId {
        ContainerId::parse(&format!("6700-{UUID}")).unwrap()
    }

    /// Of a container of an earlier process.
    pub(crate) fn known() -> Known {
        Known {
            launched_on: None,
            topology_id: None,
            phases: Vec::new(),
            cgroup: CgroupPath::parse("/storm/x").unwrap(),
            hits_above: HitsAbove::default(),
            limits: Limits::default(),
            artifacts: None,
        }
    }

    fn end(record: Option<ExitRecord>, requested: bool) -> End {
        End { container: id(), record, requested, known: known(), shortage: None }
    }

    fn record(exit_code: Option<i32>, signal: Option<i32>, oom_kills: u64) -> ExitRecord {
        ExitRecord {
            version: 1,
            container_id: id(),
            exit_code,
            signal,
            oom_kills: Some(oom_kills),
            peak_memory_bytes: Some(3 * MIB + 1),
            cpu_micros: None,
            launched_millis: 1_000,
            ended_millis: 3_045,
        }
    }

    #[test]
    fn the_end_in_words() {
        for (record, requested, words) in [
            (
                Some(record(Some(0), None, 0)),
                true,
                "ended with exit code 0 after 2.045 s, as asked; peak memory 3 MiB",
            ),
            (
                Some(record(None, Some(9), 2)),
                false,
                "was ended by signal 9 (SIGKILL) after 2.045 s; out of memory: \
                 the kernel killed 2 of its processes; peak memory 3 MiB",
            ),
            (
                Some(record(None, Some(64), 0)),
                false,
                "was ended by signal 64 after 2.045 s; peak memory 3 MiB",
            ),
            (None, false, "ended; its exit code is not known: its monitor left none"),
        ] {
            let end = end(record, requested);
            assert_eq!(end.to_string(), words);
            assert_eq!(end.event(false).message, format!("container 6700-{UUID} {words}"));
        }
    }

    #[test]
    fn a_shortage_names_whose_memory_it_was() {
        let own = |limit_bytes| Shortage { of: OutOf::Container, limit_bytes };
        for (shortage, words) in [
            (own(Some(768 * MIB)), "for its own limit of 768 MiB"),
            (own(None), "for its own limit"),
            (
                Shortage { of: OutOf::Parent, limit_bytes: None },
                "for the limit of a cgroup above it",
            ),
            (Shortage { of: OutOf::Host, limit_bytes: None }, "because the host had none left"),
        ] {
            let mut end = end(Some(record(None, Some(9), 1)), false);
            end.shortage = Some(shortage);
            let words = format!("the kernel killed 1 of its processes {words}; peak memory 3 MiB");
            assert!(end.to_string().ends_with(&words), "{end}");
        }
    }

    #[test]
    fn a_cause_is_the_same_whenever_it_comes() {
        for (record, words) in [
            (Some(record(Some(1), None, 0)), "ended with exit code 1"),
            (Some(record(None, Some(9), 2)), "was ended by signal 9 (SIGKILL), out of memory,"),
            (None, "ended; its exit code is not known: its monitor left none"),
        ] {
            assert_eq!(end(record, false).cause(), words);
        }
    }

    #[test]
    fn causes_are_told_apart() {
        for (code, signal, oom_kills, cause) in [
            (Some(0), None, 0, ExitCause::Completed),
            (Some(7), None, 0, ExitCause::Failed),
            (Some(139), None, 0, ExitCause::Signal),
            (Some(200), None, 0, ExitCause::Failed),
            (None, Some(9), 0, ExitCause::Signal),
            (Some(137), None, 1, ExitCause::OutOfMemory),
            (None, None, 0, ExitCause::Unknown),
        ] {
            let record = || Some(record(code, signal, oom_kills));
            assert_eq!(end(record(), false).exit_cause(), cause);
            assert_eq!(end(record(), true).exit_cause(), ExitCause::Requested);
        }
        assert_eq!(end(None, false).exit_cause(), ExitCause::Unknown);
        assert_eq!(end(None, true).exit_cause(), ExitCause::Requested);
    }

    #[test]
    fn the_end_as_an_event() {
        let event = end(Some(record(None, Some(9), 1)), true).event(false);
        assert_eq!(event.worker_id, UUID);
        assert_eq!((event.exit_code, event.signal), (None, Some(9)));
        assert_eq!(event.shell_code, 137);
        assert!(event.out_of_memory && event.requested && !event.launch_failed);
        assert!(event.adopted && !event.before_heartbeat);
        let event = end(None, false).event(true);
        assert_eq!((event.exit_code, event.signal), (None, None));
        assert_eq!(event.shell_code, -1);
    }
}
