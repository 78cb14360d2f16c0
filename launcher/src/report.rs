//! The only module that writes to the caller's standard streams.
//!
//! What stands at their other ends is the caller's: text is escaped, and nobody who does not read
//! holds up root's work.

use std::collections::BTreeMap;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::stdio::{stderr, stdout};

use crate::error::{LauncherError, Step};
use crate::sys_file::write_all;
use crate::syslog;

/// Prints a failure on one line, which is logged too, below it the layer file that was at fault,
/// and the next step.
///
/// A caller that closed its end of the pipe loses the text, nothing else.
pub(crate) fn failure(error: &LauncherError) {
    let line = escaped(&error.to_string());
    syslog::record(&line);
    let mut text = one_line(&line);
    // For the library to throw away.
    if matches!(error.step, Step::CheckLayer | Step::MountLayer) {
        text.push_str(&format!("layer: {}\n", error.object));
    }
    if let Some(hint) = &error.hint {
        text.push_str(&format!("hint: {}\n", escaped(hint)));
    }
    print(stderr(), &text);
}

/// Prints one line of progress or warning on the error stream, as the original does.
pub(crate) fn note(line: &str) {
    print(stderr(), &one_line(line));
}

/// Prints one problem of `--checksetup`, with its fix on the same line.
pub(crate) fn problem(error: &LauncherError) {
    note(&format!("{error} (hint: {})", error.hint.as_deref().unwrap_or_default()));
}

/// Prints what `--checksetup` says when there is no problem.
pub(crate) fn fine(line: &str) {
    print(stdout(), &one_line(line));
}

/// How long a stream may take to have room. Without room the text is lost, nothing else.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A pipe that is ready takes as much in one write without blocking: `PIPE_BUF`.
const PIECE: usize = 4096;

/// Writes what the reader takes.
///
/// The standard library's streams would block on a full pipe for as long as the caller likes.
fn print(stream: BorrowedFd<'_>, text: &str) {
    for piece in text.as_bytes().chunks(PIECE) {
        let mut ready = [PollFd::new(&stream, PollFlags::OUT)];
        let room = poll(&mut ready, Some(&PATIENCE)).is_ok_and(|count| count > 0);
        if !room || write_all(stream, piece).is_err() {
            return;
        }
    }
}

/// Names in a message come from arguments, files and directories: none of them may end the line
/// or drive a terminal.
fn escaped(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars().take(LONGEST) {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Characters of a message: a path of the longest kind fits, and what is said of it.
const LONGEST: usize = 6000;

fn one_line(text: &str) -> String {
    format!("worker-launcher: {}\n", escaped(text))
}

/// Prints `--version`.
pub(crate) fn version() {
    let build =
        if cfg!(feature = "test-switches") { " (test build, not to be installed)" } else { "" };
    let text = format!("worker-launcher {}{build}\n", env!("CARGO_PKG_VERSION"));
    print(stdout(), &text);
}

/// Prints `--print-config`: one `key=value` line a key, defaults filled in.
pub(crate) fn configuration(effective: &BTreeMap<&'static str, String>) {
    let text: String = effective.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    print(stdout(), &text);
}
