//! Mount tables.

use std::path::{Path, PathBuf};

use crate::{E2eError, files};

/// One line of `/proc/<pid>/mountinfo`.
///
/// # References
///
/// `proc_pid_mountinfo(5)`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mount {
    /// `major:minor` of the file system.
    pub device: String,
    /// Where it is mounted.
    pub target: PathBuf,
    /// The mount's own options.
    pub options: String,
    /// The file system's type.
    pub kind: String,
    /// What is mounted, such as `/dev/loop0`.
    pub source: String,
    /// The file system's options.
    pub super_options: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let mut file_system = file_system.split(' ');
        Some(Self {
            device: mount.next()?.to_owned(),
            target: mount.nth(1)?.replace("\\040", " ").into(),
            options: mount.next()?.to_owned(),
            kind: file_system.next()?.to_owned(),
            source: file_system.next()?.to_owned(),
            super_options: file_system.next().unwrap_or_default().to_owned(),
        })
    }

    /// Whether the mount has an option, such as `ro`.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|found| found == option)
    }
}

/// The mounts a process sees, in order; `self` is this process.
///
/// # Errors
///
/// [`E2eError::File`] when there is no such process.
pub fn of(pid: &str) -> Result<Vec<Mount>, E2eError> {
    let table = files::read(&Path::new("/proc").join(pid).join("mountinfo"))?;
    Ok(table.lines().filter_map(Mount::parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_optional_fields() {
        let line = "36 35 7:3 / /mnt/a\\040b ro,nosuid shared:1 master:2 - squashfs /dev/loop3 ro,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.device, "7:3");
        assert_eq!(mount.target, Path::new("/mnt/a b"));
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("squashfs", "/dev/loop3"));
        assert!(mount.has("ro") && mount.has("nosuid") && !mount.has("nodev"));
    }
}
