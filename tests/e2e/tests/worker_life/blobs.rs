//! A blob that changes: Storm tells the workers that have it to end, and launches them anew. Killing
//! the topology would not do for that: its workers end themselves when they learn of it.

use serde_json::{Value, json};
use storm_oci_e2e::commanded::Worker;
use storm_oci_e2e::supervisor_log::said;
use storm_oci_e2e::verdicts::same;
use storm_oci_e2e::{E2eError, Layout, Testbed, operate};

use crate::measured;
use crate::timing::{Comeback, successor};

/// A topology that reads a blob.
pub(crate) const NAME: &str = "reads-a-blob";

/// Makes a blob.
pub(crate) fn create(testbed: &Testbed, key: &str) -> Result<(), E2eError> {
    operate::run(&testbed.layout, &testbed.user, "create-blob", &[format!("{key}=first")])
}

/// Changes it.
pub(crate) fn update(testbed: &Testbed, key: &str) -> Result<(), E2eError> {
    operate::run(&testbed.layout, &testbed.user, "update-blob", &[format!("{key}=second")])
}

/// The configuration of a topology that has it.
pub(crate) fn configuration(key: &str) -> Value {
    json!({ "topology.blobstore.map": { key: { "localname": "blob.txt", "workerRestart": true } } })
}

/// The next worker sees the new content.
pub(crate) fn changed(layout: &Layout, before: &Worker) -> Result<(), E2eError> {
    let note = before.end(layout)?;
    same("Storm asked for it", note.requested, true)?;
    let (next, container) = successor(layout, NAME, before)?;
    let ticks = next.ticks()?.ok_or(E2eError::Interrupted)?;
    same("the next worker sees the change", ticks.blob.as_str(), "second")?;
    said(layout, 0, &["-> kill-blob-update".to_owned(), format!("{NAME}-")])?;
    measured(NAME, Comeback::of(&note, &container));
    Ok(())
}
