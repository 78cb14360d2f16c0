//! How much memory workers use and how much is free.
//!
//! The working set is what a cgroup cannot give back at once: its usage without inactive file
//! pages, which the kernel drops first. It is read every few seconds for every worker, so the
//! files stay open.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storm_oci_request::{CgroupPath, CgroupVersion, WorkerId};

use crate::error::SupervisorError;
use crate::hierarchy::{Hierarchies, ancestors, is_gone};

/// Where the kernel tells the host's memory.
const MEMINFO: &str = "/proc/meminfo";

/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

/// Room for a cgroup's `memory.stat`; longer ones are read in several pieces.
const STAT_BYTES: usize = 8192;

/// Reads memory figures of workers and of the node.
#[derive(Debug)]
pub(crate) struct Meter {
    hierarchies: Arc<Hierarchies>,
    parent: CgroupPath,
    open: Mutex<HashMap<WorkerId, Arc<MemoryFiles>>>,
}

impl Meter {
    pub(crate) fn new(hierarchies: Arc<Hierarchies>, parent: CgroupPath) -> Self {
        Self { hierarchies, parent, open: Mutex::default() }
    }

    /// A worker's working set in bytes; 0 when its cgroup does not exist (any more).
    ///
    /// `cgroup` is asked where to look when the worker's files are not open yet.
    pub(crate) fn working_set(
        &self,
        worker: &WorkerId,
        cgroup: impl FnOnce() -> Option<CgroupPath>,
    ) -> Result<u64, SupervisorError> {
        let known = self.files().get(worker).cloned();
        let files = match known {
            Some(files) => files,
            None => match self.open(cgroup())? {
                Some(files) => {
                    self.files().insert(worker.clone(), Arc::clone(&files));
                    files
                }
                None => return Ok(0),
            },
        };
        match files.working_set() {
            Err(SupervisorError::Cgroup { source, .. }) if is_gone(&source) => {
                self.forget(worker);
                Ok(0)
            }
            read => read,
        }
    }

    /// Closes a worker's files.
    pub(crate) fn forget(&self, worker: &WorkerId) {
        self.files().remove(worker);
    }

    /// What workers could still get, in MiB: the host's available memory, or less where the
    /// workers' cgroup or one above it has a limit.
    pub(crate) fn free_mb(&self) -> Result<u64, SupervisorError> {
        let available = available_bytes(Path::new(MEMINFO))?;
        let mut free = available;
        if let Some(memory) = self.hierarchies.memory() {
            let above = ancestors(&self.parent).filter_map(|cgroup| memory.directory(&cgroup));
            // In a container the topmost cgroup that is seen is not the root, and may have a limit.
            for directory in above.chain([memory.mount_point.clone()]) {
                if let Some(left) = left_in(&directory, memory.version)? {
                    free = free.min(left);
                }
            }
        }
        Ok(free / MIB)
    }

    fn open(
        &self,
        cgroup: Option<CgroupPath>,
    ) -> Result<Option<Arc<MemoryFiles>>, SupervisorError> {
        let Some((memory, cgroup)) = self.hierarchies.memory().zip(cgroup) else {
            return Ok(None);
        };
        match memory.directory(&cgroup) {
            Some(directory) => Ok(MemoryFiles::open(&directory, memory.version)?.map(Arc::new)),
            None => Ok(None),
        }
    }

    fn files(&self) -> MutexGuard<'_, HashMap<WorkerId, Arc<MemoryFiles>>> {
        // A map of open files is whole after every call.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left below a cgroup's limit; `None` without a limit or without the cgroup.
fn left_in(directory: &Path, version: CgroupVersion) -> Result<Option<u64>, SupervisorError> {
    let path = directory.join(match version {
        CgroupVersion::V1 => "memory.limit_in_bytes",
        CgroupVersion::V2 => "memory.max",
    });
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(source) => return Err(SupervisorError::Cgroup { path, source }),
    };
    if text.trim() == "max" {
        return Ok(None);
    }
    let limit = number(&text, "a limit", &path)?;
    let used = match MemoryFiles::open(directory, version)? {
        Some(files) => files.working_set()?,
        None => return Ok(None),
    };
    Ok(Some(limit.saturating_sub(used)))
}

/// One cgroup's open memory files.
#[derive(Debug)]
struct MemoryFiles {
    version: CgroupVersion,
    usage: OpenFile,
    stat: OpenFile,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
}

impl MemoryFiles {
    /// Opens the files; `None` when the cgroup does not exist.
    fn open(directory: &Path, version: CgroupVersion) -> Result<Option<Self>, SupervisorError> {
        let usage = directory.join(match version {
            CgroupVersion::V1 => "memory.usage_in_bytes",
            CgroupVersion::V2 => "memory.current",
        });
        let Some(usage) = OpenFile::open(usage)? else {
            return Ok(None);
        };
        let Some(stat) = OpenFile::open(directory.join("memory.stat"))? else {
            return Ok(None);
        };
        Ok(Some(Self { version, usage, stat }))
    }

    fn working_set(&self) -> Result<u64, SupervisorError> {
        let usage = number(&self.usage.read()?, "a number", &self.usage.path)?;
        let inactive = match self.version {
            CgroupVersion::V1 => "total_inactive_file",
            CgroupVersion::V2 => "inactive_file",
        };
        let stat = self.stat.read()?;
        let inactive = field(&stat, inactive).ok_or_else(|| SupervisorError::CgroupValue {
            what: inactive,
            path: self.stat.path.clone(),
        })?;
        Ok(usage.saturating_sub(inactive))
    }
}

impl OpenFile {
    fn open(path: PathBuf) -> Result<Option<Self>, SupervisorError> {
        match File::open(&path) {
            Ok(file) => Ok(Some(Self { file, path })),
            Err(error) if is_gone(&error) => Ok(None),
            Err(source) => Err(SupervisorError::Cgroup { path, source }),
        }
    }

    /// Reads the file anew: the kernel writes it afresh for each read from the start. As it gives
    /// whatever fits, less than asked for is the end; asking again would write it afresh once more.
    fn read(&self) -> Result<String, SupervisorError> {
        let mut text = Vec::with_capacity(STAT_BYTES);
        let mut piece = [0_u8; STAT_BYTES];
        loop {
            let offset = u64::try_from(text.len()).unwrap_or(u64::MAX);
            let read = match self.file.read_at(&mut piece, offset) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(SupervisorError::Cgroup { path: self.path.clone(), source });
                }
            };
            text.extend_from_slice(piece.get(..read).unwrap_or_default());
            if read < piece.len() {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn available_bytes(path: &Path) -> Result<u64, SupervisorError> {
    let text = fs::read_to_string(path)
        .map_err(|source| SupervisorError::Cgroup { path: path.to_owned(), source })?;
    available_kib(&text).map(|kib| kib.saturating_mul(1024)).ok_or_else(|| {
        SupervisorError::CgroupValue { what: "the free memory", path: path.to_owned() }
    })
}

/// The kernel's own estimate, which counts what it can drop and leaves out what it cannot (such
/// as tmpfs, which `Cached` includes); before 3.14 the sum Storm takes.
fn available_kib(meminfo: &str) -> Option<u64> {
    field(meminfo, "MemAvailable:").or_else(|| {
        let part = |name| field(meminfo, name);
        Some(part("MemFree:")?.saturating_add(part("Buffers:")?).saturating_add(part("Cached:")?))
    })
}

/// The number after `name` in a file of `name number …` lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = |line| str::strip_prefix(line, name)?.strip_prefix(' ');
    let value = text.lines().find_map(rest)?;
    value.split_whitespace().next()?.parse().ok()
}

fn number(text: &str, what: &'static str, path: &Path) -> Result<u64, SupervisorError> {
    text.trim().parse().map_err(|_| SupervisorError::CgroupValue { what, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::tests::{HYBRID, UUID, V2, hierarchies};

    const STAT_V1: &str = "cache 900\ninactive_file 1\ntotal_cache 900\ntotal_inactive_file 400\n";
    const STAT_V2: &str = "anon 100\nfile 900\ninactive_file 400\nactive_file 500\n";

    struct Node {
        root: tempfile::TempDir,
        meter: Meter,
        worker: WorkerId,
        cgroup: CgroupPath,
    }

    impl Node {
        fn new(mountinfo: &str, directory: &str, files: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("cgroup.controllers"), "memory\n").unwrap();
            let cgroup = CgroupPath::parse(&format!("/storm/6700-{UUID}")).unwrap();
            let directory = root.path().join(directory).join(cgroup.relative());
            fs::create_dir_all(&directory).unwrap();
            for (name, text) in files {
                fs::write(directory.join(name), text).unwrap();
            }
            let parent = CgroupPath::parse("/storm").unwrap();
            let meter = Meter::new(Arc::new(hierarchies(mountinfo, root.path())), parent);
            let worker = WorkerId::parse(UUID).unwrap();
            Self { root, meter, worker, cgroup }
        }

        fn usage(&self) -> Result<u64, SupervisorError> {
            self.meter.working_set(&self.worker, || Some(self.cgroup.clone()))
        }
    }

    #[test]
    fn working_set_on_v1_and_v2() {
        let v1 = [("memory.usage_in_bytes", "1000\n"), ("memory.stat", STAT_V1)];
        let v2 = [("memory.current", "1000\n"), ("memory.stat", STAT_V2)];
        assert_eq!(Node::new(HYBRID, "memory", &v1).usage().unwrap(), 600);
        assert_eq!(Node::new(V2, ".", &v2).usage().unwrap(), 600);
    }

    #[test]
    fn a_worker_without_cgroup_uses_nothing() {
        let node = Node::new(HYBRID, "cpu", &[]);
        assert_eq!(node.usage().unwrap(), 0);
        assert_eq!(node.meter.working_set(&node.worker, || None).unwrap(), 0);
    }

    #[test]
    fn files_stay_open_and_are_read_anew() {
        let v2 = [("memory.current", "1000\n"), ("memory.stat", STAT_V2)];
        let node = Node::new(V2, ".", &v2);
        assert_eq!(node.usage().unwrap(), 600);
        let path = node.root.path().join(node.cgroup.relative());
        fs::write(path.join("memory.current"), "2000\n").unwrap();
        let again = node.meter.working_set(&node.worker, || panic!("asked again"));
        assert_eq!(again.unwrap(), 1600);
        node.meter.forget(&node.worker);
        assert_eq!(node.meter.working_set(&node.worker, || None).unwrap(), 0);
    }

    #[test]
    fn a_file_of_another_shape_is_named() {
        let v2 = [("memory.current", "1000\n"), ("memory.stat", "anon 1\n")];
        let error = Node::new(V2, ".", &v2).usage().unwrap_err();
        assert!(
            matches!(&error, SupervisorError::CgroupValue { what: "inactive_file", path }
                if path.ends_with("memory.stat")),
            "{error:?}"
        );
    }

    #[test]
    fn free_memory_is_the_least_of_host_and_limits() {
        let node = Node::new(V2, ".", &[]);
        let storm = node.root.path().join("storm");
        let host = node.meter.free_mb().unwrap();
        assert!(host > 0);
        fs::write(storm.join("memory.max"), "max\n").unwrap();
        fs::write(storm.join("memory.current"), format!("{}\n", 5 * MIB + 400)).unwrap();
        fs::write(storm.join("memory.stat"), STAT_V2).unwrap();
        assert!(node.meter.free_mb().unwrap() > 0);
        fs::write(storm.join("memory.max"), format!("{}\n", 8 * MIB)).unwrap();
        assert_eq!(node.meter.free_mb().unwrap(), 3);
        fs::write(storm.join("memory.max"), format!("{}\n", 4 * MIB)).unwrap();
        assert_eq!(node.meter.free_mb().unwrap(), 0);
        fs::write(storm.join("memory.max"), "max\n").unwrap();
        for name in ["memory.current", "memory.stat"] {
            fs::copy(storm.join(name), node.root.path().join(name)).unwrap();
        }
        fs::write(node.root.path().join("memory.max"), format!("{}\n", 6 * MIB)).unwrap();
        assert_eq!(node.meter.free_mb().unwrap(), 1);
    }

    #[test]
    fn the_hosts_free_memory() {
        let old = "MemTotal: 9 kB\nMemFree:  1 kB\nBuffers: 2 kB\nCached: 3 kB\n";
        assert_eq!(available_kib(old), Some(6));
        let new = format!("{old}MemAvailable:   4 kB\n");
        assert_eq!(available_kib(&new), Some(4));
        assert_eq!(available_kib("MemTotal: 9 kB\n"), None);
    }
}
