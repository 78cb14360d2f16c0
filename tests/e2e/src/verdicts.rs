//! Runs checks in order and says how each went.

use std::process::ExitCode;
use std::time::Instant;

use crate::{E2eError, interrupt, say, testbed};

/// How the checks went so far.
#[derive(Debug)]
pub struct Verdicts {
    began: Instant,
    last: Instant,
    passed: usize,
    failed: Vec<String>,
}

impl Verdicts {
    /// Runs a test program, as root: its checks, and the closing lines. An error of the program
    /// itself counts as a check that failed.
    #[must_use]
    pub fn of(program: impl FnOnce(&mut Self) -> Result<(), E2eError>) -> ExitCode {
        let now = Instant::now();
        let mut verdicts = Self { began: now, last: now, passed: 0, failed: Vec::new() };
        let outcome = testbed::as_root()
            .and_then(|()| interrupt::listen())
            .and_then(|()| program(&mut verdicts));
        if let Err(error) = outcome {
            verdicts.check("the_program_goes_to_its_end", Err(error));
        }
        verdicts.close()
    }

    /// Notes how a check went. The checks after it go on.
    pub fn check(&mut self, name: &str, outcome: Result<(), E2eError>) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                let own = self.last.elapsed().as_secs_f64();
                say::plain(format!("test {name} ... ok ({own:.1} s, at {:.0} s)", self.seconds()));
            }
            Err(error) => {
                say::plain(format!("test {name} ... FAILED: {error}"));
                self.failed.push(name.to_owned());
            }
        }
        self.last = Instant::now();
    }

    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The closing lines, as other test programs print them.
    fn close(&self) -> ExitCode {
        if !self.failed.is_empty() {
            say::plain(format!("\nfailures: {}", self.failed.join(", ")));
        }
        let verdict = if self.failed.is_empty() { "ok" } else { "FAILED" };
        say::plain(format!(
            "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in {:.2}s",
            self.passed,
            self.failed.len(),
            self.seconds()
        ));
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Fails unless `found` is `expected`.
///
/// # Errors
///
/// [`E2eError::Unconfirmed`].
pub fn same<T: PartialEq + std::fmt::Debug>(
    claim: &str,
    found: T,
    expected: T,
) -> Result<(), E2eError> {
    if found == expected {
        Ok(())
    } else {
        Err(E2eError::unconfirmed(claim, format!("found {found:?}, expected {expected:?}")))
    }
}

/// Fails unless `holds`.
///
/// # Errors
///
/// [`E2eError::Unconfirmed`].
pub fn holds(
    claim: impl Into<String>,
    holds: bool,
    found: impl std::fmt::Display,
) -> Result<(), E2eError> {
    if holds { Ok(()) } else { Err(E2eError::unconfirmed(claim, found.to_string())) }
}
