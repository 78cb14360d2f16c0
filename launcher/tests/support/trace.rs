//! A launch looked at before and after each of its system calls.
#![allow(clippy::unwrap_used, reason = "a launch that cannot be traced is a failed test")]

use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{SUPERVISOR, TestAccount};

/// Runs a launcher, called by the supervisor, to the end of all its processes, and calls `look`
/// with the pid of the one that is about to make a system call or has just made one.
///
/// Returns its exit status. The programs that it starts are not traced.
pub(crate) fn run(mut command: Command, mut look: impl FnMut(Pid)) -> i32 {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let first = start(command, SUPERVISOR);
    let mut code = None;
    let _gone = ptrace::syscall(first, None);
    loop {
        let (pid, signal) = match waitpid(None, WAIT) {
            Ok(WaitStatus::PtraceSyscall(pid)) => {
                look(pid);
                (pid, None)
            }
            Ok(WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC)) => {
                ptrace::detach(pid, None).unwrap();
                continue;
            }
            Ok(WaitStatus::PtraceEvent(pid, ..)) => (pid, None),
            // A new process starts so.
            Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP)) => (pid, None),
            Ok(WaitStatus::Stopped(pid, signal)) => (pid, Some(signal)),
            Ok(WaitStatus::Exited(pid, status)) => {
                if pid == first {
                    code = Some(status);
                }
                continue;
            }
            Ok(_) => continue,
            Err(nix::errno::Errno::ECHILD) => return code.expect("the launcher exits"),
            Err(error) => panic!("wait for the launcher: {error}"),
        };
        // It may have been killed meanwhile.
        let _gone = ptrace::syscall(pid, signal);
    }
}

/// Children and tracees of this thread, whatever other tests have started.
pub(crate) const WAIT: Option<WaitPidFlag> =
    Some(WaitPidFlag::__WALL.union(WaitPidFlag::__WNOTHREAD));

/// Starts a program as `caller` and stops it before its first instruction, with all that it will
/// start traced by this thread.
#[expect(clippy::zombie_processes, reason = "the tracer waits for all there is to wait for")]
pub(crate) fn start(mut command: Command, caller: TestAccount) -> Pid {
    super::before_exec::traced(&mut command, caller);
    let child = command.spawn().expect("start the program");
    let first = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let stopped = waitpid(first, WAIT).expect("wait for the program's start");
    assert_eq!(stopped, WaitStatus::Stopped(first, Signal::SIGTRAP));
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(first, options).expect("set the options of a trace");
    first
}
