//! Claiming a container's id: its directory, its lock and its records, before any other effect.
//!
//! The order makes every crash harmless. Between a claim's directory and its record nothing else
//! happens, and others are kept out; so a directory without a record is empty and anybody's to
//! remove. Everything else that a launch leaves anywhere is there only while the record is.

use rustix::fd::OwnedFd;
use storm_oci_request::LaunchRecord;

use crate::directory::Directory;
use crate::error::{LauncherError, Result, Step};
use crate::host::Host;
use crate::launch;
use crate::remains::{self, Hold};
use crate::run_root::{lock_file, try_lock};
use crate::switches::without;

/// The directories that a launch needs in its container's directory.
const DIRECTORIES: [&str; 5] = ["rootfs", "upper", "work", "binds", "stage"];

/// A claimed container.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Its lock, held.
    pub(crate) lock: OwnedFd,
    /// Its exit record, empty.
    pub(crate) exit_record: OwnedFd,
}

/// Claims the container of `record`, and writes the record.
///
/// What an interrupted launch of the same container left is removed first.
///
/// # Errors
///
/// [`Step::Launch`] when it is there and no leftover of the same caller's.
pub(crate) fn claim(host: &Host, record: &LaunchRecord) -> Result<Claim> {
    let container = &record.container_id;
    match remains::take(host, container, record.caller.uid) {
        Ok(Hold::Taken(leftover)) if leftover.is_orphan(host)? => leftover.remove(host)?,
        // Below, its directory says that it exists.
        Ok(_) => {}
        Err(error) if error.step == Step::Foreign => {}
        Err(error) => return Err(error),
    }
    let others = host.run_root.serialize()?;
    let root = host.run_root.root();
    if root.find(container.as_str())?.is_some() {
        return Err(exists(record, "its directory exists and is no leftover"));
    }
    if let Some(place) = host.hierarchies.existing(&record.cgroup)?
        && !without("cgroup-must-not-exist")
    {
        return Err(Step::Cgroup.refused(place, "it exists already"));
    }
    let directory = root.make(container.as_str())?;
    let claimed = fill(host, record, &directory);
    drop(others);
    if claimed.is_err() {
        launch::undo(host, container);
    }
    claimed
}

fn exists(record: &LaunchRecord, problem: &str) -> LauncherError {
    Step::Launch.refused(record.container_id.as_str(), problem)
}

fn fill(host: &Host, record: &LaunchRecord, directory: &Directory) -> Result<Claim> {
    let lock = lock_file(directory)?;
    if !try_lock(&lock)? {
        return Err(exists(record, "its directory is locked"));
    }
    host.run_root.write_record(record)?;
    for name in DIRECTORIES {
        directory.make(name)?;
    }
    Ok(Claim { exit_record: host.run_root.create_exit_record(&record.container_id)?, lock })
}
