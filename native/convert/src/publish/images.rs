//! What images a store has.

use std::collections::BTreeSet;

use storm_oci_store::{Content, Digest, LayerDescriptor, LayerFile, Manifest, Reference};

use super::error::PublishError;
use super::inventory::{Document, Inventory};
use super::layers::{Check, NamedBy};
use super::problem::{Fault, Problem};
use super::publisher::{Publisher, is_readable};
use super::tag_file::TagFile;

/// An image of a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// The digest of its manifest or index.
    pub digest: Digest,
    /// The tags that lead to it, in order.
    pub tags: Vec<Reference>,
    /// The comments of its line in the tag map.
    pub comments: Vec<String>,
    /// How many layers it has; a layer that occurs twice counts twice. None for an index.
    pub layers: usize,
    /// What its manifest, config and layers take in the store, in bytes. Images may share layers.
    pub size: u64,
    /// When its manifest was written, in milliseconds since the epoch; `None` if it is not there.
    pub modified_millis: Option<i64>,
    /// What keeps it from being run, as far as names, sizes and modes tell.
    pub problems: Vec<Problem>,
}

/// All about one image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageDetails {
    /// As in a listing, but with a look into the side files.
    pub image: Image,
    /// The digest of its config; `None` if its manifest is not one that can be read.
    pub config: Option<Digest>,
    /// Its layers, lowest first.
    pub layers: Vec<LayerDetails>,
    /// The manifest as it is in the store; `None` if it cannot be read.
    pub manifest: Option<String>,
}

/// A layer of an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LayerDetails {
    /// What the manifest says.
    pub descriptor: LayerDescriptor,
    /// Its file in the store.
    pub file: LayerFile,
    /// The size of that file in bytes; `None` if it is not there.
    pub size: Option<u64>,
    /// What its side file or its name promises.
    pub content: Option<Content>,
}

impl Publisher {
    /// All images: those with a tag, and those whose manifest is there.
    ///
    /// # Errors
    ///
    /// [`PublishError::InvalidTagMap`], [`PublishError::Store`].
    pub async fn list(&self) -> Result<Vec<Image>, PublishError> {
        let tags = self.read_tags().await?.file;
        let inventory = self.inventory().await?;
        let tagged = tags.all_tags().into_iter().filter_map(|tag| tags.digest(&tag).cloned());
        let digests: BTreeSet<_> = inventory.manifests.keys().cloned().chain(tagged).collect();
        Ok(digests.iter().map(|digest| self.image(&inventory, &tags, digest)).collect())
    }

    /// One image by tag or digest.
    ///
    /// # Errors
    ///
    /// [`PublishError::NotFound`]; those of [`Publisher::list`].
    pub async fn show(&self, name: &Reference) -> Result<ImageDetails, PublishError> {
        let tags = self.read_tags().await?.file;
        let digest = tags.digest(name).cloned().or_else(|| name.digest());
        let digest = digest.ok_or_else(|| self.not_found(name))?;
        let inventory = self.inventory().await?;
        if !inventory.manifests.contains_key(&digest) && tags.tags(&digest).is_empty() {
            return Err(self.not_found(name));
        }
        let mut image = self.image(&inventory, &tags, &digest);
        let found = inventory.manifests.get(&digest).map(|found| &found.document);
        let Some(Document::Image(manifest)) = found else {
            return Ok(ImageDetails { image, config: None, layers: Vec::new(), manifest: None });
        };
        image.problems = self.problems_of(&digest, Check::Size).await?;
        let mut layers = Vec::with_capacity(manifest.layers.len());
        for descriptor in &manifest.layers {
            let file = descriptor.file();
            let content = match NamedBy::of_media_type(descriptor.media_type) {
                NamedBy::Archive => self.side_file(&file).await?,
                NamedBy::Itself => {
                    Some(Content { sha256: descriptor.digest.clone(), size: descriptor.size })
                }
            };
            let size = inventory.layers.get(&file).map(|listed| listed.size);
            layers.push(LayerDetails { descriptor: descriptor.clone(), file, size, content });
        }
        Ok(ImageDetails {
            image,
            config: Some(manifest.config.digest.clone()),
            layers,
            manifest: Some(manifest.json().to_owned()),
        })
    }

    fn image(&self, inventory: &Inventory, tags: &TagFile, digest: &Digest) -> Image {
        let found = inventory.manifests.get(digest);
        let mut image = Image {
            digest: digest.clone(),
            tags: tags.tags(digest),
            comments: tags.comments(digest),
            layers: 0,
            size: found.map_or(0, |found| found.listed.size),
            modified_millis: found.map(|found| found.listed.modified_millis),
            problems: Vec::new(),
        };
        let location = self.manifest_location(digest);
        let fault = match found {
            None => Some(Fault::Missing),
            Some(found) => match (&found.document, found.listed.mode) {
                (Document::Odd(_, fault) | Document::Unreadable(fault), _) => Some(fault.clone()),
                (_, Some(mode)) if !is_readable(mode) => Some(Fault::Mode(mode)),
                _ => None,
            },
        };
        image.problems.extend(fault.map(|fault| Problem { location, fault }));
        if let Some(Document::Image(manifest)) = found.map(|found| &found.document) {
            self.count(inventory, manifest, &mut image);
        }
        image
    }

    /// Adds what a manifest needs to what an image takes and lacks.
    fn count(&self, inventory: &Inventory, manifest: &Manifest, image: &mut Image) {
        image.layers = manifest.layers.len();
        let mut problem = |location, fault| image.problems.push(Problem { location, fault });
        match inventory.configs.get(&manifest.config.digest) {
            Some(listed) => image.size += listed.size,
            None => problem(self.config_location(&manifest.config.digest), Fault::Missing),
        }
        let mut seen = BTreeSet::new();
        for layer in &manifest.layers {
            let file = layer.file();
            if !seen.insert(file.clone()) {
                continue;
            }
            match inventory.layers.get(&file) {
                None => problem(self.layer_location(&file), Fault::Missing),
                Some(listed) => {
                    image.size += listed.size;
                    if let Some(mode) = listed.mode.filter(|mode| !is_readable(*mode)) {
                        problem(self.layer_location(&file), Fault::Mode(mode));
                    }
                    if NamedBy::of_media_type(layer.media_type) == NamedBy::Archive
                        && !inventory.side_files.contains_key(&file)
                    {
                        problem(self.layer_location(&file), Fault::NoSideFile);
                    }
                }
            }
        }
    }
}
