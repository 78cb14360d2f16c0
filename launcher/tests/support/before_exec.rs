//! What a hostile caller does between `fork` and `execve`, which only unsafe calls can do.
#![allow(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "code between fork and execve: limits, signals and descriptors a caller may choose"
)]

use std::io::{Error, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Sets a resource limit, soft and hard.
pub(crate) fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: one system call with a valid pointer, allowed between fork and execve.
    unsafe {
        command.pre_exec(move || check(libc::setrlimit(resource, &limit)));
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
            check(libc::sigprocmask(
                libc::SIG_BLOCK,
                &all,
                std::ptr::null_mut(),
            ))
        });
    }
}

/// Arms a timer that will end the program after `micros` unless it is disarmed.
pub(crate) fn alarm(command: &mut Command, micros: i64) {
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: micros,
        },
    };
    // SAFETY: one system call with a valid pointer; timers survive execve.
    unsafe {
        command.pre_exec(move || {
            check(libc::setitimer(
                libc::ITIMER_REAL,
                &timer,
                std::ptr::null_mut(),
            ))
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

fn check(result: i32) -> Result<()> {
    if result >= 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}
