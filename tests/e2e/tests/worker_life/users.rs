//! Two users of one node, whose containers share layers and nothing else.

use std::path::Path;

use serde_json::json;
use storm_oci_e2e::accounts::Account;
use storm_oci_e2e::cluster::as_account;
use storm_oci_e2e::commanded::{self, Worker};
use storm_oci_e2e::container::{self, Container};
use storm_oci_e2e::process::Status;
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::verdicts::{Verdicts, holds, same};
use storm_oci_e2e::{E2eError, Testbed, command, topology};

const ONE: &str = "of-one-user";
const OTHER: &str = "of-another-user";

/// Nimbus takes all clients for one user without Kerberos, so it is started anew for the other.
pub(crate) fn run(
    testbed: &mut Testbed,
    settings: &Settings,
    verdicts: &mut Verdicts,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let (user, other) = (testbed.user.clone(), testbed.other.clone());
    commanded::submit(&layout, &user, &[(ONE, json!({}))])?;
    let one = commanded::works(&layout, ONE, None)?;
    nimbus_for(testbed, settings, &other)?;
    commanded::submit(&layout, &user, &[(OTHER, json!({}))])?;
    let another = commanded::works(&layout, OTHER, None)?;
    verdicts.check("two_users_share_layers_and_nothing_else", apart(testbed, &one, &another));
    topology::kill(&layout, &user, &[ONE, OTHER])?;
    nimbus_for(testbed, settings, &user)
}

fn nimbus_for(
    testbed: &mut Testbed,
    settings: &Settings,
    account: &Account,
) -> Result<(), E2eError> {
    let cluster = testbed.cluster.as_mut().ok_or(E2eError::Interrupted)?;
    cluster.start_nimbus(&Settings { submitter: account.name.clone(), ..settings.clone() })
}

fn apart(testbed: &mut Testbed, one: &Worker, another: &Worker) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let first = commanded::container(&layout, ONE, one)?;
    let second = commanded::container(&layout, OTHER, another)?;
    belongs(&first, &testbed.user)?;
    belongs(&second, &testbed.other)?;

    let mounts = container::mounted_layers(&layout)?;
    let keys = |container: &Container| -> Vec<String> {
        container.record.layers.iter().map(|layer| layer.key.to_string()).collect()
    };
    same("both have the same layers", keys(&first), keys(&second))?;
    for key in keys(&first) {
        let target = layout.run_root.join("layers").join(&key).join("mnt");
        let count = mounts.iter().filter(|mount| mount.target == target).count();
        same("a shared layer is mounted once", count, 1)?;
    }
    private(&testbed.other, &one.artifacts)?;
    private(&testbed.user, &another.artifacts)
}

fn belongs(container: &Container, account: &Account) -> Result<(), E2eError> {
    same("the container is its user's", container.record.uid, account.uid)?;
    let pids = container.processes()?;
    holds("a worker is at least two processes", pids.len() >= 2, format!("{pids:?}"))?;
    for pid in pids {
        same("every process is its user's", Status::read(pid)?.only_id("Uid"), Some(account.uid))?;
    }
    Ok(())
}

/// An account that is not the worker's reads nothing of it.
fn private(account: &Account, artifacts: &Path) -> Result<(), E2eError> {
    let read = command::output(as_account(account).arg("cat").arg(artifacts.join("worker.log")));
    holds("another user's log is not readable", read.is_err(), artifacts.display())
}
