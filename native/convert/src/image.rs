//! An image's way from a source to a store.

mod blob;
mod conversion;
mod place;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join;
use storm_oci_store::{Digest, LayerFile, LayerFormat, Platform, Reference};

use crate::ConvertError;
use crate::Limits;
use crate::layer::{self, ExpectedBlob, LayerOptions, Sight, Warning};
use crate::publish::{
    LayerState, PublishError, PublishedLayer, Publisher, Tagged, publishable_manifest,
};
use crate::source::{ImageSource, SourceImage, SourceLayer};
use conversion::Conversion;

/// How an image is published.
#[derive(Clone, Debug)]
pub struct PublishOptions {
    /// Which image of an index.
    pub platform: Platform,
    /// How layers are converted, and how much is accepted.
    pub layers: LayerOptions,
    /// What layers become.
    pub format: LayerFormat,
    /// Convert layers that the store has.
    pub force: bool,
    /// Where layers are converted. Files there have no name.
    pub working_dir: PathBuf,
}

/// What would be done, or was.
#[derive(Clone, Debug)]
pub struct ImagePlan {
    /// The image, resolved; everything after is by its digests.
    pub image: SourceImage,
    /// Its layers, lowest first, each once, and whether the store has them.
    pub layers: Vec<(SourceLayer, LayerState)>,
}

/// Something that happened on the way.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// It is clear which image is meant.
    Resolved {
        /// As it was asked for.
        name: &'a str,
        /// The digest of its manifest.
        digest: &'a Digest,
        /// How many layers it has.
        layers: usize,
        /// Their size in bytes, compressed.
        bytes: u64,
    },
    /// The store has this layer.
    Kept {
        /// Which.
        layer: &'a Digest,
    },
    /// A layer's conversion begins.
    Converting {
        /// Which.
        layer: &'a Digest,
        /// The size of its blob in bytes.
        size: u64,
    },
    /// Some of a layer's blob came.
    Read {
        /// Which.
        layer: &'a Digest,
        /// How many bytes.
        bytes: u64,
    },
    /// A converted layer goes into the store.
    Writing {
        /// Which.
        layer: &'a Digest,
        /// The size of its file in bytes.
        size: u64,
    },
    /// A converted layer is in the store.
    Written {
        /// Which.
        layer: &'a Digest,
        /// The size of its blob in bytes.
        size: u64,
        /// The size of its file in bytes.
        file_size: u64,
    },
    /// Something in a layer could not be kept as it was.
    Warning {
        /// Which.
        layer: &'a Digest,
        /// What, and how often.
        warning: &'a Warning,
    },
}

/// Who wants to know how far it is. Called from several threads, and must not block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Something happened.
    fn told(&self, event: Event<'_>);
}

/// A published image.
#[derive(Clone, Debug)]
pub struct PublishedImage {
    /// The digest of the manifest in the store.
    pub digest: Digest,
    /// The image in the source.
    pub image: SourceImage,
    /// Its layers, lowest first; a layer may occur twice.
    pub layers: Vec<PublishedLayer>,
    /// How many layers were converted; the store had the others.
    pub converted: usize,
    /// Whether the tag map is another now.
    pub tagged: Tagged,
}

/// Finds out which image is meant and what of it the store has. Changes nothing.
///
/// # Errors
///
/// Those of the source and of the store.
pub async fn plan(
    source: &dyn ImageSource,
    publisher: &Publisher,
    options: &PublishOptions,
    observer: &dyn Observer,
) -> Result<ImagePlan, ConvertError> {
    let image = resolved(source, options, observer).await?;
    let mut layers = Vec::new();
    for layer in distinct(&image) {
        let state = publisher.inspect(&squashfs(&layer)).await?;
        layers.push((layer, state));
    }
    Ok(ImagePlan { image, layers })
}

async fn resolved(
    source: &dyn ImageSource,
    options: &PublishOptions,
    observer: &dyn Observer,
) -> Result<SourceImage, ConvertError> {
    let image = source.resolve(&options.platform, &options.layers.limits).await?;
    observer.told(Event::Resolved {
        name: &image.name,
        digest: &image.digest,
        layers: image.layers.len(),
        bytes: image.layers.iter().map(|layer| layer.size).sum(),
    });
    Ok(image)
}

/// Each layer once, lowest first.
fn distinct(image: &SourceImage) -> Vec<SourceLayer> {
    let mut layers: Vec<SourceLayer> = Vec::new();
    for layer in &image.layers {
        if !layers.iter().any(|seen| seen.digest == layer.digest) {
            layers.push(layer.clone());
        }
    }
    layers
}

/// The file that a layer becomes.
fn squashfs(layer: &SourceLayer) -> LayerFile {
    LayerFile { digest: layer.digest.clone(), format: LayerFormat::Squashfs }
}

/// Brings an image into the store and gives it its tags.
///
/// Layers and config go first, then the manifest, the tags last. What is in the store when it fails is
/// whole, and used by the next try.
///
/// # Errors
///
/// Whatever is wrong with the image, the source or the store. No tag leads to it then.
pub async fn publish(
    source: Arc<dyn ImageSource>,
    publisher: Arc<Publisher>,
    tags: &[Reference],
    options: &PublishOptions,
    observer: Arc<dyn Observer>,
) -> Result<PublishedImage, ConvertError> {
    let image = resolved(source.as_ref(), options, observer.as_ref()).await?;
    let way = Way { source, publisher, tags, options, observer };
    match way.publish(&image).await {
        // Another removed what this image needs, before there was a tag that said so.
        Err(ConvertError::Publish(PublishError::Incomplete { .. })) => way.publish(&image).await,
        outcome => outcome,
    }
}

/// From where to where.
struct Way<'a> {
    source: Arc<dyn ImageSource>,
    publisher: Arc<Publisher>,
    tags: &'a [Reference],
    options: &'a PublishOptions,
    observer: Arc<dyn Observer>,
}

impl Way<'_> {
    async fn publish(&self, image: &SourceImage) -> Result<PublishedImage, ConvertError> {
        let (source, observer) = (Arc::clone(&self.source), Arc::clone(&self.observer));
        let publisher = &self.publisher;
        let mut conversion = Conversion::new(source, Arc::clone(publisher), self.options, observer);
        for layer in distinct(image) {
            if self.options.force {
                conversion.convert(layer).await?;
            } else {
                conversion.keep_or_convert(layer).await?;
            }
        }
        // All layers are good by now; the last one is still on its way.
        let config = publisher.publish_config(&image.config.digest, image.config_json.clone());
        let (written, config) = join(conversion.finish(), config).await;
        let (files, converted) = written?;
        config?;
        let layers = in_order(image, &files);
        let (manifest, digest) = publishable_manifest(
            &image.manifest,
            &image.digest,
            image.index.as_ref(),
            &image.config,
            &layers,
        )?;
        publisher.publish_manifest(&digest, manifest).await?;
        let tagged = publisher.tag(&digest, self.tags, Some(&image.name)).await?;
        Ok(PublishedImage { digest, image: image.clone(), layers, converted, tagged })
    }
}

/// What a container of the image would see under a path, as its layers say it; symbolic links are
/// not followed. Reads layers from the topmost on until one of them says.
///
/// # Errors
///
/// Those of the source, and of its layers.
pub async fn look_for(
    source: &dyn ImageSource,
    path: &str,
    platform: &Platform,
    limits: &Limits,
) -> Result<Sight, ConvertError> {
    let image = source.resolve(platform, limits).await?;
    for layer in image.layers.iter().rev() {
        let (expected, path, limits) = (expected(layer), path.to_owned(), limits.clone());
        let seen = blob::read(source, layer, None, move |blob| {
            Ok(layer::look_for(blob, &expected, &path, &limits)?)
        });
        match seen.await? {
            Sight::Nothing => {}
            sight => return Ok(sight),
        }
    }
    Ok(Sight::Nothing)
}

/// What a layer's blob must be.
fn expected(layer: &SourceLayer) -> ExpectedBlob {
    ExpectedBlob {
        digest: layer.digest.clone(),
        size: Some(layer.size),
        diff_id: Some(layer.diff_id.clone()),
    }
}

/// The image's layers by the files they became.
fn in_order(image: &SourceImage, files: &BTreeMap<Digest, PublishedLayer>) -> Vec<PublishedLayer> {
    image.layers.iter().filter_map(|layer| files.get(&layer.digest)).cloned().collect()
}
