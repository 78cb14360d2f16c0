//! What Nimbus asks of a worker's JVM: a restart, of a profiler's script that fails at first.

use std::path::Path;

use serde_json::json;
use storm_oci_e2e::commanded;
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::supervisor_log::{self, said};
use storm_oci_e2e::verdicts::{Verdicts, same};
use storm_oci_e2e::{E2eError, Testbed, files, operate, topology};

use crate::timing::{Comeback, successor};
use crate::{measured, supervisor, unharmed};

const NAME: &str = "is-restarted";
/// A script whose exit code no other part has.
const FAILING: &str = "#!/bin/bash\nexit 23\n";

/// A script's failure is told once, and the worker is restarted by one that does not fail.
pub(crate) fn run(
    testbed: &mut Testbed,
    _: &Settings,
    verdicts: &mut Verdicts,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    commanded::submit(&layout, &user, &[(NAME, json!({}))])?;
    let script = layout.profiler();
    let whole = files::read(&script)?;
    let outcome = restarted(testbed, &whole);
    replace(&script, &whole)?;
    verdicts.check("a_worker_is_restarted_by_the_profiler", outcome);
    topology::kill(&layout, &user, &[NAME])
}

fn replace(script: &Path, content: &str) -> Result<(), E2eError> {
    let new = script.with_extension("new");
    files::write(&new, content)?;
    files::set_mode(&new, 0o755)?;
    files::rename(&new, script)
}

fn restarted(testbed: &mut Testbed, whole: &str) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let pid = supervisor(testbed)?;
    let worker = commanded::works(&layout, NAME, None)?;
    let start = supervisor_log::length(&layout)?;
    replace(&layout.profiler(), FAILING)?;
    operate::run(&layout, &testbed.user, "restart-worker", &[NAME.to_owned()])?;
    let failed = [worker.id.clone(), "cannot profile".to_owned(), "with 23".to_owned()];
    said(&layout, start, &failed)?;
    let same_worker = commanded::works(&layout, NAME, None)?;
    same("a script that fails does nothing", &same_worker.id, &worker.id)?;

    replace(&layout.profiler(), whole)?;
    operate::run(&layout, &testbed.user, "restart-worker", &[NAME.to_owned()])?;
    let note = worker.end(&layout)?;
    same("the script killed the JVM", note.shell_code(), Some(137))?;
    same("memory is not the cause", note.out_of_memory.kills.unwrap_or_default(), 0)?;
    let (_, container) = successor(&layout, NAME, &worker)?;
    measured(NAME, Comeback::of(&note, &container));
    let log = supervisor_log::read(&layout)?;
    let told = supervisor_log::after(&log, start)
        .filter(|line| failed.iter().all(|word| line.contains(word.as_str())));
    same("a script's failure is told once", told.count(), 1)?;
    unharmed(testbed, pid)
}
