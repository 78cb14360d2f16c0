//! The parts of an image config that say which layers it is for, and which hosts.

use serde::Deserialize;
use storm_oci_store::{Digest, Platform};

use super::manifest::parse_bytes;
use crate::source::error::{Part, SourceError, shown};

/// What every image is for that does not say so: all of them are older than the question.
const DEFAULT_SYSTEM: &str = "linux";

/// An image config.
#[derive(Debug)]
pub(in crate::source) struct Config {
    digest: Digest,
    document: ConfigDocument,
}

#[derive(Debug, Deserialize)]
struct ConfigDocument {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    rootfs: Option<RootFs>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<String>>,
}

impl Config {
    pub(in crate::source) fn parse(bytes: &[u8], digest: &Digest) -> Result<Self, SourceError> {
        let document = parse_bytes(Part::Config, bytes, digest)?;
        Ok(Self { digest: digest.clone(), document })
    }

    /// Refuses an image for other hosts, whatever index or tag it came from.
    pub(in crate::source) fn check_platform(
        &self,
        name: &str,
        wanted: &Platform,
    ) -> Result<(), SourceError> {
        fn text(field: Option<&String>) -> Option<&str> {
            field.map(String::as_str).filter(|text| !text.is_empty())
        }
        let wanted_text = wanted.to_string();
        let mut parts = wanted_text.split('/').skip(1);
        let (wanted_architecture, wanted_variant) = (parts.next(), parts.next());
        let system = text(self.document.os.as_ref()).unwrap_or(DEFAULT_SYSTEM);
        let architecture = text(self.document.architecture.as_ref()).or(wanted_architecture);
        let mut found = format!("{system}/{}", architecture.unwrap_or_default());
        // Few builders write the variant into the config; the index has it then.
        if let Some(variant) = text(self.document.variant.as_ref()).or(wanted_variant) {
            found = format!("{found}/{variant}");
        }
        if Platform::parse(&found).is_ok_and(|found| found == *wanted) {
            return Ok(());
        }
        Err(SourceError::WrongPlatform {
            name: name.to_owned(),
            platform: wanted.clone(),
            existing: vec![shown(&found)],
        })
    }

    /// The digests of the layers' archives without compression, of which there are `layers`.
    pub(in crate::source) fn diff_ids(self, layers: usize) -> Result<Vec<Digest>, SourceError> {
        let unsupported = |problem| SourceError::Unsupported {
            part: Part::Config,
            digest: self.digest.to_string(),
            problem,
        };
        let diff_ids = self.document.rootfs.and_then(|rootfs| rootfs.diff_ids);
        let diff_ids = diff_ids
            .ok_or_else(|| unsupported("it has no rootfs.diff_ids: it is no image's".to_owned()))?;
        if diff_ids.len() != layers {
            let found = diff_ids.len();
            let problem = format!("it is for {found} layers, and the manifest has {layers}");
            return Err(unsupported(problem));
        }
        let digest = |text: &String| {
            Digest::parse(text).map_err(|_| {
                let text = shown(text);
                unsupported(format!("diff id `{text}` is not sha256 with 64 hex digits"))
            })
        };
        diff_ids.iter().map(digest).collect()
    }
}
