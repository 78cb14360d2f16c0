//! Image indexes, and Docker's manifest lists.

use oci_spec::image::{self as oci};
use storm_oci_store::{Digest, Platform};

use super::Document;
use super::manifest::{Kind, parse};
use crate::source::error::{Part, SourceError, shown};

/// What indexes have instead of a platform for what is no image, such as attestations.
const NO_PLATFORM: &str = "unknown/unknown";

/// An index.
#[derive(Debug)]
pub(in crate::source) struct Index {
    digest: Digest,
    entries: Vec<oci::Descriptor>,
}

impl Index {
    /// Refuses what an index names as an index and is none.
    pub(in crate::source) fn check_kind(document: &Document) -> Result<(), SourceError> {
        match Kind::of(document)? {
            Kind::Index => Ok(()),
            Kind::Manifest => Err(SourceError::Unsupported {
                part: Part::Index,
                digest: document.digest.to_string(),
                problem: "it is a manifest, where an index says it is another index".to_owned(),
            }),
        }
    }

    pub(in crate::source) fn parse(document: &Document) -> Result<Self, SourceError> {
        let index: oci::ImageIndex = parse(Part::Index, document)?;
        Ok(Self { digest: document.digest.clone(), entries: index.manifests().clone() })
    }

    /// Its entries.
    pub(in crate::source) fn entries(&self) -> &[oci::Descriptor] {
        &self.entries
    }

    /// As [`Index::parse`], with only some of its entries.
    pub(in crate::source) fn of(digest: Digest, entries: Vec<oci::Descriptor>) -> Self {
        Self { digest, entries }
    }

    /// The digest of the manifest for this platform: the first that says so, or else the only
    /// manifest, if that says nothing.
    pub(in crate::source) fn choose(
        &self,
        platform: &Platform,
    ) -> Result<Option<Digest>, SourceError> {
        let manifests = || self.of_kind(Kind::Manifest);
        let chosen =
            manifests().find(|entry| platform_of(entry).as_ref() == Some(platform)).or_else(|| {
                let mut silent = manifests().filter(|entry| entry.platform().is_none());
                silent.next().filter(|_| manifests().count() == 1)
            });
        chosen.map(|entry| self.digest_of(entry)).transpose()
    }

    /// The digests of the indexes in it that may have a manifest for this platform.
    pub(in crate::source) fn indexes(
        &self,
        platform: &Platform,
    ) -> Result<Vec<Digest>, SourceError> {
        self.of_kind(Kind::Index)
            .filter(|entry| {
                entry.platform().is_none() || platform_of(entry).as_ref() == Some(platform)
            })
            .map(|entry| self.digest_of(entry))
            .collect()
    }

    /// The platforms there are manifests for.
    pub(in crate::source) fn platforms(&self) -> impl Iterator<Item = String> {
        self.of_kind(Kind::Manifest)
            .map(|entry| platform_text(entry).unwrap_or_else(|| "an unnamed platform".to_owned()))
            .filter(|platform| platform != NO_PLATFORM)
            .map(|platform| shown(&platform))
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &oci::Descriptor> {
        self.entries
            .iter()
            .filter(move |entry| Kind::of_media_type(entry.media_type().as_ref()) == Some(kind))
    }

    /// The digest of an entry.
    pub(in crate::source) fn digest_of(
        &self,
        entry: &oci::Descriptor,
    ) -> Result<Digest, SourceError> {
        let text = entry.digest().to_string();
        Digest::parse(&text).map_err(|_| SourceError::Unsupported {
            part: Part::Index,
            digest: self.digest.to_string(),
            problem: format!("digest `{}` is not sha256 with 64 hex digits", shown(&text)),
        })
    }
}

/// The platform of an entry as the index has it.
fn platform_text(entry: &oci::Descriptor) -> Option<String> {
    let platform = entry.platform().as_ref()?;
    let variant = platform.variant().as_deref().filter(|variant| !variant.is_empty());
    let text = format!("{}/{}", platform.os(), platform.architecture());
    Some(variant.map_or_else(|| text.clone(), |variant| format!("{text}/{variant}")))
}

fn platform_of(entry: &oci::Descriptor) -> Option<Platform> {
    let text = platform_text(entry).filter(|text| text != NO_PLATFORM)?;
    Platform::parse(&text).ok()
}
