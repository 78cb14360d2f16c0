//! HDFS, through the client of `hdfs-native`.
//!
//! The client is kept behind [`session::Session`] and [`reading`]: it panics on what it does not
//! expect, waits for ever for a namenode that hangs, and its errors are Java's.

mod cluster;
mod configuration;
mod failure;
mod keytab;
mod login;
mod offer;
mod reading;
mod session;
mod unhurried;
mod writing;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use hdfs_native::client::FileStatus;
use hdfs_native::{HdfsError, WriteOptions};

use super::transfer::exactly;
use super::{Entry, RemoteStore, Stat, temporary};
use crate::error::{ErrorKind, StoreError};
use crate::location::Location;
use crate::settings::RemoteSettings;
use failure::Problem;
use session::{Request, Session};
use unhurried::unhurried;

/// One cluster.
#[derive(Debug)]
pub(super) struct HdfsStore {
    session: Arc<Session>,
}

impl HdfsStore {
    /// A store for the location's name service or namenode. Reads Hadoop's configuration, and
    /// does not connect.
    pub(super) fn open(settings: &RemoteSettings, location: &Location) -> Result<Self, StoreError> {
        let session = Session::new(settings.clone(), location.authority())
            .map_err(|problem| problem.at("use", location))?;
        Ok(Self { session: Arc::new(session) })
    }

    /// Writes beside the object and renames: what is being written has another name.
    async fn put(
        &self,
        operation: &'static str,
        object: &Location,
        body: Bytes,
        overwrite: bool,
    ) -> Result<(), StoreError> {
        let target = object.path().to_owned();
        let temporary = temporary::beside(object).path().to_owned();
        let written = {
            let temporary = temporary.clone();
            self.session.call(operation, object, Request::Write, move |client| {
                let (temporary, target, body) = (temporary.clone(), target.clone(), body.clone());
                Box::pin(async move {
                    let options = WriteOptions::default();
                    let mut file = client.create(&temporary, options).await?;
                    file.write_bytes(body).await?;
                    unhurried(Box::pin(async move { file.close().await })).await?;
                    client.rename(&temporary, &target, overwrite).await
                })
            })
        };
        let outcome = written.await;
        if outcome.is_err() {
            // Best effort: without its namenode nothing can be removed.
            let _ = self
                .session
                .call(operation, object, Request::Write, move |client| {
                    let temporary = temporary.clone();
                    Box::pin(async move { client.delete(&temporary, false).await })
                })
                .await;
        }
        outcome.map(|_| ())
    }

    async fn status(&self, object: &Location) -> Result<FileStatus, StoreError> {
        let path = object.path().to_owned();
        let (status, _) = self
            .session
            .call("stat", object, Request::Ask, move |client| {
                let path = path.clone();
                Box::pin(async move { client.get_file_info(&path).await })
            })
            .await?;
        if status.isdir {
            let problem = Problem::new(ErrorKind::NotFound, "it is a directory");
            return Err(problem.at("stat", object));
        }
        Ok(status)
    }

    /// The files directly in a directory; none for a missing one.
    async fn statuses(&self, directory: &Location) -> Result<Vec<FileStatus>, StoreError> {
        let path = directory.path().to_owned();
        let listed = self
            .session
            .call("list", directory, Request::Ask, move |client| {
                let path = path.clone();
                Box::pin(async move {
                    match client.list_status(&path, false).await {
                        Err(HdfsError::FileNotFound(_)) => Ok(Vec::new()),
                        outcome => outcome,
                    }
                })
            })
            .await;
        let mut statuses = match listed {
            Ok((statuses, _)) => statuses,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        // The listing of a file is that file.
        statuses.retain(|status| !status.isdir && status.path != directory.path());
        Ok(statuses)
    }
}

#[async_trait]
impl RemoteStore for HdfsStore {
    async fn stat(&self, object: &Location) -> Result<Stat, StoreError> {
        let status = self.status(object).await?;
        let negative = || Problem::new(ErrorKind::Internal, "its size or time is not a number");
        Ok(Stat {
            size: u64::try_from(status.length).map_err(|_| negative().at("stat", object))?,
            modified_millis: i64::try_from(status.modification_time)
                .map_err(|_| negative().at("stat", object))?,
            version: Some(version(&status)),
        })
    }

    fn stream(
        &self,
        object: &Location,
        stat: &Stat,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let session = Arc::clone(&self.session);
        let pieces = reading::pieces(session, object.clone(), stat.clone(), range.clone());
        exactly(&range, object.clone(), pieces)
    }

    async fn list(&self, directory: &Location) -> Result<Vec<Entry>, StoreError> {
        let mut entries: Vec<_> = self
            .statuses(directory)
            .await?
            .into_iter()
            .filter_map(|status| {
                let name = status.path.rsplit('/').next()?.to_owned();
                Some(Entry { name, size: u64::try_from(status.length).ok()? })
            })
            .collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    async fn publish_new(&self, object: &Location, body: Bytes) -> Result<(), StoreError> {
        self.put("publish", object, body, false).await
    }

    async fn replace(&self, object: &Location, body: Bytes) -> Result<(), StoreError> {
        self.put("replace", object, body, true).await
    }
}

/// What HDFS shows of a file's identity. A file that was written again has another time; one that
/// was renamed over it keeps its own, and mostly has another size.
fn version(status: &FileStatus) -> String {
    format!("{}-{}", status.modification_time, status.length)
}
