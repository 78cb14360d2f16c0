//! What a file is, as the side file beside a layer says of it.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::digest::Digest;

/// The bytes of a file: which, and how many.
///
/// As a layer's side file it is `{"sha256": "<64 hex digits>", "size": <bytes>}`. Other keys are
/// for later readers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Content {
    /// The digest of the file itself.
    #[serde(deserialize_with = "hex_digits")]
    pub sha256: Digest,
    /// In bytes.
    pub size: u64,
}

impl Content {
    /// That of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { sha256: Digest::of(bytes), size: u64::try_from(bytes.len()).unwrap_or(u64::MAX) }
    }

    /// Reads a side file.
    ///
    /// # Errors
    ///
    /// The parser's, for what is not one.
    pub fn parse(document: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(document)
    }

    /// The side file that says so.
    #[must_use]
    pub fn side_file(&self) -> String {
        format!("{{\"sha256\": \"{}\", \"size\": {}}}\n", self.sha256.as_hex(), self.size)
    }
}

fn hex_digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    Digest::parse_hex(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_file_is_read_as_it_was_written() {
        let content = Content::of(b"hsqs");
        assert_eq!((content.size, &content.sha256), (4, &Digest::of(b"hsqs")));
        assert_eq!(Content::parse(content.side_file().as_bytes()).unwrap(), content);
    }
}
