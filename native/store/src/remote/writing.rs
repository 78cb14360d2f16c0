//! Writing to a store: what is read back before anybody can see it, or taken away again.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest as _, Sha256};

use super::{RemoteStore, Stat, temporary};
use crate::content::Content;
use crate::digest::Digest;
use crate::error::{Object, StoreError};
use crate::location::Location;

/// The bytes of an object that is to be written, in pieces.
pub type Body = BoxStream<'static, Result<Bytes, StoreError>>;

/// The mode of what is published, where files have one: nobody writes it again.
pub const PUBLISHED_MODE: u16 = 0o444;

/// How an object is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Upload {
    /// What it is, for messages.
    pub object: Object,
    /// Whether one that is there gives way. Otherwise it is [`crate::ErrorKind::AlreadyExists`].
    pub overwrite: bool,
    /// How many datanodes shall have each block. `None`: as the cluster has it by default.
    pub replication: Option<u32>,
}

/// A file in a listing for those who write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// The last component of its path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed, in milliseconds since the epoch, by the store's clock.
    pub modified_millis: i64,
    /// Its permissions, where files have them.
    pub mode: Option<u16>,
}

/// A store that can be written. A web server refuses each call as [`crate::ErrorKind::Unsupported`].
#[async_trait]
pub trait WritableStore: RemoteStore {
    /// Makes a directory and those above it, with mode 0755. Whatever is there stays as it is.
    /// A store without directories does nothing.
    async fn make_directory(&self, directory: &Location) -> Result<(), StoreError>;

    /// Writes an object of any size and reads it back. It is visible only when it is complete; a
    /// store that can rename shows it only after it was read back.
    ///
    /// [`StoreError::DigestMismatch`] and [`StoreError::SizeMismatch`] if what the store has then
    /// is not `content`; nothing of it stays. [`crate::ErrorKind::NotFound`] for a directory that
    /// is not there.
    async fn upload(
        &self,
        object: &Location,
        body: Body,
        content: &Content,
        how: Upload,
    ) -> Result<(), StoreError>;

    /// Puts `body` in the place of an object that is still as `known` describes it.
    ///
    /// [`StoreError::Changed`] if it is another by now. A store that cannot rename compares and
    /// replaces in one step; the others compare right before they rename.
    async fn replace_if(
        &self,
        object: &Location,
        known: &Stat,
        body: Bytes,
        how: Upload,
    ) -> Result<(), StoreError>;

    /// Removes an object. `false` if there was none.
    async fn delete(&self, object: &Location) -> Result<bool, StoreError>;

    /// All files directly in a directory, by name; empty for a missing directory.
    async fn files(&self, directory: &Location) -> Result<Vec<Listed>, StoreError>;

    /// One file, as [`WritableStore::files`] lists it. [`crate::ErrorKind::NotFound`] if there is
    /// none.
    async fn file(&self, object: &Location) -> Result<Listed, StoreError>;

    /// Sets an object's permissions. `false` from a store that has none.
    async fn set_mode(&self, object: &Location, mode: u16) -> Result<bool, StoreError>;
}

/// A body of bytes that are in memory.
pub fn body_of(bytes: Bytes) -> Body {
    stream::once(async move { Ok(bytes) }).boxed()
}

/// Reads an object to its end: what the store really has.
///
/// # Errors
///
/// Those of [`RemoteStore::stat`] and [`RemoteStore::stream`].
pub async fn content_of<S: RemoteStore + ?Sized>(
    store: &S,
    object: &Location,
) -> Result<Content, StoreError> {
    let stat = store.stat(object).await?;
    let mut pieces = store.stream(object, &stat, 0..stat.size);
    let mut hash = Sha256::new();
    while let Some(piece) = pieces.try_next().await? {
        hash.update(&piece);
    }
    Ok(Content { sha256: Digest::finish(hash), size: stat.size })
}

/// A store in which a file can have another name until it is complete.
#[async_trait]
pub(super) trait Renaming: WritableStore {
    /// Writes a file that nobody knows of yet; messages name the object that it becomes.
    async fn write(
        &self,
        temporary: &Location,
        object: &Location,
        body: Body,
        how: Upload,
    ) -> Result<(), StoreError>;

    /// Gives it its name, and takes that from another if `overwrite` says so.
    async fn rename(
        &self,
        temporary: &Location,
        object: &Location,
        overwrite: bool,
    ) -> Result<(), StoreError>;
}

/// Writes an object beside its place and reads it back; then puts it there, if `known` still
/// describes what is there.
pub(super) async fn write_beside<S: Renaming>(
    store: &S,
    object: &Location,
    body: Body,
    content: &Content,
    how: Upload,
    known: Option<&Stat>,
) -> Result<(), StoreError> {
    let temporary = temporary::beside(object);
    let outcome = async {
        store.write(&temporary, object, body, how).await?;
        read_back(store, &temporary, content, how.object, object).await?;
        if let Some(known) = known
            && store.stat(object).await? != *known
        {
            return Err(StoreError::Changed { location: object.clone() });
        }
        store.rename(&temporary, object, how.overwrite).await
    };
    let outcome = outcome.await;
    // Best effort: without its namenode nothing can be removed.
    if outcome.is_err()
        && let Err(error) = store.delete(&temporary).await
    {
        tracing::warn!("left a temporary file behind: {error}");
    }
    outcome
}

/// Compares what was written, perhaps under another name, with what it must be.
pub(super) async fn read_back<S: RemoteStore + ?Sized>(
    store: &S,
    written: &Location,
    content: &Content,
    object: Object,
    named: &Location,
) -> Result<(), StoreError> {
    let found = content_of(store, written).await?;
    let location = named.clone();
    if found.size != content.size {
        let (expected, found) = (content.size, found.size);
        return Err(StoreError::SizeMismatch { object, location, expected, found });
    }
    if found.sha256 != content.sha256 {
        let (expected, found) = (content.sha256.clone(), found.sha256);
        return Err(StoreError::DigestMismatch { object, location, expected, found });
    }
    Ok(())
}
