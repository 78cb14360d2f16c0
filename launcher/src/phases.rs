//! How long each step of a launch took.

use std::time::Instant;

use storm_oci_request::Phase;

/// A stop watch with a lap for each step.
#[derive(Debug)]
pub(crate) struct Phases {
    last: Instant,
    /// The steps so far.
    pub(crate) done: Vec<Phase>,
}

impl Phases {
    /// Starts the watch.
    pub(crate) fn start() -> Self {
        Self { last: Instant::now(), done: Vec::new() }
    }

    /// Ends a step: what passed since the one before was its time.
    pub(crate) fn end(&mut self, name: &str) {
        let now = Instant::now();
        let micros = now.duration_since(self.last).as_micros();
        self.last = now;
        self.done.push(Phase {
            name: name.to_owned(),
            micros: u64::try_from(micros).unwrap_or(u64::MAX),
        });
    }
}
