//! Layers and their side files.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use storm_oci_store::remote::{Body, body_of, content_of, read_document};
use storm_oci_store::{
    Content, ErrorKind, LayerFile, LayerFormat, LayerMediaType, Location, Object, StoreError,
};

use super::error::PublishError;
use super::problem::Fault;
use super::publisher::{Publisher, Written, body_of_file};

/// A side file is some hundred bytes.
const SIDE_FILE_LIMIT: u64 = 64 << 10;
/// How often a layer is looked at again that another writes at the same time.
const TRIES: usize = 4;

/// What a store has of a layer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LayerState {
    /// Nothing.
    Absent,
    /// The file that its side file or its name promises.
    Present(Content),
    /// A file that must not be used.
    Broken(Fault),
}

/// What says which bytes a layer's file must have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NamedBy {
    /// Its side file: it is named by the digest of the archive that it was made of.
    Archive,
    /// Its name.
    Itself,
}

impl NamedBy {
    fn of(file: &LayerFile) -> Self {
        match file.format {
            LayerFormat::Squashfs => Self::Archive,
            LayerFormat::Erofs => Self::Itself,
        }
    }

    pub(super) fn of_media_type(media_type: LayerMediaType) -> Self {
        match media_type {
            LayerMediaType::Archive => Self::Archive,
            LayerMediaType::Squashfs | LayerMediaType::Erofs => Self::Itself,
        }
    }
}

/// How closely a layer is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Check {
    /// Sizes.
    Size,
    /// All bytes.
    Bytes,
}

impl Publisher {
    /// What the store has of a layer. A file that not everybody may read is made readable.
    ///
    /// # Errors
    ///
    /// [`PublishError::Store`] if it cannot be told: never taken for a layer that is not there.
    pub async fn layer_state(&self, file: &LayerFile) -> Result<LayerState, PublishError> {
        self.checked_layer(file, NamedBy::of(file), self.check()).await
    }

    /// As [`Publisher::layer_state`], and changes nothing, not even a mode.
    ///
    /// # Errors
    ///
    /// As [`Publisher::layer_state`].
    pub async fn inspect(&self, file: &LayerFile) -> Result<LayerState, PublishError> {
        self.inspect_layer(file, NamedBy::of(file), self.check()).await
    }

    fn check(&self) -> Check {
        if self.settings.verify_existing || self.settings.force {
            Check::Bytes
        } else {
            Check::Size
        }
    }

    async fn checked_layer(
        &self,
        file: &LayerFile,
        named_by: NamedBy,
        check: Check,
    ) -> Result<LayerState, PublishError> {
        let location = self.layer_location(file);
        if let Some(listed) = self.found(&location).await? {
            self.make_readable(&location, &listed).await?;
        }
        self.inspect_layer(file, named_by, check).await
    }

    /// As [`Publisher::checked_layer`], and changes nothing.
    pub(super) async fn inspect_layer(
        &self,
        file: &LayerFile,
        named_by: NamedBy,
        check: Check,
    ) -> Result<LayerState, PublishError> {
        let location = self.layer_location(file);
        let Some(listed) = self.found(&location).await? else {
            return Ok(LayerState::Absent);
        };
        let promised = match named_by {
            NamedBy::Archive => match self.side_file(file).await? {
                Some(content) => content,
                None => return Ok(LayerState::Broken(Fault::NoSideFile)),
            },
            // Its size is in its manifest only.
            NamedBy::Itself => Content { sha256: file.digest.clone(), size: listed.size },
        };
        if listed.size != promised.size {
            let (expected, found) = (promised.size, listed.size);
            return Ok(LayerState::Broken(Fault::Size { expected, found }));
        }
        if check == Check::Bytes {
            let found = content_of(self.store.as_ref(), &location).await?;
            if found.sha256 != promised.sha256 {
                let (expected, found) = (promised.sha256, found.sha256);
                return Ok(LayerState::Broken(Fault::Digest { expected, found }));
            }
        }
        Ok(LayerState::Present(promised))
    }

    /// What a layer's side file says; `None` if it has none that can be used.
    pub(super) async fn side_file(
        &self,
        file: &LayerFile,
    ) -> Result<Option<Content>, PublishError> {
        let location = self.side_file_location(file);
        let read = read_document(self.store.as_ref(), Object::SideFile, &location, SIDE_FILE_LIMIT);
        match read.await {
            Ok((_, bytes)) => Ok(Content::parse(&bytes).ok()),
            Err(StoreError::Missing { .. } | StoreError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a layer into the store, with its side file: nothing is written of one that is there
    /// and good, be it made of other bytes. What comes back is what the store has then.
    ///
    /// # Errors
    ///
    /// [`PublishError::Store`], [`PublishError::Contended`].
    pub async fn publish_layer(
        &self,
        file: &LayerFile,
        source: File,
        content: &Content,
    ) -> Result<(Content, Written), PublishError> {
        let source = Arc::new(source);
        let location = self.layer_location(file);
        let body = || body_of_file(Arc::clone(&source), location.clone());
        self.publish_layer_from(file, NamedBy::of(file), body, content).await
    }

    /// As [`Publisher::publish_layer`], from bytes that can be had again.
    pub(super) async fn publish_layer_from(
        &self,
        file: &LayerFile,
        named_by: NamedBy,
        body: impl Fn() -> Body,
        content: &Content,
    ) -> Result<(Content, Written), PublishError> {
        let location = self.layer_location(file);
        let mut check = self.check();
        let mut written = Written::Present;
        for _ in 0..TRIES {
            match self.checked_layer(file, named_by, check).await? {
                LayerState::Present(found)
                    if !self.settings.force || found == *content || written != Written::Present =>
                {
                    return Ok((found, written));
                }
                LayerState::Present(_) => {
                    written = Written::Repaired;
                    self.replace_layer(file, body(), content, "was to be written again").await?;
                }
                LayerState::Absent => {
                    let how = self.how(Object::Layer, false);
                    match self.store.upload(&location, body(), content, how).await {
                        Ok(()) if written == Written::Present => written = Written::New,
                        Ok(()) => {}
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
                LayerState::Broken(fault) => {
                    written = Written::Repaired;
                    if !self.is_right_already(&location, &fault, content).await? {
                        self.replace_layer(file, body(), content, &fault).await?;
                    }
                }
            }
            if named_by == NamedBy::Itself || self.write_side_file(file, content).await? {
                // What was read back a moment ago needs no second look, unless it is another's.
                check = Check::Size;
            } else {
                check = Check::Bytes;
            }
        }
        match self.checked_layer(file, named_by, check).await? {
            LayerState::Present(found) => Ok((found, written)),
            _ => Err(PublishError::Contended { location }),
        }
    }

    async fn replace_layer(
        &self,
        file: &LayerFile,
        body: Body,
        content: &Content,
        why: impl fmt::Display,
    ) -> Result<(), PublishError> {
        let location = self.layer_location(file);
        tracing::warn!(
            layer = %location,
            "replacing a layer that {why}; nodes that fetched it keep their copy until it leaves their cache"
        );
        // Without it nobody takes the new file for what the old one was.
        self.store.delete(&self.side_file_location(file)).await?;
        let how = self.how(Object::Layer, true);
        Ok(self.store.upload(&location, body, content, how).await?)
    }

    /// Whether a layer lacks nothing but its side file.
    async fn is_right_already(
        &self,
        location: &Location,
        fault: &Fault,
        content: &Content,
    ) -> Result<bool, PublishError> {
        if *fault != Fault::NoSideFile {
            return Ok(false);
        }
        match content_of(self.store.as_ref(), location).await {
            Ok(found) => Ok(found == *content),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a side file. `false` if there is one that says something else: then another wrote
    /// this layer too.
    async fn write_side_file(
        &self,
        file: &LayerFile,
        content: &Content,
    ) -> Result<bool, PublishError> {
        let location = self.side_file_location(file);
        let bytes = Bytes::from(content.side_file());
        let overwrite = match self.side_file(file).await? {
            Some(found) => return Ok(found == *content),
            // There may be one that says nothing.
            None => self.found(&location).await?.is_some(),
        };
        let how = self.how(Object::SideFile, overwrite);
        let side = Content::of(&bytes);
        match self.store.upload(&location, body_of(bytes), &side, how).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Ok(self.side_file(file).await?.as_ref() == Some(content))
            }
            Err(error) => Err(error.into()),
        }
    }
}
