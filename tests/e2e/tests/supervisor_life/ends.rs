//! Ways in which a supervisor or its workers end, one after the other.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use storm_oci_e2e::census::{self, Census};
use storm_oci_e2e::cluster::Cluster;
use storm_oci_e2e::container::{self, Container};
use storm_oci_e2e::exit_note::ExitNote;
use storm_oci_e2e::supervisor_log::{length, said};
use storm_oci_e2e::verdicts::{holds, same};
use storm_oci_e2e::{E2eError, Layout, Testbed, files, interrupt, process, say, traces};

use crate::steady::{RELAUNCH_LIMIT, Steady};

/// Storm looks every 30 s, and ends its workers then.
const HEALTH_LIMIT: Duration = Duration::from_secs(180);

pub(crate) fn cluster(testbed: &mut Testbed) -> Result<&mut Cluster, E2eError> {
    testbed.cluster.as_mut().ok_or(E2eError::Interrupted)
}

/// Stops the supervisor as its unit would, and starts it.
pub(crate) fn restart(testbed: &mut Testbed, steady: &mut [Steady]) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    cluster(testbed)?.stop_supervisor();
    for one in &mut *steady {
        one.goes_on(&layout)?;
    }
    let start = length(&layout)?;
    cluster(testbed)?.start_supervisor()?;
    for one in &mut *steady {
        said(&layout, start, &[format!("[{}] adopted", one.container.id())])?;
    }
    for one in steady {
        one.goes_on(&layout)?;
    }
    testbed.check()
}

/// Kills the container of a worker that the supervisor has not started itself.
pub(crate) fn kill_adopted(testbed: &mut Testbed, steady: &mut [Steady]) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let [one, two] = steady else {
        return Err(E2eError::unconfirmed("two workers run", steady.len().to_string()));
    };
    let start = length(&layout)?;
    let artifacts = artifacts(&two.container)?;
    process::kill(two.container.init);
    let (next, took) = two.relaunched(testbed, Instant::now())?;
    say::fact("killed, adopted", format!("next container after {:.1} s", took.as_secs_f64()));
    let ended = format!("[{}] was ended by signal 9 (SIGKILL)", two.container.id());
    said(&layout, start, &[ended])?;
    let note = note(&artifacts, &two.container.id())?;
    same("the note has the signal", note.signal, Some(9))?;
    let flags = (note.requested, note.adopted, note.before_heartbeat);
    same("it was taken over, and not asked to end", flags, (false, true, false))?;
    let topology = note.topology_id.clone().unwrap_or_default();
    holds("the note names the topology", topology.starts_with(two.name), &topology)?;
    let figures = (note.peak_memory_bytes, note.cpu_micros);
    let known = figures.0.is_some() && figures.1.is_some() && note.ended_millis > 0;
    holds("the note has the monitor's figures", known, format!("{note:?}"))?;
    *two = next;
    one.goes_on(&layout)
}

/// Where the note of a container's end will be: the link to it goes with the worker's directory.
fn artifacts(container: &Container) -> Result<PathBuf, E2eError> {
    let path = container.worker.join("artifacts");
    std::fs::canonicalize(&path).map_err(|source| E2eError::File { verb: "read", path, source })
}

fn note(artifacts: &Path, container: &str) -> Result<ExitNote, E2eError> {
    ExitNote::of(artifacts, container)?
        .ok_or_else(|| E2eError::unconfirmed(format!("{container} has a note"), "there is none"))
}

/// `storm kill_workers`, another process, beside the supervisor. A stock supervisor relaunches;
/// should it fail over a directory that the other one has removed, it is started anew, as its unit
/// would.
pub(crate) fn kill_workers(testbed: &mut Testbed, steady: &mut [Steady]) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let before = census::take(&layout)?;
    let began = Instant::now();
    let mut notes = Vec::new();
    for one in &*steady {
        notes.push((artifacts(&one.container)?, one.container.id()));
    }
    cluster(testbed)?.kill_workers()?;
    for one in &*steady {
        let runs = Path::new("/proc").join(one.container.init.to_string()).exists();
        holds(format!("{} has ended", one.name), !runs, "it runs")?;
    }
    for (artifacts, id) in notes {
        let note = note(&artifacts, &id)?;
        holds("the end was asked for", note.requested, note.message)?;
    }
    let lives = !cluster(testbed)?.supervisor_ended()?;
    say::fact("kill_workers", format!("the supervisor lives: {lives}"));
    if !lives {
        cluster(testbed)?.start_supervisor()?;
    }
    for one in &mut *steady {
        let (next, took) = one.relaunched(testbed, began)?;
        say::fact(
            "kill_workers",
            format!("{} is back after {:.1} s", one.name, took.as_secs_f64()),
        );
        *one = next;
    }
    settles_at(&layout, &before)
}

/// A script of the operator's that says `ERROR` ends all workers, and the supervisor.
pub(crate) fn fail_health_check(
    testbed: &mut Testbed,
    steady: &mut [Steady],
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let before = census::take(&layout)?;
    let directory = layout.scratch("storm/healthchecks");
    files::make_dir(&directory)?;
    let script = directory.join("disk");
    files::write(&script, "#!/bin/sh\necho ERROR the disk is broken\nexit 1\n")?;
    files::set_mode(&script, 0o755)?;
    let began = Instant::now();
    let ended =
        interrupt::poll(HEALTH_LIMIT, || Ok(cluster(testbed)?.supervisor_ended()?.then_some(())))?;
    holds("the supervisor ends", ended.is_some(), "it runs")?;
    say::fact("failed health check", format!("acted on in {:.1} s", began.elapsed().as_secs_f64()));
    for one in &*steady {
        let runs = Path::new("/proc").join(one.container.init.to_string()).exists();
        holds(format!("{} has ended", one.name), !runs, "it runs")?;
    }
    files::remove(&script)?;
    let repaired = Instant::now();
    cluster(testbed)?.start_supervisor()?;
    come_back(testbed, steady, "repaired", repaired)?;
    settles_at(&layout, &before)
}

/// The host restarts: of containers there are only the workers' directories left.
pub(crate) fn reboot(testbed: &mut Testbed, steady: &mut [Steady]) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let before = census::take(&layout)?;
    cluster(testbed)?.kill_supervisor();
    traces::reboot(&layout)?;
    let old: Vec<_> = steady.iter().map(|one| one.container.worker.clone()).collect();
    let left = old.iter().filter(|worker| worker.join("heartbeats").exists()).count();
    same("the workers' directories are left", left, old.len())?;
    let began = Instant::now();
    cluster(testbed)?.start_supervisor()?;
    come_back(testbed, steady, "rebooted", began)?;
    let stale = old.iter().find(|worker| worker.exists());
    holds("the old directories are gone", stale.is_none(), format!("{stale:?}"))?;
    settles_at(&layout, &before)
}

fn come_back(
    testbed: &mut Testbed,
    steady: &mut [Steady],
    what: &str,
    since: Instant,
) -> Result<(), E2eError> {
    for one in steady {
        let (next, took) = one.relaunched(testbed, since)?;
        say::fact(what, format!("{} is back after {:.1} s", one.name, took.as_secs_f64()));
        *one = next;
    }
    Ok(())
}

/// Waits until there is as much of containers as before.
pub(crate) fn settles_at(layout: &Layout, before: &Census) -> Result<(), E2eError> {
    let mut differences = String::new();
    interrupt::poll(RELAUNCH_LIMIT, || {
        differences = census::differences(before, &census::take(layout)?);
        Ok(differences.is_empty().then_some(()))
    })?;
    if differences.is_empty() {
        return Ok(());
    }
    for record in container::records(layout)? {
        say::line(format!("record {} {:?}", record.container_id, record.state));
    }
    Err(E2eError::Left(differences))
}
