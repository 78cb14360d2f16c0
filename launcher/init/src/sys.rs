//! The one step that the standard library offers as unsafe only.
#![expect(unsafe_code, reason = "what a child does between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::SigSet;

/// Has a command start with no signal blocked, whatever this process blocks.
///
/// # References
///
/// `sigprocmask(2)`
pub(crate) fn unblock_signals(command: &mut Command) -> &mut Command {
    let unblock = || SigSet::empty().thread_set_mask().map_err(io::Error::from);
    // SAFETY: the closure makes one system call, which may be made between fork and exec.
    unsafe { command.pre_exec(unblock) }
}
