//! A store that says when it is written.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use storm_oci_store::remote::{Body, Entry, Listed, RemoteStore, Stat, Upload, WritableStore};
use storm_oci_store::{Content, Location, StoreError};

/// When it is said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Point {
    Before,
    /// All bytes are given away, and nobody knows whether they are good. Of uploads only.
    Within,
    After,
}

/// Is told which write it is, from 0, and waited for.
pub(crate) type Hook = Arc<dyn Fn(usize, Point) -> BoxFuture<'static, ()> + Send + Sync>;

/// A store that calls its hook around each write.
pub(crate) struct Watched {
    store: Arc<dyn WritableStore>,
    writes: AtomicUsize,
    hook: Hook,
}

impl Watched {
    pub(crate) fn new(store: Arc<dyn WritableStore>, hook: Hook) -> Self {
        Self { store, writes: AtomicUsize::new(0), hook }
    }

    async fn around<T>(&self, write: impl Future<Output = T>) -> T {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        self.around_numbered(number, write).await
    }

    async fn around_numbered<T>(&self, number: usize, write: impl Future<Output = T>) -> T {
        (self.hook)(number, Point::Before).await;
        let outcome = write.await;
        (self.hook)(number, Point::After).await;
        outcome
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Watched({:?})", self.store)
    }
}

#[async_trait]
impl RemoteStore for Watched {
    async fn stat(&self, object: &Location) -> Result<Stat, StoreError> {
        self.store.stat(object).await
    }

    fn stream(
        &self,
        object: &Location,
        stat: &Stat,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, StoreError>> {
        self.store.stream(object, stat, range)
    }

    async fn list(&self, directory: &Location) -> Result<Vec<Entry>, StoreError> {
        self.store.list(directory).await
    }

    async fn publish_new(&self, object: &Location, body: Bytes) -> Result<(), StoreError> {
        self.around(self.store.publish_new(object, body)).await
    }

    async fn replace(&self, object: &Location, body: Bytes) -> Result<(), StoreError> {
        self.store.replace(object, body).await
    }
}

#[async_trait]
impl WritableStore for Watched {
    async fn make_directory(&self, directory: &Location) -> Result<(), StoreError> {
        self.store.make_directory(directory).await
    }

    async fn upload(
        &self,
        object: &Location,
        body: Body,
        content: &Content,
        how: Upload,
    ) -> Result<(), StoreError> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let hook = Arc::clone(&self.hook);
        let end = stream::once(async move { hook(number, Point::Within).await });
        let body: Body = body.chain(end.filter_map(|()| async { None })).boxed();
        self.around_numbered(number, self.store.upload(object, body, content, how)).await
    }

    async fn replace_if(
        &self,
        object: &Location,
        known: &Stat,
        body: Bytes,
        how: Upload,
    ) -> Result<(), StoreError> {
        self.around(self.store.replace_if(object, known, body, how)).await
    }

    async fn delete(&self, object: &Location) -> Result<bool, StoreError> {
        self.around(self.store.delete(object)).await
    }

    async fn files(&self, directory: &Location) -> Result<Vec<Listed>, StoreError> {
        self.store.files(directory).await
    }

    async fn file(&self, object: &Location) -> Result<Listed, StoreError> {
        self.store.file(object).await
    }

    async fn set_mode(&self, object: &Location, mode: u16) -> Result<bool, StoreError> {
        self.around(self.store.set_mode(object, mode)).await
    }
}
