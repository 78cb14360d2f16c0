//! The places on this host where a container leaves traces, opened and checked.

use storm_oci_request::{CgroupPath, ContainerId};

use crate::cgroup::Hierarchies;
use crate::config::Config;
use crate::error::Result;
use crate::run_root::RunRoot;
use crate::runc::Runc;

/// Run root, cgroup hierarchies and runc.
#[derive(Debug)]
pub(crate) struct Host {
    /// Directories, locks and records.
    pub(crate) run_root: RunRoot,
    /// Where the container's cgroup is.
    pub(crate) hierarchies: Hierarchies,
    /// The container runtime.
    pub(crate) runc: Runc,
    cgroup_parent: CgroupPath,
}

impl Host {
    /// Opens all of them.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        Ok(Self {
            run_root: RunRoot::open(config)?,
            hierarchies: Hierarchies::find()?,
            runc: Runc::open(config)?,
            cgroup_parent: config.cgroup_parent.clone(),
        })
    }

    /// The one cgroup of a container.
    pub(crate) fn cgroup_of(&self, container: &ContainerId) -> CgroupPath {
        CgroupPath::of(&self.cgroup_parent, container)
    }
}
