//! The launcher's records of containers: the only place where containers are looked up.
//!
//! They lie in a directory of root's. Only this supervisor's own count: those its account asked
//! for, of workers below its own workers directory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use storm_oci_request::{ContainerId, DocumentError, ExitRecord, HostPath, LaunchRecord, WorkerId};
use tracing::warn;

use crate::beneath::Directory;
use crate::error::SupervisorError;

/// The directory below the run root.
const DIRECTORY: &str = "records";

/// The end of a launch record's name.
const LAUNCH: &str = ".json";

/// The end of an exit record's name.
const EXIT: &str = ".exit.json";

/// The most that is read of a record. One with 127 layers of long paths has 600 kB.
const RECORD_BYTES: u64 = 1024 * 1024;

/// This supervisor's records.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    directory: PathBuf,
    uid: u32,
    workers_roots: Vec<PathBuf>,
}

impl Records {
    /// The records of account `uid` and of workers below `workers_root`.
    pub(crate) fn new(run_root: &Path, uid: u32, workers_root: &HostPath) -> Self {
        let named = PathBuf::from(workers_root.as_str());
        // A symbolic link on the way: the launcher may have recorded either name.
        let real = fs::canonicalize(&named).ok();
        Self {
            directory: run_root.join(DIRECTORY),
            uid,
            workers_roots: real.into_iter().chain([named]).collect(),
        }
    }

    /// One container's launch record, if it has one and it is ours.
    pub(crate) fn launch(
        &self,
        container: &ContainerId,
    ) -> Result<Option<LaunchRecord>, SupervisorError> {
        Ok(self.of_anybody(container)?.filter(|record| self.is_own(record)))
    }

    /// One container's launch record, whoever's it is.
    fn of_anybody(&self, container: &ContainerId) -> Result<Option<LaunchRecord>, SupervisorError> {
        let name = format!("{container}{LAUNCH}");
        let Some(directory) = self.open()? else {
            return Ok(None);
        };
        let Some(file) = self.open_record(&directory, &name)? else {
            return Ok(None);
        };
        let record = self.parse(&name, &file, LaunchRecord::parse)?;
        Ok(record.filter(|record| record.container_id == *container))
    }

    /// The launch record of a worker's container.
    pub(crate) fn of_worker(
        &self,
        worker: &WorkerId,
    ) -> Result<Option<LaunchRecord>, SupervisorError> {
        for container in self.containers()? {
            if container.worker_id() == *worker
                && let Some(record) = self.launch(&container)?
            {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// All of our launch records. One that cannot be read is passed over with a warning: its
    /// container is found by its cgroup.
    pub(crate) fn all(&self) -> Result<Vec<LaunchRecord>, SupervisorError> {
        Ok(self.of_everybody()?.into_iter().filter(|record| self.is_own(record)).collect())
    }

    /// All launch records of this host, whoever's they are.
    pub(crate) fn of_everybody(&self) -> Result<Vec<LaunchRecord>, SupervisorError> {
        let read = |container: &ContainerId| match self.of_anybody(container) {
            Ok(record) => record,
            Err(error) => {
                warn!(target: "storm_oci.records", "{}", error.report());
                None
            }
        };
        Ok(self.containers()?.iter().filter_map(read).collect())
    }

    /// Opens a container's exit record, which is empty until the container has ended.
    pub(crate) fn exit(
        &self,
        container: &ContainerId,
    ) -> Result<Option<ExitFile>, SupervisorError> {
        let name = format!("{container}{EXIT}");
        let Some(directory) = self.open()? else {
            return Ok(None);
        };
        let file = self.open_record(&directory, &name)?;
        Ok(file.map(|file| ExitFile { file, path: self.directory.join(name) }))
    }

    /// The containers that have a record, whoever's it is.
    fn containers(&self) -> Result<Vec<ContainerId>, SupervisorError> {
        let Some(directory) = self.open()? else {
            return Ok(Vec::new());
        };
        let names = directory.names().map_err(|source| self.unreadable("", source))?;
        Ok(names
            .iter()
            .filter_map(|name| ContainerId::parse(name.strip_suffix(LAUNCH)?).ok())
            .collect())
    }

    /// The records' directory; the launcher makes it at its first launch.
    fn open(&self) -> Result<Option<Directory>, SupervisorError> {
        match Directory::open(&self.directory) {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.unreadable("", source)),
        }
    }

    fn open_record(
        &self,
        directory: &Directory,
        name: &str,
    ) -> Result<Option<File>, SupervisorError> {
        match directory.read(name) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.unreadable(name, source)),
        }
    }

    /// Reads a record; `None` when it is empty, which is how the launcher makes it.
    fn parse<T>(
        &self,
        name: &str,
        file: &File,
        parse: impl Fn(&[u8]) -> Result<T, DocumentError>,
    ) -> Result<Option<T>, SupervisorError> {
        let mut bytes = Vec::new();
        file.take(RECORD_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|source| self.unreadable(name, source))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        parse(&bytes)
            .map(Some)
            .map_err(|source| SupervisorError::Record { path: self.directory.join(name), source })
    }

    fn is_own(&self, record: &LaunchRecord) -> bool {
        let root = Path::new(record.worker_root.as_str());
        record.caller.uid == self.uid && self.workers_roots.iter().any(|own| own == root)
    }

    fn unreadable(&self, name: &str, source: io::Error) -> SupervisorError {
        SupervisorError::ReadRecord { path: self.directory.join(name), source }
    }
}

/// An opened exit record. The monitor writes it in place, so it can be read even after the reaper
/// has removed its name.
#[derive(Debug)]
pub(crate) struct ExitFile {
    file: File,
    path: PathBuf,
}

impl ExitFile {
    /// How the container ended; `None` when the monitor has not written it.
    pub(crate) fn read(&self) -> Result<Option<ExitRecord>, SupervisorError> {
        /// Far more than an exit record has.
        const EXIT_BYTES: usize = 16 * 1024;
        let mut bytes = vec![0_u8; EXIT_BYTES];
        let read = self
            .file
            .read_at(&mut bytes, 0)
            .map_err(|source| SupervisorError::ReadRecord { path: self.path.clone(), source })?;
        bytes.truncate(read);
        if bytes.is_empty() {
            return Ok(None);
        }
        ExitRecord::parse(&bytes)
            .map(Some)
            .map_err(|source| SupervisorError::Record { path: self.path.clone(), source })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::hierarchy::tests::UUID;
    use storm_oci_request::ProcessRecord;

    /// A run root with records in it.
    pub(crate) struct RunRoot(pub(crate) tempfile::TempDir);

    impl RunRoot {
        pub(crate) fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join(DIRECTORY)).unwrap();
            Self(root)
        }

        pub(crate) fn records(&self) -> Records {
            Records::new(self.0.path(), 1000, &HostPath::parse("/srv/workers").unwrap())
        }

        pub(crate) fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(DIRECTORY).join(name), text).unwrap();
        }
    }

    pub(crate) fn launch_record(port: u16, init: Option<ProcessRecord>) -> String {
        let init = serde_json::to_string(&init).unwrap();
        format!(
            r#"{{"version":1,"containerId":"{port}-{UUID}","state":"started",
                "caller":{{"uid":1000,"gid":1000}},"workerRoot":"/srv/workers","user":"u",
                "uid":1001,"gid":1001,"cgroup":"/storm/{port}-{UUID}","layers":[],
                "monitor":null,"init":{init},"launchedMillis":1,"phases":[]}}"#
        )
    }

    fn id(port: u16) -> ContainerId {
        ContainerId::parse(&format!("{port}-{UUID}")).unwrap()
    }

    #[test]
    fn containers_are_found_by_worker_id() {
        let root = RunRoot::new();
        let worker = WorkerId::parse(UUID).unwrap();
        assert_eq!(root.records().of_worker(&worker).unwrap(), None);
        root.write(&format!("6700-{UUID}.json"), &launch_record(6700, None));
        root.write(&format!("6700-{UUID}.exit.json"), "");
        root.write("nonsense.json", "{");
        root.write("6700-00000000-6062-4d08-8ac3-b09e7d35e7cb.json", "{");
        let found = root.records().of_worker(&worker).unwrap().unwrap();
        assert_eq!(found.container_id, id(6700));
        assert_eq!(root.records().all().unwrap(), [found]);
    }

    #[test]
    fn records_of_others_are_not_seen() {
        for (from, to) in [
            (r#""uid":1000"#, r#""uid":1234"#),
            ("/srv/workers", "/srv/workers2"),
            (r#""containerId":"6700"#, r#""containerId":"6701"#),
        ] {
            let root = RunRoot::new();
            let text = launch_record(6700, None).replacen(from, to, 1);
            root.write(&format!("6700-{UUID}.json"), &text);
            assert_eq!(root.records().launch(&id(6700)).unwrap(), None, "{to}");
        }
    }

    #[test]
    fn a_broken_record_is_an_error_that_names_it() {
        let root = RunRoot::new();
        root.write(&format!("6700-{UUID}.json"), r#"{"version":1}"#);
        let error = root.records().launch(&id(6700)).unwrap_err();
        assert!(matches!(&error, SupervisorError::Record { path, .. }
            if path.ends_with(format!("6700-{UUID}.json"))));
        root.write(&format!("6700-{UUID}.json"), "");
        assert_eq!(root.records().launch(&id(6700)).unwrap(), None);
    }

    #[test]
    fn exit_records_are_read_through_the_first_fd() {
        let root = RunRoot::new();
        let name = format!("6700-{UUID}.exit.json");
        assert!(root.records().exit(&id(6700)).unwrap().is_none());
        root.write(&name, "");
        let exit = root.records().exit(&id(6700)).unwrap().unwrap();
        assert_eq!(exit.read().unwrap(), None);
        let text = format!(
            r#"{{"version":1,"containerId":"6700-{UUID}","exitCode":7,"signal":null,
                "oomKills":0,"peakMemoryBytes":null,"cpuMicros":null,"launchedMillis":1,
                "endedMillis":2}}"#
        );
        root.write(&name, &text);
        fs::remove_file(root.0.path().join(DIRECTORY).join(&name)).unwrap();
        assert_eq!(exit.read().unwrap().unwrap().exit_code, Some(7));
    }

    #[test]
    fn without_directory_there_are_no_records() {
        let root = tempfile::tempdir().unwrap();
        let records = Records::new(root.path(), 1000, &HostPath::parse("/srv/workers").unwrap());
        assert!(records.all().unwrap().is_empty());
        assert!(records.exit(&id(6700)).unwrap().is_none());
    }
}
