//! Kills a program's processes at a chosen system call.
//!
//! The test's thread traces the program and all it forks, counts each process's system calls, and
//! sends SIGKILL where the test wants it: at the entry of a call, so that this call is not made.
//! Where the program executes runc, that process is let go: runc's own calls are not ours.
#![allow(clippy::indexing_slicing, reason = "a scene that cannot be set is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{PidfdFlags, pidfd_open};

use super::{TestAccount, trace};

/// A process by its descent: the program itself is `[]`, its first child `[0]`, that one's second
/// child `[0, 1]`.
pub(crate) type Descent = Vec<usize>;

/// Something that happens before a system call.
pub(crate) struct Shot<'a> {
    /// Whose calls are counted.
    pub(crate) victim: Descent,
    /// Before which of its calls, counted from 1.
    pub(crate) call: usize,
    /// What happens.
    pub(crate) act: Act<'a>,
}

/// What happens before a system call.
#[derive(Clone, Copy)]
pub(crate) enum Act<'a> {
    /// The process that is about to make it is killed.
    Kill,
    /// It and every other process of the program are killed.
    KillAll,
    /// The test does something; then the process goes on.
    Do(&'a dyn Fn()),
}

impl std::fmt::Debug for Shot<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "process {:?} before its call {}", self.victim, self.call)
    }
}

/// What a traced run showed.
#[derive(Debug, Default)]
pub(crate) struct Traced {
    /// How many system calls each process began, `execve` of the program itself left out.
    pub(crate) calls: BTreeMap<Descent, usize>,
    /// Number and arguments of the call that was not made, as the kernel shows them; `None` when
    /// the victim ended before.
    pub(crate) hit: Option<String>,
    /// What the descriptors of each runc that was started led to, from descriptor 3 on.
    pub(crate) passed_on: Vec<Vec<String>>,
    /// Whether the program succeeded.
    pub(crate) success: bool,
}

/// Runs `command` as `caller` to the end of all its processes.
///
/// `left_alone` is called when the first process has ended and only one is left: where that one
/// waits for something, it must bring this about, and say so.
pub(crate) fn run(
    mut command: Command,
    caller: TestAccount,
    shot: Option<&Shot<'_>>,
    mut left_alone: impl FnMut() -> bool,
) -> Traced {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let first = trace::start(command, caller);
    let mut tracer = Tracer {
        shot,
        alive: BTreeMap::from([(first, Vec::new())]),
        children: BTreeMap::new(),
        unknown: BTreeSet::new(),
        let_go: Vec::new(),
        all_killed: false,
        traced: Traced::default(),
    };
    tracer.resume(first, None);
    let mut done = false;
    loop {
        if !done && tracer.alive.len() == 1 && !tracer.alive.contains_key(&first) {
            done = left_alone();
        }
        match waitpid(None, trace::WAIT) {
            Ok(status) => tracer.handle(first, status),
            Err(Errno::ECHILD) => break,
            Err(error) => panic!("wait for a traced process: {error}"),
        }
    }
    tracer.finish()
}

struct Tracer<'a> {
    shot: Option<&'a Shot<'a>>,
    alive: BTreeMap<Pid, Descent>,
    children: BTreeMap<Descent, usize>,
    /// Stopped before their parents told of them.
    unknown: BTreeSet<Pid>,
    /// Processes that became another program.
    let_go: Vec<OwnedFd>,
    /// Whether all have been killed. A process that was forking then cannot tell of its child.
    all_killed: bool,
    traced: Traced,
}

impl Tracer<'_> {
    fn handle(&mut self, first: Pid, status: WaitStatus) {
        match status {
            WaitStatus::PtraceEvent(pid, _, event) => self.event(pid, event),
            WaitStatus::PtraceSyscall(pid) => {
                if self.is_entry(pid) {
                    self.entry(pid);
                }
                self.resume(pid, None);
            }
            // The first stop of a new process.
            WaitStatus::Stopped(pid, _) if !self.alive.contains_key(&pid) => {
                if self.all_killed {
                    kill(pid, Signal::SIGKILL).expect("kill a traced process");
                } else {
                    self.unknown.insert(pid);
                }
            }
            WaitStatus::Stopped(pid, Signal::SIGSTOP) => self.resume(pid, None),
            WaitStatus::Stopped(pid, signal) => self.resume(pid, Some(signal)),
            WaitStatus::Exited(pid, code) => {
                self.alive.remove(&pid);
                self.traced.success |= pid == first && code == 0;
            }
            WaitStatus::Signaled(pid, ..) => {
                self.alive.remove(&pid);
            }
            other => panic!("not expected of a traced process: {other:?}"),
        }
    }

    fn event(&mut self, pid: Pid, event: i32) {
        let Some(descent) = self.alive.get(&pid).cloned() else {
            return self.resume(pid, None);
        };
        if event == libc::PTRACE_EVENT_EXEC {
            self.alive.remove(&pid);
            self.traced.passed_on.push(descriptors(pid));
            let id = rustix::process::Pid::from_raw(pid.as_raw()).expect("a pid");
            self.let_go.extend(pidfd_open(id, PidfdFlags::empty()));
            let _gone = ptrace::detach(pid, None);
            return;
        }
        if let Ok(child) = ptrace::getevent(pid) {
            let child = Pid::from_raw(i32::try_from(child).expect("a pid"));
            let count = self.children.entry(descent.clone()).or_default();
            let mut own = descent;
            own.push(*count);
            *count += 1;
            self.alive.insert(child, own);
            if self.unknown.remove(&child) {
                self.resume(child, None);
            }
        }
        self.resume(pid, None);
    }

    fn is_entry(&self, pid: Pid) -> bool {
        ptrace::syscall_info(pid).is_ok_and(|info| info.op == libc::PTRACE_SYSCALL_INFO_ENTRY)
    }

    fn entry(&mut self, pid: Pid) {
        let descent = self.alive[&pid].clone();
        let count = self.traced.calls.entry(descent.clone()).or_default();
        *count += 1;
        let Some(shot) = self.shot.filter(|shot| shot.victim == descent && shot.call == *count)
        else {
            return;
        };
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        self.traced.hit = Some(call.trim().to_owned());
        if let Act::Do(act) = shot.act {
            return act();
        }
        let all = matches!(shot.act, Act::KillAll);
        self.all_killed = all;
        let others = self.alive.keys().chain(&self.unknown);
        let others = others.filter(|other| all && **other != pid);
        for victim in std::iter::once(&pid).chain(others) {
            kill(*victim, Signal::SIGKILL).expect("kill a traced process");
        }
        for other in self.let_go.iter().filter(|_| all) {
            let _gone = rustix::process::pidfd_send_signal(other, rustix::process::Signal::KILL);
        }
    }

    /// Lets a process go on to the next call. One that was killed meanwhile is not there.
    fn resume(&self, pid: Pid, signal: Option<Signal>) {
        match ptrace::syscall(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("resume a traced process: {error}"),
        }
    }

    fn finish(self) -> Traced {
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        for other in &self.let_go {
            let ended = poll(&mut [PollFd::new(other, PollFlags::IN)], Some(&limit));
            assert_eq!(ended, Ok(1), "runc ends");
        }
        self.traced
    }
}

fn descriptors(pid: Pid) -> Vec<String> {
    let directory = fs::read_dir(format!("/proc/{pid}/fd")).expect("a traced process");
    let mut numbers: Vec<u32> = directory
        .map(|entry| entry.expect("a descriptor").file_name())
        .map(|name| name.to_str().and_then(|name| name.parse().ok()).expect("a number"))
        .filter(|number| *number > 2)
        .collect();
    numbers.sort_unstable();
    let target = |number| fs::read_link(format!("/proc/{pid}/fd/{number}")).expect("a link");
    numbers.into_iter().map(|number| target(number).display().to_string()).collect()
}
