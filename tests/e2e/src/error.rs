//! What can go wrong, one sentence each.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a step of the demo or a test could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum E2eError {
    /// A program could not be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("cannot {step}: `{program}` ended with {status}; see {}", log.display())]
    Ended {
        /// What it was to do, as in "cannot <step>".
        step: String,
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Its output.
        log: PathBuf,
    },
    /// A daemon ended although it should run.
    #[error("cannot start {daemon}: it ended with {status}; see {}", log.display())]
    DaemonEnded {
        /// The daemon.
        daemon: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
    },
    /// A file or directory could not be handled.
    #[error("cannot {verb} {}: {source}", path.display())]
    File {
        /// What was tried: `read`, `write`, `remove` and so on.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something awaited did not happen.
    #[error("cannot see {what} within {seconds} s; see {}", log.display())]
    TimedOut {
        /// What was awaited.
        what: String,
        /// For how long.
        seconds: u64,
        /// Where to look.
        log: PathBuf,
    },
    /// A document is not what it should be.
    #[error("cannot understand {document}: {reason}")]
    Document {
        /// Which document.
        document: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A check of the demo or a test failed.
    #[error("cannot confirm that {claim}: {found}")]
    Unconfirmed {
        /// What should hold.
        claim: String,
        /// What was found instead.
        found: String,
    },
    /// Something of a run is still there.
    #[error("cannot leave the host as it was: {0}")]
    Left(String),
    /// Not root, and no way to become it.
    #[error("cannot make accounts and mounts: run this as root, or install sudo")]
    NotRoot,
    /// Another demo or end-to-end test holds this file: a host has room for one.
    #[error(
        "cannot start: a demo or an end-to-end test runs on this host and holds {}; \
         hint: wait for its end", .0.display()
    )]
    Busy(PathBuf),
    /// Ctrl-C, or a request to end.
    #[error("cannot go on: interrupted")]
    Interrupted,
}

impl E2eError {
    /// The exit code of a program that fails with this error: a shell's for an interruption, else
    /// 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    /// A check that failed.
    #[must_use]
    pub fn unconfirmed(claim: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unconfirmed { claim: claim.into(), found: found.into() }
    }
}
