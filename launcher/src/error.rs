//! Every way the launcher can fail, its words and its exit code.
//!
//! The numbers 1 to 45 are the original launcher's, so that scripts that know them keep working;
//! 50 to 63 are ours.

use rustix::io::Errno;
use storm_oci_request::{AccountName, ContainerId, DocumentError, IdError};

/// Why the launcher refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LauncherError {
    /// The program runs without the rights its installation should give.
    #[error("cannot become root: {cause}")]
    NotSetuid {
        /// The likely cause.
        cause: &'static str,
        /// What to do about it.
        fix: &'static str,
    },
    /// The installed program has the wrong owner, mode or links.
    #[error("cannot trust own program file: {problem}")]
    OwnFile {
        /// What is wrong.
        problem: String,
    },
    /// The configuration file cannot be trusted or understood.
    #[error("cannot use `{path}`: {problem}")]
    Config {
        /// The file or directory.
        path: String,
        /// What is wrong, with the line where there is one.
        problem: String,
    },
    /// The account may not be used.
    #[error("cannot act as `{name}`: {problem}")]
    Account {
        /// The account's name, cut.
        name: String,
        /// Why not.
        problem: AccountProblem,
    },
    /// Ids or capabilities are not what was just set.
    #[error("cannot change to {wanted}: kernel reports {found}")]
    Privilege {
        /// What was asked for.
        wanted: String,
        /// What was read back.
        found: String,
    },
    /// An id or path that is no such thing.
    #[error("cannot accept argument: {0}")]
    Id(#[from] IdError),
    /// The request cannot be understood or is not allowed.
    #[error("cannot accept request `{path}`: {problem}")]
    Request {
        /// The file.
        path: String,
        /// The request crate's words.
        problem: String,
    },
    /// A record the launcher wrote cannot be read back.
    #[error("cannot read record of `{container}`: {source}")]
    Record {
        /// The container.
        container: ContainerId,
        /// Why.
        source: DocumentError,
    },
    /// A container of that id is there already.
    #[error("cannot launch `{container}`: {found}")]
    Exists {
        /// The container.
        container: ContainerId,
        /// What of it was found.
        found: &'static str,
    },
    /// A container of another caller.
    #[error("cannot touch `{container}`: it belongs to uid {owner}")]
    Foreign {
        /// The container.
        container: ContainerId,
        /// Whose it is.
        owner: u32,
    },
    /// A container that is still running.
    #[error("cannot reap `{container}`: it is still running")]
    Running {
        /// The container.
        container: ContainerId,
    },
    /// A failure that another process of this launch has reported already.
    #[error("cannot launch: reported above")]
    Reported {
        /// Its exit code.
        code: u8,
    },
    /// A path that a verb was given is not there.
    #[error("cannot find `{path}`: no such file or directory")]
    Missing {
        /// As far as the walk came.
        path: String,
    },
    /// A step on an object was refused by our own rules.
    #[error("cannot {} `{object}`: {problem}", .step.verb())]
    Refused {
        /// The step.
        step: Step,
        /// The file, directory, layer or mount.
        object: String,
        /// What was found and what is allowed.
        problem: String,
    },
    /// A system call failed.
    #[error("cannot {} `{object}`: {source}", .step.verb())]
    Failed {
        /// The step.
        step: Step,
        /// The file, directory, layer or mount.
        object: String,
        /// The kernel's answer.
        source: Errno,
    },
}

/// Why an account may not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountProblem {
    /// Not a name an account can have.
    #[error("not an account name")]
    Malformed,
    /// The name service has no such account.
    #[error("no such account")]
    Missing,
    /// The name service did not answer.
    #[error("name service failed: {0}")]
    Lookup(std::io::Error),
    /// The name service answered with an account of another spelling.
    #[error("the name service spells it `{0}`")]
    OtherName(String),
    /// Root.
    #[error("it is root")]
    Root,
    /// Below `min.user.id`.
    #[error("uid {uid} is below min.user.id {minimum}")]
    BelowMinimum {
        /// The account's.
        uid: u32,
        /// The configuration's.
        minimum: u32,
    },
    /// Listed in `banned.users`.
    #[error("it is in banned.users")]
    Banned,
    /// Member of a group that would give it rights.
    #[error("it is in group {gid}, which no container may have")]
    PrivilegedGroup {
        /// 0 or the launcher's group.
        gid: u32,
    },
    /// The request names another account than the argument.
    #[error("the request names `{0}`")]
    OtherThanRequest(AccountName),
}

/// A named step: gives an error its verb and its exit code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Reading the command line.
    Arguments,
    /// Finding a verb.
    Command,
    /// Using a script of the caller's.
    Script,
    /// Becoming another program.
    Execute,
    /// Looking into a container on behalf of its user.
    Profile,
    /// Reading or writing what the kernel tells of this process.
    Sanitize,
    /// Opening a file or directory.
    Open,
    /// Reading from an opened file.
    Read,
    /// Writing to an opened file.
    Write,
    /// Making a file or directory.
    Create,
    /// `fstat` and the checks on what it tells.
    Inspect,
    /// Changing owner or mode.
    Own,
    /// Removing a file or directory.
    Remove,
    /// Taking a lock.
    Lock,
    /// Checking a layer file.
    CheckLayer,
    /// Mounting a layer.
    MountLayer,
    /// Mounting anything else.
    Mount,
    /// Unmounting.
    Unmount,
    /// Opening or cloning the source of a bind mount.
    BindSource,
    /// Finding the container's program in its image.
    FindProgram,
    /// Anything with a cgroup.
    Cgroup,
    /// Starting a process.
    Spawn,
    /// Running `runc run`.
    RunContainer,
    /// Running `runc delete`.
    DeleteContainer,
    /// Sending a signal.
    Signal,
    /// Asking whether a process may be signalled.
    Probe,
    /// Finding the process to signal.
    FindProcess,
}

impl Step {
    /// The verb of the step's error message.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Arguments | Self::Command => "run",
            Self::Script => "use script",
            Self::Execute => "execute",
            Self::Profile => "profile",
            Self::Sanitize => "set up",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Inspect => "inspect",
            Self::Own => "change ownership of",
            Self::Remove => "remove",
            Self::Lock => "lock",
            Self::CheckLayer => "use layer",
            Self::MountLayer => "mount layer",
            Self::Mount => "mount",
            Self::Unmount => "unmount",
            Self::BindSource => "bind",
            Self::FindProgram => "find program",
            Self::Cgroup => "use cgroup",
            Self::Spawn => "start",
            Self::RunContainer => "run container",
            Self::DeleteContainer => "delete container",
            Self::Signal | Self::Probe => "signal",
            Self::FindProcess => "find process",
        }
    }

    fn exit_code(self) -> u8 {
        match self {
            Self::Arguments => 1,
            Self::Command => 3,
            Self::Script => 5,
            Self::Execute => 7,
            Self::Profile => 57,
            Self::Sanitize => 6,
            Self::Open | Self::Create | Self::Lock => 30,
            Self::Read | Self::Write => 31,
            Self::Inspect => 12,
            Self::Own | Self::Remove | Self::Probe => 255,
            Self::CheckLayer | Self::MountLayer => 50,
            Self::BindSource => 52,
            Self::FindProgram => 53,
            Self::Mount | Self::Unmount => 54,
            Self::Cgroup => 55,
            Self::Spawn => 56,
            Self::RunContainer => 44,
            Self::DeleteContainer => 45,
            Self::Signal => 8,
            Self::FindProcess => 9,
        }
    }
}

impl LauncherError {
    /// The process's exit status for this failure.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NotSetuid { .. } | Self::OwnFile { .. } => 22,
            Self::Config { .. } | Self::Request { .. } => 24,
            Self::Account { .. } => 255,
            Self::Privilege { .. } => 6,
            Self::Id(_) => 1,
            Self::Missing { .. } => 21,
            Self::Reported { code } => *code,
            Self::Record { .. } => 31,
            Self::Exists { .. } => 51,
            Self::Foreign { .. } | Self::Running { .. } => 45,
            Self::Refused { step, .. } | Self::Failed { step, .. } => step.exit_code(),
        }
    }

    /// The layer file that was refused, for the library to throw away.
    pub(crate) fn refused_layer(&self) -> Option<&str> {
        match self {
            Self::Refused { step, object, .. } | Self::Failed { step, object, .. } => {
                matches!(step, Step::CheckLayer | Step::MountLayer).then_some(object)
            }
            _ => None,
        }
    }

    /// What the reader can do next, where there is something.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotSetuid { fix, .. } => Some(fix),
            Self::OwnFile { .. } | Self::Config { .. } => Some(
                "run `worker-launcher --checksetup` as root; it lists every problem and its fix",
            ),
            Self::Failed { step: Step::Mount, source: Errno::NODEV, .. } => {
                Some("this kernel lacks that file system: load its module with `modprobe`")
            }
            Self::Refused { step: Step::FindProgram, .. } => {
                Some("Storm starts workers with bash: the image needs it on its PATH")
            }
            _ => None,
        }
    }

    /// A failed system call.
    pub(crate) fn failed(step: Step, object: impl Into<String>, source: Errno) -> Self {
        Self::Failed { step, object: object.into(), source }
    }

    /// A refusal by our own rules.
    pub(crate) fn refused(
        step: Step,
        object: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self::Refused { step, object: object.into(), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts and the library go by these numbers: a change here breaks them.
    #[test]
    fn exit_codes_are_fixed() {
        let container = || ContainerId::parse("1-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb").unwrap();
        let text = String::new;
        let table = [
            (1, LauncherError::Id(ContainerId::parse("").unwrap_err())),
            (6, LauncherError::Privilege { wanted: text(), found: text() }),
            (21, LauncherError::Missing { path: text() }),
            (22, LauncherError::NotSetuid { cause: "", fix: "" }),
            (22, LauncherError::OwnFile { problem: text() }),
            (24, LauncherError::Config { path: text(), problem: text() }),
            (24, LauncherError::Request { path: text(), problem: text() }),
            (
                31,
                LauncherError::Record {
                    container: container(),
                    source: DocumentError::Size { found: 0 },
                },
            ),
            (45, LauncherError::Foreign { container: container(), owner: 1 }),
            (45, LauncherError::Running { container: container() }),
            (51, LauncherError::Exists { container: container(), found: "" }),
            (7, LauncherError::Reported { code: 7 }),
            (255, LauncherError::Account { name: text(), problem: AccountProblem::Root }),
        ];
        for (code, error) in table {
            assert_eq!(error.exit_code(), code, "{error:?}");
        }
    }

    #[test]
    fn exit_codes_of_steps_are_fixed() {
        let table = [
            (1, &[Step::Arguments][..]),
            (3, &[Step::Command]),
            (5, &[Step::Script]),
            (6, &[Step::Sanitize]),
            (7, &[Step::Execute]),
            (8, &[Step::Signal]),
            (9, &[Step::FindProcess]),
            (12, &[Step::Inspect]),
            (30, &[Step::Open, Step::Create, Step::Lock]),
            (31, &[Step::Read, Step::Write]),
            (44, &[Step::RunContainer]),
            (45, &[Step::DeleteContainer]),
            (50, &[Step::CheckLayer, Step::MountLayer]),
            (52, &[Step::BindSource]),
            (53, &[Step::FindProgram]),
            (54, &[Step::Mount, Step::Unmount]),
            (55, &[Step::Cgroup]),
            (56, &[Step::Spawn]),
            (57, &[Step::Profile]),
            (255, &[Step::Own, Step::Remove, Step::Probe]),
        ];
        for (code, steps) in table {
            for step in steps {
                let failed = LauncherError::failed(*step, "x", Errno::PERM);
                assert_eq!(failed.exit_code(), code, "{step:?}");
                assert!(failed.to_string().starts_with("cannot "), "{step:?}");
                let refused = LauncherError::refused(*step, "x", "no");
                assert_eq!(refused.exit_code(), code, "{step:?}");
            }
        }
    }
}
