//! The container's cgroup in every hierarchy: found, counted, emptied and removed, always by the
//! path derived from the container's id.

use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FsWord, Mode, OFlags, fstatfs, mkdirat, openat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use storm_oci_request::{CgroupMount, CgroupPath, CgroupVersion};

use crate::error::{LauncherError, Result, Step};
use crate::process::HeldProcess;
use crate::sys_file::{read_at_most, write_all};

/// How long processes that were killed may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(5);
const KILL_PAUSE: Duration = Duration::from_millis(2);

/// Far above any of the files read here.
const MAX_BYTES: usize = 1 << 20;

/// To the kernel, the process that writes.
const OWN: i32 = 0;

const MOUNTINFO: &str = "/proc/self/mountinfo";

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
        let failed = Step::Cgroup.failed(MOUNTINFO);
        let file = open_at(CWD, MOUNTINFO, OFlags::RDONLY).map_err(failed)?;
        let table = read_at_most(&file, usize::MAX).map_err(failed)?.unwrap_or_default();
        let mut found: Vec<Hierarchy> = Vec::new();
        for mount in String::from_utf8_lossy(&table).lines().filter_map(CgroupMount::parse) {
            let known = |other: &Hierarchy| {
                (other.mount.version, &other.mount.options) == (mount.version, &mount.options)
            };
            if mount.root == "/" && !found.iter().any(known) {
                let opened = open_root(&mount).map_err(|source| {
                    let place = mount.mount_point.display().to_string();
                    Step::Cgroup.failed(&place)(source)
                })?;
                found.extend(opened.map(|root| Hierarchy { root, mount }));
            }
        }
        if found.is_empty() {
            let problem = "no cgroup hierarchy is mounted";
            return Err(Step::Cgroup.refused(MOUNTINFO, problem));
        }
        Ok(Self(found))
    }

    /// Whether none of them has this controller.
    pub(crate) fn lack(&self, controller: &str) -> bool {
        !self.0.iter().any(|hierarchy| hierarchy.has(controller))
    }

    /// Where the cgroup exists already, if it does.
    pub(crate) fn existing(&self, cgroup: &CgroupPath) -> Result<Option<String>> {
        for hierarchy in &self.0 {
            match open_at(&hierarchy.root, cgroup.relative(), OFlags::PATH) {
                Ok(_) => return Ok(Some(hierarchy.path_of(cgroup))),
                Err(Errno::NOENT) => {}
                Err(source) => return Err(hierarchy.failed(cgroup)(source)),
            }
        }
        Ok(None)
    }

    /// Whether no process runs in the cgroup. One that has ended may still be listed.
    pub(crate) fn is_empty(&self, cgroup: &CgroupPath) -> Result<bool> {
        for hierarchy in &self.0 {
            for pid in hierarchy.processes(cgroup)? {
                let held = HeldProcess::find(pid).map_err(hierarchy.failed(cgroup))?;
                let runs = held.map_or(Ok(false), |held| held.is_running());
                if runs.map_err(hierarchy.failed(cgroup))? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Kills every process in the cgroup and waits for their end, for a limited time.
    pub(crate) fn kill(&self, cgroup: &CgroupPath) -> Result<()> {
        let start = Instant::now();
        while !self.is_empty(cgroup)? {
            for hierarchy in &self.0 {
                for pid in hierarchy.processes(cgroup)? {
                    kill_in(pid, cgroup).map_err(hierarchy.failed(cgroup))?;
                }
            }
            if start.elapsed() > KILL_LIMIT {
                let problem = "its processes do not end";
                return Err(Step::Cgroup.refused(cgroup.as_str(), problem));
            }
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
        for hierarchy in &self.0 {
            loop {
                match remove_tree(&hierarchy.root, cgroup.relative()) {
                    Ok(()) | Err(Errno::NOENT) => break,
                    Err(Errno::BUSY) if start.elapsed() < KILL_LIMIT => {
                        self.kill(cgroup)?;
                        std::thread::sleep(KILL_PAUSE);
                    }
                    Err(source) => return Err(hierarchy.failed(cgroup)(source)),
                }
            }
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
        let bytes = read_at_most(self.open_file(cgroup, file)?, MAX_BYTES).ok()??;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Moves the calling process to a container's cgroup, in every hierarchy that has it.
    pub(crate) fn join(&self, cgroup: &CgroupPath) -> Result<()> {
        for hierarchy in &self.0 {
            match hierarchy.enter(cgroup, OWN) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(source) => return Err(hierarchy.failed(cgroup)(source)),
            }
        }
        Ok(())
    }

    /// Moves a process to a cgroup, made where it is missing, in the hierarchies by which a service
    /// manager finds a unit's processes.
    pub(crate) fn leave_unit(&self, cgroup: &CgroupPath, pid: Pid) -> Result<()> {
        let services = |hierarchy: &&Hierarchy| {
            hierarchy.mount.version == CgroupVersion::V2 || hierarchy.mount.has("name=systemd")
        };
        for hierarchy in self.0.iter().filter(services) {
            let pid = pid.as_raw_nonzero().get();
            let moved = match hierarchy.enter(cgroup, pid) {
                // Only then: every launch on the host makes directories in the parent.
                Err(Errno::NOENT) => {
                    hierarchy.make(cgroup).and_then(|()| hierarchy.enter(cgroup, pid))
                }
                outcome => outcome,
            };
            moved.map_err(hierarchy.failed(cgroup))?;
        }
        Ok(())
    }
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        if self.mount.version == CgroupVersion::V1 {
            return self.mount.has(controller);
        }
        let file = open_at(&self.root, "cgroup.controllers", OFlags::RDONLY);
        let text = file.and_then(|file| read_at_most(&file, MAX_BYTES)).ok().flatten();
        let text = text.unwrap_or_default();
        text.split(u8::is_ascii_whitespace).any(|name| name == controller.as_bytes())
    }

    fn path_of(&self, cgroup: &CgroupPath) -> String {
        format!("{}{cgroup}", self.mount.mount_point.display())
    }

    fn failed(&self, cgroup: &CgroupPath) -> impl Fn(Errno) -> LauncherError {
        move |source| Step::Cgroup.failed(&self.path_of(cgroup))(source)
    }

    fn open(&self, cgroup: &CgroupPath, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_at(&self.root, format!("{}/{name}", cgroup.relative()), flags)
    }

    fn processes(&self, cgroup: &CgroupPath) -> Result<Vec<u32>> {
        let file = self.open(cgroup, "cgroup.procs", OFlags::RDONLY);
        match file.and_then(|file| read_at_most(&file, MAX_BYTES)) {
            Ok(bytes) => {
                let bytes = bytes.unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes);
                Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
            }
            // Gone, or removed between the two calls.
            Err(Errno::NOENT | Errno::NODEV) => Ok(Vec::new()),
            Err(source) => Err(self.failed(cgroup)(source)),
        }
    }

    fn make(&self, cgroup: &CgroupPath) -> Result<(), Errno> {
        let mut path = String::new();
        for component in cgroup.relative().split('/') {
            path.push_str(component);
            match mkdirat(&self.root, &path, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(source) => return Err(source),
            }
            path.push('/');
        }
        Ok(())
    }

    fn enter(&self, cgroup: &CgroupPath, pid: i32) -> Result<(), Errno> {
        let file = self.open(cgroup, "cgroup.procs", OFlags::WRONLY)?;
        write_all(&file, pid.to_string().as_bytes())
    }
}

fn open_at(
    at: impl rustix::fd::AsFd,
    path: impl rustix::path::Arg,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    openat(at, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Kills a process unless it is no longer in the cgroup.
fn kill_in(pid: u32, cgroup: &CgroupPath) -> Result<(), Errno> {
    let Some(held) = HeldProcess::find(pid)? else {
        return Ok(());
    };
    if !held.is_in(cgroup)? {
        return Ok(());
    }
    match held.signal(Signal::KILL.as_raw()) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(source) => Err(source),
    }
}

/// Removes a cgroup and those below it. Containers cannot make any, so there is no depth to fear.
fn remove_tree(parent: &OwnedFd, path: &str) -> Result<(), Errno> {
    match unlinkat(parent, path, AtFlags::REMOVEDIR) {
        // What has cgroups below it answers "busy", as what has processes does.
        Err(Errno::BUSY) => {}
        outcome => return outcome,
    }
    let directory = open_at(parent, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
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

/// Opens a hierarchy's root; `None` where another mount covers it.
fn open_root(mount: &CgroupMount) -> Result<Option<OwnedFd>, Errno> {
    /// `f_type` of cgroup v1 and v2.
    const MAGICS: [FsWord; 2] = [0x0027_e0eb, 0x6367_7270];
    let root = open_at(CWD, &mount.mount_point, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let [v1, v2] = MAGICS;
    let magic = if mount.version == CgroupVersion::V1 { v1 } else { v2 };
    Ok((fstatfs(&root)?.f_type == magic).then_some(root))
}
