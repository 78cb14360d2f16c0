//! Building this project and installing it with its own Makefile.

use std::path::Path;
use std::process::Command;

use crate::accounts::MIN_USER_ID;
use crate::{E2eError, Layout, command, files};

/// Builds library, jar and launcher as `make build` does. The launcher is built for this layout's
/// configuration directory at once, so that installing it builds nothing.
///
/// # Errors
///
/// [`E2eError::Ended`].
pub fn build(layout: &Layout) -> Result<(), E2eError> {
    let mut make = make(layout, "build");
    command::run(
        "build the library, the jar and the launcher",
        &mut make,
        &layout.log("build"),
    )
}

/// Installs into the scratch prefix, and writes this run's own values into the launcher's
/// configuration.
///
/// # Errors
///
/// [`E2eError::Ended`].
pub fn install(layout: &Layout) -> Result<(), E2eError> {
    files::make_dir(&layout.scratch("conf"))?;
    write_launcher_conf(layout, &[])?;
    command::run(
        "install",
        &mut make(layout, "install"),
        &layout.log("install"),
    )
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
         worker.launcher.oci.cgroup-parent={}\n",
        layout.daemon_account(),
        banned.join(","),
        layout.run_root.display(),
        layout.cgroup_parent(),
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
