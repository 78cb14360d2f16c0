//! What the tests of sources share.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs;
use std::path::Path;
use std::process::Command;

use futures_util::TryStreamExt;
use serde_json::Value;
use storm_oci_convert::Limits;
use storm_oci_convert::source::{ImageSource, SourceError, SourceImage, SourceSettings, open};
use storm_oci_store::{Digest, Platform};
use storm_oci_test_stores::{OciLayout, Packing, Types};

/// Sources read none of a layer, so any bytes are an archive to them.
pub(crate) const LOWER: &[u8] = b"the lower layer's archive";
pub(crate) const UPPER: &[u8] = b"the upper layer's archive";

pub(crate) fn amd64() -> Platform {
    Platform::parse("linux/amd64").unwrap()
}

/// Resolves for `linux/amd64`.
pub(crate) async fn resolve(
    reference: &str,
    settings: &SourceSettings,
) -> Result<(Box<dyn ImageSource>, SourceImage), SourceError> {
    let source = open(reference, settings)?;
    let image = source.resolve(&amd64(), &Limits::default()).await?;
    Ok((source, image))
}

/// As [`resolve`], which must fail; gives the message too.
pub(crate) async fn refusal(reference: &str, settings: &SourceSettings) -> (SourceError, String) {
    let error = resolve(reference, settings).await.map(|(_, image)| image).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    (error, text)
}

/// The bytes of each layer, compared with their digests.
pub(crate) async fn layers(source: &dyn ImageSource, image: &SourceImage) -> Vec<Vec<u8>> {
    let mut layers = Vec::new();
    for layer in &image.layers {
        let chunks: Vec<_> = source.blob(layer).await.unwrap().try_collect().await.unwrap();
        let bytes = chunks.concat();
        assert_eq!(Digest::of(&bytes), layer.digest);
        assert_eq!(u64::try_from(bytes.len()).unwrap(), layer.size);
        layers.push(bytes);
    }
    layers
}

/// Two layers, the upper one packed as given.
pub(crate) fn image(layout: &OciLayout, types: Types, platform: &str, packing: Packing) -> Value {
    layout.image(types, platform, &[(LOWER, Packing::Gzip), (UPPER, packing)]).unwrap()
}

/// Compares an image with the descriptor it was made as.
pub(crate) fn assert_is(image: &SourceImage, layout: &OciLayout, descriptor: &Value) {
    assert_eq!(image.digest.to_string(), descriptor["digest"]);
    assert_eq!(image.manifest, layout.read(descriptor).unwrap());
    let manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    assert_eq!(image.config.digest.to_string(), manifest["config"]["digest"]);
    assert_eq!(image.config_json, layout.read(&manifest["config"]).unwrap());
    let config: Value = serde_json::from_slice(&image.config_json).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(image.layers.len(), layers.len());
    for (number, layer) in image.layers.iter().enumerate() {
        assert_eq!(layer.digest.to_string(), layers[number]["digest"]);
        assert_eq!(layer.media_type, layers[number]["mediaType"]);
        assert_eq!(layer.diff_id.to_string(), config["rootfs"]["diff_ids"][number]);
    }
}

/// Runs a program, which must succeed; gives what it prints.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    output.stdout
}

/// Changes a JSON document.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut document = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut document);
    fs::write(path, document.to_string()).unwrap();
}
