//! Writing files of this host.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use futures_util::TryStreamExt;
use object_store::Error;

use super::failure;
use crate::cache::blocking;
use crate::error::{ErrorKind, StoreError};
use crate::location::Location;
use crate::remote::{Body, Listed, PUBLISHED_MODE};

const DIRECTORY_MODE: u32 = 0o755;

/// Runs `work` on the file of a location, where it may block.
async fn on_file<T: Send + 'static>(
    operation: &'static str,
    object: &Location,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let object = object.clone();
    blocking("use a directory", move || {
        work(&path(&object)).map_err(|cause| failed(operation, &object, cause))
    })
    .await
}

fn path(location: &Location) -> PathBuf {
    PathBuf::from(location.path())
}

fn failed(operation: &'static str, object: &Location, cause: io::Error) -> StoreError {
    let source = Box::new(cause);
    failure::of_directory(operation, object, Error::Generic { store: "file", source })
}

/// Makes a directory and those above it. The mode of those that are there is not touched, and that
/// of new ones does not depend on the process' mask.
pub(super) async fn make(directory: &Location) -> Result<(), StoreError> {
    on_file("make directory", directory, |path| {
        let missing: Vec<_> = path.ancestors().take_while(|path| !path.exists()).collect();
        for directory in missing.into_iter().rev() {
            match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
                Ok(()) => {
                    fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        // What is there may be a file.
        if path.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
    })
    .await
}

/// Writes a file that nobody knows of yet. It is on the disk when the call returns.
pub(super) async fn write(
    temporary: &Location,
    object: &Location,
    mut body: Body,
) -> Result<(), StoreError> {
    let temporary = path(temporary);
    let mut file = on_file("write", object, move |_| {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)
    })
    .await?;
    while let Some(piece) = body.try_next().await? {
        file = on_file("write", object, move |_| {
            file.write_all(&piece)?;
            Ok(file)
        })
        .await?;
    }
    on_file("write", object, move |_| {
        file.set_permissions(Permissions::from_mode(u32::from(PUBLISHED_MODE)))?;
        file.sync_all()
    })
    .await
}

/// Gives a written file its name.
pub(super) async fn publish(
    temporary: &Location,
    object: &Location,
    overwrite: bool,
) -> Result<(), StoreError> {
    let temporary = path(temporary);
    on_file("publish", object, move |path| {
        if overwrite {
            fs::rename(&temporary, path)?;
        } else {
            // Unlike a rename without overwriting, every file system has it.
            fs::hard_link(&temporary, path)?;
            fs::remove_file(&temporary)?;
        }
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    })
    .await
}

/// Removes a file. `false` if there was none.
pub(super) async fn delete(object: &Location) -> Result<bool, StoreError> {
    match on_file("delete", object, |path| fs::remove_file(path)).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The files of a directory, by name. Those that vanish meanwhile are passed over.
pub(super) async fn files(directory: &Location) -> Result<Vec<Listed>, StoreError> {
    on_file("list", directory, |path| {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What has another sort of name is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => files.push(listed(name, &metadata)?),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(files)
    })
    .await
}

/// One file.
pub(super) async fn file(object: &Location) -> Result<Listed, StoreError> {
    let name = object.name().to_owned();
    on_file("stat", object, move |path| {
        let metadata = fs::metadata(path)?;
        if metadata.is_file() {
            listed(name, &metadata)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    })
    .await
}

fn listed(name: String, metadata: &fs::Metadata) -> io::Result<Listed> {
    let modified = metadata.modified()?;
    let millis = match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_millis()).map_or(i64::MIN, i64::wrapping_neg)
        }
    };
    let mode = u16::try_from(metadata.mode() & 0o7777).ok();
    Ok(Listed { name, size: metadata.len(), modified_millis: millis, mode })
}

/// Sets a file's permissions.
pub(super) async fn set_mode(object: &Location, mode: u16) -> Result<(), StoreError> {
    on_file("set the mode of", object, move |path| {
        fs::set_permissions(path, Permissions::from_mode(u32::from(mode)))
    })
    .await
}
