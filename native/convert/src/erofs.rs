//! EROFS files, through `mkfs.erofs`.
//!
//! The one of Debian 12 takes a directory and no archive, so it is given a squashfs file of the
//! layer, mounted read-only in a mount namespace that nobody else sees and that ends with it. That
//! takes root, unlike everything else of a conversion.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use sha2::{Digest, Sha256};
use storm_oci_store::ErrorKind;

/// A finished EROFS file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErofsFile {
    /// Bytes of the file.
    pub size: u64,
    /// The digest of all of it, by which the store names it.
    pub sha256: [u8; 32],
}

/// Why an EROFS file cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErofsError {
    /// Only root may mount.
    #[error(
        "cannot make an EROFS file: only root may mount the squashfs file it is made from; \
         hint: run as root, or publish squashfs layers"
    )]
    NotRoot,
    /// A program cannot be started.
    #[error(
        "cannot start {program}: {source}; hint: install util-linux and erofs-utils, or publish \
         squashfs layers"
    )]
    Start {
        /// Which one.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The mount or `mkfs.erofs` failed.
    #[error("cannot make the EROFS file {}: {status}: {said}", path.display())]
    Ended {
        /// The file that was to be made.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last line that it said of it.
        said: String,
    },
    /// The finished file cannot be read for its digest.
    #[error("cannot read the EROFS file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ErofsError {
    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotRoot => ErrorKind::Denied,
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorKind::Unsupported
            }
            Self::Start { source, .. } | Self::Read { source, .. } => ErrorKind::of_io(source),
            Self::Ended { status, .. } if status.code() == Some(NO_PROGRAM) => {
                ErrorKind::Unsupported
            }
            Self::Ended { .. } => ErrorKind::Internal,
        }
    }
}

/// A shell's exit status when it does not find a program.
const NO_PROGRAM: i32 = 127;

/// Until when a file's time is kept, and the time that `mkfs.erofs` notes as now. Its own options for
/// the latter would replace the time of every file.
const NOW: (&str, &str) = ("SOURCE_DATE_EPOCH", "4294967295");

/// `$0` is the squashfs file, `$1` where it is mounted, `$2` the EROFS file, `$3` what to do with
/// extended attributes. Nothing that depends on the moment goes into the file: neither the time nor
/// a random UUID.
const SCRIPT: &str = r#"
mount -t squashfs -o ro,loop,nosuid,nodev,noexec "$0" "$1" || exit
exec mkfs.erofs --quiet "$3" -U00000000-0000-0000-0000-000000000000 "$2" "$1"
"#;

/// Share an attribute that more than two files have, as by default.
const SHARE_ATTRIBUTES: &str = "-x2";
/// Look for none: Linux says of some files on a squashfs without any that they cannot have
/// attributes, and `mkfs.erofs` takes that for a failure.
const NO_ATTRIBUTES: &str = "-x-1";
/// Where a squashfs file says where its table of attributes begins.
const ATTRIBUTES_AT: u64 = 56;

/// Makes an EROFS file, uncompressed, with what is in a squashfs file. Needs root, `mkfs.erofs`, and
/// a kernel that mounts the squashfs file. Blocks until it is done; the file is not synced.
///
/// # Errors
///
/// [`ErofsError`]. What was made of the file is then to be removed.
pub fn make(squashfs: &Path, erofs: &Path) -> Result<ErofsFile, ErofsError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ErofsError::NotRoot);
    }
    let read = |source| ErofsError::Read { path: erofs.to_owned(), source };
    let start = |source| ErofsError::Start { program: "unshare", source };
    let attributes = match has_attributes(squashfs) {
        Ok(false) => NO_ATTRIBUTES,
        // What cannot be read is told better by the mount.
        Ok(true) | Err(_) => SHARE_ATTRIBUTES,
    };
    let place = tempfile::tempdir().map_err(read)?;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT])
        .args([squashfs, place.path(), erofs])
        .arg(attributes)
        .env("LC_ALL", "C")
        .env(NOW.0, NOW.1)
        .stdin(Stdio::null())
        .output()
        .map_err(start)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        let said = said.trim().to_owned();
        return Err(ErofsError::Ended { path: erofs.to_owned(), status: output.status, said });
    }
    measure(erofs).map_err(read)
}

fn has_attributes(squashfs: &Path) -> io::Result<bool> {
    let mut start = [0; 8];
    File::open(squashfs)?.read_exact_at(&mut start, ATTRIBUTES_AT)?;
    Ok(u64::from_le_bytes(start) != u64::MAX)
}

fn measure(path: &Path) -> io::Result<ErofsFile> {
    let mut reader = BufReader::with_capacity(256 << 10, File::open(path)?);
    let (mut digest, mut size) = (Sha256::new(), 0);
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() {
            return Ok(ErofsFile { size, sha256: digest.finalize().into() });
        }
        digest.update(part);
        let length = part.len();
        size += u64::try_from(length).unwrap_or(u64::MAX);
        reader.consume(length);
    }
}
