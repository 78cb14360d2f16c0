//! Runs checks in order and says how each went.

use std::process::ExitCode;
use std::time::Instant;

use storm_oci_e2e::{E2eError, say};

/// How the checks went so far.
#[derive(Debug)]
pub(crate) struct Verdicts {
    began: Instant,
    passed: usize,
    failed: Vec<String>,
}

impl Verdicts {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), passed: 0, failed: Vec::new() }
    }

    /// Notes how a check went. The checks after it go on.
    pub(crate) fn check(&mut self, name: &str, outcome: Result<(), E2eError>) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                say::plain(format!("test {name} ... ok ({:.0} s)", self.seconds()));
            }
            Err(error) => {
                say::plain(format!("test {name} ... FAILED: {error}"));
                self.failed.push(name.to_owned());
            }
        }
    }

    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The closing lines, as other test programs print them.
    pub(crate) fn close(&self) -> ExitCode {
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
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
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
pub(crate) fn holds(
    claim: impl Into<String>,
    holds: bool,
    found: impl std::fmt::Display,
) -> Result<(), E2eError> {
    if holds { Ok(()) } else { Err(E2eError::unconfirmed(claim, found.to_string())) }
}
