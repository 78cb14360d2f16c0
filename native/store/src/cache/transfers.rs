//! How much is asked of remote stores at once.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bound on requests to remote stores at one time: of all layers, images and callers together.
///
/// Whoever waits is served in turn. A layer waits for one transfer at a time, so that a large layer
/// cannot keep the others from starting.
#[derive(Clone, Debug)]
pub(crate) struct Transfers(Arc<Semaphore>);

/// The right to one request at a time, until dropped.
#[derive(Debug)]
pub(crate) struct Transfer(
    #[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>,
);

impl Transfers {
    pub(crate) fn new(at_once: NonZeroUsize) -> Self {
        Self(Arc::new(Semaphore::new(at_once.get().min(Semaphore::MAX_PERMITS))))
    }

    /// Waits for its turn.
    pub(crate) async fn begin(&self) -> Transfer {
        // Nobody closes the semaphore; without a permit it would only be one more at once.
        Transfer(Arc::clone(&self.0).acquire_owned().await.ok())
    }
}
