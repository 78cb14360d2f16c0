//! The only module that writes to the caller's standard streams, and to the system's log, where the
//! caller cannot take a refusal back.
//!
//! What stands at the streams' other ends is the caller's: text is escaped, and nobody who does not
//! read holds up root's work.

use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};
use rustix::process::getpid;
use rustix::stdio::{stderr, stdout};

use crate::error::{LauncherError, Step};
use crate::sys_file::write_all;

/// Prints a failure on one line, which is logged too, below it the layer file that was at fault,
/// and the next step.
///
/// A caller that closed its end of the pipe loses the text, nothing else.
pub(crate) fn failure(error: &LauncherError) {
    let line = escaped(&error.to_string());
    log(&line);
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

/// Prints text that is the answer to what was asked.
pub(crate) fn answer(text: &str) {
    print(stdout(), text);
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

/// A line of the program's.
pub(crate) fn one_line(text: &str) -> String {
    format!("worker-launcher: {}\n", escaped(text))
}

/// Facility `authpriv`, severity `warning`.
const PRIORITY: u32 = 10 << 3 | 4;

static LOG: OnceLock<(OwnedFd, u32)> = OnceLock::new();

/// Opens the log for a call by this uid.
///
/// Right at the start: later `/dev/log` may be a name in a container. Without a listener nothing
/// is logged.
pub(crate) fn open_log(caller: u32) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
    let log = socket.and_then(|socket| {
        connect(&socket, &SocketAddrUnix::new("/dev/log")?)?;
        Ok(socket)
    });
    if let Ok(socket) = log {
        let _first = LOG.set((socket, caller));
    }
}

/// Logs one line. A listener that does not keep up loses it: nothing of root's waits for one.
///
/// # References
///
/// RFC 3164; the listener adds the time.
fn log(line: &str) {
    if let Some((socket, caller)) = LOG.get() {
        let pid = getpid().as_raw_nonzero();
        let text = format!("<{PRIORITY}>worker-launcher[{pid}]: called by uid {caller}: {line}");
        let _lost = send(socket, text.as_bytes(), SendFlags::NOSIGNAL);
    }
}
