//! Writing through the library, and to directories without it.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion,
};

use super::{ObjectBackend, directory, failure, is_described};
use crate::content::Content;
use crate::error::{ErrorKind, StoreError};
use crate::location::{Location, Scheme};
use crate::remote::writing::{Renaming, read_back, write_beside};
use crate::remote::{Body, Listed, RemoteStore, Stat, Upload, WritableStore, body_of};

/// What goes to a server in one request. It is the least that S3 takes as a part, with room.
const PART: usize = 8 << 20;
/// S3 has no more than 10 000 parts of one object.
const PARTS: u64 = 9_000;
/// Parts on their way at the same time.
const PARTS_AT_ONCE: usize = 4;

impl ObjectBackend {
    /// An object in a bucket. It appears whole or not at all.
    async fn send(
        &self,
        object: &Location,
        mut body: Body,
        content: &Content,
        overwrite: bool,
    ) -> Result<(), StoreError> {
        if usize::try_from(content.size).is_ok_and(|size| size <= PART) {
            let mut whole = BytesMut::new();
            while let Some(piece) = body.try_next().await? {
                whole.extend_from_slice(&piece);
            }
            let mode = if overwrite { PutMode::Overwrite } else { PutMode::Create };
            return self.put("publish", object, whole.freeze(), mode).await;
        }
        let path = self.path("publish", object)?;
        if !overwrite {
            // The library has no condition for many parts. Another who writes it meanwhile wrote
            // the same layer.
            match self.stat(object).await {
                Ok(_) => return Err(failure::exists("publish", object)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let upload = self.store.put_multipart(&path).await;
        let mut upload = upload.map_err(|error| self.failed("publish", object, error))?;
        let sent = self.send_parts(upload.as_mut(), object, body, content.size).await;
        if sent.is_err() {
            // Best effort: most stores forget parts after some days by themselves.
            if let Err(error) = upload.abort().await {
                tracing::warn!("left parts behind: {}", self.failed("publish", object, error));
            }
        }
        sent
    }

    async fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        object: &Location,
        mut body: Body,
        size: u64,
    ) -> Result<(), StoreError> {
        let least = usize::try_from(size.div_ceil(PARTS)).unwrap_or(usize::MAX);
        let part = least.max(PART);
        let failed = |error| self.failed("publish", object, error);
        let mut under_way = FuturesUnordered::new();
        let mut gathered = BytesMut::new();
        while let Some(piece) = body.try_next().await? {
            gathered.extend_from_slice(&piece);
            while gathered.len() >= part {
                let payload = PutPayload::from_bytes(gathered.split_to(part).freeze());
                under_way.push(upload.put_part(payload));
                if under_way.len() >= PARTS_AT_ONCE {
                    under_way.next().await.transpose().map_err(failed)?;
                }
            }
        }
        if !gathered.is_empty() {
            under_way.push(upload.put_part(PutPayload::from_bytes(gathered.freeze())));
        }
        while let Some(sent) = under_way.next().await {
            sent.map_err(failed)?;
        }
        upload.complete().await.map(|_| ()).map_err(failed)
    }

    fn is_directory(&self) -> bool {
        self.scheme == Scheme::File
    }
}

/// Of files of this host alone.
#[async_trait]
impl Renaming for ObjectBackend {
    async fn write(
        &self,
        temporary: &Location,
        object: &Location,
        body: Body,
        _how: Upload,
    ) -> Result<(), StoreError> {
        directory::write(temporary, object, body).await
    }

    async fn rename(
        &self,
        temporary: &Location,
        object: &Location,
        overwrite: bool,
    ) -> Result<(), StoreError> {
        directory::publish(temporary, object, overwrite).await
    }
}

#[async_trait]
impl WritableStore for ObjectBackend {
    async fn make_directory(&self, directory: &Location) -> Result<(), StoreError> {
        self.must_be_writable("make directory", directory)?;
        if self.is_directory() { directory::make(directory).await } else { Ok(()) }
    }

    async fn upload(
        &self,
        object: &Location,
        body: Body,
        content: &Content,
        how: Upload,
    ) -> Result<(), StoreError> {
        self.must_be_writable("publish", object)?;
        if self.is_directory() {
            return write_beside(self, object, body, content, how, None).await;
        }
        self.send(object, body, content, how.overwrite).await?;
        let checked = read_back(self, object, content, how.object, object).await;
        if matches!(
            checked,
            Err(StoreError::DigestMismatch { .. } | StoreError::SizeMismatch { .. })
        ) {
            self.delete(object).await?;
        }
        checked
    }

    async fn replace_if(
        &self,
        object: &Location,
        known: &Stat,
        body: Bytes,
        how: Upload,
    ) -> Result<(), StoreError> {
        self.must_be_writable("replace", object)?;
        if self.is_directory() {
            let (content, how) = (Content::of(&body), Upload { overwrite: true, ..how });
            return write_beside(self, object, body_of(body), &content, how, Some(known)).await;
        }
        let path = self.path("replace", object)?;
        let meta = self.store.head(&path).await;
        let meta = meta.map_err(|error| self.failed("replace", object, error))?;
        if !is_described(known, &meta) {
            return Err(StoreError::Changed { location: object.clone() });
        }
        let version = UpdateVersion { e_tag: meta.e_tag, version: meta.version };
        self.put("replace", object, body, PutMode::Update(version)).await
    }

    async fn delete(&self, object: &Location) -> Result<bool, StoreError> {
        self.must_be_writable("delete", object)?;
        if self.is_directory() {
            return directory::delete(object).await;
        }
        // A bucket says nothing of what was not there.
        let path = self.path("delete", object)?;
        if self.is_absent(&path, object).await? {
            return Ok(false);
        }
        let deleted = self.store.delete(&path).await;
        deleted.map(|()| true).map_err(|error| self.failed("delete", object, error))
    }

    async fn files(&self, directory: &Location) -> Result<Vec<Listed>, StoreError> {
        self.must_be_writable("list", directory)?;
        if self.is_directory() {
            return directory::files(directory).await;
        }
        let path = self.path("list", directory)?;
        let listing = self.store.list_with_delimiter(Some(&path)).await;
        let listing = listing.map_err(|error| self.failed("list", directory, error))?;
        let mut files: Vec<_> = listing
            .objects
            .into_iter()
            .filter_map(|meta| {
                Some(Listed {
                    name: meta.location.filename()?.to_owned(),
                    size: meta.size,
                    modified_millis: meta.last_modified.timestamp_millis(),
                    mode: None,
                })
            })
            .collect();
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(files)
    }

    async fn file(&self, object: &Location) -> Result<Listed, StoreError> {
        if self.is_directory() {
            return directory::file(object).await;
        }
        let Stat { size, modified_millis, .. } = self.stat(object).await?;
        Ok(Listed { name: object.name().to_owned(), size, modified_millis, mode: None })
    }

    async fn set_mode(&self, object: &Location, mode: u16) -> Result<bool, StoreError> {
        self.must_be_writable("set the mode of", object)?;
        if !self.is_directory() {
            return Ok(false);
        }
        directory::set_mode(object, mode).await.map(|()| true)
    }
}

impl ObjectBackend {
    async fn is_absent(&self, path: &Path, object: &Location) -> Result<bool, StoreError> {
        match self.store.head(path).await {
            Ok(_) => Ok(false),
            Err(error) => match self.failed("delete", object, error) {
                error if error.kind() == ErrorKind::NotFound => Ok(true),
                error => Err(error),
            },
        }
    }
}
