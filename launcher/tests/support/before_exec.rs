//! What a hostile caller does between `fork` and `execve`, which only unsafe calls can do.
#![allow(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "code between fork and execve: limits, signals and descriptors a caller may choose"
)]

use std::io::{Error, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Sets a resource limit, soft and hard.
pub(crate) fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: one system call with a valid pointer, allowed between fork and execve.
    unsafe {
        command.pre_exec(move || check(libc::setrlimit(resource, &limit)));
    }
}

/// Sets a resource limit, the soft one only.
pub(crate) fn soft_limit(command: &mut Command, resource: libc::__rlimit_resource_t, value: u64) {
    // SAFETY: two system calls with valid pointers, allowed between fork and execve.
    unsafe {
        command.pre_exec(move || {
            let mut limit = std::mem::zeroed::<libc::rlimit>();
            check(libc::getrlimit(resource, &mut limit))?;
            limit.rlim_cur = value.min(limit.rlim_max);
            check(libc::setrlimit(resource, &limit))
        });
    }
}

/// Whether root may raise limits here, which it may not in some containers.
pub(crate) fn root_may_raise_limits() -> bool {
    /// `CAP_SYS_RESOURCE`
    const RESOURCE: libc::c_long = 24;
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, RESOURCE, 0, 0, 0) == 1 }
}

/// Sets the nice value.
pub(crate) fn nice(command: &mut Command, value: i32) {
    // SAFETY: one system call without pointers.
    unsafe {
        command.pre_exec(move || check(libc::setpriority(libc::PRIO_PROCESS, 0, value)));
    }
}

/// Closes a descriptor.
pub(crate) fn close(command: &mut Command, descriptor: i32) {
    // SAFETY: one system call without pointers; nothing of the child uses the descriptor later.
    unsafe {
        command.pre_exec(move || check(libc::close(descriptor)));
    }
}

/// Copies descriptor `from` to `to`, open across `execve`.
pub(crate) fn leak(command: &mut Command, from: i32, to: i32) {
    // SAFETY: one system call without pointers.
    unsafe {
        command.pre_exec(move || check(libc::dup2(from, to)));
    }
}

/// Ignores every signal that can be ignored, and blocks all.
pub(crate) fn deaf(command: &mut Command) {
    // SAFETY: system calls that are allowed between fork and execve, with valid pointers.
    unsafe {
        command.pre_exec(|| {
            for signal in 1..=64 {
                libc::signal(signal, libc::SIG_IGN);
            }
            let mut all = std::mem::zeroed();
            libc::sigfillset(&mut all);
            check(libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut()))
        });
    }
}

/// Arms a timer that will end the program after `delay` unless it is disarmed.
pub(crate) fn alarm(command: &mut Command, delay: Duration) {
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval {
            tv_sec: i64::try_from(delay.as_secs()).expect("a short delay"),
            tv_usec: i64::from(delay.subsec_micros()),
        },
    };
    // SAFETY: one system call with a valid pointer; timers survive execve.
    unsafe {
        command.pre_exec(move || {
            check(libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()))
        });
    }
}

/// Sets `no_new_privs`, as a sandboxed service manager does.
pub(crate) fn no_new_privs(command: &mut Command) {
    // SAFETY: one system call without pointers.
    unsafe {
        command.pre_exec(|| check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
    }
}

/// Becomes `account` and lets this thread trace the program. Asked for by root, before, or no
/// setuid program would be root.
pub(crate) fn traced(command: &mut Command, account: super::TestAccount) {
    command.uid(0).gid(0);
    // SAFETY: system calls that are allowed between fork and execve.
    unsafe {
        command.pre_exec(move || {
            nix::sys::ptrace::traceme()?;
            become_account(account)
        });
    }
}

/// Replaces the child by `program` with an empty argument vector: the kernel then gives it one
/// empty argument, older ones none.
pub(crate) fn without_arguments(command: &mut Command, program: std::ffi::CString) {
    // SAFETY: valid NUL-terminated path and NULL-terminated vectors that live across the call.
    unsafe {
        command.pre_exec(move || {
            let nothing = [std::ptr::null::<libc::c_char>()];
            libc::execve(program.as_ptr(), nothing.as_ptr(), nothing.as_ptr());
            Err(Error::last_os_error())
        });
    }
}

/// Lets the program start with an inheritable capability, as a service manager may.
pub(crate) fn inheritable(command: &mut Command, capability: u32) {
    // SAFETY: system calls that are allowed between fork and execve, with a valid header and data.
    unsafe {
        command.pre_exec(move || {
            let header = [0x2008_0522_u32, 0];
            let mut data = [0_u32; 6];
            let (header, data) = (header.as_ptr(), data.as_mut_ptr());
            check(i32::try_from(libc::syscall(libc::SYS_capget, header, data)).unwrap_or(-1))?;
            *data.add(2) |= 1 << capability;
            check(i32::try_from(libc::syscall(libc::SYS_capset, header, data)).unwrap_or(-1))
        });
    }
}

/// Becomes `account` and lets one system call do nothing, successfully, whenever its argument
/// number `argument` has the value `value`, or always for `None`: a kernel, or a sandbox, in which a drop of privilege
/// has no effect. Only root can do this to a setuid program.
pub(crate) fn without_effect(
    command: &mut Command,
    account: super::TestAccount,
    call: libc::c_long,
    argument: usize,
    value: Option<u32>,
) {
    /// Where `struct seccomp_data` has the number of the call, and its first argument.
    const NUMBER: u32 = 0;
    const ARGUMENTS: u32 = 16;
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: u16::try_from(code).expect("a BPF code"),
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let give = libc::BPF_RET | libc::BPF_K;
    let place = ARGUMENTS + 8 * u32::try_from(argument).expect("one of six");
    let mut filter = [
        statement(load, NUMBER, 0, 0),
        statement(equal, u32::try_from(call).expect("a call"), 0, 3),
        statement(load, place, 0, 0),
        value.map_or(statement(load, NUMBER, 0, 0), |value| statement(equal, value, 0, 1)),
        // An error of 0: the call is not made, and says that all is well.
        statement(give, libc::SECCOMP_RET_ERRNO, 0, 0),
        statement(give, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    // SAFETY: system calls that are allowed between fork and execve; the filter outlives them.
    unsafe {
        command.pre_exec(move || {
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(account.gid, account.gid, account.gid))?;
            let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
            let mode = libc::SECCOMP_MODE_FILTER;
            check(libc::prctl(libc::PR_SET_SECCOMP, mode, &program))?;
            check(libc::setresuid(account.uid, account.uid, account.uid))
        });
    }
}

/// Moves the program to cgroups before it becomes `caller`.
pub(crate) fn in_cgroups(
    command: &mut Command,
    caller: super::TestAccount,
    cgroups: &[std::path::PathBuf],
) {
    let open = |path: &std::path::PathBuf| {
        std::fs::File::options().write(true).open(path.join("cgroup.procs")).expect("a cgroup")
    };
    let files: Vec<std::fs::File> = cgroups.iter().map(open).collect();
    // SAFETY: system calls that are allowed between fork and execve; the files are open in the child.
    unsafe {
        command.pre_exec(move || {
            for mut file in &files {
                std::io::Write::write_all(&mut file, b"0")?;
            }
            become_account(caller)
        });
    }
}

/// Whether `account` may trace a process.
pub(crate) fn can_trace(account: super::TestAccount, pid: u32) -> nix::Result<()> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    let mut command = Command::new("/bin/busybox");
    command.arg("true");
    // SAFETY: system calls that are allowed between fork and execve.
    unsafe {
        command.pre_exec(move || {
            become_account(account)?;
            Ok(nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty())?)
        });
    }
    match command.status() {
        Ok(_) => Ok(()),
        Err(error) => Err(nix::errno::Errno::from_raw(error.raw_os_error().expect("a call's"))),
    }
}

/// # Safety
///
/// For a child between `fork` and `execve`.
unsafe fn become_account(account: super::TestAccount) -> Result<()> {
    // SAFETY: system calls without pointers to anything.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(account.gid, account.gid, account.gid))?;
        check(libc::setresuid(account.uid, account.uid, account.uid))
    }
}

fn check(result: i32) -> Result<()> {
    if result >= 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
