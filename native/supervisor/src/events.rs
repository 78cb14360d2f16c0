//! What Java learns without asking: how containers ended, and log lines.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// The most log lines that wait for Java. Beyond it they are counted, not kept: a logger that
/// hangs must not eat the supervisor's memory.
const WAITING_LOGS: usize = 4096;

/// How loud a log line is; the names are slf4j's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// Something an operator must act on.
    Error,
    /// Something an operator should know.
    Warn,
    /// The course of things.
    Info,
    /// For people who search a fault.
    Debug,
    /// Everything.
    Trace,
}

/// How a worker's container ended, or that it never started.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitEvent {
    /// The worker, as Java named it.
    pub worker_id: String,
    /// Its container; `null` when the launch failed before there was a name, or when nothing is
    /// left that tells.
    pub container_id: Option<String>,
    /// The exit code of the container's pid 1, if it ended by itself and the code is known.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// The exit code as a shell tells it; -1 when nobody knows.
    pub shell_code: i32,
    /// Whether the kernel killed any of its processes for memory.
    pub out_of_memory: bool,
    /// Whether this supervisor had asked for the end.
    pub requested: bool,
    /// Whether the container never started.
    pub launch_failed: bool,
    /// Whether the worker never told that it works: there is no heartbeat of its own.
    pub before_heartbeat: bool,
    /// Whether an earlier process had launched it.
    pub adopted: bool,
    /// One line for Storm's log.
    pub message: String,
}

/// One event.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Event {
    Exit(ExitEvent),
    Log { level: LogLevel, target: String, message: String },
}

/// A queue of events with one reader. Clones are the same queue.
///
/// Exits are never dropped: there is one a launch. Log lines are, beyond a bound, and the next
/// reader is told how many.
#[derive(Clone, Debug, Default)]
pub struct EventQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// Exits to be told later, in no order.
    later: Vec<(Instant, ExitEvent)>,
    waiting_logs: usize,
    dropped_logs: u64,
    /// Those that were told among them.
    all_dropped_logs: u64,
    closed: bool,
}

impl EventQueue {
    /// Makes an empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds how a container ended.
    pub fn exit(&self, event: ExitEvent) {
        self.lock().events.push_back(Event::Exit(event));
        self.shared.changed.notify_one();
    }

    /// Adds how a container ended, to be told at a later time.
    pub(crate) fn exit_at(&self, event: ExitEvent, time: Instant) {
        self.lock().later.push((time, event));
        self.shared.changed.notify_one();
    }

    /// Drops the exits of a worker that are to be told later.
    pub(crate) fn forget(&self, worker_id: &str) {
        self.lock().later.retain(|(_, event)| event.worker_id != worker_id);
    }

    /// Adds a log line; never waits.
    pub fn log(&self, level: LogLevel, target: &str, message: &str) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if state.waiting_logs >= WAITING_LOGS {
            state.dropped_logs = state.dropped_logs.saturating_add(1);
            state.all_dropped_logs = state.all_dropped_logs.saturating_add(1);
            return;
        }
        state.waiting_logs = state.waiting_logs.saturating_add(1);
        state.events.push_back(Event::Log {
            level,
            target: target.to_owned(),
            message: message.to_owned(),
        });
        drop(state);
        self.shared.changed.notify_one();
    }

    /// How many log lines were dropped so far.
    pub(crate) fn all_dropped_logs(&self) -> u64 {
        self.lock().all_dropped_logs
    }

    /// Waits for the next event and returns its JSON; `None` once the queue is closed.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            if let Some(event) = state.take(now) {
                drop(state);
                if let Ok(json) = serde_json::to_string(&event) {
                    return Some(json);
                }
                state = self.lock();
            } else {
                state = self.wait(state, now);
            }
        }
    }

    /// Waits until something is added, or an exit is due.
    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, now: Instant) -> MutexGuard<'a, State> {
        let changed = &self.shared.changed;
        let Some(due) = state.later.iter().map(|(time, _)| *time).min() else {
            return changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let left = due.saturating_duration_since(now);
        changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends the queue: every waiting and later [`EventQueue::next`] gives `None`.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.events.clear();
        state.later.clear();
        drop(state);
        self.shared.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement, so a panic of another holder does not matter.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, now: Instant) -> Option<Event> {
        if let Some(due) = self.later.iter().position(|(time, _)| *time <= now) {
            return Some(Event::Exit(self.later.swap_remove(due).1));
        }
        if self.dropped_logs > 0 && self.waiting_logs < WAITING_LOGS {
            let message = format!("{} log lines were dropped", self.dropped_logs);
            self.dropped_logs = 0;
            return Some(Event::Log {
                level: LogLevel::Warn,
                target: "storm_oci.events".to_owned(),
                message,
            });
        }
        let event = self.events.pop_front()?;
        if matches!(event, Event::Log { .. }) {
            self.waiting_logs = self.waiting_logs.saturating_sub(1);
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn exit(worker: &str) -> ExitEvent {
        ExitEvent {
            worker_id: worker.to_owned(),
            container_id: None,
            exit_code: Some(7),
            signal: None,
            shell_code: 7,
            out_of_memory: false,
            requested: false,
            launch_failed: true,
            before_heartbeat: true,
            adopted: false,
            message: "gone".to_owned(),
        }
    }

    #[test]
    fn events_are_flat_json_in_order() {
        let queue = EventQueue::new();
        queue.exit(exit("w"));
        queue.log(LogLevel::Warn, "storm_oci.launch", "hello");
        assert_eq!(
            queue.next().unwrap(),
            r#"{"type":"exit","workerId":"w","containerId":null,"exitCode":7,"signal":null,"shellCode":7,"outOfMemory":false,"requested":false,"launchFailed":true,"beforeHeartbeat":true,"adopted":false,"message":"gone"}"#
        );
        assert_eq!(
            queue.next().unwrap(),
            r#"{"type":"log","level":"WARN","target":"storm_oci.launch","message":"hello"}"#
        );
    }

    #[test]
    fn logs_are_dropped_and_counted_exits_are_not() {
        let queue = EventQueue::new();
        for _ in 0..WAITING_LOGS + 3 {
            queue.log(LogLevel::Info, "t", "line");
        }
        queue.exit(exit("w"));
        assert!(queue.next().unwrap().contains("\"line\""));
        assert!(queue.next().unwrap().contains("3 log lines were dropped"));
        assert_eq!(queue.all_dropped_logs(), 3);
        for _ in 1..WAITING_LOGS {
            assert!(queue.next().unwrap().contains("\"line\""));
        }
        assert!(queue.next().unwrap().contains("\"exit\""));
    }

    #[test]
    fn a_later_exit_is_told_when_its_time_has_come() {
        let queue = EventQueue::new();
        let (second, first) = (Duration::from_millis(60), Duration::from_millis(30));
        let start = Instant::now();
        queue.exit_at(exit("second"), start + second);
        queue.exit_at(exit("first"), start + first);
        queue.exit_at(exit("forgotten"), start);
        queue.forget("forgotten");
        queue.exit(exit("now"));
        assert!(queue.next().unwrap().contains("\"now\""));
        assert!(queue.next().unwrap().contains("\"first\"") && start.elapsed() >= first);
        assert!(queue.next().unwrap().contains("\"second\"") && start.elapsed() >= second);
    }

    #[test]
    fn close_wakes_a_waiting_reader() {
        let queue = EventQueue::new();
        let reader = std::thread::spawn({
            let queue = queue.clone();
            move || queue.next()
        });
        std::thread::sleep(Duration::from_millis(20));
        queue.close();
        assert_eq!(reader.join().unwrap(), None);
        queue.exit(exit("w"));
        assert_eq!(queue.next(), None);
    }
}
