//! Reading again what a store has, to its last byte.

use std::collections::{BTreeMap, BTreeSet};

use storm_oci_store::{Digest, LayerFile, Object, Reference};

use super::error::PublishError;
use super::inventory::{Document, Inventory};
use super::layers::{Check, LayerState, NamedBy};
use super::problem::{Fault, Problem};
use super::publisher::{Publisher, is_readable};

/// What was found of an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// Its manifest or index.
    pub digest: Digest,
    /// The tags that lead to it.
    pub tags: Vec<Reference>,
    /// What is wrong with it; nothing, if it is whole.
    pub problems: Vec<Problem>,
}

impl Publisher {
    /// Reads images by tag or digest, or all that the store has, and compares every byte with
    /// what digests, sizes and side files promise. A layer of several images is read once.
    ///
    /// # Errors
    ///
    /// [`PublishError::NotFound`], [`PublishError::InvalidTagMap`], [`PublishError::Store`] for a
    /// store that does not answer.
    pub async fn verify(&self, names: &[Reference]) -> Result<Vec<Verified>, PublishError> {
        let tags = self.read_tags().await?.file;
        let inventory = self.inventory().await?;
        let known = |digest: &Digest| {
            inventory.manifests.contains_key(digest) || !tags.tags(digest).is_empty()
        };
        let mut asked = BTreeSet::new();
        if names.is_empty() {
            let tagged = tags.all_tags().into_iter().filter_map(|tag| tags.digest(&tag).cloned());
            asked.extend(inventory.manifests.keys().cloned().chain(tagged));
        }
        for name in names {
            match tags.digest(name).cloned().or_else(|| name.digest()) {
                Some(digest) if known(&digest) => drop(asked.insert(digest)),
                _ => return Err(self.not_found(name)),
            }
        }
        let mut layers = BTreeMap::new();
        let mut images = Vec::with_capacity(asked.len());
        for digest in asked {
            let mut problems = Vec::new();
            for digest in inventory.reached([digest.clone()]) {
                // An index may name manifests that the store was never meant to have.
                if inventory.manifests.contains_key(&digest) {
                    problems.extend(self.reread(&inventory, &digest, &mut layers).await?);
                }
            }
            if !inventory.manifests.contains_key(&digest) {
                let location = self.manifest_location(&digest);
                problems.push(Problem { location, fault: Fault::Missing });
            }
            images.push(Verified { tags: tags.tags(&digest), digest, problems });
        }
        Ok(images)
    }

    async fn reread(
        &self,
        inventory: &Inventory,
        digest: &Digest,
        layers: &mut BTreeMap<LayerFile, Option<Fault>>,
    ) -> Result<Vec<Problem>, PublishError> {
        let mut problems = Vec::new();
        let Some(found) = inventory.manifests.get(digest) else { return Ok(problems) };
        let location = self.manifest_location(digest);
        if let Some(mode) = found.listed.mode.filter(|mode| !is_readable(*mode)) {
            problems.push(Problem { location: location.clone(), fault: Fault::Mode(mode) });
        }
        // Its bytes were compared with its digest when it was read.
        let manifest = match &found.document {
            Document::Image(manifest) => manifest,
            Document::Index(_) => return Ok(problems),
            Document::Odd(_, fault) | Document::Unreadable(fault) => {
                problems.push(Problem { location, fault: fault.clone() });
                return Ok(problems);
            }
        };
        let config = &manifest.config.digest;
        let location = self.config_location(config);
        if let Err(fault) = self.document(Object::Config, &location, config).await? {
            problems.push(Problem { location, fault });
        }
        for layer in &manifest.layers {
            let file = layer.file();
            let fault = match layers.get(&file) {
                Some(fault) => fault.clone(),
                None => {
                    let named_by = NamedBy::of_media_type(layer.media_type);
                    let fault = match self.inspect_layer(&file, named_by, Check::Bytes).await? {
                        LayerState::Present(content)
                            if named_by == NamedBy::Itself && content.size != layer.size =>
                        {
                            Some(Fault::Size { expected: layer.size, found: content.size })
                        }
                        LayerState::Present(_) => None,
                        LayerState::Absent => Some(Fault::Missing),
                        LayerState::Broken(fault) => Some(fault),
                    };
                    let mode = inventory.layers.get(&file).and_then(|listed| listed.mode);
                    fault.or(mode.filter(|mode| !is_readable(*mode)).map(Fault::Mode))
                }
            };
            // A layer twice in an image has its problem once.
            let told = problems.iter().any(|told| told.location == self.layer_location(&file));
            if let Some(fault) = fault.clone().filter(|_| !told) {
                problems.push(Problem { location: self.layer_location(&file), fault });
            }
            layers.insert(file, fault);
        }
        Ok(problems)
    }
}
