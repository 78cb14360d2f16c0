//! One JVM of the cluster.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{E2eError, interrupt};

/// From start to open port: ten times what it takes on two busy cores.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Storm halts itself after a second of shutdown; then it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);
const CONNECT_LIMIT: Duration = Duration::from_millis(200);

/// A daemon that was started. Dropped, it is killed.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a daemon and waits until its port is open. `log` is where its log will be found.
    ///
    /// # Errors
    ///
    /// [`E2eError::DaemonEnded`], [`E2eError::TimedOut`].
    pub fn start(
        name: &'static str,
        command: &mut Command,
        port: u16,
        log: PathBuf,
    ) -> Result<Self, E2eError> {
        let mut daemon = Self::spawn(name, command, log)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let open = interrupt::poll(START_LIMIT, || {
            daemon.check()?;
            Ok(TcpStream::connect_timeout(&address, CONNECT_LIMIT).ok())
        })?;
        match open {
            Some(_) => Ok(daemon),
            None => Err(E2eError::TimedOut {
                what: format!("{name} at port {port}"),
                seconds: START_LIMIT.as_secs(),
                log: daemon.log.clone(),
            }),
        }
    }

    /// Starts a daemon and waits for nothing.
    ///
    /// # Errors
    ///
    /// [`E2eError::Start`].
    pub fn spawn(
        name: &'static str,
        command: &mut Command,
        log: PathBuf,
    ) -> Result<Self, E2eError> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .map_err(|source| E2eError::Start { program: name.to_owned(), source })?;
        Ok(Self { name, child, log })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if the daemon has ended.
    ///
    /// # Errors
    ///
    /// [`E2eError::DaemonEnded`].
    pub fn check(&mut self) -> Result<(), E2eError> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => {
                Err(E2eError::DaemonEnded { daemon: self.name, status, log: self.log.clone() })
            }
        }
    }

    /// How the daemon ended, if it has.
    ///
    /// # Errors
    ///
    /// [`E2eError::Start`] when the kernel does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, E2eError> {
        self.child
            .try_wait()
            .map_err(|source| E2eError::Start { program: self.name.to_owned(), source })
    }

    /// Kills the daemon.
    pub fn kill(mut self) {
        // Whether it was there to be killed, and how it ended, does not matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the daemon to end, and ends it if it does not.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // The child is ours and not waited for, so the pid is still its own.
            let _ = kill_process(pid, Signal::TERM);
        }
        let began = std::time::Instant::now();
        while began.elapsed() < STOP_LIMIT {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}
