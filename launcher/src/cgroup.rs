//! The container's cgroup in every hierarchy: found, counted, emptied and removed, always by the
//! path derived from the container's id.

use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FsWord, Mode, OFlags, chmodat, fstatfs, mkdirat, unlinkat,
};
use rustix::io::Errno;
use rustix::path::Arg;
use rustix::process::{Pid, Signal};
use storm_oci_request::{CgroupMount, CgroupPath, CgroupVersion};

use crate::error::{At, Result, Step, must};
use crate::process::HeldProcess;
use crate::sys_file::{self, MOUNTINFO, mount_table, read_at_most, write_all};

/// How long processes that were killed may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(5);
const KILL_PAUSE: Duration = Duration::from_millis(2);

/// Far above any of the files read here.
const MAX_BYTES: usize = 1 << 20;

/// To the kernel, the process that writes.
const OWN: i32 = 0;

/// `f_type` of a cgroup hierarchy.
const V1_MAGIC: FsWord = 0x0027_e0eb;
const V2_MAGIC: FsWord = 0x6367_7270;

/// One mounted hierarchy, its root open.
#[derive(Debug)]
struct Hierarchy {
    root: OwnedFd,
    mount: CgroupMount,
}

/// All hierarchies mounted on this host.
#[derive(Debug)]
pub(crate) struct Hierarchies(Vec<Hierarchy>);

/// A file that a controller has: its name in both versions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControllerFile {
    /// The v1 controller.
    pub(crate) controller: &'static str,
    /// Its v1 file.
    pub(crate) v1: &'static str,
    /// Its v2 file.
    pub(crate) v2: &'static str,
}

impl Hierarchies {
    /// Finds them in the mount table: those mounted as a whole, each once.
    pub(crate) fn find() -> Result<Self> {
        let table = mount_table().at(Step::Cgroup, MOUNTINFO)?;
        let mut found: Vec<Hierarchy> = Vec::new();
        for mount in table.lines().filter_map(CgroupMount::parse) {
            let same = |other: &Hierarchy| {
                (other.mount.version, &other.mount.options) == (mount.version, &mount.options)
            };
            if mount.root == "/" && !found.iter().any(same) {
                let place = mount.mount_point.display();
                let root = open(CWD, &mount.mount_point, OFlags::RDONLY | OFlags::DIRECTORY);
                let root = root.at(Step::Cgroup, &place)?;
                let magic = match mount.version {
                    CgroupVersion::V1 => V1_MAGIC,
                    CgroupVersion::V2 => V2_MAGIC,
                };
                // Else another mount covers it.
                if fstatfs(&root).at(Step::Cgroup, place)?.f_type == magic {
                    found.push(Hierarchy { root, mount });
                }
            }
        }
        must(!found.is_empty(), Step::Cgroup, MOUNTINFO, "no cgroup hierarchy is mounted")?;
        Ok(Self(found))
    }

    /// Whether none of them has this controller.
    pub(crate) fn lack(&self, controller: &str) -> bool {
        !self.0.iter().any(|hierarchy| hierarchy.has(controller))
    }

    /// Does something in every hierarchy that has the cgroup.
    fn each<T>(
        &self,
        cgroup: &CgroupPath,
        mut act: impl FnMut(&Hierarchy) -> Result<T, Errno>,
    ) -> Result<Vec<T>> {
        let mut outcomes = Vec::new();
        for hierarchy in &self.0 {
            match act(hierarchy) {
                // Not there, or removed between two calls.
                Err(Errno::NOENT | Errno::NODEV) => {}
                outcome => outcomes.push(outcome.at(Step::Cgroup, hierarchy.path_of(cgroup))?),
            }
        }
        Ok(outcomes)
    }

    /// Shows every process that runs in the cgroup, one at a time, and whether there is any. One
    /// that has ended may still be listed.
    fn each_running(
        &self,
        cgroup: &CgroupPath,
        act: impl Fn(&HeldProcess) -> Result<(), Errno>,
    ) -> Result<bool> {
        let running = self.each(cgroup, |hierarchy| {
            let listed = text(hierarchy.open(cgroup, "cgroup.procs", OFlags::RDONLY)?)?;
            let mut running = false;
            for pid in listed.lines().filter_map(|line| line.parse().ok()) {
                if let Some(held) = HeldProcess::find(pid)?
                    && held.is_running()?
                {
                    running = true;
                    act(&held)?;
                }
            }
            Ok(running)
        });
        Ok(running?.contains(&true))
    }

    /// Where the cgroup exists already, if it does.
    pub(crate) fn existing(&self, cgroup: &CgroupPath) -> Result<Option<String>> {
        let found = self.each(cgroup, |hierarchy| {
            open(&hierarchy.root, cgroup.relative(), OFlags::PATH)?;
            Ok(hierarchy.path_of(cgroup))
        });
        Ok(found?.into_iter().next())
    }

    /// Whether no process runs in the cgroup.
    pub(crate) fn is_empty(&self, cgroup: &CgroupPath) -> Result<bool> {
        self.each_running(cgroup, |_| Ok(())).map(|any| !any)
    }

    /// Kills every process in the cgroup and waits for their end, for a limited time.
    pub(crate) fn kill(&self, cgroup: &CgroupPath) -> Result<()> {
        let start = Instant::now();
        let kill = |held: &HeldProcess| match held.is_in(cgroup)? {
            false => Ok(()),
            true => match held.signal(Signal::KILL.as_raw()) {
                Err(Errno::SRCH) => Ok(()),
                outcome => outcome,
            },
        };
        while self.each_running(cgroup, kill)? {
            let in_time = start.elapsed() <= KILL_LIMIT;
            must(in_time, Step::Cgroup, cgroup, "its processes do not end")?;
            std::thread::sleep(KILL_PAUSE);
        }
        Ok(())
    }

    /// Removes the cgroup, and what is below it, from every hierarchy. Its parent stays.
    ///
    /// A process that was killed leaves its hierarchies one by one, and one that was being moved
    /// in may still arrive: so a busy cgroup is emptied and tried again, for a limited time.
    pub(crate) fn remove(&self, cgroup: &CgroupPath) -> Result<()> {
        let start = Instant::now();
        let is_busy = |hierarchy: &Hierarchy| match remove_tree(&hierarchy.root, cgroup.relative())
        {
            Err(Errno::BUSY) if start.elapsed() < KILL_LIMIT => Ok(true),
            outcome => outcome.map(|()| false),
        };
        while self.each(cgroup, is_busy)?.contains(&true) {
            self.kill(cgroup)?;
            std::thread::sleep(KILL_PAUSE);
        }
        Ok(())
    }

    /// Opens a file of the cgroup in the hierarchy that has this controller.
    pub(crate) fn open_file(&self, cgroup: &CgroupPath, file: &ControllerFile) -> Option<OwnedFd> {
        self.0.iter().find_map(|hierarchy| {
            let name = match hierarchy.mount.version {
                CgroupVersion::V1 if hierarchy.mount.has(file.controller) => file.v1,
                CgroupVersion::V1 => return None,
                CgroupVersion::V2 => file.v2,
            };
            hierarchy.open(cgroup, name, OFlags::RDONLY).ok()
        })
    }

    /// A file's content; `None` where the hierarchy or the file does not exist.
    pub(crate) fn read(&self, cgroup: &CgroupPath, file: &ControllerFile) -> Option<String> {
        text(self.open_file(cgroup, file)?).ok()
    }

    /// Moves the calling process to a container's cgroup, in every hierarchy that has it.
    pub(crate) fn join(&self, cgroup: &CgroupPath) -> Result<()> {
        self.each(cgroup, |hierarchy| hierarchy.enter(cgroup, OWN)).map(drop)
    }

    /// Moves a process to a cgroup, made where it is missing, in the hierarchies by which a service
    /// manager finds a unit's processes.
    pub(crate) fn leave_unit(&self, cgroup: &CgroupPath, pid: Pid) -> Result<(), Errno> {
        let services = |hierarchy: &&Hierarchy| {
            hierarchy.mount.version == CgroupVersion::V2 || hierarchy.mount.has("name=systemd")
        };
        for hierarchy in self.0.iter().filter(services) {
            let enter = || hierarchy.enter(cgroup, pid.as_raw_nonzero().get());
            match enter() {
                // Only then: every launch on the host makes directories in the parent.
                Err(Errno::NOENT) => hierarchy.make(cgroup).and_then(|()| enter())?,
                outcome => outcome?,
            }
        }
        Ok(())
    }
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        if self.mount.version == CgroupVersion::V1 {
            return self.mount.has(controller);
        }
        let listed = open(&self.root, "cgroup.controllers", OFlags::RDONLY).and_then(text);
        listed.is_ok_and(|listed| listed.split_ascii_whitespace().any(|name| name == controller))
    }

    fn path_of(&self, cgroup: &CgroupPath) -> String {
        format!("{}{cgroup}", self.mount.mount_point.display())
    }

    fn open(&self, cgroup: &CgroupPath, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        open(&self.root, format!("{}/{name}", cgroup.relative()), flags)
    }

    fn make(&self, cgroup: &CgroupPath) -> Result<(), Errno> {
        let path = cgroup.relative();
        let mode = Mode::from_raw_mode(0o755);
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let made = path.get(..end).unwrap_or(path);
            match mkdirat(&self.root, made, mode) {
                Err(Errno::EXIST) => {}
                // The umask lets root alone in, but supervisor and workers read what is below.
                Ok(()) => chmodat(&self.root, made, mode, AtFlags::empty())?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn enter(&self, cgroup: &CgroupPath, pid: i32) -> Result<(), Errno> {
        let file = self.open(cgroup, "cgroup.procs", OFlags::WRONLY)?;
        write_all(&file, pid.to_string().as_bytes())
    }
}

fn open(at: impl AsFd, path: impl Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
    sys_file::open(at, path, flags | OFlags::NOFOLLOW)
}

fn text(file: OwnedFd) -> Result<String, Errno> {
    let bytes = read_at_most(file, MAX_BYTES)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Removes a cgroup and those below it. Containers cannot make any, so there is no depth to fear.
fn remove_tree(parent: &OwnedFd, path: &str) -> Result<(), Errno> {
    match unlinkat(parent, path, AtFlags::REMOVEDIR) {
        // What has cgroups below it answers "busy", as what has processes does.
        Err(Errno::BUSY) => {}
        outcome => return outcome,
    }
    let directory = open(parent, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if let (FileType::Directory, Ok(below)) = (entry.file_type(), entry.file_name().to_str())
            && !matches!(below, "." | "..")
        {
            remove_tree(&directory, below)?;
        }
    }
    unlinkat(parent, path, AtFlags::REMOVEDIR)
}
