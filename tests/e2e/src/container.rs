//! A running container, found by the record its launch left.

use std::path::{Path, PathBuf};

use storm_oci_request::LaunchRecord;

use crate::mountinfo::{self, Mount};
use crate::process::Status;
use crate::{E2eError, Layout, cgroups, files, topology};

/// A container of this run.
#[derive(Clone, Debug)]
pub struct Container {
    /// What the launcher wrote down.
    pub record: LaunchRecord,
    /// Its pid 1 on the host.
    pub init: u32,
    /// The worker's directory.
    pub worker: PathBuf,
}

impl Container {
    /// The container of a topology's only worker.
    ///
    /// # Errors
    ///
    /// [`E2eError::Unconfirmed`] when the topology has not exactly one worker with a record of a
    /// started launch.
    pub fn of(layout: &Layout, topology: &str) -> Result<Self, E2eError> {
        let claim = || format!("{topology} runs in one container");
        let workers = topology::workers(layout, topology)?;
        let [worker] = workers.as_slice() else {
            return Err(E2eError::unconfirmed(claim(), format!("{} workers", workers.len())));
        };
        let id = worker.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for record in records(layout)? {
            if record.container_id.to_string().ends_with(&id)
                && let Some(init) = record.init
            {
                return Ok(Self { record, init: init.pid, worker: worker.clone() });
            }
        }
        Err(E2eError::unconfirmed(claim(), format!("no record of worker {id}")))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        self.record.container_id.to_string()
    }

    /// What the launcher was asked for, `oci-config.json`.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`] or [`E2eError::Document`].
    pub fn request(&self) -> Result<serde_json::Value, E2eError> {
        let text = files::read(&self.worker.join("oci-config.json"))?;
        serde_json::from_str(&text).map_err(|error| E2eError::Document {
            document: "oci-config.json".to_owned(),
            reason: error.to_string(),
        })
    }

    /// Its cgroup, such as `/storm/6700-...`.
    #[must_use]
    pub fn cgroup(&self) -> String {
        self.record.cgroup.to_string()
    }

    /// All its processes.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn processes(&self) -> Result<Vec<u32>, E2eError> {
        Ok(cgroups::processes(&self.cgroup())?.into_iter().collect())
    }

    /// The host's pid of a process that the container knows by `inside`.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn host_pid(&self, inside: u32) -> Result<Option<u32>, E2eError> {
        let inside = inside.to_string();
        Ok(self.processes()?.into_iter().find(|pid| {
            // A process may end between the listing and the look.
            let status = Status::read(*pid);
            status.is_ok_and(|status| {
                status.field("NSpid").split_whitespace().last() == Some(&inside)
            })
        }))
    }

    /// A file as the container sees it.
    #[must_use]
    pub fn inside(&self, path: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.init.to_string())
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// The mounts the container sees.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`] when it has ended.
    pub fn mounts(&self) -> Result<Vec<Mount>, E2eError> {
        mountinfo::of(&self.init.to_string())
    }
}

/// The records of all launches that have not been cleaned up.
///
/// # Errors
///
/// [`E2eError::Document`] when one is not a record.
pub fn records(layout: &Layout) -> Result<Vec<LaunchRecord>, E2eError> {
    let mut records = Vec::new();
    for path in files::list(&layout.run_root.join("records"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".json") || name.ends_with(".exit.json") {
            continue;
        }
        let text = match files::read(&path) {
            // Cleaned up after it was listed.
            Err(_) if !path.exists() => continue,
            text => text?,
        };
        let record = LaunchRecord::parse(text.as_bytes()).map_err(|error| E2eError::Document {
            document: path.display().to_string(),
            reason: error.to_string(),
        })?;
        records.push(record);
    }
    Ok(records)
}

/// The layers that are mounted on the host, by their mount points.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn mounted_layers(layout: &Layout) -> Result<Vec<Mount>, E2eError> {
    let mut mounts = mountinfo::of("self")?;
    mounts.retain(|mount| mount.target.starts_with(layout.run_root.join("layers")));
    Ok(mounts)
}
