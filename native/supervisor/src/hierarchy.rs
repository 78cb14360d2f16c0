//! The cgroup hierarchies of this host: where each is mounted, and what lives in a worker's
//! cgroup.
//!
//! They are found in `/proc/self/mountinfo`, below `storm.oci.cgroup.root`: one a controller on
//! v1, one in all on v2, and both kinds side by side on a hybrid host.
//!
//! # References
//!
//! `cgroups(7)`, `proc_pid_mountinfo(5)`

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use storm_oci_request::{CgroupMount, CgroupPath, CgroupVersion, ContainerId, HostPath, WorkerId};

use crate::error::SupervisorError;

fn controls(hierarchy: &CgroupMount, controller: &str) -> bool {
    match hierarchy.version {
        CgroupVersion::V1 => hierarchy.has(controller),
        CgroupVersion::V2 => fs::read_to_string(hierarchy.mount_point.join("cgroup.controllers"))
            .is_ok_and(|names| names.split_whitespace().any(|name| name == controller)),
    }
}

/// Every hierarchy below one root.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchies {
    all: Vec<CgroupMount>,
    memory: Option<CgroupMount>,
}

/// Where the kernel lists this process' mounts.
const MOUNTINFO: &str = "/proc/self/mountinfo";

impl Hierarchies {
    /// Reads the mounts of this process.
    pub(crate) fn read(root: &HostPath) -> Result<Self, SupervisorError> {
        // Mount points need not be UTF-8; those below the root that interest us are.
        let bytes = fs::read(MOUNTINFO)
            .map_err(|source| SupervisorError::Cgroup { path: MOUNTINFO.into(), source })?;
        let found = Self::parse(&String::from_utf8_lossy(&bytes), root);
        if found.all.is_empty() {
            return Err(SupervisorError::CgroupRoot(root.to_string()));
        }
        Ok(found)
    }

    fn parse(mountinfo: &str, root: &HostPath) -> Self {
        let mut all: Vec<CgroupMount> = Vec::new();
        for hierarchy in mountinfo.lines().filter_map(CgroupMount::parse) {
            let below = hierarchy.mount_point.starts_with(root.as_str());
            if below && !all.contains(&hierarchy) {
                all.push(hierarchy);
            }
        }
        // On a hybrid host the v2 hierarchy has no memory controller.
        let memory = all.iter().find(|each| controls(each, "memory")).cloned();
        Self { all, memory }
    }

    /// The hierarchy that accounts memory.
    pub(crate) const fn memory(&self) -> Option<&CgroupMount> {
        self.memory.as_ref()
    }

    /// The hierarchy of a controller.
    pub(crate) fn controller(&self, name: &str) -> Option<&CgroupMount> {
        self.all.iter().find(|each| controls(each, name))
    }

    /// The containers of `worker` that have a cgroup below `parent` in any hierarchy. Storm's own
    /// launcher leaves no record, but the same cgroup.
    pub(crate) fn containers_of(
        &self,
        parent: &CgroupPath,
        worker: &WorkerId,
    ) -> BTreeSet<ContainerId> {
        let directories = self.all.iter().filter_map(|each| each.directory(parent));
        directories
            .filter_map(|directory| fs::read_dir(directory).ok())
            .flatten()
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let id = ContainerId::parse(name.to_str()?).ok()?;
                (id.worker_id() == *worker).then_some(id)
            })
            .collect()
    }

    /// The processes in `cgroup` itself, over all hierarchies, in no order.
    pub(crate) fn processes(&self, cgroup: &CgroupPath) -> Result<BTreeSet<u32>, SupervisorError> {
        let mut pids = BTreeSet::new();
        for directory in self.all.iter().filter_map(|each| each.directory(cgroup)) {
            let path = directory.join("cgroup.procs");
            match fs::read_to_string(&path) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
                Err(error) if is_gone(&error) => {}
                Err(source) => return Err(SupervisorError::Cgroup { path, source }),
            }
        }
        Ok(pids)
    }
}

/// The cgroup and every one above it, the root excepted.
pub(crate) fn ancestors(cgroup: &CgroupPath) -> impl Iterator<Item = CgroupPath> {
    let paths = Path::new(cgroup.as_str()).ancestors();
    paths.filter_map(|path| CgroupPath::parse(path.to_str()?).ok())
}

/// Whether a cgroup file's error says that the cgroup was removed.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;

    pub(crate) const UUID: &str = "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";

    /// Hierarchies laid out in plain directories.
    pub(crate) fn hierarchies(mountinfo: &str, root: &Path) -> Hierarchies {
        let root = root.to_str().unwrap();
        Hierarchies::parse(&mountinfo.replace("ROOT", root), &HostPath::parse(root).unwrap())
    }

    pub(crate) const HYBRID: &str = "\
25 20 0:22 / /proc rw - proc proc rw
30 24 0:26 / ROOT rw,nosuid - tmpfs tmpfs rw,mode=755
31 30 0:27 / ROOT/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,name=systemd
32 30 0:28 / ROOT/cpu rw,nosuid shared:10 - cgroup cgroup rw,cpu
33 30 0:29 / ROOT/memory rw,nosuid shared:11 - cgroup cgroup rw,memory
34 30 0:30 / ROOT/unified rw,nosuid shared:12 - cgroup2 cgroup2 rw,nsdelegate
35 20 0:31 / /elsewhere/memory rw - cgroup cgroup rw,memory
";
    pub(crate) const V2: &str =
        "30 24 0:26 / ROOT rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn cgroup(text: &str) -> CgroupPath {
        CgroupPath::parse(text).unwrap()
    }

    #[test]
    fn hybrid_accounts_memory_on_v1() {
        let found = hierarchies(HYBRID, Path::new("/sys/fs/cgroup"));
        let points: Vec<_> = found.all.iter().map(|each| &each.mount_point).collect();
        assert_eq!(
            points,
            ["systemd", "cpu", "memory", "unified"]
                .map(|name| Path::new("/sys/fs/cgroup").join(name))
                .iter()
                .collect::<Vec<_>>()
        );
        let memory = found.memory().unwrap();
        assert_eq!(memory.version, CgroupVersion::V1);
        assert_eq!(
            memory.directory(&cgroup("/storm/x")).unwrap(),
            Path::new("/sys/fs/cgroup/memory/storm/x")
        );
    }

    #[test]
    fn v2_needs_the_memory_controller() {
        let root = tempfile::tempdir().unwrap();
        assert!(hierarchies(V2, root.path()).memory().is_none());
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        let found = hierarchies(V2, root.path());
        assert_eq!(found.memory().unwrap().version, CgroupVersion::V2);
    }

    #[test]
    fn containers_of_a_worker_are_found_in_any_hierarchy() {
        let root = tempfile::tempdir().unwrap();
        let found = hierarchies(HYBRID, root.path());
        let worker = WorkerId::parse(UUID).unwrap();
        let parent = cgroup("/storm");
        assert!(found.containers_of(&parent, &worker).is_empty());
        let cpu = root.path().join(format!("cpu/storm/6700-{UUID}"));
        let memory = root.path().join(format!("memory/storm/6700-{UUID}"));
        let other = root.path().join("memory/storm/6700-00000000-6062-4d08-8ac3-b09e7d35e7cb");
        for directory in [&cpu, &memory, &other] {
            fs::create_dir_all(directory).unwrap();
        }
        let id = ContainerId::parse(&format!("6700-{UUID}")).unwrap();
        assert_eq!(found.containers_of(&parent, &worker), BTreeSet::from([id.clone()]));
        let path = CgroupPath::of(&parent, &id);
        assert_eq!(found.processes(&path).unwrap(), BTreeSet::new());
        fs::write(cpu.join("cgroup.procs"), "12\n7\n").unwrap();
        fs::write(memory.join("cgroup.procs"), "12\n").unwrap();
        assert_eq!(found.processes(&path).unwrap(), BTreeSet::from([7, 12]));
    }
}
