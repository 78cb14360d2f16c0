//! The name a layer has below the run root.

use sha2::{Digest, Sha256};

use crate::ids::parsed_text;

/// What tells one layer file from another: taken with `fstat` from the opened file, never from
/// its path, so that a file replaced under the same name is another layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileIdentity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// `st_size`, in bytes.
    pub size: u64,
    /// `st_mtim.tv_sec`.
    pub modified_seconds: i64,
    /// `st_mtim.tv_nsec`.
    pub modified_nanos: u64,
}

parsed_text! {
    /// The directory name of a mounted layer. Always safe to use as one path component.
    LayerKey is a "layer key" like "64 lower-case hex digits" by |text| {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 64 && text.bytes().all(hex)).then_some(text)
    }
}

impl LayerKey {
    /// The key of an opened layer file: SHA-256 over its identity.
    ///
    /// The library and the launcher both call this, so both know what is mounted.
    #[must_use]
    pub fn of(identity: FileIdentity) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"storm-oci layer 1\0");
        hash.update(identity.device.to_le_bytes());
        hash.update(identity.inode.to_le_bytes());
        hash.update(identity.size.to_le_bytes());
        hash.update(identity.modified_seconds.to_le_bytes());
        hash.update(identity.modified_nanos.to_le_bytes());
        Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: FileIdentity =
        FileIdentity { device: 1, inode: 2, size: 3, modified_seconds: 4, modified_nanos: 5 };

    #[test]
    fn every_part_of_the_identity_counts() {
        let base = LayerKey::of(IDENTITY);
        assert_eq!(LayerKey::parse(base.as_str()).unwrap(), base);
        for other in [
            FileIdentity { device: 9, ..IDENTITY },
            FileIdentity { inode: 9, ..IDENTITY },
            FileIdentity { size: 9, ..IDENTITY },
            FileIdentity { modified_seconds: 9, ..IDENTITY },
            FileIdentity { modified_nanos: 9, ..IDENTITY },
        ] {
            assert_ne!(LayerKey::of(other), base, "{other:?}");
        }
    }

    #[test]
    fn keys_are_64_lower_case_hex_digits() {
        for bad in ["", "..", &"A".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            assert!(LayerKey::parse(bad).is_err(), "{bad:?}");
        }
    }
}
