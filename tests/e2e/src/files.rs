//! File operations whose errors name the file.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::E2eError;

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> E2eError + use<'a> {
    move |source| E2eError::File { verb, path: path.to_owned(), source }
}

/// The text of a file.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn read(path: &Path) -> Result<String, E2eError> {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(failed("read", path))
}

/// Writes a file that everybody may read.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), E2eError> {
    fs::write(path, content).map_err(failed("write", path))?;
    set_mode(path, 0o644)
}

/// Writes a file so that no reader sees half of it.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn replace(path: &Path, content: impl AsRef<[u8]>) -> Result<(), E2eError> {
    let part = path.with_extension("part");
    write(&part, content)?;
    fs::rename(&part, path).map_err(failed("replace", path))
}

/// Sets a file's mode.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn set_mode(path: &Path, mode: u32) -> Result<(), E2eError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(failed("change the mode of", path))
}

/// Gives a file to an account.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn give(path: &Path, uid: u32, gid: u32) -> Result<(), E2eError> {
    chown(path, Some(uid), Some(gid)).map_err(failed("change the owner of", path))
}

/// Makes a directory and its parents, mode 0755.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn make_dir(path: &Path) -> Result<(), E2eError> {
    fs::create_dir_all(path).map_err(failed("make", path))?;
    set_mode(path, 0o755)
}

/// Removes a file if it is there.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn remove(path: &Path) -> Result<(), E2eError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed("remove", path)),
    }
}

/// Removes a tree if it is there.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn remove_tree(path: &Path) -> Result<(), E2eError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed("remove", path)),
    }
}

/// Renames a file or directory.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn rename(from: &Path, to: &Path) -> Result<(), E2eError> {
    fs::rename(from, to).map_err(failed("rename", from))
}

/// Gives a file a second name, or copies it where that is another file system.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn link_or_copy(from: &Path, to: &Path) -> Result<(), E2eError> {
    fs::hard_link(from, to)
        .or_else(|_| fs::copy(from, to).map(|_| ()))
        .map_err(failed("copy", from))
}

/// The entries of a directory, sorted; none when it is not there.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn list(path: &Path) -> Result<Vec<PathBuf>, E2eError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", path))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed("list", path))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The SHA-256 and size of a file's content.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn digest(path: &Path) -> Result<(String, u64), E2eError> {
    let mut file = fs::File::open(path).map_err(failed("read", path))?;
    let mut hasher = Sha256::new();
    let size = io::copy(&mut file, &mut HashWriter(&mut hasher)).map_err(failed("read", path))?;
    Ok((hex(&hasher.finalize()), size))
}

/// The SHA-256 of bytes, in hex.
#[must_use]
pub fn digest_of(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is written is hashed.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
