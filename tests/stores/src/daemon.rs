//! One daemon: started, killed, hung, started again.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::error::{Doing, TestbedError};
use crate::{local_http, spawn};

/// From start to ready: ten times what the slowest takes on two busy cores.
const READY_LIMIT: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(30);

/// A program that runs until it is stopped. Dropped, it is killed.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    program: String,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    unprivileged: bool,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    pub(crate) fn new(name: impl Into<String>, program: &str, log: PathBuf) -> Self {
        Self {
            name: name.into(),
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            unprivileged: false,
            log,
            child: None,
        }
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|one| one.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs as the account `nobody`.
    pub(crate) const fn unprivileged(mut self) -> Self {
        self.unprivileged = true;
        self
    }

    /// Starts the daemon, unless it runs. It may not be ready yet.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when its program cannot be started.
    pub fn start(&mut self) -> Result<(), TestbedError> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.doing(format_args!("write {}", self.log.display()))?;
        let errors = log.try_clone().doing(format_args!("write {}", self.log.display()))?;
        let mut command = spawn::mortal(&self.program, self.unprivileged);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let child = spawn::spawn(command).doing(format_args!("start {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `ready` says so.
    pub(crate) fn wait(&mut self, mut ready: impl FnMut() -> bool) -> Result<(), TestbedError> {
        let begin = Instant::now();
        while !ready() {
            self.check()?;
            if begin.elapsed() > READY_LIMIT {
                let cause = format!("it is not ready after {} s", READY_LIMIT.as_secs());
                return Err(self.failed("start", cause));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Starts the daemon, unless it runs, and waits until it listens on `port` of `127.0.0.1`.
    pub(crate) fn start_listening(&mut self, port: u16) -> Result<(), TestbedError> {
        self.start()?;
        self.wait(|| local_http::accepts(port))
    }

    /// Fails if the daemon was started and has ended by itself.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] with the end of its log.
    pub fn check(&mut self) -> Result<(), TestbedError> {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(None)) | None => Ok(()),
            Some(Ok(Some(status))) => {
                self.child = None;
                Err(self.failed("run", format!("it ended with {status}")))
            }
            Some(Err(cause)) => Err(self.failed("watch", cause.to_string())),
        }
    }

    fn failed(&self, verb: &str, cause: String) -> TestbedError {
        TestbedError::new(format_args!("{verb} {}", self.name), cause).with_log(&self.log)
    }

    /// Whether it was started and not killed since.
    #[must_use]
    pub const fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Kills it with SIGKILL. Does nothing if it does not run.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when the kernel refuses.
    pub fn kill(&mut self) -> Result<(), TestbedError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.kill().and_then(|()| child.wait()).doing(format_args!("kill {}", self.name))?;
        Ok(())
    }

    /// Hangs it with SIGSTOP: its connections stay open, and nothing answers.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it does not run.
    pub fn hang(&mut self) -> Result<(), TestbedError> {
        self.signal(Signal::STOP)?;
        // The signal alone does not stop a thread that runs: on a busy host it may still answer.
        let Some(child) = &self.child else { return Ok(()) };
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(child)), stopped)
            .map(|_| ())
            .doing(format_args!("hang {}", self.name))
    }

    /// Lets a hung daemon go on.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it does not run.
    pub fn go_on(&mut self) -> Result<(), TestbedError> {
        self.signal(Signal::CONT)
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), TestbedError> {
        let child = self.child.as_ref();
        let child = child.ok_or("it does not run").doing(format_args!("signal {}", self.name))?;
        // Not waited for, so the pid is still its own.
        kill_process(Pid::from_child(child), signal).doing(format_args!("signal {}", self.name))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its end by another's hand is as good.
        let _ = self.kill();
    }
}
