//! What the stores say of an object before it is read.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cache::layer::LayerSource;
use crate::cache::retry::{retry, within};
use crate::cache::side_file::{self, Content};
use crate::cache::transfers::Transfers;
use crate::digest::Digest;
use crate::error::{Object, StoreError};
use crate::location::Location;
use crate::remote::{self, RemoteStore, Remotes, Stat};
use crate::settings::Verification;

/// Asks the stores. Each question is one of the requests that are bounded, and is asked again if
/// it fails in a way that may pass.
#[derive(Debug)]
pub(crate) struct Lookup {
    remotes: Arc<Remotes>,
    transfers: Transfers,
    verification: Verification,
    request_timeout: Duration,
    /// The layers that were accepted without a digest, each told once.
    unverified: Mutex<HashSet<Digest>>,
}

/// What the store has under a layer's name.
pub(crate) struct Found {
    pub(crate) store: Arc<dyn RemoteStore>,
    pub(crate) stat: Stat,
    /// What the file must be; empty if the store does not say.
    pub(crate) contents: Vec<Content>,
}

impl Lookup {
    pub(crate) fn new(
        remotes: Arc<Remotes>,
        transfers: Transfers,
        verification: Verification,
        request_timeout: Duration,
    ) -> Self {
        let unverified = Mutex::default();
        Self { remotes, transfers, verification, request_timeout, unverified }
    }

    /// An object's size and version.
    pub(crate) async fn stat(
        &self,
        object: Object,
        location: &Location,
    ) -> Result<Stat, StoreError> {
        let store = self.remotes.open(location)?;
        retry(|| async {
            let _turn = self.transfers.begin().await;
            self.ask_stat(store.as_ref(), object, location).await
        })
        .await
    }

    /// A layer's size and what its file must be.
    pub(crate) async fn layer(&self, source: &LayerSource) -> Result<Found, StoreError> {
        let location = &source.location;
        let store = self.remotes.open(location)?;
        let (stat, side_file) = retry(|| async {
            let _turn = self.transfers.begin().await;
            let stat = self.ask_stat(store.as_ref(), Object::Layer, location).await?;
            let side_file = side_file::read(store.as_ref(), location);
            let side_file =
                within(self.request_timeout, "read the side file of", location, side_file).await?;
            Ok((stat, side_file))
        })
        .await?;
        let contents: Vec<_> = source.content.iter().cloned().chain(side_file).collect();
        if contents.is_empty() {
            self.check_unverified(source)?;
        }
        Ok(Found { store, stat, contents })
    }

    async fn ask_stat(
        &self,
        store: &dyn RemoteStore,
        object: Object,
        location: &Location,
    ) -> Result<Stat, StoreError> {
        within(self.request_timeout, "stat", location, store.stat(location))
            .await
            .map_err(|error| remote::missing(error, object, location))
    }

    /// Whether a layer of which only the size is known may be used.
    fn check_unverified(&self, source: &LayerSource) -> Result<(), StoreError> {
        let location = &source.location;
        match self.verification {
            Verification::Required => Err(StoreError::Unverified { location: location.clone() }),
            Verification::WhenAvailable => {
                // The set is whole at every point where a panic could strike.
                let mut told = self.unverified.lock().unwrap_or_else(PoisonError::into_inner);
                if told.insert(source.file.digest.clone()) {
                    tracing::warn!(%location, "the store has no digest of this layer's file: only its size is checked");
                }
                Ok(())
            }
        }
    }
}
