//! How long the steps of a launch took.

use std::fmt;
use std::time::Instant;

use storm_oci_request::Phase;

use crate::documents::PhaseDocument;

/// The name of the step that runs the launcher; the launcher's own steps go below it.
pub(crate) const LAUNCHER: &str = "launcher";

/// Steps in order, each with its microseconds.
#[derive(Debug, Default)]
pub(crate) struct Phases(Vec<PhaseDocument>);

impl Phases {
    /// Does a step and notes how long it took.
    pub(crate) fn measure<T>(&mut self, name: &str, step: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = step();
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.add(name.to_owned(), micros);
        result
    }

    /// Adds the launcher's own steps.
    pub(crate) fn extend(&mut self, steps: &[Phase]) {
        for step in steps {
            self.add(format!("{LAUNCHER}.{}", step.name), step.micros);
        }
    }

    pub(crate) fn documents(&self) -> &[PhaseDocument] {
        &self.0
    }

    fn add(&mut self, name: String, micros: u64) {
        self.0.push(PhaseDocument { name, micros });
    }
}

impl fmt::Display for Phases {
    /// `resolve 0.812 ms, localize 1.304 ms, …`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, PhaseDocument { name, micros }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let (millis, micros) = (micros / 1000, micros % 1000);
            write!(formatter, "{separator}{name} {millis}.{micros:03} ms")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_measured_and_the_launchers_are_added() {
        let mut phases = Phases::default();
        assert_eq!(phases.measure("resolve", || 7), 7);
        phases.extend(&[Phase { name: "layers".to_owned(), micros: 12_034 }]);
        let text = phases.to_string();
        assert!(text.starts_with("resolve "), "{text}");
        assert!(text.ends_with(", launcher.layers 12.034 ms"), "{text}");
        assert_eq!(phases.documents().len(), 2);
    }
}
