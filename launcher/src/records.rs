//! The records: what root remembers of each container, and trusts.

use rustix::fd::OwnedFd;
use rustix::fs::{Gid, fchown, renameat};
use storm_oci_request::{ContainerId, LaunchRecord};

use crate::directory::Directory;
use crate::error::{LauncherError, Step};
use crate::sys_file::write_all;

/// The mode of a record; its group is the launcher's, so that the library can read it.
const MODE: u32 = 0o640;

/// `<run root>/records`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Records<'a> {
    directory: &'a Directory,
    group: u32,
}

fn launch_name(container: &ContainerId) -> String {
    format!("{container}.json")
}

fn exit_name(container: &ContainerId) -> String {
    format!("{container}.exit.json")
}

impl<'a> Records<'a> {
    /// The records in `directory`, to be readable by `group`.
    pub(crate) fn new(directory: &'a Directory, group: u32) -> Self {
        Self { directory, group }
    }

    /// The record of a container; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`Step::Record`] for one that this version cannot read.
    pub(crate) fn read(
        &self,
        container: &ContainerId,
    ) -> Result<Option<LaunchRecord>, LauncherError> {
        let Some(bytes) = self.directory.read(&launch_name(container))? else {
            return Ok(None);
        };
        LaunchRecord::parse(&bytes).map(Some).map_err(|problem| {
            LauncherError::refused(Step::Record, container.as_str(), problem.to_string())
        })
    }

    /// Writes a container's record in the place of the one that is there.
    pub(crate) fn write(&self, record: &LaunchRecord) -> Result<(), LauncherError> {
        let name = launch_name(&record.container_id);
        let fresh = format!("{name}.new");
        let failed =
            |source| LauncherError::failed(Step::Write, self.directory.path_of(&name), source);
        let mut json = serde_json::to_vec(record).map_err(|_| failed(rustix::io::Errno::INVAL))?;
        json.push(b'\n');
        self.directory.remove_file(&fresh)?;
        let file = self.create(&fresh)?;
        write_all(&file, &json).map_err(failed)?;
        renameat(self.directory, &fresh, self.directory, &name).map_err(failed)
    }

    /// Makes the empty exit record, for the monitor to fill.
    pub(crate) fn create_exit(&self, container: &ContainerId) -> Result<OwnedFd, LauncherError> {
        let name = exit_name(container);
        self.directory.remove_file(&name)?;
        self.create(&name)
    }

    fn create(&self, name: &str) -> Result<OwnedFd, LauncherError> {
        let file = self.directory.create(name, MODE)?;
        fchown(&file, None, Some(Gid::from_raw(self.group))).map_err(|source| {
            LauncherError::failed(Step::Own, self.directory.path_of(name), source)
        })?;
        Ok(file)
    }

    /// Removes all that is recorded of a container, the launch record last.
    pub(crate) fn remove(&self, container: &ContainerId) -> Result<(), LauncherError> {
        let name = launch_name(container);
        self.directory.remove_file(&exit_name(container))?;
        self.directory.remove_file(&format!("{name}.new"))?;
        self.directory.remove_file(&name)
    }

    /// The containers that have a record, in the order of their ids.
    pub(crate) fn containers(&self) -> Result<Vec<ContainerId>, LauncherError> {
        let mut containers: Vec<ContainerId> = self
            .directory
            .entries()?
            .iter()
            .filter_map(|name| ContainerId::parse(name.strip_suffix(".json")?).ok())
            .collect();
        containers.sort();
        Ok(containers)
    }

    /// The record of the container whose first process has this pid; `None` when there is none.
    pub(crate) fn of_init(&self, pid: u32) -> Result<Option<LaunchRecord>, LauncherError> {
        for container in self.containers()? {
            // A record can vanish meanwhile; one of a later version is not ours to act on.
            let Ok(Some(record)) = self.read(&container) else {
                continue;
            };
            if record.init.is_some_and(|init| init.pid == pid) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}
