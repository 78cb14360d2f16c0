//! Archives of `docker save`: `manifest.json`, and a tar file for each layer.
//!
//! Such an archive has no manifest of its own, so one is made as skopeo makes it: Docker's version
//! 2, schema 2, with the layers without compression under their diff ids. The same image thus has
//! the same digest however often and wherever it is saved.
//!
//! Nothing is unpacked. The places of all members are found in one pass, and a layer is read from
//! its place. Where the archive itself is compressed there is no way to a place but from the
//! beginning: each layer then costs a pass over all that is before it.
//!
//! # References
//!
//! Docker image specification 1.2 and 1.3, "Combined Image JSON + Filesystem Changeset Format".

mod contents;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use oci_client::Reference;
use serde::{Deserialize, Serialize};
use storm_oci_store::{Descriptor, Digest, Platform};

use super::documents::{Config, Document, Documents, resolve};
use super::error::{Part, SourceError, shown};
use super::reference::Choice;
use super::{BlobStream, ImageSource, SourceImage, SourceLayer, file};
use crate::limits::Limits;
use contents::{Contents, Place};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// As skopeo and Docker's own daemon say it of layers that they keep without compression.
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An archive, and which of its images.
#[derive(Debug)]
pub(super) struct Archive {
    name: String,
    file: PathBuf,
    choice: Choice,
    /// The layers of what was resolved.
    layers: Mutex<BTreeMap<Digest, Place>>,
}

/// An image as `manifest.json` has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Blob,
    layers: Vec<Blob>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    media_type: &'static str,
    size: u64,
    digest: String,
}

/// An image of the archive, with what there is no document of.
#[derive(Debug)]
struct Found {
    manifest: Bytes,
    config: Bytes,
    layers: BTreeMap<Digest, Place>,
}

impl Archive {
    pub(super) fn new(name: &str, file: PathBuf, choice: Choice) -> Self {
        Self { name: name.to_owned(), file, choice, layers: Mutex::default() }
    }
}

#[async_trait]
impl ImageSource for Archive {
    async fn resolve(
        &self,
        platform: &Platform,
        limits: &Limits,
    ) -> Result<SourceImage, SourceError> {
        let (name, path) = (self.name.clone(), self.file.clone());
        let (choice, own_limits) = (self.choice.clone(), limits.clone());
        let found = file::blocking(move || find(&name, &path, &choice, &own_limits)).await?;
        let bytes = found.manifest.clone();
        let root = Document { digest: Digest::of(&bytes), bytes, media_type: None };
        let image = resolve(&found, &self.name, root, platform, limits).await?;
        *self.layers.lock().unwrap_or_else(PoisonError::into_inner) = found.layers;
        Ok(image)
    }

    async fn blob(&self, layer: &SourceLayer) -> Result<BlobStream, SourceError> {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let place = layers.get(&layer.digest).copied();
        drop(layers);
        let place = place.ok_or_else(|| missing(Part::Layer, &layer.digest, &self.name))?;
        let path = self.file.clone();
        Ok(file::stream_of(path.clone(), move || place.open(&path)))
    }
}

#[async_trait]
impl Documents for Found {
    async fn manifest(&self, digest: &Digest, _: u64) -> Result<Document, SourceError> {
        // What was made is no index, so nobody asks for what it names.
        Err(missing(Part::Manifest, digest, "the archive"))
    }

    async fn config(&self, _: &Descriptor, _: u64) -> Result<Bytes, SourceError> {
        Ok(self.config.clone())
    }
}

fn missing(part: Part, digest: &Digest, name: &str) -> SourceError {
    SourceError::MissingPart {
        part,
        digest: digest.clone(),
        name: name.to_owned(),
        cause: "the archive does not have it".to_owned(),
    }
}

fn find(name: &str, path: &Path, choice: &Choice, limits: &Limits) -> Result<Found, SourceError> {
    let invalid = |problem: String| SourceError::InvalidFile { path: path.to_owned(), problem };
    let contents = Contents::read(path, limits)?;
    let Some(place) = contents.find("manifest.json") else {
        let problem = if contents.find("oci-layout").is_some() {
            "it has no manifest.json: it is an OCI layout; hint: unpack it, and write oci:DIRECTORY"
        } else {
            "it has no manifest.json: it is not an archive of `docker save`"
        };
        return Err(invalid(problem.to_owned()));
    };
    let document = |member: &str, place: Place, part| {
        let limit = limits.document_bytes;
        if place.size > limit {
            return Err(SourceError::OverLimit {
                name: format!("{} of {}", shown(member), path.display()),
                what: file::size_of(part),
                found: place.size,
                limit,
                option: "",
            });
        }
        let mut bytes = Vec::new();
        let read = place.open(path).and_then(|mut reader| reader.read_to_end(&mut bytes));
        read.map_err(|cause| file::local(path, cause))?;
        Ok(Bytes::from(bytes))
    };
    let items = document("manifest.json", place, Part::Manifest)?;
    let items: Vec<Item> = serde_json::from_slice(&items)
        .map_err(|cause| invalid(format!("its manifest.json cannot be read: {cause}")))?;
    let item = choose(name, choice, items)?;
    let member = |what: &str, member: &str| {
        contents.find(member).ok_or_else(|| {
            invalid(format!(
                "its manifest.json names {what} `{}`, which is not in it",
                shown(member)
            ))
        })
    };
    let config = document(&item.config, member("a config", &item.config)?, Part::Config)?;
    let digest = Digest::of(&config);
    if let Some(promised) = promised_by(&item.config) {
        super::documents::check(Part::Config, name, &promised, &digest)?;
    }
    let names = item.layers.unwrap_or_default();
    let diff_ids = Config::parse(&config, &digest)?.diff_ids(names.len())?;
    let (mut layers, mut blobs) = (BTreeMap::new(), Vec::new());
    for (layer, diff_id) in names.iter().zip(diff_ids) {
        let place = member("a layer", layer)?;
        let size = place.length(path, limits.layer_bytes)?;
        blobs.push(Blob { media_type: LAYER, size, digest: diff_id.to_string() });
        layers.insert(diff_id, place);
    }
    let size = u64::try_from(config.len()).unwrap_or(u64::MAX);
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: Blob { media_type: CONFIG, size, digest: digest.to_string() },
        layers: blobs,
    };
    let manifest = serde_json::to_vec(&manifest)
        .map_err(|cause| invalid(format!("no manifest can be made of it: {cause}")))?;
    Ok(Found { manifest: manifest.into(), config, layers })
}

/// The digest that a config's name is.
fn promised_by(member: &str) -> Option<Digest> {
    let name = member.rsplit('/').next()?;
    Digest::parse_hex(name.strip_suffix(".json").unwrap_or(name)).ok()
}

fn choose(name: &str, choice: &Choice, items: Vec<Item>) -> Result<Item, SourceError> {
    let existing: Vec<String> = items
        .iter()
        .enumerate()
        .flat_map(|(number, item)| match item.repo_tags.as_deref() {
            None | Some([]) => vec![format!("@{number}")],
            Some(tags) => tags.to_vec(),
        })
        .collect();
    let full = |text: &str| text.parse::<Reference>().map(|reference| reference.whole()).ok();
    let is_wanted = |number: usize, item: &Item| match choice {
        Choice::Name(wanted) => {
            let tags = item.repo_tags.as_deref().unwrap_or_default();
            wanted.strip_prefix('@').is_some_and(|text| text.parse() == Ok(number))
                || tags
                    .iter()
                    .any(|tag| tag == wanted || full(tag) == full(wanted) && full(tag).is_some())
        }
        Choice::Only | Choice::Digest(_) => true,
    };
    let mut chosen: Vec<_> = items
        .into_iter()
        .enumerate()
        .filter_map(|(number, item)| is_wanted(number, &item).then_some(item))
        .collect();
    match (chosen.pop(), chosen.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => {
            let first = existing.first().cloned().unwrap_or_default();
            Err(SourceError::Ambiguous {
                name: name.to_owned(),
                example: format!("{name}:{first}"),
                existing,
            })
        }
        (None, _) => {
            let missing = match choice {
                Choice::Name(wanted) => format!("the archive has no `{}`", shown(wanted)),
                Choice::Only | Choice::Digest(_) => "the archive is empty".to_owned(),
            };
            Err(SourceError::NotFound { name: name.to_owned(), missing, existing })
        }
    }
}
