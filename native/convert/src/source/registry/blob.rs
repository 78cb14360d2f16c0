//! A layer's bytes from a registry, over as many connections as it takes.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use storm_oci_store::Digest;

use super::transfer::{Request, Transfer, unreachable};
use crate::source::error::{Part, SourceError};
use crate::source::{BlobStream, SourceLayer};

/// A transfer on its way.
struct Blob {
    transfer: Arc<Transfer>,
    name: String,
    digest: Digest,
    size: u64,
    response: Response,
    /// Bytes that were passed on.
    passed: u64,
    /// Bytes of the answer that were passed on from an answer before it.
    skip: u64,
    /// Since a byte came last.
    failures: u32,
}

/// Asks for a layer. The first answer is waited for, so that what is not there shows at once.
pub(super) async fn open(
    transfer: Arc<Transfer>,
    name: &str,
    layer: &SourceLayer,
) -> Result<BlobStream, SourceError> {
    let response = transfer.get(&request(&layer.digest, 0)).await?;
    if response.status() != StatusCode::OK {
        return Err(missing(Part::Layer, &layer.digest, name));
    }
    let blob = Blob {
        transfer,
        name: name.to_owned(),
        digest: layer.digest.clone(),
        size: layer.size,
        response,
        passed: 0,
        skip: 0,
        failures: 0,
    };
    Ok(try_unfold(
        blob,
        |mut blob| async move { Ok(blob.next().await?.map(|chunk| (chunk, blob))) },
    )
    .boxed())
}

/// The error of a part that an image names and the registry does not have.
pub(super) fn missing(part: Part, digest: &Digest, name: &str) -> SourceError {
    SourceError::MissingPart {
        part,
        digest: digest.clone(),
        name: name.to_owned(),
        cause: "the registry does not have it; hint: push the image again".to_owned(),
    }
}

fn request(digest: &Digest, offset: u64) -> Request<'static> {
    Request { path: format!("blobs/{digest}"), accept: &[], offset }
}

impl Blob {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            let cause = match self.response.chunk().await {
                Ok(Some(chunk)) => match self.unseen(chunk) {
                    Some(chunk) => return self.pass(chunk).map(Some),
                    None => continue,
                },
                // Whoever compares digests sees what is missing.
                Ok(None) => return Ok(None),
                Err(cause) => cause,
            };
            let error = unreachable(self.url(), &cause);
            if self.failures >= self.transfer.settings().retries {
                return Err(self.broken(error));
            }
            self.failures += 1;
            tracing::debug!(%error, passed = self.passed, "a broken transfer is resumed");
            self.transfer.wait(self.failures, None).await;
            self.resume().await?;
        }
    }

    fn url(&self) -> String {
        self.transfer.url(&request(&self.digest, 0).path)
    }

    /// The part of a chunk that was not passed on before.
    fn unseen(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if length <= self.skip {
            self.skip -= length;
            return None;
        }
        chunk.advance(usize::try_from(self.skip).unwrap_or(chunk.len()));
        self.skip = 0;
        Some(chunk)
    }

    fn pass(&mut self, chunk: Bytes) -> Result<Bytes, SourceError> {
        self.failures = 0;
        self.passed = self.passed.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        // A registry that never stops must not be read for ever.
        if self.passed > self.size {
            return Err(SourceError::SizeMismatch {
                part: Part::Layer,
                name: self.name.clone(),
                expected: self.size,
                found: self.passed,
            });
        }
        Ok(chunk)
    }

    async fn resume(&mut self) -> Result<(), SourceError> {
        let response = self.transfer.get(&request(&self.digest, self.passed)).await?;
        let begins_at = |response: &Response| {
            let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
            range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok()
        };
        self.skip = match response.status() {
            StatusCode::OK => self.passed,
            StatusCode::PARTIAL_CONTENT if begins_at(&response) == Some(self.passed) => 0,
            status => {
                return Err(SourceError::Registry {
                    url: self.url(),
                    status: status.as_u16(),
                    cause: format!("it sends not what is after byte {}", self.passed),
                });
            }
        };
        self.response = response;
        Ok(())
    }

    fn broken(&self, error: SourceError) -> SourceError {
        match error {
            SourceError::Transfer { url, cause, hint } => {
                let (passed, size) = (self.passed, self.size);
                let cause = format!("it broke off after {passed} of {size} bytes: {cause}");
                SourceError::Transfer { url, cause, hint }
            }
            other => other,
        }
    }
}
