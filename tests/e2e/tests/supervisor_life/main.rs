//! A supervisor that is stopped, killed and started anew, on a real, unmodified Storm: its workers
//! go on, what ends is acted on, and nothing is left behind.
//!
//! `STORM_OCI_KILLS` says how often the supervisor is killed, `STORM_OCI_SEED` at which moments.

mod ends;
mod kills;
mod steady;

use std::process::ExitCode;

use serde_json::json;
use steady::{NAMES, Steady};
use storm_oci_e2e::say::Steps;
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::testbed::{self, Testbed};
use storm_oci_e2e::verdicts::Verdicts;
use storm_oci_e2e::{E2eError, Layout, topology};

/// When a stock supervisor takes a worker for dead that it has not started itself. Ten times the
/// default: what is relaunched sooner is so for another reason.
const HEARTBEAT_SECONDS: u32 = 300;

fn main() -> ExitCode {
    Verdicts::of(run)
}

fn run(verdicts: &mut Verdicts) -> Result<(), E2eError> {
    let mut steps = Steps::new(testbed::STEPS + 2);
    let mut testbed = Testbed::create(Layout::new("supervisor-life"), &mut steps)?;
    let more = vec![
        ("supervisor.worker.timeout.secs", json!(HEARTBEAT_SECONDS)),
        // Nimbus must not move what goes on while its supervisor is away.
        ("nimbus.task.timeout.secs", json!(HEARTBEAT_SECONDS)),
    ];
    let settings = Settings { more, ..Settings::new(&testbed.layout) };
    testbed.start(&settings, &mut steps)?;
    steps.begin("checks");
    let layout = testbed.layout.clone();
    topology::submit(&layout, &testbed.user, &NAMES.map(|name| (name, "")))?;
    let mut steady = Steady::all(&mut testbed)?;

    let outcome = ends::restart(&mut testbed, &mut steady);
    verdicts.check("workers_outlive_a_restart_and_count_on", outcome);
    let outcome = ends::kill_adopted(&mut testbed, &mut steady);
    verdicts.check("the_end_of_an_adopted_worker_is_acted_on_at_once", outcome);
    let outcome = ends::kill_workers(&mut testbed, &mut steady);
    verdicts.check("kill_workers_beside_a_supervisor_ends_all_and_they_come_back", outcome);
    let outcome = ends::reboot(&mut testbed, &mut steady);
    verdicts.check("after_a_reboot_workers_are_launched_at_once", outcome);
    let outcome = ends::fail_health_check(&mut testbed, &mut steady);
    verdicts.check("a_failed_health_check_ends_all_workers", outcome);
    let outcome = kills::at_random_moments(&mut testbed, &mut steady);
    verdicts.check("workers_outlive_a_supervisor_that_is_killed_at_any_moment", outcome);

    topology::kill(&layout, &testbed.user, &NAMES)?;
    if let [one, ..] = steady.as_slice() {
        testbed.release_layers(&one.container.id())?;
    }
    verdicts.check("killing_leaves_nothing", testbed.expect_no_container());
    steps.begin("removal");
    verdicts.check("removal_leaves_nothing", testbed.remove());
    Ok(())
}
