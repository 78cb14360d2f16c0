//! A worker that ends before its first heartbeat, again and again.

use serde_json::{Value, json};
use storm_oci_e2e::commanded::{self, Worker};
use storm_oci_e2e::exit_note::ExitNote;
use storm_oci_e2e::supervisor_log::{self, said};
use storm_oci_e2e::verdicts::{holds, same};
use storm_oci_e2e::{E2eError, Testbed, operate};

use crate::measured;
use crate::timing::{Seconds, pauses};

/// The topology.
pub(crate) const NAME: &str = "fails-to-start";
/// What the JVM does not find.
const AGENT: &str = "/no-such-agent.jar";
/// So many starts are looked at: the pauses before them are 0, 1 and 2 s.
const STARTS: usize = 4;
/// Storm's own way takes `supervisor.worker.start.timeout.secs`, 60 s here. Far below that, and far
/// above what a busy host needs.
const MOST_MILLIS: u64 = 20_000;

/// The JVM ends while it starts.
pub(crate) fn configuration() -> Value {
    json!({ "topology.worker.childopts": format!("-javaagent:{AGENT}") })
}

/// It is launched anew soon, after pauses that grow; the cause is told once; nobody is told that
/// it lives. `start` is where the log was before the first.
pub(crate) fn fails(testbed: &mut Testbed, start: usize) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let mut artifacts = None;
    let notes = commanded::await_some(&layout, format!("{STARTS} starts of {NAME}"), || {
        if artifacts.is_none() {
            artifacts = Worker::of(&layout, NAME)?.map(|worker| worker.artifacts);
        }
        let Some(artifacts) = &artifacts else { return Ok(None) };
        let notes = ExitNote::all(artifacts)?;
        Ok((notes.len() >= STARTS).then_some(notes))
    })?;
    for note in &notes {
        same("the JVM's exit code is told", note.exit_code, Some(1))?;
        same("it ended before its first heartbeat", note.before_heartbeat, true)?;
    }
    let pauses = pauses(&notes);
    let told: Vec<String> = pauses.iter().map(|&pause| Seconds(pause).to_string()).collect();
    measured(NAME, format!("launched anew {} after each end", told.join(", ")));
    for pause in pauses.into_iter().take(STARTS - 1) {
        holds("a failed start is made up for soon", pause < MOST_MILLIS, Seconds(pause))?;
    }

    let last = notes.get(STARTS - 1).map(|note| note.container_id.clone()).unwrap_or_default();
    said(&layout, start, &[last, format!("failure {STARTS} in a row")])?;
    let log = supervisor_log::read(&layout)?;
    let ids: Vec<&str> = notes.iter().map(|note| note.container_id.as_str()).collect();
    let lines: Vec<&str> = supervisor_log::after(&log, start)
        .filter(|line| line.contains("first heartbeat") && ids.iter().any(|id| line.contains(id)))
        .collect();
    let whole: Vec<&&str> = lines.iter().filter(|line| line.contains("[ERROR]")).collect();
    holds("the cause is told once", whole.len() == 1, lines.join("\n"))?;
    for (number, seconds) in [(2, 1), (3, 2), (4, 4)] {
        let words = format!("failure {number} in a row; Storm tries again in {seconds} s");
        holds(&words, lines.iter().any(|line| line.contains(&words)), lines.join("\n"))?;
    }
    let alive = operate::alive(&layout, &testbed.user, NAME)?;
    same("Nimbus knows of no executor alive", alive, 0)
}
