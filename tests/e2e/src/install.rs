//! Building this project and installing it with its own Makefile.

use std::path::Path;
use std::process::Command;

use crate::accounts::{Account, MIN_USER_ID};
use crate::cluster::as_account;
use crate::{E2eError, Layout, command, files};

/// Builds library, jar and launcher as `make build` does. The launcher is built for this layout's
/// configuration directory at once, so that installing it builds nothing.
///
/// # Errors
///
/// [`E2eError::Ended`].
pub fn build(layout: &Layout) -> Result<(), E2eError> {
    let mut make = make(layout, "build");
    command::run("build the library, the jar and the launcher", &mut make, &layout.log("build"))
}

/// Installs into the scratch prefix. The launcher's configuration is then the example's.
///
/// # Errors
///
/// [`E2eError::Ended`].
pub fn install(layout: &Layout) -> Result<(), E2eError> {
    command::run("install", &mut make(layout, "install"), &layout.log("install"))
}

/// What the launcher makes of its configuration: one `key=value` a line.
///
/// # Errors
///
/// [`E2eError::Unconfirmed`] when it refuses it.
pub fn print_config(layout: &Layout, daemon: &Account) -> Result<String, E2eError> {
    command::output(as_account(daemon).arg(layout.launcher()).arg("--print-config"))
}

/// Lets the launcher look at its own installation.
///
/// # Errors
///
/// [`E2eError::Unconfirmed`] with the problems it finds.
pub fn check_setup(layout: &Layout, daemon: &Account) -> Result<(), E2eError> {
    command::output(as_account(daemon).arg(layout.launcher()).arg("--checksetup")).map(|_| ())
}

/// Writes the launcher's configuration: this run's, and `banned` accounts.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn write_launcher_conf(layout: &Layout, banned: &[&str]) -> Result<(), E2eError> {
    let content = format!(
        "storm.worker-launcher.group={}\n\
         min.user.id={MIN_USER_ID}\n\
         banned.users=bin,{}\n\
         worker.launcher.oci.run-root={}\n\
         worker.launcher.oci.runc=/usr/sbin/runc\n\
         worker.launcher.oci.init={}\n\
         worker.launcher.oci.cgroup-parent={}\n\
         worker.profiler.script.path={}\n",
        layout.daemon_account(),
        banned.join(","),
        layout.run_root.display(),
        layout.init().display(),
        layout.cgroup_parent(),
        layout.profiler().display(),
    )
    .replace("bin,\n", "bin\n");
    files::replace(&layout.launcher_conf(), content)
}

fn make(layout: &Layout, target: &str) -> Command {
    let mut make = Command::new("make");
    make.arg("--no-print-directory")
        .arg("-C")
        .arg(&layout.repository)
        .arg(target)
        .arg(variable("PREFIX", &layout.prefix()))
        .arg(variable("CONF_DIR", &layout.scratch("conf")))
        .arg(format!("GROUP={}", layout.daemon_account()));
    make
}

fn variable(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
