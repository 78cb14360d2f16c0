//! Log lines on their way to slf4j.
//!
//! `tracing` has one subscriber a process, while events are read by handle. A line goes to one
//! queue only, that of the handle which was opened first, so that it is logged once. Writing never
//! waits: the queue drops what is too much and tells how much that was.
//!
//! What is done for one container is done in a span that has its name. Each line written within
//! begins with that name.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storm_oci_supervisor::{EventQueue, LogLevel};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::error::BridgeError;
use crate::libraries;

/// Targets of our own crates start with this; of other crates only warnings and errors matter.
const OWN_TARGETS: &str = "storm_oci";

/// The field of a span that names the container which is worked for.
const CONTAINER: &str = "container";

/// The queues that can take log lines, oldest first. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogSinks {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    queues: Vec<(u64, EventQueue)>,
}

impl LogSinks {
    /// Makes this the place where all log lines of the library go, and of those below it.
    pub(crate) fn install(&self) -> Result<(), BridgeError> {
        let subscriber = Registry::default().with(LogLayer { sinks: self.clone() });
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|source| BridgeError::Logs { source })?;
        libraries::listen().map_err(|source| BridgeError::LibraryLogs { source })
    }

    /// Adds a queue, which must get a reader soon.
    pub(crate) fn add(&self, queue: EventQueue) -> LogSink {
        let mut state = self.lock();
        state.last = state.last.saturating_add(1);
        let id = state.last;
        state.queues.push((id, queue.clone()));
        LogSink { id, queue, sinks: self.clone() }
    }

    fn log(&self, level: LogLevel, target: &str, message: &str) {
        let first = self.lock().queues.first().cloned();
        if let Some((_, queue)) = first {
            queue.log(level, target, message);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A list is whole before and after each change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One queue's place among the sinks, until it is closed or dropped.
#[derive(Debug)]
pub(crate) struct LogSink {
    id: u64,
    queue: EventQueue,
    sinks: LogSinks,
}

impl LogSink {
    pub(crate) fn queue(&self) -> &EventQueue {
        &self.queue
    }

    /// Takes the place away and closes the queue.
    pub(crate) fn close(&self) {
        self.sinks.lock().queues.retain(|(id, _)| *id != self.id);
        self.queue.close();
    }
}

impl Drop for LogSink {
    fn drop(&mut self) {
        self.close();
    }
}

/// Turns `tracing` events into log lines.
#[derive(Debug)]
struct LogLayer {
    sinks: LogSinks,
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        let least =
            if metadata.target().starts_with(OWN_TARGETS) { Level::DEBUG } else { Level::WARN };
        *metadata.level() <= least
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut name = ContainerName::default();
        attributes.record(&mut name);
        if let Some(span) = context.span(id).filter(|_| !name.0.is_empty()) {
            span.extensions_mut().insert(name);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::default();
        // The innermost, where one container's work is part of another's.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(ContainerName(name)) = span.extensions().get() {
                line.message = format!("[{name}] ");
                break;
            }
        }
        event.record(&mut line);
        let metadata = event.metadata();
        self.sinks.log(level(*metadata.level()), metadata.target(), &line.text());
    }
}

const fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// An event's message, then its fields as ` name=value`.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn text(mut self) -> String {
        self.message.push_str(&self.fields);
        self.message
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

/// The name of a span's container; empty when it has none.
#[derive(Debug, Default)]
struct ContainerName(String);

impl Visit for ContainerName {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == CONTAINER {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::{Dispatch, Span, dispatcher, info, info_span, warn};

    use super::*;

    fn logged(sinks: &LogSinks, log: impl FnOnce()) {
        let subscriber = Registry::default().with(LogLayer { sinks: sinks.clone() });
        tracing::subscriber::with_default(subscriber, log);
    }

    fn next(sink: &LogSink) -> serde_json::Value {
        serde_json::from_str(&sink.queue().next().unwrap()).unwrap()
    }

    #[test]
    fn a_line_has_its_target_level_and_fields() {
        let sinks = LogSinks::default();
        let sink = sinks.add(EventQueue::new());
        logged(&sinks, || {
            info!(target: "storm_oci.launch", port = 6700, user = "u", "launched");
        });
        let line = next(&sink);
        assert_eq!(line["type"], "log");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "storm_oci.launch");
        assert_eq!(line["message"], "launched port=6700 user=u");
    }

    #[test]
    fn a_line_begins_with_the_container_it_is_about() {
        let sinks = LogSinks::default();
        let sink = sinks.add(EventQueue::new());
        let container = |name: &str| info_span!("container", container = %name);
        logged(&sinks, || {
            let _launch = container("6700-a").entered();
            let thread = std::thread::spawn({
                let (span, dispatch) = (Span::current(), Dispatch::default());
                move || {
                    let _default = dispatcher::set_default(&dispatch);
                    span.in_scope(|| info!(bytes = 7, "fetched"));
                }
            });
            thread.join().unwrap();
            container("6701-b").in_scope(|| warn!("ended"));
            info_span!("step", size = 1).in_scope(|| warn!("launched"));
        });
        logged(&sinks, || info!("swept"));
        let expected = ["[6700-a] fetched bytes=7", "[6701-b] ended", "[6700-a] launched", "swept"];
        for message in expected {
            assert_eq!(next(&sink)["message"], message);
        }
    }

    #[test]
    fn other_crates_are_heard_only_when_something_is_wrong() {
        let sinks = LogSinks::default();
        let sink = sinks.add(EventQueue::new());
        logged(&sinks, || {
            info!(target: "object_store", "busy");
            warn!(target: "object_store", "slow");
        });
        assert_eq!(next(&sink)["message"], "slow");
    }

    #[test]
    fn libraries_are_heard_when_something_is_wrong() {
        let sinks = LogSinks::default();
        sinks.install().unwrap();
        let sink = sinks.add(EventQueue::new());
        log::debug!(target: "hdfs_native::security::sasl", "a token");
        log::warn!(target: "hdfs_native::hdfs", "datanode 1 refused\n\tat java.X(X.java:1)");
        let line = next(&sink);
        assert_eq!(
            (&line["level"], &line["target"]),
            (&"WARN".into(), &"storm_oci.library".into())
        );
        assert_eq!(line["message"], "datanode 1 refused library=hdfs_native::hdfs");
    }

    #[test]
    fn a_line_goes_to_the_oldest_open_queue_only() {
        let sinks = LogSinks::default();
        let first = sinks.add(EventQueue::new());
        let second = sinks.add(EventQueue::new());
        logged(&sinks, || warn!(target: "storm_oci.a", "one"));
        assert_eq!(next(&first)["message"], "one");
        first.close();
        assert_eq!(first.queue().next(), None);
        logged(&sinks, || warn!(target: "storm_oci.a", "two"));
        assert_eq!(next(&second)["message"], "two");
    }
}
