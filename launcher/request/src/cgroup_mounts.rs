//! The cgroup hierarchies in a process's table of mounts: one a controller on v1, one in all on
//! v2, and both kinds side by side on a hybrid host.
//!
//! # References
//!
//! `cgroups(7)`, `proc_pid_mountinfo(5)`

use std::path::{Path, PathBuf};

use crate::ids::CgroupPath;

/// The two interfaces of cgroups.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CgroupVersion {
    /// One hierarchy a controller.
    V1,
    /// One hierarchy, called unified.
    V2,
}

/// One mount of a hierarchy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CgroupMount {
    /// The hierarchy's interface.
    pub version: CgroupVersion,
    /// The hierarchy's own mount options: on v1 its controllers, or `name=…`, are among them.
    pub options: Vec<String>,
    /// What of the hierarchy is mounted; `/` for all of it.
    pub root: String,
    /// Where it is mounted.
    pub mount_point: PathBuf,
}

impl CgroupMount {
    /// Reads one line of `/proc/<pid>/mountinfo`; `None` for other file systems and for nonsense.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, mount_point) = (unescape_mount(mount.next()?), unescape_mount(mount.next()?));
        let mut file_system = file_system.split(' ');
        let version = match file_system.next()? {
            "cgroup" => CgroupVersion::V1,
            "cgroup2" => CgroupVersion::V2,
            _ => return None,
        };
        let options = file_system.nth(1)?.split(',').map(str::to_owned).collect();
        // Joined to a root that is not absolute, a cgroup's path would leave the mount point.
        if !root.starts_with('/') || !mount_point.starts_with('/') {
            return None;
        }
        Some(Self { version, options, root, mount_point: mount_point.into() })
    }

    /// Whether the hierarchy has this option, such as a v1 controller.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }

    /// Where `cgroup` is; `None` when it is outside the part that is mounted here.
    #[must_use]
    pub fn directory(&self, cgroup: &CgroupPath) -> Option<PathBuf> {
        let below = Path::new(cgroup.as_str()).strip_prefix(&self.root).ok()?;
        Some(self.mount_point.join(below))
    }
}

/// Undoes the kernel's octal escapes of blank, tab, newline and backslash in a table of mounts.
#[must_use]
pub fn unescape_mount(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_hierarchy_shows_only_what_is_below_it() {
        let line = "1 1 0:1 /docker/abc /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory";
        let mount = CgroupMount::parse(line).unwrap();
        assert_eq!((mount.version, mount.has("memory")), (CgroupVersion::V1, true));
        let directory = |path| mount.directory(&CgroupPath::parse(path).unwrap());
        let found = directory("/docker/abc/storm").unwrap();
        assert_eq!(found, Path::new("/sys/fs/cgroup/my memory/storm"));
        assert_eq!(directory("/storm"), None);
    }

    #[test]
    fn a_whole_hierarchy_is_told_by_its_root() {
        let line = "31 29 0:27 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let mount = CgroupMount::parse(line).unwrap();
        assert_eq!((mount.version, mount.root.as_str()), (CgroupVersion::V2, "/"));
        assert!(!mount.has("memory"));
    }

    #[test]
    fn nonsense_lines_are_passed_over() {
        for line in [
            "",
            " - ",
            "1 2 3 - cgroup",
            "1 2 3 4 5 - cgroup x",
            "a - cgroup2 b c",
            "1 1 0:1  /m rw - cgroup c rw",
        ] {
            assert_eq!(CgroupMount::parse(line), None, "{line:?}");
        }
        let tmpfs = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs rw,mode=755";
        assert_eq!(CgroupMount::parse(tmpfs), None);
    }
}
