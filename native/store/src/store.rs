//! An image store with its local cache.

mod resources;

use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use bytes::Bytes;

use crate::cache::{
    Collected, Collector, Content, Directories, Documents, InUse, LayerCache, LayerFetches,
    LayerSource, LocalLayer, Localization, Lookup, Transfers,
};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::index::ImageIndex;
use crate::layer_file::LayerFile;
use crate::location::Location;
use crate::manifest::{LayerDescriptor, Manifest};
use crate::media_type::LayerMediaType;
use crate::platform::Platform;
use crate::recent_manifests::RecentManifests;
use crate::reference::Reference;
use crate::remote::Remotes;
use crate::settings::StoreSettings;
use crate::tags::Tags;

/// How many layers of one image are worked on at once. More than there are transfers: small layers
/// wait for the disk most of all, which takes many files in one go.
const LAYERS_AT_ONCE: usize = 32;
/// How often the log shows how far a fetch is.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The images of one store, in Storm's layout:
///
/// ```text
/// <top>/manifests/<hex>            a manifest, named by its own digest
/// <top>/config/<hex>               an image config, named by its own digest
/// <top>/layers/<hex>.sqsh          a squashfs layer, named by the digest in the manifest
/// <top>/layers/<hex>.sqsh.json     digest and size of the squashfs file itself, if there is one
/// <top>/layers/<hex>.erofs         an EROFS layer, named by its own digest
/// ```
///
/// Meant to be shared. Its asynchronous methods need a tokio runtime with timers.
#[derive(Debug)]
pub struct ImageStore {
    top_level: Location,
    platform: Platform,
    tags: Tags,
    documents: Documents,
    layers: LayerCache,
    lookup: Arc<Lookup>,
    collector: Arc<Collector>,
    fetch_timeout: Duration,
    fetched_bytes: Arc<AtomicU64>,
    manifests: Mutex<RecentManifests>,
}

impl ImageStore {
    /// Prepares the local cache and removes what dead processes left in it. The remote store is
    /// not asked for anything yet.
    ///
    /// No layer is ever removed for want of room, as nobody tells which of them are in use.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoTagMap`], [`StoreError::InvalidLocation`] for a relative tag map file,
    /// [`StoreError::InvalidOptions`] for a store that cannot be asked with these, and
    /// [`StoreError::Local`] if the cache cannot be made.
    pub fn open(settings: StoreSettings) -> Result<Self, StoreError> {
        Self::with(settings, None)
    }

    /// As [`ImageStore::open`], and keeps the cache within its budget: in the background after
    /// each fetch, and at once when the disk is full.
    ///
    /// # Errors
    ///
    /// As [`ImageStore::open`].
    pub fn open_collecting(
        settings: StoreSettings,
        in_use: Arc<dyn InUse>,
    ) -> Result<Self, StoreError> {
        Self::with(settings, Some(in_use))
    }

    fn with(settings: StoreSettings, in_use: Option<Arc<dyn InUse>>) -> Result<Self, StoreError> {
        let remotes = Arc::new(Remotes::new(settings.remote.clone()));
        // What is wrong with their options shows now, and not at the first launch.
        for location in [Some(&settings.top_level), settings.remote_tag_map.as_ref()] {
            location.map(|location| remotes.open(location)).transpose()?;
        }
        let tags = Tags::new(&settings, Arc::clone(&remotes))?;
        let directories = Directories::open(&settings.local_dir)?;
        let collector = Collector::new(directories.clone(), settings.budget, in_use);
        let collector = Arc::new(collector);
        let transfers = Transfers::new(settings.connections);
        let request_timeout = settings.remote.request_timeout;
        let lookup = Arc::new(Lookup::new(
            Arc::clone(&remotes),
            transfers.clone(),
            settings.verification,
            request_timeout,
        ));
        let fetches = LayerFetches {
            directories: directories.clone(),
            collector: Arc::clone(&collector),
            lookup: Arc::clone(&lookup),
            transfers,
            verification: settings.verification,
            request_timeout,
        };
        Ok(Self {
            top_level: settings.top_level,
            platform: settings.platform,
            tags,
            documents: Documents::new(directories.clone(), remotes, request_timeout),
            layers: LayerCache::new(directories, fetches),
            lookup,
            collector,
            fetch_timeout: settings.fetch_timeout,
            fetched_bytes: Arc::default(),
            manifests: Mutex::new(RecentManifests::new(settings.manifests_to_cache)),
        })
    }

    /// The digest of a tag's manifest: the local tag map first, then the remote one.
    ///
    /// # Errors
    ///
    /// [`StoreError::TagNotFound`]; else whatever keeps a tag map from being read for the first
    /// time. Once read, a map that cannot be read again is used as it was.
    pub async fn resolve(&self, tag: &Reference) -> Result<Digest, StoreError> {
        self.tags.resolve(tag).await
    }

    /// The manifest with this digest, checked against it. If the digest is an image index's, the
    /// index' manifest for this platform, checked against the digest it has there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`], [`StoreError::DigestMismatch`], and those of [`Manifest::parse`],
    /// [`ImageIndex::parse`] and [`ImageIndex::choose`].
    pub async fn manifest(&self, digest: &Digest) -> Result<Arc<Manifest>, StoreError> {
        if let Some(manifest) = self.recent().get(digest) {
            return Ok(manifest);
        }
        let mut document = self.manifest_document(digest).await?;
        if let Some(index) = ImageIndex::parse(&document)? {
            document = self.manifest_document(&index.choose(&self.platform)?).await?;
        }
        let manifest = Arc::new(Manifest::parse(&document)?);
        self.recent().insert(digest.clone(), Arc::clone(&manifest));
        Ok(manifest)
    }

    async fn manifest_document(&self, digest: &Digest) -> Result<Bytes, StoreError> {
        let location = self.top_level.join(&format!("manifests/{}", digest.as_hex()));
        self.documents.manifest(digest, &location).await
    }

    /// The image config of a manifest, checked against its digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`], [`StoreError::DigestMismatch`], [`StoreError::InvalidDocument`].
    pub async fn config(&self, manifest: &Manifest) -> Result<ImageConfig, StoreError> {
        let digest = &manifest.config.digest;
        let location = self.config_location(digest);
        let (document, path) = self.documents.config(digest, &location).await?;
        ImageConfig::parse(&document, digest, path)
    }

    /// The local file of one layer: [`ImageStore::localize_layers`].
    ///
    /// # Errors
    ///
    /// Those of [`ImageStore::localize_layers`].
    pub async fn localize_layer(&self, layer: &LayerDescriptor) -> Result<LocalLayer, StoreError> {
        self.localize_one(self.layer_source(layer)).await
    }

    async fn localize_one(&self, source: LayerSource) -> Result<LocalLayer, StoreError> {
        let layers = self.localize(vec![source]).await?;
        layers.into_iter().next().ok_or(StoreError::TaskEnded { operation: "fetch a layer" })
    }

    /// The local files of layers, in their order. Fetches those of which no complete copy is
    /// there, side by side; however many callers and processes want one at once, it is fetched
    /// once. When one fails, the others are brought to their end: the next try will want them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`], [`StoreError::DigestMismatch`] and [`StoreError::SizeMismatch`]
    /// after a second try, [`StoreError::Unverified`], [`StoreError::Local`] of
    /// [`crate::ErrorKind::Full`] for a full disk, [`StoreError::TooSlow`]. Only what
    /// [`crate::ErrorKind::Unreachable`] broke off stays on the disk, for the next call to go on
    /// with.
    pub async fn localize_layers(
        &self,
        layers: &[LayerDescriptor],
    ) -> Result<Vec<LocalLayer>, StoreError> {
        self.localize(layers.iter().map(|layer| self.layer_source(layer)).collect()).await
    }

    async fn localize(&self, sources: Vec<LayerSource>) -> Result<Vec<LocalLayer>, StoreError> {
        let localization = Arc::new(Localization::begin(self.fetch_timeout, self.fetched_bytes()));
        let one = async |source: LayerSource| self.layers.localize(&source, &localization).await;
        let mut locals =
            pin!(stream::iter(sources).map(one).buffered(LAYERS_AT_ONCE).collect::<Vec<_>>());
        let locals = loop {
            match tokio::time::timeout(REPORT_EVERY, &mut locals).await {
                Ok(locals) => break locals,
                Err(_) => localization.report("fetching layers"),
            }
        };
        localization.report("fetched layers");
        if locals.iter().flatten().any(|local| local.fetched) {
            self.collector.collect_in_background();
        }
        locals.into_iter().collect()
    }

    /// Brings the cache within its budget, with `need` bytes to spare: removes what was used
    /// longest ago, and stops when that is enough. Never removes what is leased or in use, so it
    /// may free less. Blocks; several callers and processes take turns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Local`], also when it cannot be told what is in use.
    pub fn collect(&self, need: u64) -> Result<Collected, StoreError> {
        self.collector.collect(need)
    }

    /// Makes the next [`ImageStore::localize_layer`] fetch the layer anew, because the launcher
    /// refused its file. The file itself stays while a [`LocalLayer`] of it lives.
    ///
    /// # Errors
    ///
    /// [`StoreError::Local`].
    pub fn discard_layer(&self, file: &LayerFile) -> Result<(), StoreError> {
        self.layers.discard(file)
    }

    /// How many bytes of layers came from the remote store so far: a number that goes on growing.
    #[must_use]
    pub fn fetched_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.fetched_bytes)
    }

    fn layer_source(&self, layer: &LayerDescriptor) -> LayerSource {
        let content = match layer.media_type {
            LayerMediaType::Archive => None,
            LayerMediaType::Squashfs | LayerMediaType::Erofs => {
                Some(Content { sha256: layer.digest.clone(), size: layer.size })
            }
        };
        let file = layer.file();
        let location = self.layer_location(&file);
        LayerSource { file, location, content }
    }

    fn layer_location(&self, file: &LayerFile) -> Location {
        self.top_level.join(&format!("layers/{file}"))
    }

    fn config_location(&self, digest: &Digest) -> Location {
        self.top_level.join(&format!("config/{}", digest.as_hex()))
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, RecentManifests> {
        // The list is whole at every point where a panic could strike.
        self.manifests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
