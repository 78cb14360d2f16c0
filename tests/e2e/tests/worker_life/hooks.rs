//! What a worker prints while it shuts down: kept with an init, lost without one.

use storm_oci_e2e::commanded::{self, Worker};
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::verdicts::{Verdicts, holds, same};
use storm_oci_e2e::{E2eError, Layout, Testbed, files, topology};

use crate::{blobs, restart};

/// A topology with a shutdown hook.
pub(crate) const NAME: &str = "slow-hook";
/// The hook takes a second; Storm kills after three.
pub(crate) const COMMAND: &str = "hook 1000";

/// The blob that makes Storm end it.
const BLOB: &str = "hooks-blob";

const TERMINATED: i32 = 143;
/// After 3 s Storm's worker ends itself with 20 when its own shutdown is not over, and Storm's
/// supervisor kills it; which of them comes first is chance.
const ENDED: [i32; 3] = [20, 137, TERMINATED];

/// Without an init, the log writer ends at once and the worker with it.
pub(crate) fn run(
    testbed: &mut Testbed,
    settings: &Settings,
    verdicts: &mut Verdicts,
) -> Result<(), E2eError> {
    restart(testbed, &Settings { init: false, ..settings.clone() })?;
    verdicts.check("without_an_init_a_hook_is_cut_short", cut_short(testbed));
    restart(testbed, settings)
}

fn cut_short(testbed: &mut Testbed) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    blobs::create(testbed, BLOB)?;
    commanded::submit(&layout, &user, &[(NAME, blobs::configuration(BLOB))])?;
    let worker = commanded::works(&layout, NAME, None)?;
    worker.carry_out(&layout, COMMAND)?;
    blobs::update(testbed, BLOB)?;
    let note = worker.end(&layout)?;
    topology::kill(&layout, &user, &[NAME])?;
    same("Storm asked for it", note.requested, true)?;
    same("the log writer ended by SIGTERM", note.shell_code(), Some(TERMINATED))?;
    same("the hook's last line is lost", printed(&worker, "hook ends")?, false)
}

/// The hook's last line is in the worker's log, and the container ended as the worker did.
pub(crate) fn finished(layout: &Layout, worker: &Worker) -> Result<(), E2eError> {
    holds("the hook's first line is in the log", printed(worker, "hook begins")?, "it is not")?;
    holds("the hook's last line is in the log", printed(worker, "hook ends")?, "it is not")?;
    let note = worker.end(layout)?;
    same("Storm asked for it", note.requested, true)?;
    let code = note.shell_code();
    let known = code.is_some_and(|code| ENDED.contains(&code));
    holds("the worker's own end is told", known, format!("{code:?}"))
}

/// Whether Storm's log writer has logged a line of the worker's.
fn printed(worker: &Worker, line: &str) -> Result<bool, E2eError> {
    for path in files::list(&worker.artifacts)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("worker.log") && files::read(&path)?.contains(line) {
            return Ok(true);
        }
    }
    Ok(false)
}
