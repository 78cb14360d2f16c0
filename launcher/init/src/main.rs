//! `storm-oci-init <program> [<argument>…]`: the first process of a worker's container.
//!
//! The end of a pid namespace's first process is the end of all others in it; it gets every orphan
//! to reap, and no signal that it has no action for. Storm's first process, its log writer, is made
//! for none of this: told to end it ends at once, and the kernel kills the worker in the middle of
//! its shutdown hooks. This program runs the worker's command as its child, passes signals on,
//! reaps, and stays until the last process has ended.
//!
//! Signals go to every process that `/proc` shows. So it works as a pid namespace's first process
//! only, below that namespace's `/proc`: anywhere else it would signal the host's.
//!
//! It runs as the topology's user, with that user's rights and none more: whoever may signal or
//! trace the worker may do so to it.
//!
//! # References
//!
//! `pid_namespaces(7)`, `signal(7)`

mod processes;
mod reaping;
mod sys;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, ExitCode};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::Pid;

use crate::processes::Processes;
use crate::reaping::reap;

/// What a shell answers for a program that is there and cannot be started, and for one that is not.
const CANNOT_START: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What this program answers when it cannot do its own work.
const INTERNAL: u8 = 125;

/// How long what the worker's command leaves behind may go on. Storm, which waits for the end of
/// all, kills after less when it asked for the end.
const GRACE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        say("cannot start: no program is named");
        return ExitCode::from(INTERNAL);
    };
    let arguments: Vec<OsString> = arguments.collect();
    if !is_first() {
        say("cannot start: it is not the first process of `/proc`'s pid namespace");
        return ExitCode::from(INTERNAL);
    }
    // Before there is a child: none of its signals is lost.
    let code = match block_signals() {
        Ok(signals) => match start(&program, &arguments) {
            Ok(child) => stay(&signals, child),
            Err(error) => {
                say(&format!("cannot start `{}`: {error}", program.display()));
                let missing = error.kind() == io::ErrorKind::NotFound;
                if missing { NOT_FOUND } else { CANNOT_START }
            }
        },
        Err(error) => {
            say(&format!("cannot wait for signals: {error}"));
            INTERNAL
        }
    };
    ExitCode::from(code)
}

fn is_first() -> bool {
    let shown = fs::read_link("/proc/self");
    process::id() == 1 && shown.is_ok_and(|shown| shown.as_os_str() == "1")
}

fn block_signals() -> Result<SignalFd, Errno> {
    let all = SigSet::all();
    all.thread_block()?;
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Starts the worker's command, with no signal blocked, in a process group of its own: what is
/// sent to this program's group comes here alone, and is passed on once.
fn start(program: &OsString, arguments: &[OsString]) -> io::Result<Pid> {
    let mut command = Command::new(program);
    let child = sys::unblock_signals(command.args(arguments).process_group(0)).spawn()?;
    Ok(Pid::from_child(&child))
}

/// Waits for the end of all processes; gives the command's code as a shell tells it.
fn stay(signals: &SignalFd, child: Pid) -> u8 {
    let mut code = INTERNAL;
    let mut deadline = None;
    loop {
        wait(signals, deadline);
        while let Ok(Some(info)) = signals.read_signal() {
            // A real-time signal has no name, and no meaning that Storm knows.
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            if let Ok(signal) = Signal::try_from(number) {
                pass_on(signal);
            }
        }
        let reaped = reap(child);
        if let Some(status) = reaped.child {
            code = status.code();
            if let Some(signal) = status.signal() {
                say(&format!("the worker's command was ended by signal {signal}"));
            }
            Processes::all().signal(Signal::SIGTERM);
            deadline = Some(Instant::now() + GRACE);
        }
        if reaped.nobody_left {
            return code;
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            say(&format!("what the worker's command left behind runs on after {GRACE:?}: killed"));
            return code;
        }
    }
}

fn pass_on(signal: Signal) {
    match signal {
        Signal::SIGCHLD => {}
        // What ends a JVM by default: the log writer is to end after its worker, and does so by
        // itself.
        Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP => {
            Processes::all().signal_workers(signal);
        }
        _ => Processes::all().signal(signal),
    }
}

/// Waits for a signal, or until then.
fn wait(signals: &SignalFd, deadline: Option<Instant>) {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let timeout = left
        .map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
    let mut ready = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    // However it ends, what to do next is the same.
    let _woken = poll(&mut ready, timeout);
}

/// One line in the container's error output, which its exit record ends with.
fn say(line: &str) {
    // Nobody else can be told.
    let _lost = writeln!(io::stderr(), "storm-oci-init: {line}");
}
