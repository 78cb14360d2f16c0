//! The same three failures on Storm's default manager, without containers, and on this project.

use std::fmt::Write as _;

use serde_json::json;
use storm_oci_e2e::commanded::{self, Worker};
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::verdicts::Verdicts;
use storm_oci_e2e::{E2eError, Layout, Testbed, process, say, topology};

use crate::timing::{Seconds, now};
use crate::{restart, starts};

const EXITS: &str = "exits";
const ADOPTED: &str = "taken-over";

/// What Storm's default for `supervisor.worker.start.timeout.secs` is, and what is used here.
const DEFAULT_START_SECONDS: u32 = 120;
const START_SECONDS: u32 = 30;

/// Until the next worker's start, in milliseconds.
struct Measured {
    exits: u64,
    fails: u64,
    adopted: u64,
}

/// Prints both columns. That each failure is made up for is all that is asserted.
pub(crate) fn run(
    testbed: &mut Testbed,
    settings: &Settings,
    verdicts: &mut Verdicts,
) -> Result<(), E2eError> {
    // With Storm's own time for heartbeats.
    let (worker_start_seconds, more) = (START_SECONDS, Vec::new());
    let settings = Settings { worker_start_seconds, more, ..settings.clone() };
    let plain = Settings { contained: false, ..settings.clone() };
    restart(testbed, &plain)?;
    let stock = measure(testbed, &plain);
    restart(testbed, &settings)?;
    let ours = measure(testbed, &settings);
    let outcome = stock.and_then(|stock| Ok((stock, ours?)));
    verdicts.check("failures_are_made_up_for_on_both", outcome.map(|both| tell(&both.0, &both.1)));
    Ok(())
}

fn tell(stock: &Measured, ours: &Measured) {
    let start = format!(
        "the start of one that ends before its first heartbeat \
         (timeout {START_SECONDS} s, default {DEFAULT_START_SECONDS} s)"
    );
    let mut table = String::new();
    let mut row = |case: &str, stock: &str, ours: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{case:<86} {stock:>10} {ours:>10}");
    };
    row("until the next worker starts, from", "stock", "ours");
    for (case, stock, ours) in [
        ("System.exit(7), of which Storm's own shutdown takes 3 s", stock.exits, ours.exits),
        (start.as_str(), stock.fails, ours.fails),
        ("the kill of one that a restarted supervisor took over", stock.adopted, ours.adopted),
    ] {
        row(case, &Seconds(stock).to_string(), &Seconds(ours).to_string());
    }
    say::plain(table);
}

fn measure(testbed: &mut Testbed, settings: &Settings) -> Result<Measured, E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    let plain = json!({});
    commanded::submit(&layout, &user, &[(EXITS, plain.clone()), (ADOPTED, plain)])?;
    let exits = commanded::works(&layout, EXITS, None)?;
    let adopted = commanded::works(&layout, ADOPTED, None)?;
    exits.tell("exit 7")?;
    let exits = until_next(&layout, EXITS, &exits)?;

    commanded::submit(&layout, &user, &[(starts::NAME, starts::configuration())])?;
    let first = commanded::await_some(&layout, "a first start", || {
        testbed.check()?;
        Worker::of(&layout, starts::NAME)
    })?;
    let fails = until_next(&layout, starts::NAME, &first)?;

    restart(testbed, settings)?;
    let working = commanded::works(&layout, ADOPTED, None)?;
    end(testbed, &working)?;
    let adopted = until_next(&layout, ADOPTED, &adopted)?;
    topology::kill(&layout, &user, &[EXITS, ADOPTED, starts::NAME])?;
    Ok(Measured { exits, fails, adopted })
}

/// From now to another worker's directory, which Storm makes just before it starts the worker.
fn until_next(layout: &Layout, name: &str, before: &Worker) -> Result<u64, E2eError> {
    let began = now();
    commanded::await_some(layout, format!("the next worker of {name}"), || {
        Ok(Worker::of(layout, name)?.filter(|worker| worker.id != before.id))
    })?;
    Ok(now().saturating_sub(began))
}

/// Kills all of a worker: it is known by its id, which its command line has.
fn end(testbed: &Testbed, worker: &Worker) -> Result<(), E2eError> {
    for (pid, _) in process::of_users(&[testbed.user.uid])? {
        if process::command_line(pid).contains(&worker.id) {
            process::kill(pid);
        }
    }
    Ok(())
}
