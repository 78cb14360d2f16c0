//! The image's layer files: opened as the caller, checked, and made nobody's to change.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat};
use rustix::io::{Errno, pread};
use storm_oci_request::{
    FileIdentity, HostPath, LayerKey, LayerMediaType, LayerRecord, RequestLayer, SUPERBLOCK_BYTES,
    check_superblock,
};

use crate::Call;
use crate::error::{At, Result, Step, must};
use crate::kernel::{mount_filesystem, open_path};
use crate::privilege::acting_as;
use crate::proc_fd;
use crate::switches::without;
use crate::sys::prove_no_writer;
use crate::sys_file::open;
use crate::sys_loop::attach_loop;

/// A layer file, open and nobody's to change.
#[derive(Debug)]
pub(crate) struct LayerFile {
    fd: OwnedFd,
    kind: LayerMediaType,
    /// What the container's record says of it.
    pub(crate) record: LayerRecord,
}

/// Opens the request's layers with the caller's ids, lowest first. Of equal ones the highest
/// stays: overlay refuses a directory twice, and the upper copy hides the lower one anyway.
///
/// # Errors
///
/// [`Step::CheckLayer`] for a file that may not become a layer.
pub(crate) fn open_all(call: &Call, layers: &[RequestLayer]) -> Result<Vec<LayerFile>> {
    let open_each = || {
        let (mut directories, mut opened) = (BTreeMap::new(), Vec::<LayerFile>::new());
        for layer in layers.iter().rev() {
            let (parent, name) = layer.path.as_str().rsplit_once('/').unwrap_or_default();
            let directory = match directories.entry(parent) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(open_directory(parent, &layer.path, call)?),
            };
            let file = open_layer(directory, name, layer, call)?;
            let again = opened.iter().any(|above| above.record.key == file.record.key);
            if !again || without("layer-once") {
                opened.push(file);
            }
        }
        opened.reverse();
        Ok(opened)
    };
    let as_root = without("layer-as-caller");
    if as_root { open_each() } else { acting_as(&call.caller.identity, open_each)? }
}

/// Opens the directory of a layer. Who can write it, or rename one above it, could put other
/// files in the layers' places.
fn open_directory(parent: &str, layer: &HostPath, call: &Call) -> Result<OwnedFd> {
    let look = |directory: &OwnedFd| fstat(directory).at(Step::CheckLayer, layer);
    let up = |directory: &OwnedFd| {
        open(directory, "..", OFlags::PATH | OFlags::DIRECTORY).at(Step::CheckLayer, layer)
    };
    let directory = if parent.is_empty() { "/" } else { parent };
    let directory = open_path(directory).at(Step::CheckLayer, layer)?;
    let mut below = look(&directory)?;
    check_owner(layer, "its directory", &below, call)?;
    let mut above = up(&directory)?;
    loop {
        let stat = look(&above)?;
        if (below.st_dev, below.st_ino) == (stat.st_dev, stat.st_ino) {
            return Ok(directory);
        }
        // In a sticky directory nobody renames what is another's.
        let shared = stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0;
        let safe = stat.st_uid != call.account.identity.uid && !shared
            || without("layer-directories-above");
        let rule = "must not be the user's nor writable by group or others";
        must_be(safe, layer, "a directory above it", &stat, rule)?;
        above = up(&above)?;
        below = stat;
    }
}

fn open_layer(
    directory: &OwnedFd,
    name: &str,
    layer: &RequestLayer,
    call: &Call,
) -> Result<LayerFile> {
    let (step, path) = (Step::CheckLayer, &layer.path);
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK;
    flags.set(OFlags::NOFOLLOW, !without("layer-no-links"));
    let fd = open(directory, name, flags).at(step, path)?;
    let stat = fstat(&fd).at(step, path)?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    must(regular || without("layer-regular"), step, path, "not a regular file")?;
    let links = stat.st_nlink;
    let one = links == 1 || without("layer-one-link");
    must(one, step, path, format_args!("{links} links, must be one"))?;
    check_owner(path, "it", &stat, call)?;
    if let Some(allowed) = &call.config.layer_dirs {
        let real = proc_fd::path_of(&fd).at(step, path)?;
        let inside = |real: HostPath| allowed.iter().any(|directory| real.starts_with(directory));
        let inside = HostPath::parse(&real).is_ok_and(inside) || without("layer-dirs");
        let problem = format_args!("it is `{real}`, below none of worker.launcher.oci.layer-dirs");
        must(inside, step, path, problem)?;
    }
    let record = LayerRecord { key: key_of(&stat), path: path.clone(), mounted: false };
    Ok(LayerFile { fd, kind: layer.media_type, record })
}

fn check_owner(layer: &HostPath, what: &str, stat: &Stat, call: &Call) -> Result<()> {
    let owner =
        stat.st_uid == 0 || stat.st_uid == call.caller.identity.uid || without("layer-owner");
    let mode = stat.st_mode & 0o022 == 0 || without("layer-mode");
    let rule = "must be the supervisor's or root's, and only theirs to write";
    must_be(owner && mode, layer, what, stat, rule)
}

fn must_be(holds: bool, layer: &HostPath, what: &str, stat: &Stat, rule: &str) -> Result<()> {
    let (uid, mode) = (stat.st_uid, stat.st_mode & 0o7777);
    let problem = format_args!("{what} is owned by uid {uid} with mode {mode:04o}; {rule}");
    must(holds, Step::CheckLayer, layer, problem)
}

fn key_of(stat: &Stat) -> LayerKey {
    LayerKey::of(FileIdentity {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        modified_seconds: stat.st_mtime,
        modified_nanos: stat.st_mtime_nsec,
    })
}

impl LayerFile {
    /// Makes the file root's and read-only, makes sure that nobody still has it open for writing
    /// and that it is still what it was, and checks its superblock.
    ///
    /// # Errors
    ///
    /// [`Step::CheckLayer`]
    pub(crate) fn take_over(&self) -> Result<()> {
        let (step, path, file) = (Step::CheckLayer, &self.record.path, &self.fd);
        // A file of root's keeps its mode: making it readable could tell what the caller may read
        // only through a group.
        if fstat(file).at(step, path)?.st_uid != 0 && !without("layer-take-over") {
            fchown(file, Some(Uid::ROOT), Some(Gid::ROOT)).at(step, path)?;
            fchmod(file, Mode::from_raw_mode(0o444)).at(step, path)?;
        }
        let alone = match prove_no_writer(file) {
            Err(Errno::AGAIN) => without("layer-lease"),
            outcome => outcome.map(|()| true).at(step, path)?,
        };
        must(alone, step, path, "somebody has it open for writing, must be nobody")?;
        // The key was made before the file was ours.
        let stat = fstat(file).at(step, path)?;
        let same = key_of(&stat) == self.record.key || without("layer-unchanged");
        must(same, step, path, "it changed while it was checked")?;
        let mut start = [0; SUPERBLOCK_BYTES];
        let count = pread(file, &mut start, 0).at(step, path)?;
        let bytes = u64::try_from(stat.st_size).unwrap_or_default();
        let checked = check_superblock(self.kind, start.get(..count).unwrap_or_default(), bytes);
        let problem = checked.err().unwrap_or_default();
        must(problem.is_empty() || without("layer-header"), step, path, problem)
    }

    /// Mounts it on a directory.
    ///
    /// # Errors
    ///
    /// [`Step::MountLayer`] for what the kernel says of the file itself, which the supervisor
    /// throws away then; [`Step::Mount`] for what the host lacks.
    pub(crate) fn mount(&self, place: impl AsFd) -> Result<()> {
        let kind = match self.kind {
            LayerMediaType::Squashfs => "squashfs",
            LayerMediaType::Erofs => "erofs",
        };
        let told = |mounted: Result<(), Errno>| match mounted {
            Err(Errno::NODEV) => mounted.at(Step::Mount, kind),
            _ => mounted.at(Step::MountLayer, &self.record.path),
        };
        if self.kind == LayerMediaType::Erofs && !without("erofs-file") {
            let source = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
            match mount_filesystem(kind, &source, &place) {
                // Before Linux 6.12, and where the file lies on a tmpfs.
                Err(Errno::NOTBLK) => {}
                outcome => return told(outcome),
            }
        }
        let (_held, device) = attach_loop(&self.fd).at(Step::Mount, "loop device")?;
        told(mount_filesystem(kind, &device, place))
    }
}
