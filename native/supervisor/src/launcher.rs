//! Running the setuid launcher.
//!
//! It gets no environment, no input and no file but its two output pipes, of which a bounded part
//! is kept. What ends a call is the launcher's own end, never the end of its output: a container
//! that inherited a pipe must not hold up a slot.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::SupervisorError;
use crate::text;

/// What is kept of each output.
const OUTPUT_BYTES: usize = 64 * 1024;

/// The longest message taken from the launcher, in characters.
const MESSAGE: usize = 1000;

/// What a shell adds to the number of the signal that ended a process.
const SIGNALLED: i32 = 128;

/// Far more than any verb takes. The launcher cannot be stopped by this account, so after it the
/// call gives up and the launcher goes on; what it starts is found by its record.
pub(crate) const LONG: Duration = Duration::from_secs(300);

/// The same for verbs that only look or signal.
pub(crate) const SHORT: Duration = Duration::from_secs(60);

/// The setuid program.
#[derive(Debug)]
pub(crate) struct Launcher {
    path: PathBuf,
    /// Calls that were given up, to be waited for when they end.
    slow: Mutex<Vec<Child>>,
}

/// What the launcher did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finished {
    /// Its exit code, or 128 plus the signal that ended it.
    pub(crate) exit_code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Launcher {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, slow: Mutex::new(Vec::new()) }
    }

    /// Runs the launcher with these arguments and waits for its end, at most `limit`.
    ///
    /// `verb` is for messages. Any exit code is a result, not an error.
    pub(crate) fn run(
        &self,
        verb: &'static str,
        arguments: &[&str],
        directory: &Path,
        limit: Duration,
    ) -> Result<Finished, SupervisorError> {
        self.reap_slow();
        let mut child = Command::new(&self.path)
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| SupervisorError::LauncherMissing {
                path: self.path.clone(),
                source,
            })?;
        match attend(&mut child, limit) {
            Ok(Some((status, stdout, stderr))) => {
                Ok(Finished { exit_code: exit_code(status), stdout, stderr })
            }
            Ok(None) => {
                self.give_up(child);
                Err(SupervisorError::LauncherSlow { verb, seconds: limit.as_secs() })
            }
            Err(source) => {
                self.give_up(child);
                Err(SupervisorError::Kernel { what: "wait for the launcher", source })
            }
        }
    }

    fn give_up(&self, child: Child) {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }

    fn reap_slow(&self) {
        self.slow
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

impl Finished {
    /// The launcher's exit code as an error: its own message, or what else it said.
    pub(crate) fn refusal(&self) -> Option<SupervisorError> {
        if self.exit_code == 0 {
            return None;
        }
        let message = self
            .prefixed("worker-launcher: ")
            .next()
            .or_else(|| self.stderr.lines().rev().find(|line| !line.trim().is_empty()))
            .map_or_else(
                || format!("launcher ended with exit code {}", self.exit_code),
                |line| text::shown_up_to(line, MESSAGE),
            );
        Some(SupervisorError::LauncherRefused {
            exit_code: self.exit_code,
            message,
            hint: self.prefixed("hint: ").next().map(|line| text::shown_up_to(line, MESSAGE)),
        })
    }

    /// Every line of a failed check as a problem.
    pub(crate) fn problems(&self) -> Vec<SupervisorError> {
        self.stderr
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.strip_prefix("worker-launcher: ").unwrap_or(line))
            .map(|line| SupervisorError::LauncherCheck(text::shown_up_to(line, MESSAGE)))
            .collect()
    }

    /// The layers that the launcher refused, by the paths of the request.
    pub(crate) fn refused_layers(&self) -> Vec<&str> {
        self.prefixed("layer: ").collect()
    }

    /// The rest of the lines on stderr that start with `prefix`.
    fn prefixed<'text>(&'text self, prefix: &'text str) -> impl Iterator<Item = &'text str> {
        self.stderr.lines().filter_map(move |line| line.strip_prefix(prefix))
    }

    /// The value of a `key=value` line on stdout.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.stdout
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(str::trim)
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    let signal = || SIGNALLED.saturating_add(status.signal().unwrap_or(0));
    status.code().unwrap_or_else(signal)
}

/// Collects output until the child has ended; `None` when it has not within `limit`.
fn attend(child: &mut Child, limit: Duration) -> io::Result<Option<(ExitStatus, String, String)>> {
    let mut stdout = Output::new(child.stdout.take())?;
    let mut stderr = Output::new(child.stderr.take())?;
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = wait(&pidfd, [&stdout, &stderr], left)?;
        stdout.drain()?;
        stderr.drain()?;
        if ended {
            let status = child.wait()?;
            return Ok(Some((status, stdout.text(), stderr.text())));
        }
        if left.is_zero() {
            return Ok(None);
        }
    }
}

/// Waits for output or the child's end, and tells whether it was the end.
fn wait(pidfd: &OwnedFd, outputs: [&Output; 2], limit: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
    for pipe in outputs.iter().filter_map(|output| output.pipe.as_ref()) {
        fds.push(PollFd::new(pipe, PollFlags::IN));
    }
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fds.first().is_some_and(|fd| !fd.revents().is_empty()))
}

/// One of the child's outputs.
struct Output {
    /// `None` once it has ended.
    pipe: Option<std::fs::File>,
    kept: Vec<u8>,
}

impl Output {
    fn new(pipe: Option<impl Into<OwnedFd>>) -> io::Result<Self> {
        let pipe = pipe.map(|pipe| std::fs::File::from(pipe.into()));
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe.as_fd(), true)?;
        }
        Ok(Self { pipe, kept: Vec::new() })
    }

    /// Reads what there is without waiting. Beyond the bound it is read and thrown away, so that
    /// the child never waits for us.
    fn drain(&mut self) -> io::Result<()> {
        let mut piece = [0_u8; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut piece) {
                Ok(0) => self.pipe = None,
                Ok(read) => {
                    let room = OUTPUT_BYTES.saturating_sub(self.kept.len());
                    self.kept.extend(piece.iter().take(read.min(room)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Finished, SupervisorError> {
        let launcher = Launcher::new("/bin/sh".into());
        launcher.run("test", &["-c", script], Path::new("/"), limit)
    }

    #[test]
    fn outputs_and_exit_code_are_told_apart() {
        let finished = shell("echo out; echo err >&2; exit 53", SHORT).unwrap();
        assert_eq!(finished.exit_code, 53);
        assert_eq!(finished.stdout, "out\n");
        assert_eq!(finished.stderr, "err\n");
        assert_eq!(shell("kill -9 $$", SHORT).unwrap().exit_code, 137);
    }

    #[test]
    fn nothing_of_ours_is_handed_on() {
        let finished = shell("env; readlink /proc/self/fd/0; pwd", SHORT).unwrap();
        let lines: Vec<&str> = finished.stdout.lines().collect();
        // The shell sets PWD itself.
        assert_eq!(lines, ["PWD=/", "/dev/null", "/"]);
    }

    #[test]
    fn a_pipe_held_open_does_not_hold_us_up() {
        // Waiting for the pipe's end would take longer than `SHORT`, which is an error.
        let finished = shell("sleep 1000 & echo $!", SHORT).unwrap();
        let sleeper = finished.stdout.trim().parse().unwrap();
        let sleeper = Pid::from_raw(sleeper).unwrap();
        rustix::process::kill_process(sleeper, rustix::process::Signal::KILL).unwrap();
    }

    #[test]
    fn long_output_is_cut_not_waited_for() {
        let finished = shell("head -c 1000000 /dev/zero; echo end >&2", SHORT).unwrap();
        assert_eq!(finished.stdout.len(), OUTPUT_BYTES);
        assert_eq!(finished.stderr, "end\n");
    }

    #[test]
    fn a_slow_launcher_is_given_up_and_waited_for_later() {
        let launcher = Launcher::new("/bin/sh".into());
        let arguments = ["-c", "exec sleep 1000"];
        let error = launcher
            .run("test", &arguments, Path::new("/"), Duration::from_millis(20))
            .unwrap_err();
        assert!(matches!(error, SupervisorError::LauncherSlow { verb: "test", .. }));
        launcher.reap_slow();
        for child in launcher.slow.lock().unwrap().iter_mut() {
            child.kill().unwrap();
        }
        let end = Instant::now() + SHORT;
        while !launcher.slow.lock().unwrap().is_empty() {
            assert!(Instant::now() < end, "it is not waited for");
            launcher.reap_slow();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_missing_launcher_is_named() {
        let launcher = Launcher::new("/no/such/launcher".into());
        let error = launcher.run("test", &[], Path::new("/"), SHORT).unwrap_err();
        assert!(error.report().starts_with("cannot run launcher `/no/such/launcher`: "));
    }

    #[test]
    fn refusals_carry_message_hint_and_layers() {
        let stderr = "noise\nworker-launcher: cannot mount: no\nhint: try\nlayer: /a\nlayer: /b\n";
        let mut finished = Finished {
            exit_code: 50,
            stdout: "a.key=1\nother=2\n".to_owned(),
            stderr: stderr.to_owned(),
        };
        let error = finished.refusal().unwrap();
        assert!(error.refused_layer());
        assert_eq!(error.report(), "cannot mount: no");
        assert_eq!(error.hint(), Some("try"));
        assert_eq!(finished.refused_layers(), ["/a", "/b"]);
        assert_eq!(finished.value("a.key"), Some("1"));
        assert_eq!(finished.value("a"), None);
        finished.stderr = "plain\u{1b}words\n\n".to_owned();
        assert_eq!(finished.refusal().unwrap().report(), "plain\\u{1b}words");
        finished.stderr.clear();
        assert_eq!(finished.refusal().unwrap().report(), "launcher ended with exit code 50");
        finished.exit_code = 0;
        assert!(finished.refusal().is_none());
    }
}
