//! How the launcher fails: one sentence, one exit code, and the next step where there is one.
//!
//! The numbers 1 to 45 and 255 are the original launcher's, so that scripts that know them keep
//! working; 50 to 63 are ours.

use std::fmt::Display;

use rustix::io::Errno;
use storm_oci_request::{CommandLineError, IdError};

/// What a step of the launcher gives, unless it was refused or failed.
pub(crate) type Result<T, E = LauncherError> = std::result::Result<T, E>;

/// A step that was refused, by our own rules or by the kernel.
#[derive(Debug, thiserror::Error)]
#[error("cannot {} `{object}`: {problem}", .step.verb())]
pub(crate) struct LauncherError {
    /// The step.
    pub(crate) step: Step,
    /// The file, directory, account, container or argument.
    pub(crate) object: String,
    /// What was found and what is allowed, or the kernel's answer.
    pub(crate) problem: String,
    /// What the reader can do next, where there is something.
    pub(crate) hint: Option<String>,
}

/// Declares the steps, each with the verb of its error message and its exit code.
macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident, $verb:literal, $code:literal;)*) => {
        /// A named step: makes errors with its verb and its exit code.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Step {
            $($(#[$doc])* $step,)*
        }

        impl Step {
            /// The verb of the step's error message.
            pub(crate) const fn verb(self) -> &'static str {
                match self { $(Self::$step => $verb,)* }
            }

            /// The process's exit status when the step fails.
            pub(crate) const fn exit_code(self) -> u8 {
                match self { $(Self::$step => $code,)* }
            }
        }
    };
}

steps! {
    /// Reading the command line.
    Arguments, "run", 1;
    /// Finding a verb.
    Command, "run", 3;
    /// Using a script of the caller's.
    Script, "use script", 5;
    /// Changing ids and capabilities, and reading them back.
    Privilege, "change to", 6;
    /// Undoing what the caller prepared.
    Sanitize, "set up", 6;
    /// Becoming another program.
    Execute, "execute", 7;
    /// Sending a signal.
    Signal, "signal", 8;
    /// Finding the process to signal.
    FindProcess, "find process", 9;
    /// `fstat` and the checks on what it tells.
    Inspect, "inspect", 12;
    /// Finding what a verb was given.
    Find, "find", 21;
    /// Having root's rights at all.
    BecomeRoot, "become", 22;
    /// Checking the launcher's own program file.
    OwnFile, "trust own program file", 22;
    /// Reading the configuration, and what only root may write.
    Config, "use", 24;
    /// Reading a launch request.
    Request, "accept request", 24;
    /// Opening a file or directory.
    Open, "open", 30;
    /// Making a file or directory.
    Create, "create", 30;
    /// Taking a lock.
    Lock, "lock", 30;
    /// Reading from an opened file.
    Read, "read", 31;
    /// Writing to an opened file.
    Write, "write", 31;
    /// Reading a record that the launcher wrote.
    Record, "read record of", 31;
    /// Running `runc run`.
    RunContainer, "run container", 44;
    /// Running `runc delete`.
    DeleteContainer, "delete container", 45;
    /// Reaping a container that is still running.
    Reap, "reap", 45;
    /// Acting on a container of another caller.
    Foreign, "touch", 45;
    /// Checking a layer file.
    CheckLayer, "use layer", 50;
    /// Mounting a layer.
    MountLayer, "mount layer", 50;
    /// Launching a container whose id is in use.
    Launch, "launch", 51;
    /// Opening or cloning the source of a bind mount.
    BindSource, "bind", 52;
    /// Finding the container's program in its image.
    FindProgram, "find program", 53;
    /// Mounting anything else.
    Mount, "mount", 54;
    /// Unmounting.
    Unmount, "unmount", 54;
    /// Anything with a cgroup.
    Cgroup, "use cgroup", 55;
    /// Starting a process.
    Spawn, "start", 56;
    /// Looking into a container on behalf of its user.
    Profile, "profile", 57;
    /// Judging the account to act for.
    Account, "act as", 255;
    /// Changing owner or mode.
    Own, "change ownership of", 255;
    /// Removing a file or directory.
    Remove, "remove", 255;
    /// Asking whether a process may be signalled.
    Probe, "signal", 255;
}

/// The hint of everything that an administrator must mend.
pub(crate) const CHECK_SETUP: &str =
    "run `worker-launcher --checksetup` as root; it lists every problem and its fix";

impl Step {
    /// A refusal by our own rules.
    pub(crate) fn refused(self, object: impl Display, problem: impl Display) -> LauncherError {
        let (object, problem) = (object.to_string(), problem.to_string());
        LauncherError { step: self, object, problem, hint: None }
    }

    /// Makes the error of a system call on `object` that failed.
    pub(crate) fn failed(
        self,
        object: impl Display + Copy,
    ) -> impl Fn(Errno) -> LauncherError + Copy {
        move |source: Errno| {
            let error = self.refused(object, source);
            match (self, source) {
                (Self::Mount, Errno::NODEV) => error.with_hint(
                    "this kernel lacks that file system: load its module with `modprobe`",
                ),
                _ => error,
            }
        }
    }
}

/// Names the step that a system call was made for, and what it was made on.
pub(crate) trait At<T> {
    /// The value, or the error of [`Step::failed`].
    fn at(self, step: Step, object: impl Display) -> Result<T>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step, object: impl Display) -> Result<T> {
        self.map_err(|source| step.failed(&object)(source))
    }
}

/// Refuses what does not hold, as [`Step::refused`].
pub(crate) fn must(
    holds: bool,
    step: Step,
    object: impl Display,
    problem: impl Display,
) -> Result<()> {
    if holds { Ok(()) } else { Err(step.refused(object, problem)) }
}

impl LauncherError {
    /// The same with what the reader can do next.
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<CommandLineError> for LauncherError {
    fn from(error: CommandLineError) -> Self {
        let step = if error.unknown_command { Step::Command } else { Step::Arguments };
        step.refused(error.found, error.problem)
    }
}

impl From<IdError> for LauncherError {
    fn from(error: IdError) -> Self {
        Step::Arguments.refused("worker-launcher", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts and the library go by these numbers: a change here breaks them.
    #[test]
    fn exit_codes_are_fixed() {
        let table = [
            (1, &[Step::Arguments][..]),
            (3, &[Step::Command]),
            (5, &[Step::Script]),
            (6, &[Step::Privilege, Step::Sanitize]),
            (7, &[Step::Execute]),
            (8, &[Step::Signal]),
            (9, &[Step::FindProcess]),
            (12, &[Step::Inspect]),
            (21, &[Step::Find]),
            (22, &[Step::BecomeRoot, Step::OwnFile]),
            (24, &[Step::Config, Step::Request]),
            (30, &[Step::Open, Step::Create, Step::Lock]),
            (31, &[Step::Read, Step::Write, Step::Record]),
            (44, &[Step::RunContainer]),
            (45, &[Step::DeleteContainer, Step::Reap, Step::Foreign]),
            (50, &[Step::CheckLayer, Step::MountLayer]),
            (51, &[Step::Launch]),
            (52, &[Step::BindSource]),
            (53, &[Step::FindProgram]),
            (54, &[Step::Mount, Step::Unmount]),
            (55, &[Step::Cgroup]),
            (56, &[Step::Spawn]),
            (57, &[Step::Profile]),
            (255, &[Step::Account, Step::Own, Step::Remove, Step::Probe]),
        ];
        for (code, steps) in table {
            for step in steps {
                assert_eq!(step.exit_code(), code, "{step:?}");
            }
        }
    }

    #[test]
    fn a_message_is_one_line() {
        let failed = Step::Own.failed("/a")(Errno::ACCESS);
        assert_eq!(
            failed.to_string(),
            "cannot change ownership of `/a`: Permission denied (os error 13)"
        );
    }
}
