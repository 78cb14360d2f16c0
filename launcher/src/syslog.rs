//! Refusals in the system's log, where the caller cannot take them back.

use std::sync::OnceLock;

use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};
use rustix::process::getpid;

/// Facility `authpriv`, severity `warning`.
const PRIORITY: u32 = 10 << 3 | 4;

static LOG: OnceLock<(OwnedFd, u32)> = OnceLock::new();

/// Opens the log for a call by this uid.
///
/// Right at the start: later `/dev/log` may be a name in a container. Without a listener nothing
/// is logged.
pub(crate) fn open(caller: u32) {
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
pub(crate) fn record(line: &str) {
    if let Some((socket, caller)) = LOG.get() {
        let pid = getpid().as_raw_nonzero();
        let text = format!("<{PRIORITY}>worker-launcher[{pid}]: called by uid {caller}: {line}");
        let _lost = send(socket, text.as_bytes(), SendFlags::NOSIGNAL);
    }
}
