//! A worker's whole life on a real, unmodified Storm: how it starts, fails, is stopped and comes
//! back. One cluster serves all subjects; it is removed at the end, whether they pass or fail.
//!
//! `STORM_OCI_LIFECYCLE` chooses subjects: `short` (what continuous integration has time for),
//! `whole` (the default), or names with commas between.

mod beside_stock;
mod blobs;
mod ends;
mod hooks;
mod images;
mod logs;
mod operations;
mod profile;
mod resources;
mod starts;
mod timing;
mod users;

use std::env;
use std::process::ExitCode;

use serde_json::json;
use storm_oci_e2e::cluster::Cluster;
use storm_oci_e2e::say::{self, Steps};
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::testbed::{self, IMAGE, Testbed};
use storm_oci_e2e::verdicts::{Verdicts, same};
use storm_oci_e2e::{E2eError, Layout, interrupt};

/// Chooses subjects.
const CHOICE: &str = "STORM_OCI_LIFECYCLE";

/// A worker that hangs is the supervisor's to find; with Storm's defaults, 30 s for both, Nimbus might.
const HEARTBEATS: [(&str, u32); 2] =
    [("supervisor.worker.timeout.secs", 20), ("nimbus.task.timeout.secs", 60)];

type Subject = fn(&mut Testbed, &Settings, &mut Verdicts) -> Result<(), E2eError>;

/// The subjects in their order; each leaves no topology behind.
const SUBJECTS: [(&str, Subject); 9] = [
    ("ends", ends::run),
    ("profile", profile::run),
    ("logs", logs::run),
    ("operations", operations::run),
    ("images", images::run),
    ("users", users::run),
    ("hooks", hooks::run),
    ("resources", resources::run),
    ("beside-stock", beside_stock::run),
];

/// The subjects of `short`.
const SHORT: [&str; 4] = ["ends", "profile", "logs", "images"];

fn main() -> ExitCode {
    Verdicts::of(run)
}

fn run(verdicts: &mut Verdicts) -> Result<(), E2eError> {
    let subjects = chosen(env::var(CHOICE).unwrap_or_default().as_str())?;
    let mut steps = Steps::new(testbed::STEPS + 2 + subjects.len());
    let mut testbed = Testbed::create(Layout::new("lifecycle"), &mut steps)?;
    let settings = Settings {
        allowed_images: vec![IMAGE.to_owned(), images::TAG.to_owned()],
        more: HEARTBEATS.map(|(key, seconds)| (key, json!(seconds))).to_vec(),
        ..Settings::new(&testbed.layout)
    };
    testbed.start(&settings, &mut steps)?;
    for (name, subject) in subjects {
        steps.begin(name);
        if let Err(error) = subject(&mut testbed, &settings, verdicts) {
            verdicts.check(&format!("{name}_goes_to_its_end"), Err(error));
        }
        interrupt::check()?;
        verdicts.check(&format!("{name}_leaves_nothing"), testbed.expect_nothing_running());
    }
    steps.begin("removal");
    verdicts.check("removal_leaves_nothing", testbed.remove());
    Ok(())
}

fn chosen(choice: &str) -> Result<Vec<(&'static str, Subject)>, E2eError> {
    let names: Vec<&str> = match choice {
        "" | "whole" => return Ok(SUBJECTS.to_vec()),
        "short" => SHORT.to_vec(),
        names => names.split(',').collect(),
    };
    let mut subjects = Vec::new();
    for name in names {
        let subject = SUBJECTS.into_iter().find(|(known, _)| *known == name);
        let known = SUBJECTS.map(|(known, _)| known).join(", ");
        subjects.push(subject.ok_or_else(|| {
            E2eError::unconfirmed(format!("`{name}` is a subject"), format!("there are {known}"))
        })?);
    }
    Ok(subjects)
}

/// The supervisor's pid, which no subject may change unless it says so.
fn supervisor(testbed: &mut Testbed) -> Result<Option<u32>, E2eError> {
    testbed.cluster.as_mut().map_or(Ok(None), Cluster::supervisor_pid)
}

/// The supervisor is still the one of this pid.
fn unharmed(testbed: &mut Testbed, pid: Option<u32>) -> Result<(), E2eError> {
    testbed.check()?;
    same("the supervisor is still the same process", supervisor(testbed)?, pid)
}

/// Starts the supervisor anew with other settings.
fn restart(testbed: &mut Testbed, settings: &Settings) -> Result<(), E2eError> {
    let cluster = testbed.cluster.as_mut().ok_or(E2eError::Interrupted)?;
    cluster.stop_supervisor();
    cluster.configure(settings)?;
    cluster.start_supervisor()
}

/// One measured fact.
fn measured(case: &str, what: impl std::fmt::Display) {
    say::line(format!("{case}: {what}"));
}
