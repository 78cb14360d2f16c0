//! Content digests.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::error::{StoreError, shown};

/// The algorithm and separator before the hex digits.
const PREFIX: &str = "sha256:";
/// The hex digits of a SHA-256.
const HEX_LENGTH: usize = 64;

/// A SHA-256 digest, displayed as `sha256:<64 lower-case hex digits>`.
///
/// Its hex digits are always safe to use as one path component.
///
/// # References
///
/// OCI image spec, `descriptor.md`, "Digests": the encoded part is lower-case hex.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(String);

impl Digest {
    /// Parses `sha256:<64 lower-case hex digits>`.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidDigest`] for anything else, other algorithms included.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        text.strip_prefix(PREFIX)
            .and_then(|hex| Self::parse_hex(hex).ok())
            .ok_or_else(|| StoreError::InvalidDigest { text: shown(text) })
    }

    /// Parses the 64 lower-case hex digits alone.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidDigest`] for anything else.
    pub fn parse_hex(text: &str) -> Result<Self, StoreError> {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == HEX_LENGTH && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(StoreError::InvalidDigest { text: shown(text) })
        }
    }

    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(bytes);
        Self::finish(hash)
    }

    /// The digest of everything given to `hash`.
    #[must_use]
    pub fn finish(hash: Sha256) -> Self {
        Self::from(<[u8; 32]>::from(hash.finalize()))
    }

    /// The hex digits without the algorithm.
    #[must_use]
    pub fn as_hex(&self) -> &str {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    /// That of a SHA-256's bytes.
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_are_sha256_in_lower_case() {
        let digest = Digest::parse(&format!("sha256:{EMPTY}")).unwrap();
        assert_eq!(digest, Digest::of(b""));
        assert_eq!(digest, Digest::parse_hex(EMPTY).unwrap());
        assert_eq!(digest.to_string(), format!("sha256:{EMPTY}"));
        for bad in [
            String::new(),
            EMPTY.to_owned(),
            format!("sha256:{}", EMPTY.to_uppercase()),
            format!("sha256:{EMPTY}0"),
            format!("sha256:../{}", &EMPTY[3..]),
            format!("sha512:{EMPTY}"),
            format!("sha256:{EMPTY}\n"),
            format!("sha256::{EMPTY}"),
            format!("sha256:{}é", &EMPTY[2..]),
        ] {
            assert!(
                matches!(Digest::parse(&bad), Err(StoreError::InvalidDigest { .. })),
                "{bad:?}"
            );
        }
    }
}
