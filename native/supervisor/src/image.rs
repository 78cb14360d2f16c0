//! From image tag to local config and layers.

mod from_plugins;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::{Map, Value};
use storm_oci_request::{HostPath, LayerMediaType};
use storm_oci_store::{
    ImageConfig, ImageStore, LayerFormat, LocalLayer, Location, Manifest, Reference, Resource,
    ResourceKind, StoreError, StoreSettings,
};

use crate::config;
use crate::documents::{
    self, LocalizedDocument, ResourceDocument, ResourceType, ResourcesDocument,
};
use crate::error::SupervisorError;
use crate::executor::Executor;
use crate::in_use::LayersInUse;

/// Images alone: from tag to local files. Serves launches and Storm's three image plugin
/// interfaces.
#[derive(Debug)]
pub struct Images {
    store: ImageStore,
    /// Where the store is, as text without a final slash.
    top_level: String,
    executor: Executor,
}

/// An image that is about to run: its files are here and stay here while this value lives.
#[derive(Debug)]
pub(crate) struct LocalImage {
    pub(crate) tag: String,
    /// The manifest's digest in hex; a custom plugin may not tell.
    pub(crate) manifest: Option<String>,
    /// Where the image config came from.
    pub(crate) config_path: String,
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    /// Lowest first.
    pub(crate) layers: Vec<ImageLayer>,
}

/// One local layer.
#[derive(Debug)]
pub(crate) struct ImageLayer {
    pub(crate) path: HostPath,
    /// What the launcher mounts it as.
    pub(crate) media_type: LayerMediaType,
    /// The cached file with its lease; a custom plugin's layers have none.
    cached: Option<LocalLayer>,
}

impl ImageLayer {
    /// Whether this launch fetched it.
    pub(crate) fn fetched(&self) -> bool {
        self.cached.as_ref().is_some_and(|local| local.fetched)
    }
}

/// A resolved tag: what is still to be localized.
#[derive(Debug)]
pub(crate) struct ResolvedImage {
    tag: String,
    manifest: Arc<Manifest>,
    config: ImageConfig,
}

impl Images {
    /// Opens the store that Storm's configuration names.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Unready`] with every problem of the configuration;
    /// [`SupervisorError::Store`] when the local cache cannot be made.
    pub fn open(config_json: &str) -> Result<Self, SupervisorError> {
        let conf: Map<String, Value> = documents::read("configuration", config_json)?;
        let settings = config::store_settings(&conf)
            .map_err(|problems| SupervisorError::Unready { problems })?;
        Self::new(settings, None)
    }

    /// With `in_use` the cache is kept within its budget. Storm's plugin interfaces have none: they
    /// hold no lease on what they localized.
    pub(crate) fn new(
        settings: StoreSettings,
        in_use: Option<LayersInUse>,
    ) -> Result<Self, SupervisorError> {
        let top_level = settings.top_level.to_string();
        let store = match in_use {
            Some(in_use) => ImageStore::open_collecting(settings, Arc::new(in_use))?,
            None => ImageStore::open(settings)?,
        };
        Ok(Self {
            top_level: top_level.trim_end_matches('/').to_owned(),
            store,
            executor: Executor::new()?,
        })
    }

    /// The manifest document an image tag stands for.
    ///
    /// # Errors
    ///
    /// When the tag is unknown or the store cannot be read.
    pub fn manifest_json(&self, tag: &str) -> Result<String, SupervisorError> {
        let reference = Reference::parse(tag)?;
        let manifest = self.executor.block_on(async {
            let digest = self.store.resolve(&reference).await?;
            self.store.manifest(&digest).await
        })?;
        Ok(manifest.json().to_owned())
    }

    /// The remote files a manifest names: `{"config":{…},"layers":[…]}`.
    ///
    /// # Errors
    ///
    /// When the document is not a manifest or the store cannot be read.
    pub fn resources_json(&self, manifest_json: &str) -> Result<String, SupervisorError> {
        let manifest = Manifest::parse(manifest_json.as_bytes())?;
        let (config, layers) = self.executor.block_on(async {
            let config = self.store.config_resource(&manifest).await?;
            Ok::<_, StoreError>((config, self.store.layer_resources(&manifest).await?))
        })?;
        let document = ResourcesDocument {
            config: resource_document(&config),
            layers: layers.iter().map(resource_document).collect(),
        };
        documents::write("resources", &document)
    }

    /// Fetches one remote file and tells where it is: `{"path":"/…"}`.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched or is not what its name says.
    pub fn localize_json(&self, resource_json: &str) -> Result<String, SupervisorError> {
        let document: ResourceDocument = documents::read("resource", resource_json)?;
        let resource = Resource {
            uri: Location::parse(&document.uri)?,
            file_name: document.file_name,
            size: document.size,
            modified_millis: document.modified,
            kind: match document.kind {
                ResourceType::Config => ResourceKind::Config,
                ResourceType::Layer => ResourceKind::Layer,
            },
        };
        let path = self.executor.block_on(self.store.localize_resource(&resource))?;
        let path = utf8(&path)?.to_owned();
        documents::write("localized resource", &LocalizedDocument { path })
    }

    /// How many bytes of layers came from the store so far.
    pub(crate) fn fetched_bytes(&self) -> Arc<AtomicU64> {
        self.store.fetched_bytes()
    }

    /// Finds out what a tag stands for, and reads its config.
    pub(crate) fn resolve(&self, tag: String) -> Result<ResolvedImage, SupervisorError> {
        let reference = Reference::parse(&tag)?;
        let (manifest, config) = self.executor.block_on(async {
            let digest = self.store.resolve(&reference).await?;
            let manifest = self.store.manifest(&digest).await?;
            let config = self.store.config(&manifest).await?;
            Ok::<_, StoreError>((manifest, config))
        })?;
        Ok(ResolvedImage { tag, manifest, config })
    }

    /// Brings a resolved image's layers here.
    pub(crate) fn localize(&self, image: ResolvedImage) -> Result<LocalImage, SupervisorError> {
        let descriptors = &image.manifest.layers;
        let locals = self.executor.block_on(self.store.localize_layers(descriptors))?;
        let layers = locals
            .into_iter()
            .map(|local| {
                Ok(ImageLayer {
                    path: host_path("layer", utf8(&local.path)?)?,
                    media_type: media_type(local.file.format),
                    cached: Some(local),
                })
            })
            .collect::<Result<_, SupervisorError>>()?;
        let config = &image.manifest.config.digest;
        Ok(LocalImage {
            config_path: format!("{}/config/{}", self.top_level, config.as_hex()),
            tag: image.tag,
            manifest: Some(image.manifest.digest.as_hex().to_owned()),
            env: image.config.env,
            entrypoint: image.config.entrypoint,
            layers,
        })
    }

    /// Makes the next launch fetch those of the image's layers anew that `is_bad` names, because
    /// the launcher refused their files. Returns how many.
    pub(crate) fn discard(
        &self,
        image: &LocalImage,
        is_bad: impl Fn(&HostPath) -> bool,
    ) -> Result<usize, SupervisorError> {
        let mut discarded = 0;
        for layer in image.layers.iter().filter(|layer| is_bad(&layer.path)) {
            if let Some(local) = &layer.cached {
                self.store.discard_layer(&local.file)?;
                discarded += 1;
            }
        }
        Ok(discarded)
    }
}

fn resource_document(resource: &Resource) -> ResourceDocument {
    ResourceDocument {
        uri: resource.uri.to_string(),
        file_name: resource.file_name.clone(),
        size: resource.size,
        modified: resource.modified_millis,
        kind: match resource.kind {
            ResourceKind::Config => ResourceType::Config,
            ResourceKind::Layer => ResourceType::Layer,
        },
    }
}

fn media_type(format: LayerFormat) -> LayerMediaType {
    match format {
        LayerFormat::Squashfs => LayerMediaType::Squashfs,
        LayerFormat::Erofs => LayerMediaType::Erofs,
    }
}

fn host_path(what: &'static str, text: &str) -> Result<HostPath, SupervisorError> {
    HostPath::parse(text).map_err(|source| SupervisorError::Name { what, source })
}

fn utf8(path: &Path) -> Result<&str, SupervisorError> {
    path.to_str().ok_or_else(|| SupervisorError::PathText { path: PathBuf::from(path) })
}

#[cfg(test)]
mod tests;
