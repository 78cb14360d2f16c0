//! The parts of an image config that a launch uses.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::{Object, StoreError};

/// What an image says about its processes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageConfig {
    /// `config.Env`: `NAME=value` entries in the image's order.
    pub env: Vec<String>,
    /// `config.Entrypoint`; empty when the image has none.
    pub entrypoint: Vec<String>,
    /// The local copy of the whole document.
    pub path: PathBuf,
    /// Its digest, checked.
    pub digest: Digest,
}

/// Only what is used is looked at, so that configs of old and of unusual builders stay readable.
#[derive(Default, Deserialize)]
struct Document {
    config: Option<Process>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Process {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
}

impl ImageConfig {
    /// Reads the document with this digest, of which there is a copy at `path`.
    pub(crate) fn parse(
        document: &[u8],
        digest: &Digest,
        path: PathBuf,
    ) -> Result<Self, StoreError> {
        let parsed: Document =
            serde_json::from_slice(document).map_err(|cause| StoreError::InvalidDocument {
                object: Object::Config,
                name: digest.to_string(),
                cause: Arc::new(cause),
            })?;
        let process = parsed.config.unwrap_or_default();
        Ok(Self {
            env: process.env.unwrap_or_default(),
            entrypoint: process.entrypoint.unwrap_or_default(),
            path,
            digest: digest.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(document: &str) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let digest = Digest::of(document.as_bytes());
        ImageConfig::parse(document.as_bytes(), &digest, PathBuf::new())
            .map(|config| (config.env, config.entrypoint))
    }

    #[test]
    fn env_and_entrypoint_may_be_absent_or_null() {
        let some = r#"{"architecture":"amd64","config":{"Env":["A=b c","D="],
            "Entrypoint":["/bin/tini","--"],"Cmd":null,"ExposedPorts":{"1/tcp":{}}},"rootfs":{}}"#;
        assert_eq!(
            parse(some).unwrap(),
            (vec!["A=b c".to_owned(), "D=".to_owned()], vec!["/bin/tini".into(), "--".into()])
        );
        for none in [
            "{}",
            r#"{"config":null}"#,
            r#"{"config":{}}"#,
            r#"{"config":{"Env":null,"Entrypoint":null}}"#,
        ] {
            assert_eq!(parse(none).unwrap(), (vec![], vec![]), "{none}");
        }
        for bad in ["", "null", r#"{"config":{"Env":"A=b"}}"#, r#"{"config":{"Env":[1]}}"#] {
            assert!(matches!(parse(bad), Err(StoreError::InvalidDocument { .. })), "{bad}");
        }
    }
}
