//! Running a program to its end, and what came out of it.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing the launcher does takes this long, emulated processors included; a test that waits
/// longer has found a hang.
const DEADLINE: Duration = Duration::from_secs(240);

/// How a call ended and what it printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Fails the test unless the call succeeded.
    #[track_caller]
    pub(crate) fn expect_success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Fails the test unless the call failed with `code` and said `fragment` on one line that
    /// starts as all of the launcher's errors do.
    #[track_caller]
    pub(crate) fn expect_failure(self, code: i32, fragment: &str) -> Self {
        assert_eq!(self.code, Some(code), "expected code {code}: {self:#?}");
        let told = self
            .stderr
            .lines()
            .any(|line| line.starts_with("worker-launcher: cannot ") && line.contains(fragment));
        assert!(told, "expected {fragment:?}: {self:#?}");
        assert_eq!(self.stdout, "", "a failure prints nothing on stdout");
        self
    }
}

/// Runs `command` to its end; standard input is empty.
#[track_caller]
pub(crate) fn run(mut command: Command) -> Outcome {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start the program");
    let stdout = collect(child.stdout.take().expect("stdout is a pipe"));
    let stderr = collect(child.stderr.take().expect("stderr is a pipe"));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait for the program") {
            break status;
        }
        if start.elapsed() > DEADLINE {
            child.kill().expect("kill a program that hangs");
            panic!("{command:?} did not end within {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    Outcome {
        code: status.code(),
        signal: status.signal(),
        // Joining waits for the end of the pipe: whoever keeps it open fails the test's deadline.
        stdout: stdout.join().expect("read stdout"),
        stderr: stderr.join().expect("read stderr"),
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("read a pipe");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
