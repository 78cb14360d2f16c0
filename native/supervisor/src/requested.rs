//! Which workers were asked to end: a file for each in `<storm.local.dir>/supervisor/oci-ending`.
//!
//! Who asks and who sees the end may be two processes: `storm kill_workers` runs beside the
//! supervisor, and a supervisor may be started anew in between. The file is made before the signal
//! is sent. It does not lie in the worker's directory, where the topology's user could make or
//! remove it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use storm_oci_request::{HostPath, WorkerId};

/// The directory's name.
const NAME: &str = "oci-ending";

/// Nobody else need see it; it lies in a directory that containers see.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The workers that were asked to end and are not cleaned up after yet.
#[derive(Clone, Debug)]
pub(crate) struct RequestedEnds {
    directory: PathBuf,
}

impl RequestedEnds {
    /// Those of the supervisor with this local directory, which is its account's.
    pub(crate) fn new(supervisor_local_dir: &HostPath) -> Self {
        Self { directory: Path::new(supervisor_local_dir.as_str()).join(NAME) }
    }

    /// Notes that a worker is about to be asked to end. May be repeated.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn add(&self, worker: &WorkerId) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&self.directory)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(FILE_MODE);
        options.open(self.file(worker)).map(drop)
    }

    /// Whether a worker was asked to end. One that cannot be looked up was not.
    pub(crate) fn contains(&self, worker: &WorkerId) -> bool {
        self.file(worker).exists()
    }

    /// Forgets a worker, whether it was asked or not.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn remove(&self, worker: &WorkerId) -> io::Result<()> {
        match fs::remove_file(self.file(worker)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets the workers that have no directory below `workers_root` any more: whoever cleaned
    /// up after them did not come to forget them.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn sweep(&self, workers_root: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let worker = name.to_str().and_then(|name| WorkerId::parse(name).ok());
            if let Some(worker) = worker
                && !workers_root.join(worker.as_str()).exists()
            {
                self.remove(&worker)?;
            }
        }
        Ok(())
    }

    fn file(&self, worker: &WorkerId) -> PathBuf {
        self.directory.join(worker.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::hierarchy::tests::UUID;

    #[test]
    fn workers_are_noted_and_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let ends = RequestedEnds::new(&HostPath::parse(root.path().to_str().unwrap()).unwrap());
        let worker = WorkerId::parse(UUID).unwrap();
        assert!(!ends.contains(&worker));
        ends.remove(&worker).unwrap();
        ends.sweep(root.path()).unwrap();
        ends.add(&worker).unwrap();
        ends.add(&worker).unwrap();
        assert!(ends.contains(&worker));
        let mode = fs::metadata(root.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, DIRECTORY_MODE);
        ends.remove(&worker).unwrap();
        assert!(!ends.contains(&worker));
    }

    #[test]
    fn a_sweep_keeps_those_that_have_a_directory() {
        let root = tempfile::tempdir().unwrap();
        let ends = RequestedEnds::new(&HostPath::parse(root.path().to_str().unwrap()).unwrap());
        let worker = WorkerId::parse(UUID).unwrap();
        let workers = root.path().join("workers");
        fs::create_dir_all(workers.join(UUID)).unwrap();
        ends.add(&worker).unwrap();
        ends.sweep(&workers).unwrap();
        assert!(ends.contains(&worker));
        fs::remove_dir(workers.join(UUID)).unwrap();
        ends.sweep(&workers).unwrap();
        assert!(!ends.contains(&worker));
    }
}
