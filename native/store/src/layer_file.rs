//! How layers are named, in a store and in the cache.

use std::fmt;

use crate::digest::Digest;

/// The file system in a layer's file.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum LayerFormat {
    /// squashfs, as all of Storm's layers are.
    Squashfs,
    /// EROFS.
    Erofs,
}

impl LayerFormat {
    pub(crate) const ALL: [Self; 2] = [Self::Squashfs, Self::Erofs];

    /// What follows the hex digits in the file's name.
    fn suffix(self) -> &'static str {
        match self {
            Self::Squashfs => ".sqsh",
            Self::Erofs => ".erofs",
        }
    }
}

/// A layer's file, displayed as its name: `<64 hex digits>.sqsh` or `<64 hex digits>.erofs`.
///
/// The name tells the format, because a path is all that plugins of Storm's hand on.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LayerFile {
    /// The layer's digest in the manifest.
    pub digest: Digest,
    /// What is in the file.
    pub format: LayerFormat,
}

impl LayerFile {
    /// Reads a file's name; `None` for one that no layer has.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        LayerFormat::ALL.into_iter().find_map(|format| {
            let digest = Digest::parse_hex(name.strip_suffix(format.suffix())?).ok()?;
            Some(Self { digest, format })
        })
    }
}

impl fmt::Display for LayerFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.digest.as_hex(), self.format.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_digest_and_format() {
        let digest = Digest::of(b"x");
        let hex = digest.as_hex();
        for (format, name) in [
            (LayerFormat::Squashfs, format!("{hex}.sqsh")),
            (LayerFormat::Erofs, format!("{hex}.erofs")),
        ] {
            let file = LayerFile::parse(&name).unwrap();
            assert_eq!((&file.digest, file.format), (&digest, format));
            assert_eq!(file.to_string(), name);
        }
        for other in [
            "",
            ".sqsh",
            hex,
            &format!("{hex}.sqsh.json"),
            &format!("{hex}.ext4"),
            &format!("../{hex}.sqsh"),
            "../../x.sqsh",
        ] {
            assert_eq!(LayerFile::parse(other), None, "{other}");
        }
    }
}
