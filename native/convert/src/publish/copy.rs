//! Images from one store to another.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use storm_oci_store::remote::Body;
use storm_oci_store::{
    Content, Digest, ImageIndex, LayerFile, Location, Manifest, Object, Reference, StoreError,
};

use super::error::PublishError;
use super::layers::{Check, LayerState, NamedBy};
use super::problem::{Fault, Problem};
use super::publisher::{Publisher, Written};
use super::tags::Tagged;

/// What copying an image did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Copied {
    /// The image: the same in both stores.
    pub digest: Digest,
    /// How many layers the other store did not have.
    pub layers: usize,
    /// How many bytes those have.
    pub bytes: u64,
    /// Whether the other store's tag map is another now.
    pub tagged: Tagged,
}

impl Publisher {
    /// Copies an image, by tag or digest, to another store: what is missing there, each byte
    /// compared with what this store promises. Then it has `tags` there, or if there are none
    /// those by which it was asked for; the comments of this store's tag map go with it.
    ///
    /// # Errors
    ///
    /// [`PublishError::NotFound`]; [`PublishError::Incomplete`] for an image that is not whole
    /// here; those of [`Publisher::tag`].
    pub async fn copy_to(
        &self,
        other: &Self,
        name: &Reference,
        tags: &[Reference],
    ) -> Result<Copied, PublishError> {
        let own_tags = self.read_tags().await?.file;
        let digest = own_tags.digest(name).cloned().or_else(|| name.digest());
        let digest = digest.ok_or_else(|| self.not_found(name))?;
        let mut tags = tags.to_vec();
        if tags.is_empty() && name.digest().is_none() {
            tags.push(name.clone());
        }
        self.copy_image(other, &digest, &tags, &own_tags.comments(&digest)).await
    }

    /// Copies all images that have a tag, with all their tags. Each one that fails is in the
    /// answer, and the others are copied.
    ///
    /// # Errors
    ///
    /// [`PublishError::InvalidTagMap`] and [`PublishError::Store`], if this store's tags cannot be
    /// read.
    pub async fn copy_all_to(
        &self,
        other: &Self,
    ) -> Result<Vec<(Digest, Result<Copied, PublishError>)>, PublishError> {
        let own_tags = self.read_tags().await?.file;
        let tagged = own_tags.all_tags().into_iter();
        let digests: BTreeSet<_> =
            tagged.filter_map(|tag| own_tags.digest(&tag).cloned()).collect();
        let mut copied = Vec::with_capacity(digests.len());
        for digest in digests {
            let (tags, comments) = (own_tags.tags(&digest), own_tags.comments(&digest));
            let outcome = self.copy_image(other, &digest, &tags, &comments).await;
            copied.push((digest, outcome));
        }
        Ok(copied)
    }

    async fn copy_image(
        &self,
        other: &Self,
        digest: &Digest,
        tags: &[Reference],
        comments: &[String],
    ) -> Result<Copied, PublishError> {
        other.init().await?;
        let (mut layers, mut bytes) = (0, 0);
        let document = self.manifest_bytes(digest).await?;
        let mut manifests = vec![(digest.clone(), document.clone())];
        if let Ok(Some(index)) = ImageIndex::parse(&document) {
            for digest in index.digests() {
                let location = self.manifest_location(&digest);
                if let Ok(bytes) = self.document(Object::Manifest, &location, &digest).await? {
                    // Before the index that names it.
                    manifests.insert(0, (digest, bytes));
                }
            }
        }
        for (digest, document) in manifests {
            if let Ok(manifest) = Manifest::parse(&document) {
                let problems = self.problems_of(&digest, Check::Size).await?;
                if !problems.is_empty() {
                    return Err(PublishError::Incomplete { digest, problems });
                }
                let mut seen = BTreeSet::new();
                for layer in &manifest.layers {
                    let file = layer.file();
                    if seen.insert(file.clone()) {
                        let named_by = NamedBy::of_media_type(layer.media_type);
                        let (content, written) = self.copy_layer(other, &file, named_by).await?;
                        if written != Written::Present {
                            (layers, bytes) = (layers + 1, bytes + content.size);
                        }
                    }
                }
                let config = &manifest.config.digest;
                let location = self.config_location(config);
                match self.document(Object::Config, &location, config).await? {
                    Ok(bytes) => other.publish_config(config, bytes).await?,
                    Err(fault) => return Err(incomplete(&digest, location, fault)),
                };
            }
            other.publish_manifest(&digest, document).await?;
        }
        let comment = comments.join(" ");
        let tagged = if tags.is_empty() {
            Tagged::Unchanged
        } else {
            other.tag(digest, tags, Some(&comment)).await?
        };
        Ok(Copied { digest: digest.clone(), layers, bytes, tagged })
    }

    async fn manifest_bytes(&self, digest: &Digest) -> Result<Bytes, PublishError> {
        let location = self.manifest_location(digest);
        let document = self.document(Object::Manifest, &location, digest).await?;
        document.map_err(|fault| incomplete(digest, location, fault))
    }

    async fn copy_layer(
        &self,
        other: &Self,
        file: &LayerFile,
        named_by: NamedBy,
    ) -> Result<(Content, Written), PublishError> {
        let location = self.layer_location(file);
        let content = match self.inspect_layer(file, named_by, Check::Size).await? {
            LayerState::Present(content) => content,
            LayerState::Absent => return Err(incomplete(&file.digest, location, Fault::Missing)),
            LayerState::Broken(fault) => return Err(incomplete(&file.digest, location, fault)),
        };
        let body = || self.body_of_object(&location);
        other.publish_layer_from(file, named_by, body, &content).await
    }

    fn body_of_object(&self, location: &Location) -> Body {
        let (store, location) = (Arc::clone(&self.store), location.clone());
        let open = async move {
            let stat = store.stat(&location).await?;
            Ok::<_, StoreError>(store.stream(&location, &stat, 0..stat.size))
        };
        stream::once(open).try_flatten().boxed()
    }
}

fn incomplete(digest: &Digest, location: Location, fault: Fault) -> PublishError {
    let problems = vec![Problem { location, fault }];
    PublishError::Incomplete { digest: digest.clone(), problems }
}
