//! What a client asks of Nimbus, all through one program of the topology's jar, `Operate`.

use std::process::Command;

use crate::accounts::Account;
use crate::cluster::{NO_COUNTERS, as_account, class_path, storm_properties};
use crate::topology::topology_jar;
use crate::{E2eError, Layout, command};

/// Does `verb` to each of the arguments, as the program says.
///
/// # Errors
///
/// [`E2eError::Ended`] when Nimbus refuses.
pub fn run(
    layout: &Layout,
    account: &Account,
    verb: &str,
    arguments: &[String],
) -> Result<(), E2eError> {
    let mut client = client(layout, account, verb, arguments);
    command::run(&format!("{verb} the topology"), &mut client, &layout.log("topology"))
}

/// How many executors of a topology Nimbus knows to be alive.
///
/// # Errors
///
/// [`E2eError::Unconfirmed`] when Nimbus does not know the topology.
pub fn alive(layout: &Layout, account: &Account, name: &str) -> Result<u32, E2eError> {
    let output = command::output(&mut client(layout, account, "alive", &[name.to_owned()]))?;
    let start = format!("alive {name} ");
    let count = output.lines().find_map(|line| line.strip_prefix(&start)?.trim().parse().ok());
    count.ok_or_else(|| E2eError::unconfirmed("Nimbus tells what is alive", output))
}

fn client(layout: &Layout, account: &Account, verb: &str, arguments: &[String]) -> Command {
    let jar = topology_jar(layout).display().to_string();
    let mut java = as_account(account);
    java.args(["java", "-client", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", NO_COUNTERS])
        .args(storm_properties(layout))
        .arg(format!("-Dstorm.jar={jar}"))
        .args(["-Dstorm.dependency.jars=", "-Dstorm.dependency.artifacts={}", "-cp"])
        .arg(format!("{jar}:{}", class_path(layout, &["lib-worker", "extlib"], "nimbus-conf")))
        .args(["Operate", verb])
        .args(arguments);
    java
}
