//! What a directory holds, as a value that can be compared; and mounts that end with a test.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "STORM_OCI_TEST_INSIDE";

/// One name, and all that can be told of what it names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Entry {
    /// Type and permissions, as `stat(2)` has them.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) links: u64,
    pub(crate) device: u64,
    /// What a symbolic link leads to, or the content of a file.
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first of the names of the same file.
    pub(crate) first_name: PathBuf,
    /// Of a file, 512 bytes each. Attributes may count, so only of one without any.
    pub(crate) blocks: Option<u64>,
}

pub(crate) type Listing = BTreeMap<PathBuf, Entry>;

/// All that is in a directory, the directory itself with an empty path.
pub(crate) fn list(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut inodes = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let name = path.strip_prefix(root).unwrap().to_owned();
        if kind.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let first: &mut PathBuf = inodes.entry(metadata.ino()).or_insert_with(|| name.clone());
        if name < *first {
            *first = name.clone();
        }
        let content = if kind.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if kind.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let is_device = matches!(metadata.mode() & 0o170_000, 0o020_000 | 0o060_000);
        let xattrs = xattrs(&path);
        let entry = Entry {
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
            links: metadata.nlink(),
            device: if is_device { metadata.rdev() } else { 0 },
            content,
            blocks: (kind.is_file() && xattrs.is_empty()).then(|| metadata.blocks()),
            xattrs,
            // The inode's, until all names are known.
            first_name: PathBuf::from(metadata.ino().to_string()),
        };
        listing.insert(name, entry);
    }
    for entry in listing.values_mut() {
        let inode: u64 = entry.first_name.to_str().unwrap().parse().unwrap();
        entry.first_name.clone_from(&inodes[&inode]);
    }
    listing
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = Vec::with_capacity(65_536);
    match llistxattr(path, rustix::buffer::spare_capacity(&mut names)) {
        // A squashfs file without any.
        Err(Errno::NOTSUP) => return BTreeMap::new(),
        listed => listed.unwrap(),
    };
    let value = |name: &[u8]| {
        let mut value = Vec::with_capacity(65_536);
        let name = OsStr::from_bytes(name);
        lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)).unwrap();
        value
    };
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| (name.to_vec(), value(name))).collect()
}

/// The first names by which two listings differ, with what they are in each.
pub(crate) fn assert_same(expected: &Listing, found: &Listing, what: &str) {
    let names = expected.keys().chain(found.keys());
    for name in names {
        let short = |listing: &Listing| {
            listing.get(name).cloned().map(|mut entry| {
                let length = entry.content.len();
                entry.content.truncate(40);
                (entry, length)
            })
        };
        assert!(
            expected.get(name) == found.get(name),
            "{what}: {name:?}\nexpected {:?}\nfound    {:?}",
            short(expected),
            short(found)
        );
    }
}

/// Runs the named test again in a mount namespace of its own, with a file system in memory for
/// temporary files, so that nothing of it is left however it ends. `true` inside.
pub(crate) fn is_inside(test: &str) -> bool {
    assert!(rustix::process::geteuid().is_root(), "this test must run as root");
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let scratch = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o mode=700 test "$TMPDIR" && exec "$0" "$@""#;
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--kill-child", "--fork"])
        .args(["sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .env("TMPDIR", scratch.path())
        .status();
    assert!(status.unwrap().success());
    false
}

/// A file mounted read-only until it is dropped.
pub(crate) struct Mounted(tempfile::TempDir);

impl Mounted {
    pub(crate) fn new(file: &Path, kind: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        run(Command::new("mount").args(["-o", "ro,loop", "-t", kind]).arg(file).arg(place.path()));
        Self(place)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What stays mounted goes with the namespace.
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Runs a program that must succeed and complain of nothing. What it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
