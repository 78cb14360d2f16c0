//! The container's cgroup in every hierarchy: found, counted, emptied and removed, always by the
//! path derived from the container's id.

use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FsWord, Mode, OFlags, fstatfs, mkdirat, openat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use storm_oci_request::CgroupPath;

use crate::error::{LauncherError, Step};
use crate::process::HeldProcess;
use crate::sys_file::{read_at_most, write_all};

/// `f_type` of cgroup v1 and v2.
const CGROUP_MAGIC: FsWord = 0x0027_e0eb;
const CGROUP2_MAGIC: FsWord = 0x6367_7270;

/// To the kernel, the process that writes.
const OWN: i32 = 0;

/// How long processes that were killed may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(5);
const KILL_PAUSE: Duration = Duration::from_millis(2);

/// Far above any of the files read here.
const MAX_BYTES: usize = 1 << 20;

/// One mounted hierarchy.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    root: OwnedFd,
    mount_point: String,
    /// `unified` for v2, else the mount's options: its controllers or `name=…`.
    options: Vec<String>,
    unified: bool,
}

/// All hierarchies mounted on this host.
#[derive(Debug)]
pub(crate) struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    /// Finds them in the mount table.
    pub(crate) fn find() -> Result<Self, LauncherError> {
        let table = "/proc/self/mountinfo";
        let failed = |source| LauncherError::failed(Step::Cgroup, table, source);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(CWD, table, flags, Mode::empty()).map_err(failed)?;
        let bytes = read_at_most(&file, usize::MAX).map_err(failed)?;
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let mut found: Vec<Hierarchy> = Vec::new();
        for (mount_point, options, unified) in text.lines().filter_map(parse_mount) {
            if found.iter().any(|known| known.options == options) {
                continue;
            }
            if let Some(root) = open_root(&mount_point, unified)
                .map_err(|source| LauncherError::failed(Step::Cgroup, &mount_point, source))?
            {
                found.push(Hierarchy { root, mount_point, options, unified });
            }
        }
        if found.is_empty() {
            return Err(LauncherError::refused(
                Step::Cgroup,
                table,
                "no cgroup hierarchy is mounted",
            ));
        }
        Ok(Self(found))
    }

    /// Whether none of them has this controller.
    pub(crate) fn lack(&self, controller: &str) -> bool {
        !self.0.iter().any(|hierarchy| hierarchy.has(controller))
    }

    /// Where the cgroup exists already, if it does.
    pub(crate) fn existing(&self, cgroup: &CgroupPath) -> Result<Option<String>, LauncherError> {
        for hierarchy in &self.0 {
            if hierarchy.open(cgroup)?.is_some() {
                return Ok(Some(hierarchy.path_of(cgroup)));
            }
        }
        Ok(None)
    }

    /// Whether no process is left in the cgroup.
    pub(crate) fn is_empty(&self, cgroup: &CgroupPath) -> Result<bool, LauncherError> {
        for hierarchy in &self.0 {
            if !hierarchy.processes(cgroup)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Kills every process in the cgroup and waits for their end, for a limited time.
    pub(crate) fn kill(&self, cgroup: &CgroupPath) -> Result<(), LauncherError> {
        let start = Instant::now();
        loop {
            let mut left = false;
            for hierarchy in &self.0 {
                for pid in hierarchy.processes(cgroup)? {
                    left = true;
                    kill_in(pid, cgroup).map_err(|source| hierarchy.failed(cgroup, source))?;
                }
            }
            if !left {
                return Ok(());
            }
            if start.elapsed() > KILL_LIMIT {
                return Err(LauncherError::refused(
                    Step::Cgroup,
                    cgroup.as_str(),
                    "its processes do not end",
                ));
            }
            std::thread::sleep(KILL_PAUSE);
        }
    }

    /// Removes the cgroup, and what is below it, from every hierarchy. Its parent stays.
    ///
    /// A process that was killed leaves its hierarchies one by one, and one that was being moved
    /// in may still arrive: so a busy cgroup is emptied and tried again, for a limited time.
    pub(crate) fn remove(&self, cgroup: &CgroupPath) -> Result<(), LauncherError> {
        let start = Instant::now();
        for hierarchy in &self.0 {
            loop {
                match hierarchy.remove(cgroup) {
                    Ok(()) | Err(Errno::NOENT) => break,
                    Err(Errno::BUSY) if start.elapsed() < KILL_LIMIT => {
                        self.kill(cgroup)?;
                        std::thread::sleep(KILL_PAUSE);
                    }
                    Err(source) => return Err(hierarchy.failed(cgroup, source)),
                }
            }
        }
        Ok(())
    }

    /// Opens a file of the cgroup in the hierarchy that has this controller.
    pub(crate) fn open_file(&self, cgroup: &CgroupPath, file: &ControllerFile) -> Option<OwnedFd> {
        self.0.iter().find_map(|hierarchy| {
            let name = hierarchy.file_name(file)?;
            hierarchy.open_entry(cgroup, name).ok()
        })
    }

    /// A file's content; `None` where the hierarchy or the file does not exist.
    pub(crate) fn read(&self, cgroup: &CgroupPath, file: &ControllerFile) -> Option<String> {
        let bytes = read_at_most(self.open_file(cgroup, file)?, MAX_BYTES).ok()??;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Moves the calling process to a container's cgroup, in every hierarchy that has it.
    pub(crate) fn join(&self, cgroup: &CgroupPath) -> Result<(), LauncherError> {
        for hierarchy in &self.0 {
            match hierarchy.move_to(cgroup, OWN) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(source) => return Err(hierarchy.failed(cgroup, source)),
            }
        }
        Ok(())
    }

    /// Moves a process to a cgroup, made where it is missing, in the hierarchies by which a service
    /// manager finds a unit's processes.
    pub(crate) fn leave_unit(&self, cgroup: &CgroupPath, pid: Pid) -> Result<(), LauncherError> {
        let services = |hierarchy: &&Hierarchy| {
            hierarchy.unified || hierarchy.options.iter().any(|option| option == "name=systemd")
        };
        for hierarchy in self.0.iter().filter(services) {
            hierarchy.enter(cgroup, pid).map_err(|source| hierarchy.failed(cgroup, source))?;
        }
        Ok(())
    }
}

/// A file that a controller has: its name in both versions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControllerFile {
    /// The v1 controller.
    pub(crate) controller: &'static str,
    /// Its v1 file.
    pub(crate) v1: &'static str,
    /// Its v2 file; none where v2 has nothing like it.
    pub(crate) v2: Option<&'static str>,
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        if !self.unified {
            return self.options.iter().any(|option| option == controller);
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.root, "cgroup.controllers", flags, Mode::empty());
        let text = file.and_then(|file| read_at_most(&file, MAX_BYTES)).ok().flatten();
        let text = text.unwrap_or_default();
        text.split(u8::is_ascii_whitespace).any(|name| name == controller.as_bytes())
    }

    fn path_of(&self, cgroup: &CgroupPath) -> String {
        format!("{}{cgroup}", self.mount_point)
    }

    fn failed(&self, cgroup: &CgroupPath, source: Errno) -> LauncherError {
        LauncherError::failed(Step::Cgroup, self.path_of(cgroup), source)
    }

    fn file_name(&self, file: &ControllerFile) -> Option<&'static str> {
        if self.unified {
            file.v2
        } else {
            let ours = self.options.iter().any(|option| option == file.controller);
            ours.then_some(file.v1)
        }
    }

    fn open(&self, cgroup: &CgroupPath) -> Result<Option<OwnedFd>, LauncherError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.root, cgroup.relative(), flags, Mode::empty()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(self.failed(cgroup, source)),
        }
    }

    fn open_entry(&self, cgroup: &CgroupPath, name: &str) -> Result<OwnedFd, Errno> {
        let path = format!("{}/{name}", cgroup.relative());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.root, path, flags, Mode::empty())
    }

    fn processes(&self, cgroup: &CgroupPath) -> Result<Vec<u32>, LauncherError> {
        let bytes =
            self.open_entry(cgroup, "cgroup.procs").and_then(|file| read_at_most(&file, MAX_BYTES));
        match bytes {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
                Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
            }
            // Gone, or removed between the two calls.
            Err(Errno::NOENT | Errno::NODEV) => Ok(Vec::new()),
            Err(source) => Err(self.failed(cgroup, source)),
        }
    }

    fn remove(&self, cgroup: &CgroupPath) -> Result<(), Errno> {
        let Some((parent, name)) = cgroup.relative().rsplit_once('/') else {
            // No container's: theirs lie below a parent.
            return Err(Errno::INVAL);
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        remove_tree(&openat(&self.root, parent, flags, Mode::empty())?, name)
    }

    fn enter(&self, cgroup: &CgroupPath, pid: Pid) -> Result<(), Errno> {
        let mut path = String::new();
        for component in cgroup.relative().split('/') {
            path.push_str(component);
            match mkdirat(&self.root, &path, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(source) => return Err(source),
            }
            path.push('/');
        }
        self.move_to(cgroup, pid.as_raw_nonzero().get())
    }

    fn move_to(&self, cgroup: &CgroupPath, pid: i32) -> Result<(), Errno> {
        let path = format!("{}/cgroup.procs", cgroup.relative());
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.root, path, flags, Mode::empty())?;
        write_all(&file, pid.to_string().as_bytes())
    }
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
fn remove_tree(parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        // What has cgroups below it answers "busy", as what has processes does.
        Err(Errno::BUSY) => {}
        outcome => return outcome,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if let (FileType::Directory, Ok(below)) = (entry.file_type(), entry.file_name().to_str())
            && !matches!(below, "." | "..")
        {
            remove_tree(&directory, below)?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// The mount point and options of a cgroup mount that shows a whole hierarchy.
///
/// # References
///
/// `proc_pid_mountinfo(5)`
fn parse_mount(line: &str) -> Option<(String, Vec<String>, bool)> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, mount_point) = (fields.next()?, fields.next()?);
    let mut fields = after.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    if root != "/" || mount_point.contains('\\') {
        return None;
    }
    let unified = match kind {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options = if unified {
        vec!["unified".to_owned()]
    } else {
        // `rw` and the like are not what tells hierarchies apart.
        let named = options.split(',').filter(|option| !matches!(*option, "rw" | "ro"));
        named.map(str::to_owned).collect()
    };
    Some((mount_point.to_owned(), options, unified))
}

/// Opens a hierarchy's root; `None` where another mount covers it.
fn open_root(mount_point: &str, unified: bool) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(CWD, mount_point, flags, Mode::empty())?;
    let magic = if unified { CGROUP2_MAGIC } else { CGROUP_MAGIC };
    let same = fstatfs(&root)?.f_type == magic;
    Ok(same.then_some(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_whole_hierarchies_are_found() {
        let v1 = "30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct";
        assert_eq!(
            parse_mount(v1),
            Some((
                "/sys/fs/cgroup/cpu,cpuacct".to_owned(),
                vec!["cpu".to_owned(), "cpuacct".to_owned()],
                false
            ))
        );
        let v2 = "31 29 0:27 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let unified = vec!["unified".to_owned()];
        assert_eq!(parse_mount(v2), Some(("/sys/fs/cgroup".to_owned(), unified, true)));
        for other in
            [v1.replace(" / ", " /a "), v1.replace("- cgroup ", "- tmpfs "), "30 29".to_owned()]
        {
            assert_eq!(parse_mount(&other), None, "{other}");
        }
    }
}
