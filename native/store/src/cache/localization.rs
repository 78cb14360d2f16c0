//! One call for an image's layers: its time limit, and how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Shared by the fetches that one call leads.
#[derive(Debug)]
pub(crate) struct Localization {
    begin: Instant,
    /// How long all of it may take.
    pub(crate) limit: Duration,
    layers: AtomicUsize,
    fetched_layers: AtomicUsize,
    bytes: AtomicU64,
    received_bytes: AtomicU64,
    /// Those of all calls together.
    all_received_bytes: Arc<AtomicU64>,
}

impl Localization {
    pub(crate) fn begin(limit: Duration, all_received_bytes: Arc<AtomicU64>) -> Self {
        Self {
            begin: Instant::now(),
            limit,
            layers: AtomicUsize::new(0),
            fetched_layers: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            all_received_bytes,
        }
    }

    /// When it must be done.
    pub(crate) fn deadline(&self) -> Instant {
        self.begin + self.limit
    }

    /// A layer of so many missing bytes is to be fetched.
    pub(crate) fn expect(&self, bytes: u64) {
        self.layers.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all_received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn fetched_layer(&self) {
        self.fetched_layers.fetch_add(1, Ordering::Relaxed);
    }

    /// Logs how far it is, if anything is fetched at all.
    pub(crate) fn report(&self, what: &'static str) {
        let layers = self.layers.load(Ordering::Relaxed);
        if layers == 0 {
            return;
        }
        let bytes = self.received_bytes.load(Ordering::Relaxed);
        let took = self.begin.elapsed();
        let rate = u128::from(bytes) * 1000 / took.as_millis().max(1);
        tracing::info!(
            bytes,
            of_bytes = self.bytes.load(Ordering::Relaxed),
            layers = self.fetched_layers.load(Ordering::Relaxed),
            of_layers = layers,
            millis = took.as_millis(),
            bytes_per_second = rate,
            "{what}"
        );
    }
}
