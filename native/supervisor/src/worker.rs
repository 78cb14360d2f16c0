//! The worker of one launch: what Java handed in, parsed.

use std::num::NonZeroU16;

use storm_oci_request::{AccountName, ContainerId, HostPath, WorkerId};

use crate::documents::LaunchDocument;
use crate::error::SupervisorError;

/// A worker that is to run.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) user: AccountName,
    pub(crate) topology_id: String,
    pub(crate) id: WorkerId,
    pub(crate) container: ContainerId,
    pub(crate) directory: HostPath,
    /// `<directory>/artifacts`, a link to the next one.
    pub(crate) artifacts: HostPath,
    pub(crate) artifacts_root: HostPath,
    pub(crate) tmp: HostPath,
    pub(crate) user_file: HostPath,
    pub(crate) shared_by_topology: HostPath,
    pub(crate) storm_home: HostPath,
    pub(crate) script: HostPath,
    pub(crate) environment: Vec<(String, String)>,
}

impl Worker {
    /// Parses what a launch names.
    pub(crate) fn parse(document: &LaunchDocument) -> Result<Self, SupervisorError> {
        let user = AccountName::parse(&document.user).map_err(SupervisorError::User)?;
        let id = WorkerId::parse(&document.worker_id)
            .map_err(|source| SupervisorError::Name { what: "worker", source })?;
        let port = u16::try_from(document.port)
            .ok()
            .and_then(NonZeroU16::new)
            .ok_or(SupervisorError::Port(document.port))?;
        let path = |what, text: &str| {
            HostPath::parse(text).map_err(|source| SupervisorError::Name { what, source })
        };
        Ok(Self {
            user,
            topology_id: document.topology_id.clone(),
            container: ContainerId::new(port, &id),
            id,
            directory: path("worker directory", &document.worker_dir)?,
            artifacts: path("artifacts directory", &document.artifacts_dir)?,
            artifacts_root: path("artifacts directory", &document.worker_artifacts_root)?,
            tmp: path("temporary directory", &document.worker_tmp)?,
            user_file: path("worker user file", &document.worker_user_file)?,
            shared_by_topology: path("shared directory", &document.shared_by_topology)?,
            storm_home: path("Storm's home", &document.storm_home)?,
            script: path("worker script", &document.script)?,
            environment: document.environment.0.clone(),
        })
    }
}
