//! What operators do to a topology that runs.

use serde_json::json;
use storm_oci_e2e::commanded::{self, Ticks, Worker};
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::verdicts::{Verdicts, holds, same};
use storm_oci_e2e::{E2eError, Layout, Testbed, container, operate, topology};

use crate::measured;
use crate::timing::{Seconds, now};

/// One that is moved about.
const NAME: &str = "is-operated";
/// How long Nimbus is to wait before it takes the workers away, in seconds: workers look every 10 s
/// whether they are deactivated.
const WAIT: u64 = 20;

/// Deactivation, activation, rebalancing, and a kill that waits.
pub(crate) fn run(
    testbed: &mut Testbed,
    _: &Settings,
    verdicts: &mut Verdicts,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    commanded::submit(&layout, &user, &[(NAME, json!({ "topology.tasks": 2 }))])?;
    let worker = commanded::works(&layout, NAME, None)?;
    verdicts.check("deactivation_keeps_the_worker", switched(testbed, &worker, "deactivate"));
    verdicts.check("activation_keeps_the_worker", switched(testbed, &worker, "activate"));
    verdicts.check("rebalancing_makes_a_worker_more", rebalanced(testbed, &worker));
    verdicts.check("a_kill_waits_as_long_as_it_is_told", killed_after(testbed));
    Ok(())
}

fn spouts(layout: &Layout, worker: &Worker, active: bool) -> Result<Ticks, E2eError> {
    commanded::await_some(layout, format!("spouts with active = {active}"), || {
        Ok(worker.ticks()?.filter(|ticks| ticks.active == active))
    })
}

fn switched(testbed: &mut Testbed, worker: &Worker, verb: &str) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let began = now();
    operate::run(&layout, &testbed.user, verb, &[NAME.to_owned()])?;
    let ticks = spouts(&layout, worker, verb == "activate")?;
    measured(verb, format!("in the spouts within {}", Seconds(now().saturating_sub(began))));
    if ticks.active {
        let next = commanded::works(&layout, NAME, None)?;
        same("the worker is the same", &next.id, &worker.id)?;
    }
    commanded::container(&layout, NAME, worker).map(|_| ())
}

fn rebalanced(testbed: &mut Testbed, before: &Worker) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let began = now();
    operate::run(&layout, &testbed.user, "rebalance", &[format!("{NAME}=2")])?;
    let both = commanded::await_some(&layout, "two workers at work", || {
        testbed.check()?;
        let workers = Worker::all(&layout, NAME)?;
        let mut working = 0;
        // Until it has ended, the one from before is there, too.
        for worker in workers.iter().filter(|worker| worker.id != before.id) {
            working += usize::from(worker.ticks()?.is_some_and(|ticks| ticks.ticks > 0));
        }
        Ok((workers.len() == 2 && working == 2).then_some(workers))
    })?;
    measured("rebalance", format!("two at work within {}", Seconds(now().saturating_sub(began))));
    let records = container::records(&layout)?;
    for worker in both {
        let id = &worker.id;
        let contained = records.iter().any(|record| record.container_id.to_string().ends_with(id));
        holds("each worker has a container", contained, id)?;
    }
    Ok(())
}

/// The workers go on, with spouts deactivated, until the time is over.
fn killed_after(testbed: &mut Testbed) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let workers = Worker::all(&layout, NAME)?;
    let began = now();
    operate::run(&layout, &testbed.user, "kill-after", &[format!("{NAME}={WAIT}")])?;
    for worker in &workers {
        spouts(&layout, worker, false)?;
    }
    topology::gone(&layout, &[NAME])?;
    measured("kill-after", format!("gone within {}", Seconds(now().saturating_sub(began))));
    for worker in &workers {
        let note = worker.end(&layout)?;
        same("Storm asked for it", note.requested, true)?;
        let lived = note.ended_millis.saturating_sub(began);
        holds("it lived until the time was over", lived >= WAIT * 1000, Seconds(lived))?;
    }
    Ok(())
}
