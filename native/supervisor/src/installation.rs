//! What is installed on this node: the launcher's own check and what it says of its
//! configuration.

use std::path::{Path, PathBuf};

use storm_oci_request::CgroupPath;

use crate::config::keys;
use crate::error::SupervisorError;
use crate::launcher::{Launcher, SHORT};

/// Keys of `worker-launcher.cfg` as `--print-config` prints them.
const RUN_ROOT: &str = "worker.launcher.oci.run-root";
const CGROUP_PARENT: &str = "worker.launcher.oci.cgroup-parent";

/// What the library needs to know of the launcher.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) run_root: PathBuf,
    cgroup_parent: String,
}

impl Installation {
    /// Lets the launcher check itself and tell its configuration.
    ///
    /// # Errors
    ///
    /// Every problem it names.
    pub(crate) fn check(launcher: &Launcher) -> Result<Self, Vec<SupervisorError>> {
        let one = |error| vec![error];
        let root = Path::new("/");
        let check = launcher.run("--checksetup", &["--checksetup"], root, SHORT).map_err(one)?;
        if let Some(refusal) = check.refusal() {
            let problems = check.problems();
            return Err(if problems.is_empty() { one(refusal) } else { problems });
        }
        let config =
            launcher.run("--print-config", &["--print-config"], root, SHORT).map_err(one)?;
        if let Some(refusal) = config.refusal() {
            return Err(one(refusal));
        }
        let value = |key| {
            config
                .value(key)
                .map(str::to_owned)
                .ok_or_else(|| one(SupervisorError::LauncherSilent { key }))
        };
        Ok(Self { run_root: PathBuf::from(value(RUN_ROOT)?), cgroup_parent: value(CGROUP_PARENT)? })
    }

    /// Library and launcher must mean the same cgroup: the launcher refuses any other.
    pub(crate) fn agrees_on(&self, cgroup_parent: &CgroupPath) -> Result<(), SupervisorError> {
        if self.cgroup_parent == cgroup_parent.as_str() {
            return Ok(());
        }
        Err(SupervisorError::SettingsContradict {
            key: keys::CGROUP_PARENT,
            value: cgroup_parent.to_string(),
            other: CGROUP_PARENT,
            other_value: format!("`{}` in `worker-launcher.cfg`", self.cgroup_parent),
        })
    }
}
