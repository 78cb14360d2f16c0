//! Tags: read, and changed under the lock.

use bytes::Bytes;
use storm_oci_store::remote::{Stat, body_of, read_document};
use storm_oci_store::{Content, Digest, Location, Manifest, Object, Reference, StoreError};

use super::error::PublishError;
use super::layers::{Check, LayerState, NamedBy};
use super::lock::Lock;
use super::problem::{Fault, Problem};
use super::publisher::Publisher;
use super::tag_file::TagFile;

/// A map of this size has some hundred thousand tags.
const TAG_MAP_LIMIT: u64 = 64 << 20;

/// What a change of tags did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tagged {
    /// The tag map is another now.
    Changed,
    /// It said so already.
    Unchanged,
}

/// A tag map as it was read.
pub(super) struct ReadTags {
    /// `None` if there is none.
    stat: Option<Stat>,
    pub(super) file: TagFile,
    text: String,
}

impl Publisher {
    /// The tags as they are now. A tag map that is not there has none.
    ///
    /// # Errors
    ///
    /// [`PublishError::InvalidTagMap`] for a file that is no tag map; [`PublishError::Store`].
    pub async fn tags(&self) -> Result<TagFile, PublishError> {
        Ok(self.read_tags().await?.file)
    }

    /// The tag map as it is, byte for byte.
    ///
    /// # Errors
    ///
    /// [`PublishError::Store`].
    pub async fn read_tag_map(&self) -> Result<Bytes, PublishError> {
        let (tag_map, store) = (&self.settings.tag_map, self.tag_store.as_ref());
        Ok(read_document(store, Object::TagMap, tag_map, TAG_MAP_LIMIT).await?.1)
    }

    pub(super) async fn read_tags(&self) -> Result<ReadTags, PublishError> {
        let tag_map = &self.settings.tag_map;
        let store = self.tag_store.as_ref();
        let (stat, bytes) = match read_document(store, Object::TagMap, tag_map, TAG_MAP_LIMIT).await
        {
            Ok((stat, bytes)) => (Some(stat), bytes),
            Err(StoreError::Missing { .. }) => (None, Bytes::new()),
            Err(StoreError::TooLarge { .. }) => {
                return Err(self.invalid_tag_map("it is larger than 64 MiB"));
            }
            Err(error) => return Err(error.into()),
        };
        let file = TagFile::parse(&bytes).map_err(|problem| self.invalid_tag_map(problem))?;
        for line in file.malformed() {
            tracing::warn!(file = %tag_map, line = line.number, "malformed tag map line, kept as it is: {}", line.problem);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(ReadTags { stat, file, text })
    }

    fn invalid_tag_map(&self, problem: &'static str) -> PublishError {
        PublishError::InvalidTagMap { tag_map: self.settings.tag_map.clone(), problem }
    }

    /// Lets tags mean an image, after all that the image needs was found in the store: nobody
    /// removes anything meanwhile.
    ///
    /// # Errors
    ///
    /// [`PublishError::Incomplete`] with all that is missing, if another removed it: publish it
    /// again. [`PublishError::LockHeld`], [`PublishError::LockLost`], [`PublishError::DigestAsTag`],
    /// [`PublishError::InvalidTagMap`], [`PublishError::Store`].
    pub async fn tag(
        &self,
        digest: &Digest,
        tags: &[Reference],
        comment: Option<&str>,
    ) -> Result<Tagged, PublishError> {
        if let Some(tag) = tags.iter().find(|tag| tag.digest().is_some()) {
            return Err(PublishError::DigestAsTag { tag: tag.clone() });
        }
        self.locked(async |lock| {
            let problems = self.problems_of(digest, Check::Size).await?;
            if !problems.is_empty() {
                return Err(PublishError::Incomplete { digest: digest.clone(), problems });
            }
            // Looking at all of it may have taken a while.
            lock.guard().await?;
            let location = self.manifest_location(digest);
            if let Some(listed) = self.found(&location).await? {
                self.make_readable(&location, &listed).await?;
            }
            self.unmark(digest).await?;
            self.edit_tags(lock, |file| file.set(tags, digest, comment)).await
        })
        .await
    }

    /// Takes tags away; the images stay. Returns those that were there, with what they meant.
    ///
    /// # Errors
    ///
    /// As [`Publisher::tag`].
    pub async fn untag(
        &self,
        tags: &[Reference],
    ) -> Result<Vec<(Reference, Digest)>, PublishError> {
        self.locked(async |lock| {
            let mut removed = Vec::new();
            self.edit_tags(lock, |file| {
                let found =
                    tags.iter().filter_map(|tag| Some((tag.clone(), file.remove_tag(tag)?)));
                removed = found.collect();
            })
            .await?;
            Ok(removed)
        })
        .await
    }

    /// Reads, edits and replaces the tag map.
    pub(super) async fn edit_tags(
        &self,
        lock: &Lock,
        edit: impl FnOnce(&mut TagFile),
    ) -> Result<Tagged, PublishError> {
        let ReadTags { stat, mut file, text } = self.read_tags().await?;
        edit(&mut file);
        let edited = file.to_string();
        if edited == text {
            return Ok(Tagged::Unchanged);
        }
        let bytes = Bytes::from(edited);
        let tag_map = &self.settings.tag_map;
        lock.guard().await?;
        match stat {
            Some(stat) => {
                let how = self.how(Object::TagMap, true);
                self.tag_store.replace_if(tag_map, &stat, bytes, how).await?;
            }
            None => {
                let (content, how) = (Content::of(&bytes), self.how(Object::TagMap, false));
                self.tag_store.upload(tag_map, body_of(bytes), &content, how).await?;
            }
        }
        Ok(Tagged::Changed)
    }

    /// All that keeps an image from being run.
    pub(super) async fn problems_of(
        &self,
        digest: &Digest,
        check: Check,
    ) -> Result<Vec<Problem>, PublishError> {
        let location = self.manifest_location(digest);
        let bytes = match self.document(Object::Manifest, &location, digest).await? {
            Ok(bytes) => bytes,
            Err(fault) => return Ok(vec![Problem { location, fault }]),
        };
        match Manifest::parse(&bytes) {
            Ok(manifest) => self.problems_of_manifest(&manifest, check).await,
            Err(error) => match storm_oci_store::ImageIndex::parse(&bytes) {
                Ok(Some(index)) => self.problems_of_index(&location, &index, check).await,
                _ => Ok(vec![Problem { location, fault: Fault::Unusable(error.to_string()) }]),
            },
        }
    }

    /// An index is as good as those of its manifests that the store has, if any.
    async fn problems_of_index(
        &self,
        location: &Location,
        index: &storm_oci_store::ImageIndex,
        check: Check,
    ) -> Result<Vec<Problem>, PublishError> {
        let mut problems = Vec::new();
        let mut any = false;
        for digest in index.digests() {
            let location = self.manifest_location(&digest);
            if let Ok(bytes) = self.document(Object::Manifest, &location, &digest).await? {
                any = true;
                if let Ok(manifest) = Manifest::parse(&bytes) {
                    problems.extend(self.problems_of_manifest(&manifest, check).await?);
                }
            }
        }
        if !any {
            let fault = Fault::Unusable("the store has none of its manifests".to_owned());
            problems.push(Problem { location: location.clone(), fault });
        }
        Ok(problems)
    }

    async fn problems_of_manifest(
        &self,
        manifest: &Manifest,
        check: Check,
    ) -> Result<Vec<Problem>, PublishError> {
        let mut problems = Vec::new();
        let location = self.config_location(&manifest.config.digest);
        let config = self.document(Object::Config, &location, &manifest.config.digest).await?;
        problems.extend(config.err().map(|fault| Problem { location, fault }));
        let mut seen = std::collections::BTreeSet::new();
        for layer in &manifest.layers {
            let file = layer.file();
            if !seen.insert(file.clone()) {
                continue;
            }
            let named_by = NamedBy::of_media_type(layer.media_type);
            let fault = match self.inspect_layer(&file, named_by, check).await? {
                LayerState::Present(content)
                    if named_by == NamedBy::Archive || content.size == layer.size =>
                {
                    continue;
                }
                LayerState::Present(content) => {
                    Fault::Size { expected: layer.size, found: content.size }
                }
                LayerState::Absent => Fault::Missing,
                LayerState::Broken(fault) => fault,
            };
            problems.push(Problem { location: self.layer_location(&file), fault });
        }
        Ok(problems)
    }
}
