//! Manifests in memory: each launch of a topology's workers asks for the same one.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::digest::Digest;
use crate::manifest::Manifest;

/// The manifests used last, the latest first.
#[derive(Debug)]
pub(crate) struct RecentManifests {
    capacity: NonZeroUsize,
    /// With the digests they were asked for by, which may be those of an index.
    manifests: VecDeque<(Digest, Arc<Manifest>)>,
}

impl RecentManifests {
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        Self { capacity, manifests: VecDeque::new() }
    }

    pub(crate) fn get(&mut self, digest: &Digest) -> Option<Arc<Manifest>> {
        let position = self.manifests.iter().position(|(known, _)| known == digest)?;
        let (digest, manifest) = self.manifests.remove(position)?;
        self.manifests.push_front((digest, Arc::clone(&manifest)));
        Some(manifest)
    }

    pub(crate) fn insert(&mut self, digest: Digest, manifest: Arc<Manifest>) {
        self.manifests.retain(|(known, _)| *known != digest);
        self.manifests.push_front((digest, manifest));
        self.manifests.truncate(self.capacity.get());
    }
}
