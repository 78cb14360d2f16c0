//! The lives: launch, every kind of end, memory, and a supervisor that is killed meanwhile.

use std::time::Duration;

use serde_json::Value;
use storm_oci_e2e::node::IMAGE;
use storm_oci_e2e::verdicts::{Verdicts, holds, same};
use storm_oci_e2e::{E2eError, Node, Slots, files, interrupt, node, process};

use crate::metrics;

/// Workers that go on until they are told to end.
pub(crate) const GOES_ON: &str = "goes-on-1-1700000000";
/// Workers that end by themselves, with [`ENDS_WITH`].
pub(crate) const ENDS: &str = "ends-2-1700000000";
pub(crate) const ENDS_WITH: i64 = 7;
/// Workers that hold [`HELD_MB`].
const HOLDS: &str = "holds-3-1700000000";
const HELD_MB: i64 = 40;
/// Workers that want more memory than they have.
const GREEDY: &str = "greedy-4-1700000000";

/// What [`HOLDS`] may take beside what it holds.
const BESIDE_MB: i64 = 20;
/// 128 and the number of the signal.
const TERMINATED: i64 = 143;
const KILLED: i64 = 137;

pub(crate) const PORT: u16 = node::FIRST_PORT;

/// From the exit callback to the note of it: a file's write, on a busy host.
const NOTE_LIMIT: Duration = Duration::from_secs(60);

/// Gives the node the topologies that go on and that end.
pub(crate) fn localize(slots: &mut Slots) -> Result<(), E2eError> {
    slots.localize(GOES_ON, IMAGE, "exec sleep 100000")?;
    slots.localize(ENDS, IMAGE, &format!("sleep 0.1; exit {ENDS_WITH}"))
}

/// Lives one life after the other. They share a JVM until one of them kills it.
pub(crate) fn check(node: &Node, verdicts: &mut Verdicts) -> Result<(), E2eError> {
    let mut slots = Slots::start(node)?;
    localize(&mut slots)?;
    let held = HELD_MB << 20;
    let holds = format!(
        "(head -c {held} /dev/zero; : > tmp/holds; exec sleep 100000) | exec tail -c {held}"
    );
    slots.localize(HOLDS, IMAGE, &holds)?;
    slots.localize(GREEDY, IMAGE, "exec dd if=/dev/zero of=/dev/null bs=1G count=1")?;
    let outcome = ends_by_itself(node, &mut slots);
    verdicts.check("a_worker_that_ends_by_itself", outcome);
    let outcome = told_to_end(&mut slots);
    verdicts.check("a_worker_that_is_told_to_end", outcome);
    let outcome = killed_from_outside(node, &mut slots);
    verdicts.check("a_container_that_is_killed_from_outside", outcome);
    let outcome = memory_usage(node, &mut slots);
    verdicts.check("memory_usage_is_what_the_worker_holds", outcome);
    let outcome = out_of_memory(node, &mut slots);
    verdicts.check("a_worker_that_wants_too_much_memory", outcome);
    let outcome = metrics::check(node, &mut slots);
    verdicts.check("a_worker_reports_its_own_cgroup", outcome);
    let outcome = adopted(node, slots);
    verdicts.check("a_worker_that_outlives_its_supervisor", outcome);
    Ok(())
}

pub(crate) fn launch(slots: &mut Slots, topology: &str) -> Result<String, E2eError> {
    let worker = slots.ask(&format!("launch {PORT} {topology}"))?;
    Ok(format!("{PORT}-{worker}"))
}

/// What a slot does once a worker has ended; then nothing of it may be left.
pub(crate) fn clean_up(slots: &mut Slots) -> Result<(), E2eError> {
    slots.ask(&format!("await-death {PORT}"))?;
    slots.ask(&format!("clean-up {PORT}")).map(|_| ())
}

fn exit_code(slots: &mut Slots) -> Result<i64, E2eError> {
    let [code, _] = slots.ask_numbers(&format!("await-exit {PORT}"))?;
    same("Storm's container knows", slots.ask(&format!("exited {PORT}"))?.as_str(), "true")?;
    Ok(code)
}

/// The note of an end in the worker's artifacts.
fn note(node: &Node, topology: &str, container: &str) -> Result<Value, E2eError> {
    let path = node
        .layout
        .scratch("logs/workers-artifacts")
        .join(topology)
        .join(PORT.to_string())
        .join(format!("exit-{container}.json"));
    // It is made where nothing is, and written in one piece after that.
    let found = interrupt::poll(NOTE_LIMIT, || {
        if !path.exists() {
            return Ok(None);
        }
        Ok(serde_json::from_str(&files::read(&path)?).ok())
    })?;
    found.ok_or_else(|| E2eError::TimedOut {
        what: format!("the note of the end of {container}"),
        seconds: NOTE_LIMIT.as_secs(),
        log: path,
    })
}

fn field(note: &Value, pointer: &str) -> Value {
    note.pointer(pointer).cloned().unwrap_or_default()
}

fn ends_by_itself(node: &Node, slots: &mut Slots) -> Result<(), E2eError> {
    let container = launch(slots, ENDS)?;
    same("the exit code is the worker's", exit_code(slots)?, ENDS_WITH)?;
    let note = note(node, ENDS, &container)?;
    same("the note has the code", field(&note, "/exitCode"), ENDS_WITH.into())?;
    same("nobody asked for it", field(&note, "/requested"), false.into())?;
    clean_up(slots)?;
    node.expect_no_container(&container)
}

fn told_to_end(slots: &mut Slots) -> Result<(), E2eError> {
    launch(slots, GOES_ON)?;
    same("it lives", slots.ask(&format!("dead {PORT}"))?.as_str(), "false")?;
    slots.ask(&format!("kill {PORT}"))?;
    same("the exit code is the signal's", exit_code(slots)?, TERMINATED)?;
    clean_up(slots)
}

fn killed_from_outside(node: &Node, slots: &mut Slots) -> Result<(), E2eError> {
    let container = launch(slots, GOES_ON)?;
    kill_init(slots)?;
    same("the exit code is the signal's", exit_code(slots)?, KILLED)?;
    let note = note(node, GOES_ON, &container)?;
    same("nobody asked for it", field(&note, "/requested"), false.into())?;
    same("memory did not run out", field(&note, "/outOfMemory/of"), Value::Null)?;
    clean_up(slots)?;
    node.expect_no_container(&container)
}

fn kill_init(slots: &mut Slots) -> Result<(), E2eError> {
    let [pid] = slots.ask_numbers(&format!("pid {PORT}"))?;
    let pid = u32::try_from(pid)
        .map_err(|error| E2eError::unconfirmed("a pid is a number", error.to_string()))?;
    process::kill(pid);
    Ok(())
}

fn memory_usage(node: &Node, slots: &mut Slots) -> Result<(), E2eError> {
    let container = launch(slots, HOLDS)?;
    let worker = container.split_once('-').map_or("", |(_, worker)| worker);
    let holds_it = node.layout.workers().join(worker).join("tmp/holds");
    interrupt::poll(NOTE_LIMIT, || Ok(holds_it.exists().then_some(())))?;
    let [mib] = slots.ask_numbers(&format!("memory-mb {PORT}"))?;
    let range = HELD_MB..HELD_MB + BESIDE_MB;
    holds(format!("memory usage is in {range:?} MiB"), range.contains(&mib), mib)?;
    slots.ask(&format!("force-kill {PORT}"))?;
    same("the exit code is the signal's", exit_code(slots)?, KILLED)?;
    clean_up(slots)
}

fn out_of_memory(node: &Node, slots: &mut Slots) -> Result<(), E2eError> {
    let container = launch(slots, GREEDY)?;
    same("the exit code is the kernel's signal", exit_code(slots)?, KILLED)?;
    let note = note(node, GREEDY, &container)?;
    same("the container's limit was it", field(&note, "/outOfMemory/of"), "container".into())?;
    same("nobody asked for it", field(&note, "/requested"), false.into())?;
    clean_up(slots)
}

/// The JVM is killed; the next one takes its worker over, and is woken by its end.
fn adopted(node: &Node, mut slots: Slots) -> Result<(), E2eError> {
    let container = launch(&mut slots, GOES_ON)?;
    slots.ask(&format!("heartbeat {PORT} {GOES_ON}"))?;
    let [before]: [i64; 1] = slots.ask_numbers(&format!("pid {PORT}"))?;
    drop(slots);
    let mut slots = Slots::start(node)?;
    let worker = slots.ask(&format!("recover {PORT} {GOES_ON}"))?;
    same("the worker is the same", format!("{PORT}-{worker}"), container.clone())?;
    same("it lives", slots.ask(&format!("dead {PORT}"))?.as_str(), "false")?;
    let [after] = slots.ask_numbers(&format!("pid {PORT}"))?;
    same("the process is the same", after, before)?;
    kill_init(&mut slots)?;
    slots.ask(&format!("await-past-heartbeat {PORT}"))?;
    let note = note(node, GOES_ON, &container)?;
    same("the note says so", field(&note, "/adopted"), true.into())?;
    clean_up(&mut slots)?;
    node.expect_no_container(&container)
}
