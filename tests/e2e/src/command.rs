//! Running other programs: output in a log, progress on the terminal, an end when interrupted.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{E2eError, files, interrupt, say};

/// A program that runs longer than this says so, again and again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a program to its end, its output appended to `log`. `step` says what it does, as in
/// "cannot <step>".
///
/// # Errors
///
/// [`E2eError::Ended`] when it fails, [`E2eError::Start`] when it cannot be started.
pub fn run(step: &str, command: &mut Command, log: &Path) -> Result<(), E2eError> {
    let program = command.get_program().to_string_lossy().into_owned();
    if let Some(directory) = log.parent() {
        files::make_dir(directory)?;
    }
    let open = || {
        OpenOptions::new().create(true).append(true).open(log).map_err(|source| E2eError::File {
            verb: "write",
            path: log.to_owned(),
            source,
        })
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?)
        .spawn()
        .map_err(|source| E2eError::Start { program: program.clone(), source })?;
    let began = Instant::now();
    let mut told = began;
    loop {
        let ended = interrupt::poll(PATIENCE, || {
            child.try_wait().map_err(|source| E2eError::Start { program: program.clone(), source })
        });
        match ended {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                let (step, log) = (step.to_owned(), log.to_owned());
                return Err(E2eError::Ended { step, program, status, log });
            }
            Ok(None) => {}
            Err(error) => {
                // Nothing waits for the program any more; how its end goes does not matter.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        }
        if told.elapsed() >= PATIENCE {
            told = Instant::now();
            say::line(format!(
                "... {step}: {} s (log: {})",
                began.elapsed().as_secs(),
                log.display()
            ));
        }
    }
}

/// What a program prints, when it succeeds.
///
/// # Errors
///
/// [`E2eError::Start`] when it cannot be started, [`E2eError::Unconfirmed`] when it fails.
pub fn output(command: &mut Command) -> Result<String, E2eError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| E2eError::Start { program: program.clone(), source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(E2eError::unconfirmed(
            format!("`{program}` succeeds"),
            format!("{} {reason}", output.status),
        ))
    }
}
