//! All that a store has.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use storm_oci_store::remote::{Listed, is_temporary};
use storm_oci_store::{Digest, ErrorKind, ImageIndex, LayerFile, Location, Manifest, Object};

use super::error::PublishError;
use super::lock::is_of_a_lock;
use super::problem::{Fault, Problem};
use super::publisher::{Publisher, UNREFERENCED};
use super::tag_file::hex_digests;

/// Manifests that are read at the same time.
const READS_AT_ONCE: usize = 16;

/// What a store has, by what names it.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) manifests: BTreeMap<Digest, Found>,
    pub(super) configs: BTreeMap<Digest, Listed>,
    pub(super) layers: BTreeMap<LayerFile, Listed>,
    /// By the layer that they are beside, be it there or not.
    pub(super) side_files: BTreeMap<LayerFile, Listed>,
    /// Since when manifests have no tag, as Storm's script notes it.
    pub(super) markers: BTreeMap<Digest, Listed>,
    /// Files that are being written, or were when their writer died; and what is left of locks.
    pub(super) temporaries: Vec<(Location, Listed)>,
}

/// A document among the manifests.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) listed: Listed,
    pub(super) document: Document,
}

/// What a document is.
#[derive(Debug)]
pub(super) enum Document {
    /// A manifest that can be run.
    Image(Box<Manifest>),
    /// Manifests of several platforms.
    Index(Vec<Digest>),
    /// Another one, whose bytes are those that its name says: all digests in it may be references.
    Odd(BTreeSet<Digest>, Fault),
    /// Nobody knows what it needs.
    Unreadable(Fault),
}

/// What manifests need.
#[derive(Debug, Default)]
pub(super) struct References {
    configs: BTreeSet<Digest>,
    layers: BTreeSet<LayerFile>,
    /// Digests of odd documents, which may be either.
    either: BTreeSet<Digest>,
}

impl References {
    pub(super) fn add(&mut self, document: &Document) {
        match document {
            Document::Image(manifest) => {
                self.configs.insert(manifest.config.digest.clone());
                self.layers.extend(manifest.layers.iter().map(|layer| layer.file()));
            }
            Document::Odd(digests, _) => self.either.extend(digests.iter().cloned()),
            Document::Index(_) | Document::Unreadable(_) => {}
        }
    }

    pub(super) fn has_config(&self, digest: &Digest) -> bool {
        self.configs.contains(digest) || self.either.contains(digest)
    }

    pub(super) fn has_layer(&self, file: &LayerFile) -> bool {
        self.layers.contains(file) || self.either.contains(&file.digest)
    }
}

impl Inventory {
    /// These manifests, and those that are reached through indexes among them.
    pub(super) fn reached(&self, from: impl IntoIterator<Item = Digest>) -> BTreeSet<Digest> {
        let mut reached = BTreeSet::new();
        let mut left: Vec<_> = from.into_iter().collect();
        while let Some(digest) = left.pop() {
            if !reached.insert(digest.clone()) {
                continue;
            }
            match self.manifests.get(&digest).map(|found| &found.document) {
                Some(Document::Index(digests)) => left.extend(digests.iter().cloned()),
                Some(Document::Odd(digests, _)) => {
                    let manifests = digests.iter().filter(|name| self.manifests.contains_key(name));
                    left.extend(manifests.cloned());
                }
                Some(Document::Image(_) | Document::Unreadable(_)) | None => {}
            }
        }
        reached
    }

    /// What these manifests need.
    pub(super) fn references<'a>(
        &self,
        manifests: impl IntoIterator<Item = &'a Digest>,
    ) -> References {
        let mut references = References::default();
        for found in manifests.into_iter().filter_map(|digest| self.manifests.get(digest)) {
            references.add(&found.document);
        }
        references
    }
}

impl Publisher {
    /// Lists the store and reads all its manifests. One that cannot be read is part of the answer.
    pub(super) async fn inventory(&self) -> Result<Inventory, PublishError> {
        let mut inventory = Inventory::default();
        let mut manifests = Vec::new();
        for directory in ["manifests", "config", "layers", UNREFERENCED] {
            let directory = self.settings.top_level.join(directory);
            for listed in self.store.files(&directory).await? {
                let name = listed.name.as_str();
                if is_temporary(name) {
                    inventory.temporaries.push((directory.join(name), listed));
                    continue;
                }
                match directory.name() {
                    "layers" => {
                        if let Some(file) = LayerFile::parse(name) {
                            inventory.layers.insert(file, listed);
                        } else if let Some(file) =
                            name.strip_suffix(".json").and_then(LayerFile::parse)
                        {
                            inventory.side_files.insert(file, listed);
                        }
                    }
                    kind => {
                        // What is named otherwise is none of ours.
                        let Ok(digest) = Digest::parse_hex(name) else { continue };
                        match kind {
                            "manifests" => manifests.push((digest, listed)),
                            "config" => drop(inventory.configs.insert(digest, listed)),
                            _ => drop(inventory.markers.insert(digest, listed)),
                        }
                    }
                }
            }
        }
        inventory.temporaries.extend(self.temporaries_of_tag_map().await?);
        let read = stream::iter(manifests).map(|(digest, listed)| async move {
            let document = self.manifest_document(&digest).await?;
            Ok::<_, PublishError>((digest, Found { listed, document }))
        });
        inventory.manifests = read.buffered(READS_AT_ONCE).try_collect().await?;
        Ok(inventory)
    }

    async fn temporaries_of_tag_map(&self) -> Result<Vec<(Location, Listed)>, PublishError> {
        let tag_map = &self.settings.tag_map;
        let (directory, own) = (tag_map.parent(), tag_map.name());
        let of_tag_map = |name: &str| {
            let of_writer = is_temporary(name)
                && name
                    .trim_start_matches('.')
                    .strip_prefix(own)
                    .is_some_and(|rest| rest.starts_with(['.', '#']));
            of_writer || is_of_a_lock(name, own)
        };
        let files = self.tag_store.files(&directory).await?;
        let files = files.into_iter().filter(|listed| of_tag_map(&listed.name));
        Ok(files.map(|listed| (directory.join(&listed.name), listed)).collect())
    }

    /// One document, as far as it can be read. Only a store that does not answer is an error.
    pub(super) async fn manifest_document(
        &self,
        digest: &Digest,
    ) -> Result<Document, PublishError> {
        let location = self.manifest_location(digest);
        Ok(match self.document(Object::Manifest, &location, digest).await {
            Ok(Ok(bytes)) => Document::of(&bytes),
            Ok(Err(fault)) => Document::Unreadable(fault),
            Err(PublishError::Store(error)) if error.kind() == ErrorKind::Denied => {
                Document::Unreadable(Fault::Unusable(error.to_string()))
            }
            Err(error) => return Err(error),
        })
    }

    /// The manifests that nobody can use, and why.
    pub(super) fn odd_manifests(&self, inventory: &Inventory) -> Vec<Problem> {
        let odd = inventory.manifests.iter().filter_map(|(digest, found)| match &found.document {
            Document::Odd(_, fault) | Document::Unreadable(fault) => {
                Some(Problem { location: self.manifest_location(digest), fault: fault.clone() })
            }
            Document::Image(_) | Document::Index(_) => None,
        });
        odd.collect()
    }
}

impl Document {
    fn of(bytes: &Bytes) -> Self {
        match Manifest::parse(bytes) {
            Ok(manifest) => Self::Image(Box::new(manifest)),
            Err(error) => match ImageIndex::parse(bytes) {
                Ok(Some(index)) => Self::Index(index.digests()),
                _ => Self::Odd(hex_digests(bytes), Fault::Unusable(error.to_string())),
            },
        }
    }
}
