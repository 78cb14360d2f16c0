//! The records: what root remembers of each container, and trusts.

use rustix::fd::OwnedFd;
use rustix::fs::{Gid, fchown, renameat};
use rustix::io::Errno;
use storm_oci_request::{ContainerId, LaunchRecord};

use crate::error::{Result, Step};
use crate::run_root::RunRoot;

/// The mode of a record; its group is the launcher's, so that the library can read it.
const MODE: u32 = 0o640;

fn launch_name(container: &ContainerId) -> String {
    format!("{container}.json")
}

fn fresh_name(container: &ContainerId) -> String {
    format!("{container}.json.new")
}

fn exit_name(container: &ContainerId) -> String {
    format!("{container}.exit.json")
}

/// `<run root>/records`.
impl RunRoot {
    /// The record of a container; `None` when there is none, or one that a loss of power emptied.
    ///
    /// # Errors
    ///
    /// [`Step::Record`] for one that this version cannot read.
    pub(crate) fn read_record(&self, container: &ContainerId) -> Result<Option<LaunchRecord>> {
        let bytes = self.records.read(&launch_name(container))?.unwrap_or_default();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        LaunchRecord::parse(&bytes)
            .map(Some)
            .map_err(|problem| Step::Record.refused(container.as_str(), problem.to_string()))
    }

    /// Writes a container's record in the place of the one that is there.
    pub(crate) fn write_record(&self, record: &LaunchRecord) -> Result<()> {
        let name = launch_name(&record.container_id);
        let fresh = fresh_name(&record.container_id);
        let path = self.records.path_of(&name);
        let failed = Step::Write.failed(path.as_str());
        let mut json = serde_json::to_vec(record).map_err(|_| failed(Errno::INVAL))?;
        json.push(b'\n');
        let file = self.create_record(&fresh)?;
        crate::sys_file::write_all(&file, &json).map_err(failed)?;
        renameat(&self.records, &fresh, &self.records, &name).map_err(failed)
    }

    /// Makes the empty exit record, for the monitor to fill.
    pub(crate) fn create_exit_record(&self, container: &ContainerId) -> Result<OwnedFd> {
        self.create_record(&exit_name(container))
    }

    fn create_record(&self, name: &str) -> Result<OwnedFd> {
        let file = self.records.replace(name, MODE)?;
        fchown(&file, None, Some(Gid::from_raw(self.group)))
            .map_err(Step::Own.failed(&self.records.path_of(name)))?;
        Ok(file)
    }

    /// Removes all that is recorded of a container, the launch record last.
    pub(crate) fn remove_records(&self, container: &ContainerId) -> Result<()> {
        self.records.remove_file(&exit_name(container))?;
        self.records.remove_file(&fresh_name(container))?;
        self.records.remove_file(&launch_name(container))
    }

    /// The record of the container whose first process has this pid; `None` when there is none.
    pub(crate) fn record_of_init(&self, pid: u32) -> Result<Option<LaunchRecord>> {
        for container in self.containers()? {
            // A record can vanish meanwhile; one of a later version is not ours to act on.
            let Ok(Some(record)) = self.read_record(&container) else {
                continue;
            };
            if record.init.is_some_and(|init| init.pid == pid) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}
