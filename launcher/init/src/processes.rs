//! The other processes of the container, as `/proc` shows them.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The class of Storm's log writer: the JVM that starts the worker's JVM, waits for it, and copies
/// what it prints to the worker's log.
const LOG_WRITER: &[u8] = b"org.apache.storm.LogWriter";

/// What a list of processes needs to know of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Process {
    pid: Pid,
    writes_log: bool,
}

/// All processes of this pid namespace but its first.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    list: Vec<Process>,
}

impl Processes {
    /// Those that there are now. None where `/proc` cannot be read.
    pub(crate) fn all() -> Self {
        let own = Pid::this();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok().map(Pid::from_raw)?;
            (pid != own).then_some(pid)
        });
        let list = pids.map(|pid| Process { pid, writes_log: writes_log(pid) }).collect();
        Self { list }
    }

    /// Sends a signal to each.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.list.iter(), signal);
    }

    /// Sends a signal to all but log writers; to these when there is nobody else.
    pub(crate) fn signal_workers(&self, signal: Signal) {
        if self.list.iter().all(|process| process.writes_log) {
            self.signal(signal);
        } else {
            send(self.list.iter().filter(|process| !process.writes_log), signal);
        }
    }
}

fn send<'a>(processes: impl Iterator<Item = &'a Process>, signal: Signal) {
    for process in processes {
        // One that has ended meanwhile needs none; its number is not given to another before it is
        // reaped, which only this program does.
        let _gone = kill(process.pid, signal);
    }
}

/// Whether this is a log writer: its class is the first argument that is no option's.
fn writes_log(pid: Pid) -> bool {
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    is_log_writer(&command_line)
}

/// A log writer's command line holds the worker's whole command behind its own class.
fn is_log_writer(command_line: &[u8]) -> bool {
    command_line.split(|byte| *byte == 0).any(|argument| argument == LOG_WRITER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_writer_is_known_by_its_class() {
        assert!(is_log_writer(b"java\0-cp\0/x/*\0org.apache.storm.LogWriter\0java\0W\0"));
        assert!(!is_log_writer(b"java\0-cp\0/x/org.apache.storm.LogWriter.jar\0W\0"));
        assert!(!is_log_writer(b""));
    }
}
