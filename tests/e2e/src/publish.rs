//! The installed `storm-oci`, which brings images into the store.

use std::process::Command;

use serde_json::Value;

use crate::image_store::Layer;
use crate::{E2eError, Layout, command, files, say};

/// An image in the store.
#[derive(Clone, Debug)]
pub struct Published {
    /// The digest of its manifest, in hex.
    pub digest: String,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// Publishes an image under a tag.
///
/// # Errors
///
/// [`E2eError::Unconfirmed`] with what `storm-oci` says when it fails.
pub fn publish(
    layout: &Layout,
    reference: &str,
    tag: &str,
    options: &[&str],
) -> Result<Published, E2eError> {
    let store = layout.scratch("images");
    let mut publish = Command::new(layout.prefix().join("bin/storm-oci"));
    publish.args(["image", "publish", reference, "--tag", tag, "--format", "json", "--store"]);
    publish.arg(&store).args(options);
    say::line(format!(
        "storm-oci image publish {reference} --tag {tag} --store {}",
        store.display()
    ));
    let result = command::output(&mut publish)?;
    let parsed: Option<Value> = serde_json::from_str(&result).ok();
    let digest = parsed
        .as_ref()
        .and_then(|images| images.pointer("/0/digest")?.as_str()?.strip_prefix("sha256:"));
    let unreadable = || E2eError::unconfirmed("storm-oci published an image", &result);
    let digest = digest.ok_or_else(unreadable)?.to_owned();
    let manifest = files::read(&store.join("manifests").join(&digest))?;
    let manifest: Value = serde_json::from_str(&manifest).map_err(|_| unreadable())?;
    let layers = manifest.get("layers").and_then(Value::as_array).ok_or_else(unreadable)?;
    let layers = layers.iter().map(|layer| {
        let digest = layer.get("digest")?.as_str()?.strip_prefix("sha256:")?;
        Some(Layer::squashfs(digest.to_owned(), layer.get("size")?.as_u64()?))
    });
    Ok(Published { digest, layers: layers.collect::<Option<_>>().ok_or_else(unreadable)? })
}
