//! The parsers of the store and of the converter alone, from their sources: the clients of remote
//! stores, which the crates also have, take minutes to build for a fuzzer and parse none of this.
#![allow(dead_code, reason = "what only the rest of the crate uses")]

#[path = "../../native/store/src/content.rs"]
mod content;
#[path = "../../native/store/src/digest.rs"]
mod digest;
#[path = "../../native/store/src/document_kind.rs"]
mod document_kind;
#[path = "../../native/store/src/error.rs"]
mod error;
#[path = "../../native/store/src/index.rs"]
mod index;
mod layer;
#[path = "../../native/store/src/layer_file.rs"]
mod layer_file;
mod layers;
#[path = "../../native/convert/src/limits.rs"]
mod limits;
#[path = "../../native/store/src/location.rs"]
mod location;
#[path = "../../native/store/src/manifest.rs"]
mod manifest;
#[path = "../../native/store/src/media_type.rs"]
mod media_type;
#[path = "../../native/store/src/platform.rs"]
mod platform;
#[path = "../../native/store/src/reference.rs"]
mod reference;
#[path = "../../native/store/src/scheme.rs"]
mod scheme;
mod source;
#[path = "../../native/store/src/tag_map.rs"]
mod tag_map;
#[path = "../../native/convert/src/tar/mod.rs"]
mod tar;
#[path = "../../native/convert/src/tree.rs"]
mod tree;

// What the converter has from the store by its name.
extern crate self as storm_oci_store;

use digest::Digest;
use error::ErrorKind;
use index::ImageIndex;
use manifest::{Descriptor, Manifest};
use platform::Platform;
use serde_json::Value;
use tag_map::TagMap;

pub use layers::{layer, pax};
pub use source::registry;

/// A tag map; the first line is the map before, with `;` between its lines.
///
/// # Panics
///
/// When a promise of `fuzz_targets/tag_map.rs` is broken.
pub fn tag_map(input: &[u8]) {
    let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (before, update) = input.split_at(at);
    let before: Vec<u8> =
        before.iter().map(|byte| if *byte == b';' { b'\n' } else { *byte }).collect();
    let (before, read) = (TagMap::parse(&before), TagMap::parse(update));
    for tag in read.tags() {
        assert!(read.digest(tag).is_some() && tag.digest().is_none(), "{tag}");
    }
    let lines = String::from_utf8_lossy(update).lines().count();
    let numbers: Vec<_> = read.malformed.iter().map(|line| line.number).collect();
    assert!(numbers.is_sorted_by(|one, other| one < other), "{numbers:?}");
    assert!(numbers.last().is_none_or(|last| *last <= lines), "{numbers:?} of {lines}");

    let is_whole = read.malformed.is_empty();
    let (map, kept) = before.updated(read.clone());
    for tag in read.tags() {
        assert_eq!(map.digest(tag), read.digest(tag), "{tag}");
    }
    assert_eq!(map.len(), read.len() + kept);
    if !is_whole {
        assert!(before.tags().all(|tag| map.digest(tag).is_some()));
    }
}

/// A manifest.
///
/// # Panics
///
/// When a promise of `fuzz_targets/manifest.rs` is broken.
pub fn manifest(input: &[u8]) {
    let Ok(manifest) = Manifest::parse(input) else { return };
    assert_eq!(manifest.digest, Digest::of(input));
    assert_eq!(manifest.json().as_bytes(), input);
    assert!((1..=127).contains(&manifest.layers.len()));
    assert!(ImageIndex::parse(input).unwrap().is_none(), "a manifest and an index");
    for layer in &manifest.layers {
        let file = layer.file();
        assert_eq!(layer_file::LayerFile::parse(&file.to_string()), Some(file));
    }
    let Some(document) = plain(input) else { return };
    assert_eq!(document["config"]["digest"], manifest.config.digest.to_string());
    for (number, layer) in manifest.layers.iter().enumerate() {
        assert_eq!(document["layers"][number]["digest"], layer.digest.to_string());
        assert_eq!(document["layers"][number]["size"].as_u64(), Some(layer.size));
    }
}

/// An index; the last byte chooses the platform.
///
/// # Panics
///
/// When a promise of `fuzz_targets/index.rs` is broken.
pub fn index(input: &[u8]) {
    let Some((choice, document)) = input.split_last() else { return };
    let platforms = ["linux/amd64", "linux/arm64/v8", "linux/arm", "linux/amd64/v3"];
    let platform = Platform::parse(platforms[usize::from(*choice) % platforms.len()]).unwrap();
    let Ok(Some(index)) = ImageIndex::parse(document) else { return };
    assert!(Manifest::parse(document).is_err(), "an index and a manifest");
    match index.choose(&platform) {
        Ok(digest) => {
            let Some(document) = plain(document) else { return };
            let entries = document["manifests"].as_array().unwrap();
            let digest = digest.to_string();
            assert!(entries.iter().any(|entry| {
                entry["digest"] == digest.as_str()
                    && platform.to_string().starts_with(&format!(
                        "{}/{}",
                        entry["platform"]["os"].as_str().unwrap_or_default(),
                        entry["platform"]["architecture"].as_str().unwrap_or_default()
                    ))
            }));
        }
        Err(error) => assert!(error.to_string().chars().count() < 8192, "{error}"),
    }
}

/// A layer's side file.
///
/// # Panics
///
/// When a promise of `fuzz_targets/side_file.rs` is broken.
pub fn side_file(input: &[u8]) {
    let Ok(content) = content::Content::parse(input) else { return };
    if let Some(document) = plain(input) {
        assert_eq!(document["sha256"], content.sha256.as_hex());
        assert_eq!(document["size"].as_u64(), Some(content.size));
    }
    assert!(Digest::parse_hex(content.sha256.as_hex()).is_ok());
}

/// The document as another reader sees it. `None` where that may differ: the parsers pass over what
/// they do not look at, deep values and odd bytes included, and take an array for an object.
fn plain(document: &[u8]) -> Option<Value> {
    fn is_plain(value: &Value) -> bool {
        match value {
            Value::Array(values) => values.iter().all(|value| value.is_object() && is_plain(value)),
            Value::Object(values) => values.values().all(is_plain),
            _ => true,
        }
    }
    let document = serde_json::from_slice(document).ok()?;
    (matches!(document, Value::Object(_)) && is_plain(&document)).then_some(document)
}
