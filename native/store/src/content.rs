//! What a layer's file must be, as the side file beside it says.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::digest::Digest;

/// What a layer's file must be.
///
/// As a side file it is `{"sha256": "<64 hex digits>", "size": <bytes>}`. Other keys are for later
/// readers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Content {
    #[serde(deserialize_with = "hex_digits")]
    pub(crate) sha256: Digest,
    pub(crate) size: u64,
}

impl Content {
    /// Reads a side file.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(document)
    }
}

fn hex_digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    Digest::parse_hex(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}
