//! One store, opened to be written.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use storm_oci_store::remote::{
    Body, CHUNK, Listed, PUBLISHED_MODE, Remotes, Upload, WritableStore, body_of,
};
use storm_oci_store::{Content, Digest, ErrorKind, LayerFile, Location, Object, StoreError};

use super::error::PublishError;
use super::lock::Held;
use super::settings::PublishSettings;
use super::tag_file::HEADER;

/// The directories of a store.
const DIRECTORIES: [&str; 4] = ["layers", "config", "manifests", UNREFERENCED];
/// Where Storm's script notes since when a manifest has no tag.
pub(super) const UNREFERENCED: &str = "unreferenced";

/// What became of an object that was to be in the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// It was not there before.
    New,
    /// It was there already, and good.
    Present,
    /// It was there, and wrong. Nodes that fetched it keep their copy.
    Repaired,
}

/// A store that images are published to. Its methods need a tokio runtime with timers.
///
/// A future of these that is dropped half-way leaves the store valid. Only the lock stays, until
/// [`Publisher::release_locks`] or until others take it over.
#[derive(Debug)]
pub struct Publisher {
    pub(super) settings: PublishSettings,
    pub(super) store: Arc<dyn WritableStore>,
    pub(super) tag_store: Arc<dyn WritableStore>,
    /// Locks that this publisher holds.
    pub(super) held: Arc<Mutex<Vec<Held>>>,
}

impl Publisher {
    /// Knows how to reach the store, and connects to nothing.
    ///
    /// # Errors
    ///
    /// [`PublishError::Store`] for options that cannot be used.
    pub fn open(settings: PublishSettings) -> Result<Self, PublishError> {
        let remotes = Remotes::new(settings.remote.clone());
        let store = remotes.open_writable(&settings.top_level)?;
        let tag_store = remotes.open_writable(&settings.tag_map)?;
        Ok(Self::over(settings, store, tag_store))
    }

    /// As [`Publisher::open`], over stores that are open: one for the images, one for the tag map.
    #[must_use]
    pub fn over(
        settings: PublishSettings,
        store: Arc<dyn WritableStore>,
        tag_store: Arc<dyn WritableStore>,
    ) -> Self {
        Self { settings, store, tag_store, held: Arc::default() }
    }

    /// Makes what a store needs: its directories, and a tag map without tags. What is there
    /// already stays as it is, and so do the modes of directories above.
    ///
    /// # Errors
    ///
    /// [`PublishError::Store`].
    pub async fn init(&self) -> Result<(), PublishError> {
        for directory in DIRECTORIES {
            self.store.make_directory(&self.settings.top_level.join(directory)).await?;
        }
        self.tag_store.make_directory(&self.settings.tag_map.parent()).await?;
        let header = Bytes::from_static(HEADER.as_bytes());
        if self.exists().await? {
            return Ok(());
        }
        let content = Content::of(&header);
        let how = self.how(Object::TagMap, false);
        let made = self.tag_store.upload(&self.settings.tag_map, body_of(header), &content, how);
        match made.await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// Whether there is a store: whether its tag map is there.
    ///
    /// # Errors
    ///
    /// [`PublishError::Store`].
    pub async fn exists(&self) -> Result<bool, PublishError> {
        match self.tag_store.stat(&self.settings.tag_map).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes sure that there is a store: a mistyped location is not a new one.
    ///
    /// # Errors
    ///
    /// [`PublishError::NoStore`], [`PublishError::Store`].
    pub async fn must_exist(&self) -> Result<(), PublishError> {
        if self.exists().await? {
            return Ok(());
        }
        let (top_level, tag_map) = (self.settings.top_level.clone(), self.settings.tag_map.clone());
        Err(PublishError::NoStore { top_level, tag_map })
    }

    /// The tag map.
    #[must_use]
    pub fn tag_map(&self) -> &Location {
        &self.settings.tag_map
    }

    /// The store.
    #[must_use]
    pub fn top_level(&self) -> &Location {
        &self.settings.top_level
    }

    pub(super) fn how(&self, object: Object, overwrite: bool) -> Upload {
        Upload { object, overwrite, replication: self.settings.replication }
    }

    pub(super) fn manifest_location(&self, digest: &Digest) -> Location {
        self.settings.top_level.join(&format!("manifests/{}", digest.as_hex()))
    }

    pub(super) fn config_location(&self, digest: &Digest) -> Location {
        self.settings.top_level.join(&format!("config/{}", digest.as_hex()))
    }

    pub(super) fn layer_location(&self, file: &LayerFile) -> Location {
        self.settings.top_level.join(&format!("layers/{file}"))
    }

    pub(super) fn side_file_location(&self, file: &LayerFile) -> Location {
        self.layer_location(file).with_suffix(".json")
    }

    pub(super) fn marker_location(&self, digest: &Digest) -> Location {
        self.settings.top_level.join(&format!("{UNREFERENCED}/{}", digest.as_hex()))
    }

    /// What the store has under a name, if anything.
    pub(super) async fn found(&self, object: &Location) -> Result<Option<Listed>, StoreError> {
        match self.store.file(object).await {
            Ok(listed) => Ok(Some(listed)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets everybody read an object again. `false` if it could be all along.
    pub(super) async fn make_readable(
        &self,
        object: &Location,
        listed: &Listed,
    ) -> Result<bool, StoreError> {
        match listed.mode {
            Some(mode) if !is_readable(mode) => {
                self.store.set_mode(object, PUBLISHED_MODE).await?;
                tracing::warn!(%object, "made an object readable again");
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// Whether everybody may read what has this mode.
pub(super) fn is_readable(mode: u16) -> bool {
    mode & PUBLISHED_MODE == PUBLISHED_MODE
}

/// The bytes of a file of this host, from its beginning.
pub(super) fn body_of_file(file: Arc<std::fs::File>, name: Location) -> Body {
    use std::os::unix::fs::FileExt;
    let read = move |offset: u64| {
        let (file, name) = (Arc::clone(&file), name.clone());
        async move {
            let work = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; CHUNK];
                let found = file.read_at(&mut chunk, offset)?;
                chunk.truncate(found);
                Ok::<_, std::io::Error>(Bytes::from(chunk))
            });
            let chunk = work
                .await
                .map_err(|_| StoreError::TaskEnded { operation: "read a converted layer" })?
                .map_err(|cause| StoreError::Local {
                    operation: "read the converted layer of",
                    path: name.to_string().into(),
                    cause: Arc::new(cause),
                })?;
            let next = offset.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            Ok((!chunk.is_empty()).then_some((chunk, next)))
        }
    };
    stream::try_unfold(0, read).boxed()
}
