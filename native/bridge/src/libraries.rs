//! What other libraries say through the `log` crate: the HDFS client which datanode failed, above
//! all.
//!
//! Below warnings they print what they send and receive, tokens included, so nothing of that is
//! heard. A server that is down is told again and again; a minute's repetitions are for debugging.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};

/// How long a line that was told is not told again.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// How many different lines are told in that time.
const LINES: usize = 32;
/// The longest line, in characters.
const SHOWN: usize = 400;

/// Makes the libraries' lines events of `tracing`, in the whole process.
pub(crate) fn listen() -> Result<(), SetLoggerError> {
    log::set_boxed_logger(Box::new(Listener::default()))?;
    log::set_max_level(LevelFilter::Warn);
    Ok(())
}

/// Hears all libraries.
#[derive(Debug, Default)]
struct Listener {
    /// When each line was told last.
    told: Mutex<HashMap<String, Instant>>,
}

impl Listener {
    /// Whether it is time to tell a line.
    fn is_news(&self, line: &str) -> bool {
        // A map is whole after every call.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| at.elapsed() < TOLD_FOR);
        let is_news = told.len() < LINES && !told.contains_key(line);
        if is_news {
            told.insert(line.to_owned(), Instant::now());
        }
        is_news
    }
}

impl Log for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let library = record.target();
        let line = one_line(&record.args().to_string());
        if self.is_news(&line) {
            tracing::warn!(target: "storm_oci.library", %library, "{line}");
        } else {
            tracing::debug!(target: "storm_oci.library", %library, "{line}");
        }
    }

    fn flush(&self) {}
}

/// The first line of a text. A Java exception has its stack trace after it, also where `Debug` has
/// escaped the ends of lines.
fn one_line(text: &str) -> String {
    let end = text.find(['\n', '\r']).into_iter().chain(text.find("\\n")).min();
    let line = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
    line.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once_a_minute_and_not_too_many_of_them() {
        let listener = Listener::default();
        assert!(listener.is_news("datanode a"));
        assert!(!listener.is_news("datanode a"));
        assert!(listener.is_news("datanode b"));
        let more = (0..2 * LINES).filter(|number| listener.is_news(&format!("block {number}")));
        assert_eq!(more.count(), LINES - 2);
        let mut told = listener.told.lock().unwrap();
        *told.get_mut("datanode a").unwrap() -= TOLD_FOR;
        drop(told);
        assert!(listener.is_news("datanode a"));
        assert!(!listener.is_news("datanode b"));
    }

    #[test]
    fn a_stack_trace_is_cut_off() {
        for text in ["refused (x)\n\tat java.X(X.java:1)", r#"refused (x)\n\tat java.X("#] {
            assert_eq!(one_line(text), "refused (x)");
        }
        assert_eq!(one_line("a\u{1b}[31mb"), "a[31mb");
        assert_eq!(one_line(&"ü".repeat(9000)).chars().count(), SHOWN);
    }
}
