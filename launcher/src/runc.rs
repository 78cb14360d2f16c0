//! runc: root's program, executed from the descriptor that was checked, with an argument vector
//! and nothing else.

use std::ffi::CString;
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, MemfdFlags, Mode, OFlags, SeekFrom};
use rustix::fs::{memfd_create, openat, seek, statat};
use rustix::io::Errno;
use serde::Deserialize;
use storm_oci_request::ContainerId;

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Result, Step};
use crate::process::{HeldProcess, wait_for};
use crate::sys::{self, Fork};
use crate::sys_file::read_at_most;
use crate::trusted::open_program;
use crate::worker_files::OutputFiles;

/// Where runc keeps its state for root; the default, so that `runc list` shows our containers.
const STATE: &str = "/run/runc";

/// runc's log in the container's directory.
const LOG: &str = "runc.log";

/// runc's own pid file in the container's directory.
pub(crate) const PID: &str = "pid";

/// Characters of runc's message that an error repeats.
const SHOWN: usize = 500;

/// runc's program file, checked.
#[derive(Debug)]
pub(crate) struct Runc {
    program: OwnedFd,
    path: String,
    limit: Duration,
}

/// Far above what it says of its version.
const MAX_VERSION_BYTES: usize = 4096;

/// A line of runc's log.
#[derive(Deserialize)]
struct LogLine {
    level: String,
    msg: String,
}

impl Runc {
    /// Opens runc's program file: root's, and only root's to write, all the way from `/`.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        Ok(Self {
            program: open_program(&config.runc)?,
            path: config.runc.to_string(),
            limit: Duration::from_secs(config.runc_timeout_secs.into()),
        })
    }

    /// What it says of its version, on one line.
    pub(crate) fn version(&self) -> Result<String> {
        let failed = Step::Spawn.failed(self.path.as_str());
        let output = memfd_create("version", MemfdFlags::CLOEXEC).map_err(failed)?;
        let null = null()?;
        let _told = self.execute(&["runc", "--version"], [&null, &output, &null], None)?;
        seek(&output, SeekFrom::Start(0)).map_err(failed)?;
        let text = read_at_most(&output, MAX_VERSION_BYTES).map_err(failed)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
    }

    /// Starts the container of the bundle in `directory` and returns when its first process runs.
    ///
    /// runc keeps the container's lock while it works: so a free lock means that no runc, not even
    /// one that is about to die, will make anything of the container's any more. It passes no
    /// descriptor on to the container: what it gives its own child takes the number's place.
    ///
    /// # Errors
    ///
    /// [`Step::RunContainer`] with the last error of runc's log.
    pub(crate) fn run(
        &self,
        container: &ContainerId,
        directory: &Directory,
        output: &OutputFiles,
        lock: &OwnedFd,
    ) -> Result<()> {
        let place = directory.path();
        let log = format!("{place}/{LOG}");
        let pid_file = format!("{place}/{PID}");
        let arguments = [
            "runc",
            "--log",
            &log,
            "--log-format",
            "json",
            "run",
            "--detach",
            "--pid-file",
            &pid_file,
            "--bundle",
            place,
            container.as_str(),
        ];
        let null = null()?;
        let ended = self.execute(&arguments, [&null, &output.out, &output.err], Some(lock))?;
        let Err(problem) = ended else {
            return Ok(());
        };
        let problem = last_error(directory).unwrap_or(problem);
        Err(Step::RunContainer.refused(container.as_str(), problem))
    }

    /// Removes runc's state of a container whose processes are gone. What else `runc delete` would
    /// do is done by whoever removes the container, or not asked for in its bundle; starting runc
    /// would take longer than all of it, and fail where a launch was cut off.
    pub(crate) fn delete(&self, container: &ContainerId) -> Result<()> {
        let path = format!("{STATE}/{container}");
        match statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(source) => return Err(Step::DeleteContainer.failed(&path)(source)),
        }
        let states = Directory::trusted(STATE)?;
        if let Some(state) = states.find(container.as_str())? {
            state.remove_contents("")?;
        }
        states.remove_dir(container.as_str())
    }

    /// Runs runc to its end, or ends it, and all that it started, when it takes too long. The inner
    /// error says how it failed.
    fn execute(
        &self,
        arguments: &[&str],
        streams: [&OwnedFd; 3],
        kept: Option<&OwnedFd>,
    ) -> Result<Result<(), String>> {
        let failed = Step::Spawn.failed(self.path.as_str());
        let arguments: Vec<CString> = arguments
            .iter()
            .map(|argument| CString::new(*argument).map_err(|_| failed(Errno::INVAL)))
            .collect::<Result<_, _>>()?;
        let pid = match sys::fork().map_err(failed)? {
            Fork::Child => {
                let streams = streams.map(AsFd::as_fd);
                sys::execute(self.program.as_fd(), &arguments, streams, kept.map(AsFd::as_fd))
            }
            Fork::Parent(pid) => pid,
        };
        let mut in_time = true;
        if let Some(held) =
            HeldProcess::find(pid.as_raw_nonzero().get().unsigned_abs()).map_err(failed)?
        {
            in_time = held.wait(self.limit).map_err(failed)?;
            if !in_time {
                held.signal_group(libc::SIGKILL).map_err(failed)?;
            }
        }
        let status = wait_for(pid).map_err(failed)?;
        Ok(match (status.exit_status(), status.terminating_signal()) {
            _ if !in_time => Err(format!("runc did not end within {:?}", self.limit)),
            (Some(0), _) => Ok(()),
            (Some(sys::NOT_EXECUTED), _) => {
                return Err(Step::Spawn.refused(self.path.as_str(), "the kernel cannot execute it"));
            }
            (Some(code), _) => Err(format!("runc exited with {code}")),
            (None, signal) => Err(format!("runc was ended by signal {}", signal.unwrap_or(0))),
        })
    }
}

/// The pid that runc wrote.
pub(crate) fn read_pid(directory: &Directory) -> Result<Option<u32>> {
    let bytes = directory.read(PID)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).trim().parse().ok())
}

fn null() -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    openat(CWD, "/dev/null", flags, Mode::empty()).map_err(Step::Open.failed("/dev/null"))
}

fn last_error(directory: &Directory) -> Option<String> {
    let log = directory.read(LOG).ok()??;
    let log = String::from_utf8_lossy(&log);
    let worst = |line: &LogLine| matches!(line.level.as_str(), "error" | "fatal" | "panic");
    let message = log
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<LogLine>(line).ok())
        .find(worst)?
        .msg;
    Some(message.chars().take(SHOWN).flat_map(char::escape_debug).collect())
}
