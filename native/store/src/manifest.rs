//! Image manifests: Docker's version 2, schema 2, and OCI's.

use oci_spec::image::{ImageManifest, MediaType};
use serde::de::Error;

use crate::digest::Digest;
use crate::document_kind::{DocumentKind, invalid};
use crate::error::{Object, StoreError, shown};
use crate::layer_file::LayerFile;
use crate::media_type::{self, LayerMediaType};

/// The most layers an image may have: what Docker allows, and about what an overlay can stack.
const MAX_LAYERS: usize = 127;

/// What a manifest says of its image config.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Descriptor {
    /// The media type as the manifest has it.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes, as the manifest claims.
    pub size: u64,
}

/// What a manifest says of a layer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LayerDescriptor {
    /// What digest and size describe.
    pub media_type: LayerMediaType,
    /// The digest that names the layer's file in the store.
    pub digest: Digest,
    /// The size in bytes, as the manifest claims: of the archive or of the layer's file.
    pub size: u64,
}

impl LayerDescriptor {
    /// The layer's file in the store, `layers/<name>`.
    #[must_use]
    pub fn file(&self) -> LayerFile {
        LayerFile { digest: self.digest.clone(), format: self.media_type.format() }
    }
}

/// An image manifest of a type that can be run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// The digest of [`Manifest::json`].
    pub digest: Digest,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first, at least one; a layer may occur twice.
    pub layers: Vec<LayerDescriptor>,
    json: String,
}

impl Manifest {
    /// Reads a manifest document.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidDocument`] if it is not the JSON of a manifest,
    /// [`StoreError::WrongMediaType`] if it is an index or anything else, or has a config or layer
    /// of a type that cannot be run, [`StoreError::WrongSchemaVersion`],
    /// [`StoreError::TooManyLayers`] and [`StoreError::NoLayers`].
    pub fn parse(document: &[u8]) -> Result<Self, StoreError> {
        let digest = Digest::of(document);
        let invalid = |cause| invalid(&digest, cause);
        match DocumentKind::of(document, &digest)? {
            DocumentKind::Manifest => {}
            DocumentKind::Index => {
                return Err(StoreError::WrongMediaType {
                    object: Object::Manifest,
                    name: digest.to_string(),
                    found: MediaType::ImageIndex.to_string(),
                    accepted: media_type::MANIFEST.to_owned(),
                });
            }
        }
        let manifest: ImageManifest = serde_json::from_slice(document).map_err(invalid)?;

        let config = manifest.config();
        if !media_type::is_config(config.media_type()) {
            return Err(StoreError::WrongMediaType {
                object: Object::Config,
                name: shown(config.digest().as_ref()),
                found: shown(config.media_type().as_ref()),
                accepted: media_type::CONFIGS.to_owned(),
            });
        }
        let config = Descriptor {
            media_type: config.media_type().to_string(),
            digest: parse_digest(config).map_err(invalid)?,
            size: config.size(),
        };
        let found = manifest.layers().len();
        if found > MAX_LAYERS {
            return Err(StoreError::TooManyLayers { digest, found, limit: MAX_LAYERS });
        }
        let layers = manifest
            .layers()
            .iter()
            .map(|descriptor| {
                Ok(LayerDescriptor {
                    media_type: layer_media_type(descriptor)?,
                    digest: parse_digest(descriptor).map_err(invalid)?,
                    size: descriptor.size(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if layers.is_empty() {
            return Err(StoreError::NoLayers { digest });
        }
        // The parser passes over what it does not look at, even where that is not UTF-8.
        let json = str::from_utf8(document)
            .map_err(|error| invalid(serde_json::Error::custom(error)))?
            .to_owned();
        Ok(Self { digest, config, layers, json })
    }

    /// The document, exactly as it was read.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }
}

fn layer_media_type(layer: &oci_spec::image::Descriptor) -> Result<LayerMediaType, StoreError> {
    media_type::layer(layer.media_type()).ok_or_else(|| StoreError::WrongMediaType {
        object: Object::Layer,
        name: shown(layer.digest().as_ref()),
        found: shown(layer.media_type().as_ref()),
        accepted: media_type::LAYERS.to_owned(),
    })
}

/// The digest, as a part of the document it is in.
fn parse_digest(descriptor: &oci_spec::image::Descriptor) -> Result<Digest, serde_json::Error> {
    Digest::parse(descriptor.digest().as_ref()).map_err(serde_json::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::ErrorKind;

    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    fn document(media_type: Value, config: &str, layer: &str) -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {"mediaType": config, "size": 7, "digest": Digest::of(b"c").to_string()},
            "layers": [
                {"mediaType": layer, "size": 9, "digest": Digest::of(b"0").to_string()},
                {"mediaType": layer, "size": 8, "digest": Digest::of(b"1").to_string(),
                 "urls": ["https://example.org/1"], "annotations": {"a": "b"}},
            ],
            "unknown": {"is": "ignored"},
        })
    }

    fn parse(document: &Value) -> Result<Manifest, StoreError> {
        Manifest::parse(document.to_string().as_bytes())
    }

    #[test]
    fn docker_and_oci_manifests_are_read() {
        for (media_type, config) in [
            (json!(DOCKER), DOCKER_CONFIG),
            (json!(OCI), OCI_CONFIG),
            (Value::Null, OCI_CONFIG),
            (json!(OCI), DOCKER_CONFIG),
        ] {
            let document = document(media_type, config, DOCKER_LAYER);
            let manifest = parse(&document).unwrap();
            assert_eq!(manifest.json(), document.to_string());
            assert_eq!(manifest.digest, Digest::of(document.to_string().as_bytes()));
            assert_eq!(manifest.config.digest, Digest::of(b"c"));
            assert_eq!(manifest.config.media_type, config);
            let layers: Vec<_> =
                manifest.layers.iter().map(|layer| (layer.digest.clone(), layer.size)).collect();
            assert_eq!(layers, [(Digest::of(b"0"), 9), (Digest::of(b"1"), 8)]);
        }
    }

    #[test]
    fn layer_types_are_a_table() {
        let archive = Some(LayerMediaType::Archive);
        for (name, wanted) in [
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", archive),
            ("application/vnd.docker.image.rootfs.diff.tar", archive),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", archive),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", archive),
            ("application/vnd.oci.image.layer.v1.tar", archive),
            ("application/vnd.oci.image.layer.v1.tar+gzip", archive),
            ("application/vnd.oci.image.layer.v1.tar+zstd", archive),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", archive),
            ("application/vnd.squashfs", Some(LayerMediaType::Squashfs)),
            ("application/vnd.erofs.layer.v1", Some(LayerMediaType::Erofs)),
            ("application/vnd.oci.image.config.v1+json", None),
            ("application/octet-stream", None),
            ("", None),
        ] {
            let parsed = parse(&document(json!(OCI), OCI_CONFIG, name));
            match wanted {
                Some(wanted) => assert_eq!(parsed.unwrap().layers[0].media_type, wanted, "{name}"),
                None => assert!(
                    matches!(parsed, Err(StoreError::WrongMediaType { object: Object::Layer, .. })),
                    "{name}"
                ),
            }
        }
    }

    #[test]
    fn other_documents_are_named() {
        let wrong = |document: Value, text: &str| {
            let error = parse(&document).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        };
        let index = "application/vnd.oci.image.index.v1+json";
        wrong(json!({"schemaVersion": 2, "mediaType": index, "manifests": []}), index);
        wrong(json!({"schemaVersion": 2, "manifests": []}), index);
        let list = "application/vnd.docker.distribution.manifest.list.v2+json";
        wrong(json!({"schemaVersion": 2, "mediaType": list, "manifests": []}), index);
        wrong(json!({"schemaVersion": 2, "mediaType": "text/plain"}), "text/plain");
        wrong(json!({"schemaVersion": 1, "fsLayers": []}), "schema version 1 is not 2");
        wrong(
            document(json!(DOCKER), "application/vnd.oci.empty.v1+json", DOCKER_LAYER),
            "application/vnd.oci.empty.v1+json",
        );
    }

    #[test]
    fn an_image_has_at_most_127_layers() {
        let layers = |count: usize| {
            let mut document = document(json!(OCI), OCI_CONFIG, DOCKER_LAYER);
            document["layers"] = vec![document["layers"][0].take(); count].into();
            parse(&document)
        };
        assert_eq!(layers(127).unwrap().layers.len(), 127);
        let error = layers(128).unwrap_err();
        assert!(error.to_string().ends_with("it has 128 layers, more than the 127 allowed"));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn hostile_json_is_an_error() {
        let sound = document(json!(OCI), OCI_CONFIG, DOCKER_LAYER).to_string();
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        // Nothing is built of what is not looked at, however deep it is.
        let unknown = sound.replacen('{', &format!(r#"{{"later":{},"#, deep(1 << 20)), 1);
        assert_eq!(Manifest::parse(unknown.as_bytes()).unwrap().layers.len(), 2);
        for hostile in [
            sound.replacen('{', r#"{"layers":[],"#, 1),
            sound.replacen('{', r#"{"schemaVersion":2,"#, 1),
            sound.replacen('{', &format!(r#"{{"annotations":{},"#, deep(1 << 20)), 1),
            sound.replacen('{', r#"{"subject":{"subject":0},"#, 1),
            sound.replacen("\"size\":9", "\"size\":18446744073709551616", 1),
            sound.replacen("\"size\":9", "\"size\":9,\"size\":8", 1),
            format!("{sound}{sound}"),
            format!("{sound} trailing"),
        ] {
            let error = Manifest::parse(hostile.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        }
    }

    #[test]
    fn broken_documents_are_malformed() {
        let mut no_layers = document(json!(OCI), OCI_CONFIG, DOCKER_LAYER);
        no_layers["layers"] = json!([]);
        let mut no_config = document(json!(OCI), OCI_CONFIG, DOCKER_LAYER);
        no_config["config"] = Value::Null;
        let mut other_hash = document(json!(OCI), OCI_CONFIG, DOCKER_LAYER);
        other_hash["layers"][1]["digest"] = json!(format!("sha512:{}", "a".repeat(128)));
        let mut escaping = document(json!(OCI), OCI_CONFIG, DOCKER_LAYER);
        escaping["config"]["digest"] = json!("sha256:../../etc/passwd");
        let mut negative = document(json!(OCI), OCI_CONFIG, DOCKER_LAYER);
        negative["layers"][0]["size"] = json!(-1);
        for document in [no_layers, no_config, other_hash, escaping, negative] {
            let error = parse(&document).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{document}");
            let name = Digest::of(document.to_string().as_bytes());
            assert!(error.to_string().contains(&name.to_string()), "{error}");
        }
        let mut unknown = document(json!(OCI), OCI_CONFIG, DOCKER_LAYER).to_string().into_bytes();
        let at = unknown.windows(7).position(|word| word == b"ignored").unwrap();
        unknown[at] = 0xff;
        for bytes in [&b""[..], b"{", b"[]", b"\xff{}", b"hsqs", b"null", b"{}", &unknown] {
            let error = Manifest::parse(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
            assert!(error.to_string().contains(&Digest::of(bytes).to_string()), "{error}");
        }
    }
}
