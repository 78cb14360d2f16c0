//! Files in HDFS, from their first byte to their name.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use hdfs_native::WriteOptions;
use hdfs_native::client::FileStatus;
use hdfs_native::file::FileWriter;

use super::HdfsStore;
use super::failure::Problem;
use super::session::Request;
use super::unhurried::unhurried;
use crate::content::Content;
use crate::error::{ErrorKind, StoreError};
use crate::location::Location;
use crate::remote::writing::{Renaming, write_beside};
use crate::remote::{Body, Listed, PUBLISHED_MODE, Stat, Upload, WritableStore, body_of};

/// What is given to the client at once: the limit of time is that of a request.
const STEP: usize = 4 << 20;
/// The mode of directories.
const DIRECTORY_MODE: u32 = 0o755;

#[async_trait]
impl Renaming for HdfsStore {
    async fn write(
        &self,
        temporary: &Location,
        object: &Location,
        mut body: Body,
        how: Upload,
    ) -> Result<(), StoreError> {
        let mut options =
            WriteOptions::default().permission(u32::from(PUBLISHED_MODE)).create_parent(false);
        options.replication = how.replication;
        let path = temporary.path().to_owned();
        let (mut writer, link) = self
            .session
            .call("write", object, Request::Write, move |client| {
                let (path, options) = (path.clone(), options.clone());
                Box::pin(async move { client.create(&path, options).await })
            })
            .await?;
        let failed = |problem: Problem| problem.at("write", object);
        while let Some(mut piece) = body.try_next().await? {
            while !piece.is_empty() {
                let step = piece.split_to(piece.len().min(STEP));
                let write = Box::pin(async move {
                    let mut writer: FileWriter = writer;
                    writer.write_bytes(step).await?;
                    Ok(writer)
                });
                writer = self.session.step(&link, write).await.map_err(failed)?;
            }
        }
        let close = Box::pin(async move {
            let mut writer: FileWriter = writer;
            writer.close().await
        });
        self.session.step(&link, Box::pin(unhurried(close))).await.map_err(failed)
    }

    async fn rename(
        &self,
        from: &Location,
        to: &Location,
        overwrite: bool,
    ) -> Result<(), StoreError> {
        let (source, target) = (from.path().to_owned(), to.path().to_owned());
        let renamed = self.session.call("publish", to, Request::Write, move |client| {
            let (source, target) = (source.clone(), target.clone());
            Box::pin(async move { client.rename(&source, &target, overwrite).await })
        });
        renamed.await.map(|_| ())
    }
}

#[async_trait]
impl WritableStore for HdfsStore {
    async fn make_directory(&self, directory: &Location) -> Result<(), StoreError> {
        let path = directory.path().to_owned();
        let made = self.session.call("make directory", directory, Request::Write, move |client| {
            let path = path.clone();
            Box::pin(async move { client.mkdirs(&path, DIRECTORY_MODE, true).await })
        });
        made.await.map(|_| ())
    }

    async fn upload(
        &self,
        object: &Location,
        body: Body,
        content: &Content,
        how: Upload,
    ) -> Result<(), StoreError> {
        write_beside(self, object, body, content, how, None).await
    }

    async fn replace_if(
        &self,
        object: &Location,
        known: &Stat,
        body: Bytes,
        how: Upload,
    ) -> Result<(), StoreError> {
        let (content, how) = (Content::of(&body), Upload { overwrite: true, ..how });
        write_beside(self, object, body_of(body), &content, how, Some(known)).await
    }

    async fn delete(&self, object: &Location) -> Result<bool, StoreError> {
        let path = object.path().to_owned();
        let deleted = self.session.call("delete", object, Request::Write, move |client| {
            let path = path.clone();
            Box::pin(async move { client.delete(&path, false).await })
        });
        match deleted.await {
            Ok((deleted, _)) => Ok(deleted),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn files(&self, directory: &Location) -> Result<Vec<Listed>, StoreError> {
        let statuses = self.statuses(directory).await?;
        let mut files: Vec<_> = statuses.into_iter().filter_map(|status| listed(&status)).collect();
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(files)
    }

    async fn file(&self, object: &Location) -> Result<Listed, StoreError> {
        listed(&self.status(object).await?).ok_or_else(|| {
            Problem::new(ErrorKind::Internal, "its size or time is not a number").at("stat", object)
        })
    }

    async fn set_mode(&self, object: &Location, mode: u16) -> Result<bool, StoreError> {
        let path = object.path().to_owned();
        let set = self.session.call("set the mode of", object, Request::Write, move |client| {
            let path = path.clone();
            Box::pin(async move { client.set_permission(&path, u32::from(mode)).await })
        });
        set.await.map(|_| true)
    }
}

fn listed(status: &FileStatus) -> Option<Listed> {
    Some(Listed {
        name: status.path.rsplit('/').next()?.to_owned(),
        size: u64::try_from(status.length).ok()?,
        modified_millis: i64::try_from(status.modification_time).ok()?,
        mode: Some(status.permission & 0o7777),
    })
}
