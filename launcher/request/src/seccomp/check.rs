//! What a system call filter may say.

use crate::error::RequestError;
use crate::request::shown;

use super::{Seccomp, SyscallRule};

/// The largest error number the kernel can return from a system call.
const MAX_ERRNO: u32 = 4095;

/// The last of a system call's six arguments.
const LAST_ARGUMENT: u32 = 5;

impl Seccomp {
    /// Checks the filter's values; `prefix` is what stands before its keys in the document.
    pub(crate) fn check(&self, prefix: &str) -> Result<(), RequestError> {
        check_errno(format!("{prefix}defaultErrnoRet"), self.default_errno_ret)?;
        self.syscalls
            .iter()
            .enumerate()
            .try_for_each(|(index, rule)| check_rule(&format!("{prefix}syscalls[{index}]"), rule))
    }
}

fn check_errno(path: String, errno: Option<u32>) -> Result<(), RequestError> {
    match errno {
        Some(number) if number > MAX_ERRNO => {
            Err(RequestError::OutOfRange { path, found: number.into(), allowed: "0 to 4095" })
        }
        _ => Ok(()),
    }
}

fn check_rule(path: &str, rule: &SyscallRule) -> Result<(), RequestError> {
    if rule.names.is_empty() {
        return Err(RequestError::SeccompNoNames(path.to_owned()));
    }
    if let Some(name) = rule.names.iter().find(|name| !is_system_call(name)) {
        return Err(RequestError::SeccompName {
            path: format!("{path}.names"),
            found: shown(name),
            what: "system call",
        });
    }
    check_errno(format!("{path}.errnoRet"), rule.errno_ret)?;
    for (index, condition) in rule.args.iter().enumerate() {
        if condition.index > LAST_ARGUMENT {
            return Err(RequestError::OutOfRange {
                path: format!("{path}.args[{index}].index"),
                found: condition.index.into(),
                allowed: "0 to 5",
            });
        }
    }
    Ok(())
}

fn is_system_call(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}
