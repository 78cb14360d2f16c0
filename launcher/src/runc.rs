//! runc: root's program, executed from the descriptor that was checked, with an argument vector
//! and nothing else.

use std::ffi::CString;
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, MemfdFlags, SeekFrom, memfd_create, seek, statat};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::Deserialize;
use storm_oci_request::ContainerId;

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{At, Result, Step, must};
use crate::process::{HeldProcess, wait_for};
use crate::sys::{self, Fork};
use crate::sys_file::{open_null, read_at_most, unless_missing};
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
        let output = memfd_create("version", MemfdFlags::CLOEXEC).at(Step::Spawn, &self.path)?;
        let null = open_null()?;
        let _told = self.execute(&["runc", "--version"], [&null, &output, &null], None)?;
        let told = seek(&output, SeekFrom::Start(0))
            .and_then(|_| read_at_most(&output, MAX_VERSION_BYTES))
            .at(Step::Spawn, &self.path)?;
        let text = String::from_utf8_lossy(&told.unwrap_or_default()).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
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
        let place = &*directory.path;
        let log = format!("{place}/{LOG}");
        let pid_file = format!("{place}/{PID}");
        let own = ["--log", &log, "--log-format", "json", "run", "--detach"];
        let of_run = ["--pid-file", &pid_file, "--bundle", place, container.as_str()];
        let arguments = [&["runc"], &own[..], &of_run].concat();
        let null = open_null()?;
        let ended = self.execute(&arguments, [&null, &output.out, &output.err], Some(lock))?;
        ended.map_err(|problem| {
            Step::RunContainer.refused(container, last_error(directory).unwrap_or(problem))
        })
    }

    /// Runs runc to its end, or ends it, and all that it started, when it takes too long. The inner
    /// error says how it failed.
    fn execute(
        &self,
        arguments: &[&str],
        streams: [&OwnedFd; 3],
        kept: Option<&OwnedFd>,
    ) -> Result<Result<(), String>> {
        let c_strings = arguments.iter().map(|argument| CString::new(*argument));
        let arguments = c_strings.collect::<Result<Vec<_>, _>>().map_err(|_| Errno::INVAL);
        let arguments = arguments.at(Step::Spawn, &self.path)?;
        let pid = match sys::fork().at(Step::Spawn, &self.path)? {
            Fork::Child => {
                let streams = streams.map(AsFd::as_fd);
                sys::execute(self.program.as_fd(), &arguments, streams, kept.map(AsFd::as_fd))
            }
            Fork::Parent(pid) => pid,
        };
        let ended = self.wait_or_end(pid).and_then(|in_time| Ok((in_time, wait_for(pid)?)));
        let (in_time, status) = ended.at(Step::Spawn, &self.path)?;
        must(
            status.exit_status() != Some(sys::NOT_EXECUTED),
            Step::Spawn,
            &self.path,
            "the kernel cannot execute it",
        )?;
        Ok(match (status.exit_status(), status.terminating_signal()) {
            _ if !in_time => Err(format!("runc did not end within {:?}", self.limit)),
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(format!("runc exited with {code}")),
            (None, signal) => Err(format!("runc was ended by signal {}", signal.unwrap_or(0))),
        })
    }

    /// Waits for runc's end; `false` when it took too long and was killed with its group.
    fn wait_or_end(&self, pid: Pid) -> Result<bool, Errno> {
        let Some(held) = HeldProcess::find(pid.as_raw_nonzero().get().unsigned_abs())? else {
            return Ok(true);
        };
        let in_time = held.wait(self.limit)?;
        if !in_time {
            held.signal_group(libc::SIGKILL)?;
        }
        Ok(in_time)
    }
}

/// Removes runc's state of a container whose processes are gone. What else `runc delete` would
/// do is done by whoever removes the container, or not asked for in its bundle; starting runc
/// would take longer than all of it, and fail where a launch was cut off.
pub(crate) fn remove_state(container: &ContainerId) -> Result<()> {
    let path = format!("{STATE}/{container}");
    let found = unless_missing(statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW));
    if found.at(Step::DeleteContainer, path)?.is_none() {
        return Ok(());
    }
    let states = Directory::trusted(STATE)?;
    if let Some(state) = states.find(container.as_str())? {
        state.remove_contents("")?;
    }
    states.remove_dir(container.as_str())
}

/// The pid that runc wrote.
pub(crate) fn read_pid(directory: &Directory) -> Result<Option<u32>> {
    let bytes = directory.read(PID)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).trim().parse().ok())
}

fn last_error(directory: &Directory) -> Option<String> {
    let log = directory.read(LOG).ok()??;
    let log = String::from_utf8_lossy(&log);
    let worst = |line: &LogLine| matches!(line.level.as_str(), "error" | "fatal" | "panic");
    let mut lines = log.lines().rev().filter_map(|line| serde_json::from_str(line).ok());
    let message = lines.find(worst)?.msg;
    Some(message.chars().take(SHOWN).flat_map(char::escape_debug).collect())
}
