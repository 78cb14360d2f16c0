//! Manifests, and what else registries keep among them.

use oci_spec::image::{self as oci, MediaType, ToDockerV2S2};
use serde::Deserialize;
use serde::de::IgnoredAny;
use storm_oci_store::{Descriptor, Digest};

use super::Document;
use crate::limits::Limits;
use crate::source::error::{Part, SourceError, shown};

/// Manifests of Docker's first version, signed or not.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";
const FOREIGN: [&str; 2] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];
const DOCKER_LAYERS: [&str; 3] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];
/// The layer types that can be converted.
const LAYERS: &str = "application/vnd.oci.image.layer.v1.tar[+gzip|+zstd], \
     application/vnd.docker.image.rootfs.diff.tar[.gzip|.zstd]";

/// What a document is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Manifest,
    Index,
}

/// What tells documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

impl Kind {
    /// What the document says it is. Where it says two things it is refused: tools that read it
    /// otherwise would run another image than this one.
    pub(super) fn of(document: &Document) -> Result<Self, SourceError> {
        let head: Head = parse(Part::Manifest, document)?;
        if head.schema_version == Some(1)
            || head.fs_layers.is_some()
            || head.media_type.as_deref().is_some_and(|found| found.starts_with(SCHEMA_1))
        {
            let problem = "it is of Docker's first schema, which names no layer by its archive; \
                           hint: push the image again with a current tool";
            return Err(unsupported(document, problem.to_owned()));
        }
        if head.schema_version != Some(2) {
            let found = head.schema_version.map_or("missing".to_owned(), |found| found.to_string());
            return Err(unsupported(document, format!("its schemaVersion is {found}, not 2")));
        }
        if head.manifests.is_some() && head.layers.is_some() {
            let problem = "it has both layers and manifests, and may be read as either";
            return Err(unsupported(document, problem.to_owned()));
        }
        // A type that is none of these says nothing: registries also answer with plain JSON's.
        let told = document.media_type.as_deref().and_then(Self::of_media_type);
        let Some(own) = &head.media_type else {
            let shape = if head.manifests.is_some() { Self::Index } else { Self::Manifest };
            if told.is_some_and(|told| told != shape) {
                return Err(contradiction(document, shape.name()));
            }
            return Ok(shape);
        };
        let Some(kind) = Self::of_media_type(own) else {
            let problem = format!("media type `{}` is not that of an image", shown(own));
            return Err(unsupported(document, problem));
        };
        if told.is_some_and(|told| told != kind) {
            return Err(contradiction(document, own));
        }
        Ok(kind)
    }

    /// What a media type stands for; `None` for all that is neither manifest nor index.
    pub(super) fn of_media_type(text: &str) -> Option<Self> {
        let text = text.split(';').next().unwrap_or_default().trim();
        if is(text, &MediaType::ImageManifest) {
            Some(Self::Manifest)
        } else if is(text, &MediaType::ImageIndex) {
            Some(Self::Index)
        } else {
            None
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "a manifest",
            Self::Index => "an image index",
        }
    }
}

fn contradiction(document: &Document, own: &str) -> SourceError {
    let told = document.media_type.as_deref().unwrap_or_default();
    let (own, told) = (shown(own), shown(told));
    unsupported(document, format!("by itself it is {own}, but the source says {told}"))
}

/// Whether a media type is `wanted`, or what Docker calls it.
fn is(text: &str, wanted: &MediaType) -> bool {
    wanted.as_ref() == text || wanted.to_docker_v2s2().is_ok_and(|docker| docker == text)
}

/// Reads what should be a JSON object.
pub(super) fn parse<'a, T: Deserialize<'a>>(
    part: Part,
    document: &'a Document,
) -> Result<T, SourceError> {
    parse_bytes(part, &document.bytes, &document.digest)
}

/// As [`parse`], of any document.
pub(super) fn parse_bytes<'a, T: Deserialize<'a>>(
    part: Part,
    bytes: &'a [u8],
    digest: &Digest,
) -> Result<T, SourceError> {
    let invalid =
        |cause: String| SourceError::InvalidDocument { part, digest: digest.clone(), cause };
    // The parser would take an array for an object, its members in the order of the fields.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(invalid("it is not a JSON object".to_owned()));
    }
    // Where it does not look it would pass over bytes that others refuse.
    let text = str::from_utf8(bytes).map_err(|cause| invalid(cause.to_string()))?;
    serde_json::from_str(text).map_err(|cause| invalid(cause.to_string()))
}

fn unsupported(document: &Document, problem: String) -> SourceError {
    SourceError::Unsupported { part: Part::Manifest, digest: document.digest.to_string(), problem }
}

/// A manifest whose layers can be converted.
#[derive(Debug)]
pub(in crate::source) struct Manifest {
    pub(in crate::source) config: Descriptor,
    pub(in crate::source) layers: Vec<Descriptor>,
}

impl Manifest {
    /// Refuses what an index names as a manifest and is none.
    pub(in crate::source) fn check_kind(document: &Document) -> Result<(), SourceError> {
        match Kind::of(document)? {
            Kind::Manifest => Ok(()),
            Kind::Index => {
                let problem = "it is an image index, where another says it is a manifest";
                Err(unsupported(document, problem.to_owned()))
            }
        }
    }

    pub(in crate::source) fn parse(document: &Document) -> Result<Self, SourceError> {
        let manifest: oci::ImageManifest = parse(Part::Manifest, document)?;
        let config = manifest.config();
        let config_type = config.media_type().to_string();
        if !is(&config_type, &MediaType::ImageConfig) {
            let what = match manifest.artifact_type() {
                Some(artifact) => format!("an artifact of type `{}`", shown(artifact.as_ref())),
                None => format!("an artifact: its config is of type `{}`", shown(&config_type)),
            };
            return Err(unsupported(document, format!("it is not an image but {what}")));
        }
        let config = descriptor(document, config)?;
        let layers: Vec<_> = manifest
            .layers()
            .iter()
            .map(|layer| {
                check_layer(layer)?;
                descriptor(document, layer)
            })
            .collect::<Result<_, _>>()?;
        if layers.is_empty() {
            return Err(unsupported(document, "it has no layers".to_owned()));
        }
        Ok(Self { config, layers })
    }

    /// Refuses an image that asks for too much.
    pub(super) fn check_limits(&self, name: &str, limits: &Limits) -> Result<(), SourceError> {
        let over = |what, found, limit, option| SourceError::OverLimit {
            name: format!("image {name}"),
            what,
            found,
            limit,
            option,
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        if self.layers.len() > limits.layers {
            let (found, limit) = (count(self.layers.len()), count(limits.layers));
            return Err(over("the number of layers", found, limit, "--max-layers"));
        }
        let bytes = self.layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
        if bytes > limits.image_bytes {
            let what = "the size of all layers in bytes";
            return Err(over(what, bytes, limits.image_bytes, "--max-size"));
        }
        Ok(())
    }
}

fn descriptor(document: &Document, found: &oci::Descriptor) -> Result<Descriptor, SourceError> {
    let text = found.digest().to_string();
    let digest = Digest::parse(&text).map_err(|_| {
        let problem = format!("digest `{}` is not sha256 with 64 hex digits", shown(&text));
        unsupported(document, problem)
    })?;
    Ok(Descriptor { media_type: found.media_type().to_string(), digest, size: found.size() })
}

/// Refuses a layer that cannot be converted.
fn check_layer(layer: &oci::Descriptor) -> Result<(), SourceError> {
    let media_type = layer.media_type().to_string();
    let problem = match layer.media_type() {
        MediaType::ImageLayer | MediaType::ImageLayerGzip | MediaType::ImageLayerZstd => None,
        _ if DOCKER_LAYERS.contains(&media_type.as_str()) => None,
        _ if media_type.ends_with("+encrypted") => {
            let hint = "decrypt the image first, such as with `skopeo copy --decryption-key`";
            Some(format!("it is encrypted (`{}`); hint: {hint}", shown(&media_type)))
        }
        MediaType::ImageLayerNonDistributable
        | MediaType::ImageLayerNonDistributableGzip
        | MediaType::ImageLayerNonDistributableZstd => foreign(layer),
        _ if FOREIGN.contains(&media_type.as_str()) => foreign(layer),
        _ => Some(format!("media type `{}` is not one of {LAYERS}", shown(&media_type))),
    };
    problem.map_or(Ok(()), |problem| {
        Err(SourceError::Unsupported {
            part: Part::Layer,
            digest: shown(layer.digest().as_ref()),
            problem,
        })
    })
}

/// A layer that registries may not distribute is refused where it is elsewhere: no manifest may
/// name hosts to be asked. Without such names it can only be in the source itself.
fn foreign(layer: &oci::Descriptor) -> Option<String> {
    let urls = layer.urls().as_ref().is_some_and(|urls| !urls.is_empty());
    urls.then(|| {
        "it is foreign: it is kept outside of the registry, under the URLs it names".to_owned()
    })
}
