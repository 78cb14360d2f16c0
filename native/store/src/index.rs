//! Image indexes: OCI's, and Docker's manifest lists.

use std::collections::BTreeSet;

use oci_spec::image::ImageIndex as Document;
use serde::de::Error;

use crate::digest::Digest;
use crate::document_kind::{DocumentKind, invalid};
use crate::error::StoreError;
use crate::media_type;
use crate::platform::Platform;

/// How many of an index's entries a message names.
const ENTRIES_SHOWN: usize = 20;

/// Manifests of one image for several platforms.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageIndex {
    digest: Digest,
    document: Document,
}

impl ImageIndex {
    /// Reads an index; `None` if the document is a manifest.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidDocument`] if it is not the JSON of an index or manifest,
    /// [`StoreError::WrongMediaType`] if it is something else, [`StoreError::WrongSchemaVersion`].
    pub fn parse(document: &[u8]) -> Result<Option<Self>, StoreError> {
        let digest = Digest::of(document);
        if DocumentKind::of(document, &digest)? != DocumentKind::Index {
            return Ok(None);
        }
        let document = serde_json::from_slice(document).map_err(|cause| invalid(&digest, cause))?;
        Ok(Some(Self { digest, document }))
    }

    /// The digests of all that it names, be it for a platform or not.
    #[must_use]
    pub fn digests(&self) -> Vec<Digest> {
        let named = self.document.manifests().iter();
        named.filter_map(|entry| Digest::parse(entry.digest().as_ref()).ok()).collect()
    }

    /// The digest of the first manifest for this platform.
    ///
    /// An index within the index is never followed.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoManifestForPlatform`] with what there is instead;
    /// [`StoreError::InvalidDocument`] if the manifest's digest is not SHA-256.
    pub fn choose(&self, platform: &Platform) -> Result<Digest, StoreError> {
        let entries = self.document.manifests();
        let chosen = entries.iter().find(|entry| {
            media_type::is_manifest(entry.media_type())
                && entry.platform().as_ref().is_some_and(|found| Platform::of(found) == *platform)
        });
        match chosen {
            Some(entry) => Digest::parse(entry.digest().as_ref())
                .map_err(|error| invalid(&self.digest, serde_json::Error::custom(error))),
            None => Err(StoreError::NoManifestForPlatform {
                digest: self.digest.clone(),
                platform: platform.to_string(),
                found: self.contents(),
            }),
        }
    }

    /// What there is to choose from, for messages.
    fn contents(&self) -> String {
        let contents: BTreeSet<String> = self
            .document
            .manifests()
            .iter()
            .map(|entry| match entry.platform() {
                _ if media_type::is_index(entry.media_type()) => "an index of its own".to_owned(),
                _ if !media_type::is_manifest(entry.media_type()) => "other documents".to_owned(),
                Some(platform) => crate::error::shown(&Platform::of(platform).to_string()),
                None => "a manifest without platform".to_owned(),
            })
            .collect();
        if contents.is_empty() {
            return "nothing".to_owned();
        }
        let more = if contents.len() > ENTRIES_SHOWN { " and more" } else { "" };
        let shown: Vec<_> = contents.into_iter().take(ENTRIES_SHOWN).collect();
        format!("{}{more}", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::ErrorKind;

    const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

    fn entry(kind: &str, name: &str, platform: &Value) -> Value {
        let digest = Digest::of(name.as_bytes()).to_string();
        let mut entry = json!({"mediaType": kind, "size": 7, "digest": digest, "extra": [1]});
        if !platform.is_null() {
            entry["platform"] = platform.clone();
        }
        entry
    }

    fn platform(text: &str) -> Value {
        let mut parts = text.split('/');
        let mut next = || parts.next().map_or(Value::Null, Value::from);
        json!({"os": next(), "architecture": next(), "variant": next(), "os.version": "1"})
    }

    fn index(media_type: Value, entries: &[Value]) -> ImageIndex {
        let document =
            json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries, "x": {}});
        ImageIndex::parse(document.to_string().as_bytes()).unwrap().unwrap()
    }

    fn choose(index: &ImageIndex, platform: &str) -> Result<Digest, StoreError> {
        index.choose(&Platform::parse(platform).unwrap())
    }

    #[test]
    fn the_first_manifest_of_the_platform_is_chosen() {
        for (index_type, kind) in
            [(json!(OCI_INDEX), OCI), (Value::Null, OCI), (json!(DOCKER_LIST), DOCKER)]
        {
            let index = index(
                index_type,
                &[
                    entry(OCI_INDEX, "nested", &platform("linux/amd64")),
                    entry("application/vnd.in-toto+json", "proof", &platform("linux/amd64")),
                    entry(kind, "none", &Value::Null),
                    entry(kind, "attestation", &platform("unknown/unknown")),
                    entry(kind, "arm", &platform("linux/arm64/v8")),
                    entry(kind, "new", &platform("linux/amd64/v3")),
                    entry(kind, "first", &platform("linux/amd64")),
                    entry(kind, "second", &platform("linux/amd64/v1")),
                    entry(kind, "windows", &platform("windows/amd64")),
                ],
            );
            for (asked, chosen) in [
                ("linux/amd64", "first"),
                ("linux/amd64/v1", "first"),
                ("linux/amd64/v3", "new"),
                ("linux/arm64", "arm"),
                ("windows/amd64", "windows"),
            ] {
                assert_eq!(
                    choose(&index, asked).unwrap(),
                    Digest::of(chosen.as_bytes()),
                    "{asked}"
                );
            }
            let error = choose(&index, "linux/s390x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let text = error.to_string();
            assert!(
                text.contains(
                    "no manifest is for linux/s390x; it has a manifest without platform, \
                     an index of its own, linux/amd64, linux/amd64/v3, linux/arm64, \
                     other documents, unknown/unknown, windows/amd64; hint: "
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn a_manifest_is_no_index_and_broken_documents_are_malformed() {
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI, "config": {}, "layers": []});
        assert_eq!(ImageIndex::parse(manifest.to_string().as_bytes()).unwrap(), None);
        let text = choose(&index(Value::Null, &[]), "linux/amd64").unwrap_err().to_string();
        assert!(text.contains("; it has nothing; hint: "), "{text}");
        for document in [
            json!({"schemaVersion": 2, "mediaType": OCI_INDEX}),
            json!({"schemaVersion": 2, "manifests": {}}),
            json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI}]}),
            json!({"schemaVersion": 2, "manifests": [entry(OCI, "x", &json!({"os": "linux"}))]}),
        ] {
            let error = ImageIndex::parse(document.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{document}");
        }
        let mut other = entry(OCI, "x", &platform("linux/amd64"));
        other["digest"] = json!(format!("sha512:{}", "a".repeat(128)));
        let error = choose(&index(Value::Null, &[other]), "linux/amd64").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    }
}
