//! The documents of images as registries send them, from the converter's sources.

#[path = "../../native/convert/src/source/documents/mod.rs"]
mod documents;
#[path = "../../native/convert/src/source/error.rs"]
mod error;
#[path = "../../native/convert/src/source/image.rs"]
mod image;

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use documents::manifest::Manifest;
use documents::{Config, Document, Documents, Index, resolve};
use error::SourceError;
use futures_util::FutureExt;
use image::{SourceImage, SourceLayer};
use serde_json::Value;

use crate::digest::Digest;
use crate::index::ImageIndex;
use crate::limits::Limits;
use crate::manifest::{self, Descriptor};
use crate::platform::Platform;

/// No UTF-8 has it, so it parts documents.
const SEPARATOR: u8 = 0xff;
/// Indexes and the manifest that they lead to.
const MOST_FETCHED: usize = 20;

/// A registry that has the same document under each digest.
struct Sent {
    document: Bytes,
    config: Bytes,
    fetched: AtomicUsize,
}

#[async_trait]
impl Documents for Sent {
    async fn manifest(&self, digest: &Digest, _: u64) -> Result<Document, SourceError> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        let (bytes, digest) = (self.document.clone(), digest.clone());
        Ok(Document { bytes, digest, media_type: None })
    }

    async fn config(&self, _: &Descriptor, _: u64) -> Result<Bytes, SourceError> {
        Ok(self.config.clone())
    }
}

/// What a registry sends: the document of the tag, the document of all digests, and the config.
/// The last byte chooses the platform.
///
/// # Panics
///
/// When a promise of `fuzz_targets/registry.rs` is broken.
pub fn registry(input: &[u8]) {
    let Some((choice, sent)) = input.split_last() else { return };
    let platforms = ["linux/amd64", "linux/arm64/v8", "linux/arm", "linux/amd64/v3"];
    let platform = Platform::parse(platforms[usize::from(*choice) % platforms.len()]).unwrap();
    let mut sent = sent.splitn(3, |byte| *byte == SEPARATOR).map(Bytes::copy_from_slice);
    let root = sent.next().unwrap_or_default();
    let document = sent.next().unwrap_or_default();
    let config = sent.next().unwrap_or_default();

    for bytes in [&root, &document] {
        let digest = Digest::of(bytes);
        let one = Document { bytes: bytes.clone(), digest, media_type: None };
        check_manifest(&one);
        check_index(&one, &platform);
    }
    check_config(&config, &platform);

    let registry = Sent { document, config, fetched: AtomicUsize::new(0) };
    let root = Document { digest: Digest::of(&root), bytes: root, media_type: None };
    let limits = Limits::default();
    let image = resolve(&registry, "host/name:tag", root, &platform, &limits);
    match image.now_or_never().expect("nothing waits") {
        Ok(image) => {
            assert!((1..=limits.layers).contains(&image.layers.len()));
            assert_eq!(image.config.digest, Digest::of(&image.config_json));
            let bytes = image.layers.iter().map(|layer| u128::from(layer.size)).sum::<u128>();
            assert!(bytes <= u128::from(limits.image_bytes));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.chars().count() < 8192 && !text.contains('\n'), "{text}");
        }
    }
    assert!(registry.fetched.load(Ordering::Relaxed) <= MOST_FETCHED);
}

fn check_manifest(document: &Document) {
    let Ok(found) = Manifest::parse(document) else { return };
    if Manifest::check_kind(document).is_err() || found.layers.len() > Limits::default().layers {
        return;
    }
    let stored = manifest::Manifest::parse(&document.bytes);
    let stored = stored.unwrap_or_else(|error| panic!("the store refuses it: {error}"));
    assert_eq!(stored.config, found.config);
    assert_eq!(stored.layers.len(), found.layers.len());
    for (one, other) in stored.layers.iter().zip(&found.layers) {
        assert_eq!((&one.digest, one.size), (&other.digest, other.size));
        assert!(!other.media_type.ends_with("+encrypted"));
    }
    assert!(Index::check_kind(document).is_err(), "a manifest and an index");
}

fn check_index(document: &Document, platform: &Platform) {
    let Ok(found) = Index::parse(document) else { return };
    if Index::check_kind(document).is_err() {
        return;
    }
    let Ok(Some(stored)) = ImageIndex::parse(&document.bytes) else { return };
    if let Ok(digest) = stored.choose(platform) {
        assert_eq!(found.choose(platform).ok(), Some(Some(digest)));
    }
}

fn check_config(bytes: &Bytes, platform: &Platform) {
    let digest = Digest::of(bytes);
    let Ok(config) = Config::parse(bytes, &digest) else { return };
    let is_for = config.check_platform("host/name:tag", platform).is_ok();
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return };
    let field = |name: &str| document[name].as_str().filter(|text| !text.is_empty());
    if is_for {
        assert!(matches!(field("os"), None | Some("linux")));
        let own = platform.to_string();
        assert!(field("architecture").is_none_or(|found| own.split('/').nth(1) == Some(found)));
    }
    let count = document["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
    if let Ok(diff_ids) = config.diff_ids(count) {
        for (number, diff_id) in diff_ids.iter().enumerate() {
            assert_eq!(document["rootfs"]["diff_ids"][number], diff_id.to_string());
        }
        assert_eq!(diff_ids.len(), count);
    }
}
