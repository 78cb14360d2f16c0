//! One fetch at a time for each digest within this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::Digest;
use crate::error::StoreError;

/// How a layer came to be in the cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Landed {
    /// The layer's size.
    pub(crate) bytes: u64,
    /// Whether this caller's own fetch brought it.
    pub(crate) fetched: bool,
}

/// `None` while its leader is on the way.
type Outcome = Option<Result<Landed, StoreError>>;

/// The fetches under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    running: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<Outcome>>>>,
}

impl Flights {
    /// Runs `fetch`, or waits for the one that runs already and takes its outcome, good or bad.
    ///
    /// If the caller that runs it goes away, the next one in line runs its own.
    pub(crate) async fn join(
        &self,
        digest: &Digest,
        fetch: impl Future<Output = Result<Landed, StoreError>>,
    ) -> Result<Landed, StoreError> {
        let flight = Arc::clone(self.lock().entry(digest.clone()).or_default());
        let mut outcome = flight.lock().await;
        if let Some(landed) = outcome.as_ref() {
            return landed.clone().map(|landed| Landed {
                fetched: false,
                ..landed
            });
        }
        let landed = fetch.await;
        *outcome = Some(landed.clone());
        // From here on new callers look at the disk again.
        self.lock().remove(digest);
        landed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<tokio::sync::Mutex<Outcome>>>> {
        // The map is whole at every point where a panic could strike.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
