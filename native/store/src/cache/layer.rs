//! Layers in the cache: fetched once, leased while in use.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cache::directories::{Directories, remove_if_there};
use crate::cache::fetch::LayerFetches;
use crate::cache::flight::{Flights, Landed};
use crate::cache::localization::Localization;
use crate::cache::lock::{FileLock, LockMode};
use crate::cache::side_file::Content;
use crate::error::StoreError;
use crate::layer_file::LayerFile;
use crate::location::Location;

/// A layer on the local disk.
///
/// As long as this lives, no process of this account removes the file: hold it until the launcher
/// has the layer open.
#[derive(Debug)]
pub struct LocalLayer {
    /// The layer's file.
    pub path: PathBuf,
    /// Its digest and format.
    pub file: LayerFile,
    /// Whether this call fetched it; `false` if it was there or another caller's fetch brought it.
    pub fetched: bool,
    /// Its size.
    pub bytes: u64,
    _lease: FileLock,
}

/// A layer and where to get it.
#[derive(Clone, Debug)]
pub(crate) struct LayerSource {
    /// Names the local file.
    pub(crate) file: LayerFile,
    /// The file in the store.
    pub(crate) location: Location,
    /// What is known of the file itself before asking the store.
    pub(crate) content: Option<Content>,
}

/// The layers of one cache.
#[derive(Debug)]
pub(crate) struct LayerCache {
    directories: Directories,
    fetches: LayerFetches,
    flights: Flights,
}

impl LayerCache {
    pub(crate) fn new(directories: Directories, fetches: LayerFetches) -> Self {
        Self { directories, fetches, flights: Flights::default() }
    }

    /// The layer's local file, fetched if there is none that counts.
    pub(crate) async fn localize(
        &self,
        source: &LayerSource,
        localization: &Arc<Localization>,
    ) -> Result<LocalLayer, StoreError> {
        // The lease comes first: what is seen under it stays.
        let lease_path = self.directories.lease(&source.file.digest);
        let lease = FileLock::acquire(&lease_path, LockMode::Shared).await?;
        // The order of collection, nothing more.
        if let Err(cause) = lease.touch() {
            tracing::debug!("{}", StoreError::local("touch", &lease_path, cause));
        }
        let landed = match self.fetches.complete_size(source).await? {
            Some(bytes) => Landed { bytes, fetched: false },
            None => {
                // Each caller has its own limit: one that gives up leaves the fetch to the next.
                let fetch = self.fetches.fetch(source, localization);
                let flight = self.flights.join(&source.file.digest, fetch);
                tokio::time::timeout_at(localization.deadline(), flight).await.map_err(|_| {
                    let location = source.location.clone();
                    StoreError::TooSlow { location, limit: localization.limit }
                })??
            }
        };
        Ok(LocalLayer {
            path: self.directories.layer(&source.file),
            file: source.file.clone(),
            fetched: landed.fetched,
            bytes: landed.bytes,
            _lease: lease,
        })
    }

    /// Makes the next [`LayerCache::localize`] fetch the layer again.
    ///
    /// The file goes too unless somebody holds a lease on it; then it stays until it is replaced,
    /// so that a path which was handed out never points nowhere.
    pub(crate) fn discard(&self, file: &LayerFile) -> Result<(), StoreError> {
        remove_if_there(&self.directories.layer_record(file))?;
        let lease_path = self.directories.lease(&file.digest);
        let lease = FileLock::try_acquire(&lease_path, LockMode::Exclusive)
            .map_err(|cause| StoreError::local("lock", &lease_path, cause))?;
        if lease.is_some() {
            remove_if_there(&self.directories.layer(file))?;
            remove_if_there(&lease_path)?;
        }
        Ok(())
    }
}
