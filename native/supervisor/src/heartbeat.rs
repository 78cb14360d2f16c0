//! A worker's heartbeat directory, `<worker directory>/heartbeats`, as Storm's `VersionedStore`
//! keeps it: `<number>` is a version, complete once `<number>.version` is there; the highest counts.
//!
//! The directory is the topology user's, so it is opened beneath the workers' root without
//! following a link, and what is written there is new.

use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use storm_oci_request::WorkerId;

use crate::beneath::Directory;

/// The directory's name.
const NAME: &str = "heartbeats";

/// What the name of a complete version ends with.
const COMPLETE: &str = ".version";

/// Storm's supervisor, which reads it, is this account; people may look.
const MODE: u32 = 0o640;

/// Whether a worker has told that it works.
///
/// # Errors
///
/// When its directory is there and cannot be read.
pub(crate) fn exists(workers_root: &Path, worker: &WorkerId) -> io::Result<bool> {
    match open(workers_root, worker) {
        Ok(directory) => Ok(newest(&directory)?.is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a version that counts from now on. Never makes the directory: a worker that Storm has
/// cleaned up after gets no heartbeat.
///
/// # Errors
///
/// What the system says.
pub(crate) fn write(workers_root: &Path, worker: &WorkerId, state: &[u8]) -> io::Result<()> {
    let directory = open(workers_root, worker)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let version = newest(&directory)?.map_or(now, |newest| now.max(newest.saturating_add(1)));
    directory.create(&version.to_string(), MODE)?.write_all(state)?;
    directory.create(&format!("{version}{COMPLETE}"), MODE).map(drop)
}

fn open(workers_root: &Path, worker: &WorkerId) -> io::Result<Directory> {
    Directory::open(&workers_root.join(worker.as_str()))?.directory(NAME)
}

/// The highest number of a complete version.
fn newest(directory: &Directory) -> io::Result<Option<i64>> {
    let names = directory.names()?;
    let number = |name: &String| name.strip_suffix(COMPLETE)?.parse::<i64>().ok();
    Ok(names.iter().filter_map(number).max())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::hierarchy::tests::UUID;

    fn worker() -> WorkerId {
        WorkerId::parse(UUID).unwrap()
    }

    fn root() -> (tempfile::TempDir, std::path::PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let heartbeats = root.path().join(UUID).join(NAME);
        fs::create_dir_all(&heartbeats).unwrap();
        (root, heartbeats)
    }

    #[test]
    fn a_new_version_is_the_highest() {
        let (root, heartbeats) = root();
        assert!(!exists(root.path(), &worker()).unwrap());
        fs::write(heartbeats.join("7"), "not complete").unwrap();
        assert!(!exists(root.path(), &worker()).unwrap());
        let far = i64::MAX - 2;
        for name in [far.to_string(), format!("{far}.version"), "x.version".to_owned()] {
            fs::write(heartbeats.join(name), "").unwrap();
        }
        write(root.path(), &worker(), b"state").unwrap();
        assert!(exists(root.path(), &worker()).unwrap());
        let next = i64::MAX - 1;
        assert_eq!(fs::read(heartbeats.join(next.to_string())).unwrap(), b"state");
        assert!(heartbeats.join(format!("{next}.version")).exists());
    }

    #[test]
    fn nothing_is_made_or_followed() {
        let (root, heartbeats) = root();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::remove_dir(&heartbeats).unwrap();
        assert!(!exists(root.path(), &worker()).unwrap());
        write(root.path(), &worker(), b"state").unwrap_err();
        assert!(!heartbeats.exists());
        symlink(elsewhere.path(), &heartbeats).unwrap();
        exists(root.path(), &worker()).unwrap_err();
        write(root.path(), &worker(), b"state").unwrap_err();
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
