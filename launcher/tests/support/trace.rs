//! A launch looked at before and after each of its system calls.
#![allow(clippy::unwrap_used, reason = "a launch that cannot be traced is a failed test")]

use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::SUPERVISOR;

/// Runs a launcher, called by the supervisor, to the end of all its processes, and calls `look` with the pid of the one that
/// is about to make a system call or has just made one.
///
/// Returns its exit status. The programs that it starts are not traced.
pub(crate) fn run(mut command: Command, mut look: impl FnMut(Pid)) -> i32 {
    super::before_exec::traced(&mut command, SUPERVISOR);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let first = start(command);
    let mut code = None;
    // Children and tracees of this thread, whatever other tests have started.
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    let mut started = false;
    loop {
        let (pid, signal) = match waitpid(None, Some(flags)) {
            Ok(WaitStatus::PtraceSyscall(pid)) => {
                look(pid);
                (pid, None)
            }
            Ok(WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC)) => {
                ptrace::detach(pid, None).unwrap();
                continue;
            }
            Ok(WaitStatus::PtraceEvent(pid, ..)) => (pid, None),
            // The first stop, after the kernel has replaced the program.
            Ok(WaitStatus::Stopped(pid, _)) if pid == first && !started => {
                started = true;
                ptrace::setoptions(pid, options).unwrap();
                (pid, None)
            }
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

#[expect(clippy::zombie_processes, reason = "the tracer waits for all there is to wait for")]
fn start(mut command: Command) -> Pid {
    let child = command.spawn().expect("start the program");
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}
