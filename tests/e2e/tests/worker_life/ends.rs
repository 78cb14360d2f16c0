//! Every way in which a worker can end, all at once in slots of their own.

use serde_json::{Value, json};
use storm_oci_e2e::commanded::{self, Worker};
use storm_oci_e2e::container::Container;
use storm_oci_e2e::exit_note::ExitNote;
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::supervisor_log::{self, said};
use storm_oci_e2e::verdicts::{Verdicts, holds, same};
use storm_oci_e2e::{E2eError, Layout, Testbed, files, process, topology};

use crate::timing::{Comeback, Seconds, now, successor};
use crate::{blobs, hooks, measured, starts, supervisor, unharmed};

/// A worker that ends itself.
struct Ending {
    name: &'static str,
    verdict: &'static str,
    command: &'static str,
    /// As a shell tells it.
    code: i32,
    /// Whether the kernel ended it for memory.
    out_of_memory: bool,
    options: &'static str,
}

/// What Storm ends a worker with whose own shutdown takes longer than 3 s, as it mostly does.
const HALTED: i32 = 20;

/// The JVM reports a crash and ends by SIGABRT; Storm ends a worker without heap with -1.
const ENDINGS: [Ending; 5] = [
    Ending {
        name: "ends-exit",
        verdict: "an_exit_is_told_truly",
        command: "exit 7",
        code: 7,
        out_of_memory: false,
        options: "",
    },
    Ending {
        name: "ends-halt",
        verdict: "an_exit_code_is_told_truly",
        command: "halt 7",
        code: 7,
        out_of_memory: false,
        options: "",
    },
    Ending {
        name: "ends-segv",
        verdict: "a_crash_is_told_truly",
        command: "segv",
        code: 134,
        out_of_memory: false,
        options: "",
    },
    Ending {
        name: "ends-heap",
        verdict: "a_full_heap_is_told_truly",
        command: "heap",
        code: 255,
        out_of_memory: false,
        options: "-Xmx48m",
    },
    Ending {
        name: "ends-native",
        verdict: "a_kill_for_memory_is_told_as_that",
        command: "native",
        code: 137,
        out_of_memory: true,
        options: "-XX:MaxDirectMemorySize=64g",
    },
];

const BLOB: &str = "ends-blob";
const HANGS: &str = "hangs";
const CHILD: &str = "child-takes-memory";
const STUBBORN: &str = "ignores-term";

/// Also what else must be seen to start, end and change, since it needs no slot that these need.
pub(crate) fn run(
    testbed: &mut Testbed,
    _: &Settings,
    verdicts: &mut Verdicts,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    let pid = supervisor(testbed)?;
    blobs::create(testbed, BLOB)?;
    let start = supervisor_log::length(&layout)?;
    let option = |options: &str| json!({ "topology.worker.childopts": options });
    let mut topologies: Vec<(&str, Value)> =
        ENDINGS.iter().map(|ending| (ending.name, option(ending.options))).collect();
    topologies.push((starts::NAME, starts::configuration()));
    topologies.extend([HANGS, CHILD].map(|name| (name, json!({}))));
    let with_blob = [STUBBORN, hooks::NAME, blobs::NAME];
    topologies.extend(with_blob.map(|name| (name, blobs::configuration(BLOB))));
    commanded::submit(&layout, &user, &topologies)?;

    let mut workers = Vec::new();
    for (name, _) in topologies.iter().filter(|(name, _)| *name != starts::NAME) {
        workers.push((*name, commanded::works(&layout, name, None)?));
        testbed.check()?;
    }
    let worker = |name: &str| -> Result<Worker, E2eError> {
        let found = workers.iter().find(|(known, _)| *known == name);
        found.map(|(_, worker)| worker.clone()).ok_or(E2eError::Interrupted)
    };

    // First, since the heartbeat's timeout is what takes longest.
    let hung = worker(HANGS)?;
    let stopped = stop(&layout, &hung);
    for ending in &ENDINGS {
        worker(ending.name)?.tell(ending.command)?;
    }
    worker(CHILD)?.tell("child")?;
    let (stubborn, hooked) = (worker(STUBBORN)?, worker(hooks::NAME)?);
    stubborn.carry_out(&layout, "ignore-term")?;
    hooked.carry_out(&layout, hooks::COMMAND)?;
    blobs::update(testbed, BLOB)?;
    for ending in &ENDINGS {
        verdicts.check(ending.verdict, ended(&layout, ending, &worker(ending.name)?, start));
    }
    verdicts.check("a_child_may_be_killed_for_memory", child(&layout, &worker(CHILD)?));
    verdicts.check(
        "a_changed_blob_restarts_the_worker",
        blobs::changed(&layout, &worker(blobs::NAME)?),
    );
    verdicts.check(
        "a_worker_that_hangs_is_replaced",
        stopped.and_then(|began| replaced(&layout, &hung, began)),
    );
    verdicts.check("a_failing_start_is_tried_again_soon", starts::fails(testbed, start));

    verdicts.check("a_worker_that_ignores_sigterm_is_killed", forced(&layout, &stubborn));
    verdicts.check("a_shutdown_hook_is_waited_for", hooks::finished(&layout, &hooked));

    let began = now();
    let names: Vec<&str> = topologies.iter().map(|(name, _)| *name).collect();
    topology::kill(&layout, &user, &names)?;
    measured("kill of all", format!("gone within {}", Seconds(now().saturating_sub(began))));
    verdicts.check("the_end_of_a_killed_child_is_recorded", outlived(&layout, &worker(CHILD)?));
    verdicts.check("no_end_harms_the_supervisor", unharmed(testbed, pid));
    Ok(())
}

/// All that is recorded of any end.
fn complete(note: &ExitNote) -> Result<(), E2eError> {
    holds("the note has the peak of memory", note.peak_memory_bytes > Some(0), &note.message)?;
    holds("the note has the processor time", note.cpu_micros > Some(0), &note.message)?;
    holds("the note has the launch's steps", !note.launch_phases.is_empty(), &note.message)?;
    holds("a container ends after its launch", note.ended_millis > note.launched_millis, "not")
}

fn ended(layout: &Layout, ending: &Ending, worker: &Worker, start: usize) -> Result<(), E2eError> {
    let note = worker.end(layout)?;
    // Storm's worker says so when it ends itself; its code is then not the command's.
    let log = files::read(&worker.artifacts.join("worker.log"))?;
    let halted = ending.command.starts_with("exit") && log.contains("Forcing Halt");
    let expected = if halted { HALTED } else { ending.code };
    same("the note has the exit code", note.shell_code(), Some(expected))?;
    same("nobody asked for it", (note.requested, note.before_heartbeat), (false, false))?;
    let kills = note.out_of_memory.kills.unwrap_or_default();
    same("memory is the cause", kills > 0, ending.out_of_memory)?;
    let of = ending.out_of_memory.then_some("container");
    same("whose memory it was", note.out_of_memory.of.as_deref(), of)?;
    complete(&note)?;
    let code = format!("exited with code: {expected}");
    said(layout, start, &[worker.id.clone(), code])?;
    let mut words = vec![worker.id.clone(), "ended".to_owned()];
    words.extend(ending.out_of_memory.then(|| "out of memory".to_owned()));
    said(layout, start, &words)?;
    let (_, container) = successor(layout, ending.name, worker)?;
    measured(ending.name, Comeback::of(&note, &container));
    Ok(())
}

/// Stops the worker's JVM, so that no heartbeat comes any more.
fn stop(layout: &Layout, worker: &Worker) -> Result<u64, E2eError> {
    let container: Container = commanded::container(layout, HANGS, worker)?;
    let ticks = worker.ticks()?.ok_or(E2eError::Interrupted)?;
    let jvm = container.host_pid(ticks.pid)?;
    let jvm = jvm.ok_or_else(|| E2eError::unconfirmed("the worker's JVM is there", "it is not"))?;
    process::stop(jvm);
    Ok(now())
}

fn replaced(layout: &Layout, worker: &Worker, began: u64) -> Result<(), E2eError> {
    let note = worker.end(layout)?;
    same("Storm asked for it", note.requested, true)?;
    complete(&note)?;
    said(layout, 0, &["HB is too old".to_owned(), format!("topology: {HANGS}-")])?;
    let (_, container) = successor(layout, HANGS, worker)?;
    let hung = Seconds(note.ended_millis.saturating_sub(began));
    measured(HANGS, format!("ended {hung} after it hung; {}", Comeback::of(&note, &container)));
    Ok(())
}

/// The worker goes on when the kernel has killed a program that it started.
fn child(layout: &Layout, worker: &Worker) -> Result<(), E2eError> {
    let killed = commanded::await_some(layout, "the end of the child", || {
        Ok(worker.ticks()?.filter(|ticks| ticks.child_code >= 0))
    })?;
    same("the kernel killed the child", killed.child_code, 137)?;
    let next = commanded::works(layout, CHILD, None)?;
    same("the worker goes on", &next.id, &worker.id)
}

/// What the note says of a worker whose child had been killed.
fn outlived(layout: &Layout, worker: &Worker) -> Result<(), E2eError> {
    let note = worker.end(layout)?;
    same("Storm asked for its end", note.requested, true)?;
    same("one process was killed for memory", note.out_of_memory.kills, Some(1))
}

fn forced(layout: &Layout, worker: &Worker) -> Result<(), E2eError> {
    let note = worker.end(layout)?;
    same("Storm asked for it", note.requested, true)?;
    same("it was killed", note.shell_code(), Some(137))?;
    complete(&note)?;
    let (_, container) = successor(layout, STUBBORN, worker)?;
    measured(STUBBORN, Comeback::of(&note, &container));
    Ok(())
}
