//! Remote stores: what this crate asks of them, and which scheme is served by which.

mod object;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{ErrorKind, Object, StoreError};
use crate::location::{Location, Scheme};
use object::ObjectBackend;

/// What a store knows of an object without reading it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stat {
    /// In bytes.
    pub size: u64,
    /// When it was last changed, in milliseconds since the epoch.
    pub modified_millis: i64,
    /// Changes whenever the content does; `None` if the store has no such thing.
    pub version: Option<String>,
}

/// An object in a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The last component of its path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A remote store. An object that is not there is [`StoreError::Remote`] of
/// [`ErrorKind::NotFound`] from every method but [`RemoteStore::list`].
///
/// No state is kept between two calls, so that a second try never meets what broke the first.
#[async_trait]
pub trait RemoteStore: fmt::Debug + Send + Sync {
    /// Asks for an object's size and version.
    async fn stat(&self, object: &Location) -> Result<Stat, StoreError>;

    /// Reads a part of an object that [`RemoteStore::stat`] described.
    ///
    /// The result is as long as the range: a range beyond the object's end is an error.
    /// [`StoreError::Changed`] when the object is no longer the described one, as far as the store
    /// can tell.
    async fn read(
        &self,
        object: &Location,
        stat: &Stat,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError>;

    /// The objects directly in a directory, by name; empty for a missing directory.
    async fn list(&self, directory: &Location) -> Result<Vec<Entry>, StoreError>;

    /// Writes an object that must not exist, visible only when it is complete.
    ///
    /// [`ErrorKind::AlreadyExists`] if it does, and then it is left as it is.
    async fn publish_new(&self, object: &Location, body: Bytes) -> Result<(), StoreError>;

    /// Writes an object over what may be there; readers see the old or the new one, never a mix.
    async fn replace(&self, object: &Location, body: Bytes) -> Result<(), StoreError>;
}

/// A store that serves `location` and everything else of its scheme and host.
///
/// Does not connect: a store that is down shows at the first request.
///
/// # Errors
///
/// [`StoreError::Remote`] if a store's own configuration is unusable.
pub fn open(location: &Location) -> Result<Arc<dyn RemoteStore>, StoreError> {
    match location.scheme() {
        Scheme::File => Ok(Arc::new(ObjectBackend::local())),
    }
}

/// Reads a whole object of at most `limit` bytes. One that is replaced meanwhile is read once more.
pub(crate) async fn read_document(
    store: &dyn RemoteStore,
    object: Object,
    location: &Location,
    limit: u64,
) -> Result<(Stat, Bytes), StoreError> {
    match read_once(store, object, location, limit).await {
        Err(StoreError::Changed { .. }) => read_once(store, object, location, limit).await,
        outcome => outcome,
    }
    .map_err(|error| missing(error, object, location))
}

async fn read_once(
    store: &dyn RemoteStore,
    object: Object,
    location: &Location,
    limit: u64,
) -> Result<(Stat, Bytes), StoreError> {
    let stat = store.stat(location).await?;
    if stat.size > limit {
        let (location, found) = (location.clone(), stat.size);
        return Err(StoreError::TooLarge { object, location, found, limit });
    }
    let bytes = store.read(location, &stat, 0..stat.size).await?;
    Ok((stat, bytes))
}

/// Says what it is that a store does not have.
pub(crate) fn missing(error: StoreError, object: Object, location: &Location) -> StoreError {
    if error.kind() == ErrorKind::NotFound {
        StoreError::Missing { object, location: location.clone() }
    } else {
        error
    }
}
