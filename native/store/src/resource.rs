//! Files of an image as Storm's plugin interfaces pass them around.

use crate::digest::Digest;
use crate::error::{Object, StoreError, shown};
use crate::location::Location;

/// What follows the hex digits in a layer's file name, in the store and in the cache.
pub(crate) const LAYER_SUFFIX: &str = ".sqsh";

/// Whether a resource is an image config or a layer: Storm's `OciResourceType`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResourceKind {
    /// `CONFIG`.
    Config,
    /// `LAYER`.
    Layer,
}

/// One file of an image: Storm's `OciResource`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resource {
    /// Where the file is in the store.
    pub uri: Location,
    /// The name of its local copy: `<hex>` for a config, `<hex>.sqsh` for a layer.
    pub file_name: String,
    /// The size in bytes that the manifest gives, which for a layer is that of the archive it was
    /// made from, as with Storm's own plugin.
    pub size: u64,
    /// When the file in the store was last changed, in milliseconds since the epoch.
    pub modified_millis: i64,
    /// What it is.
    pub kind: ResourceKind,
}

impl Resource {
    /// The digest in the file name. Names come from other plugins too, so they are parsed.
    pub(crate) fn digest(&self) -> Result<Digest, StoreError> {
        let (object, hex, expected) = match self.kind {
            ResourceKind::Config => (Object::Config, Some(self.file_name.as_str()), "<sha256 hex>"),
            ResourceKind::Layer => {
                let hex = self.file_name.strip_suffix(LAYER_SUFFIX);
                (Object::Layer, hex, "<sha256 hex>.sqsh")
            }
        };
        hex.and_then(|hex| Digest::parse_hex(hex).ok()).ok_or_else(|| {
            StoreError::InvalidResourceName { object, file_name: shown(&self.file_name), expected }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_digests() {
        let digest = Digest::of(b"x");
        let hex = digest.as_hex();
        let parse = |kind, file_name: &str| {
            let uri = Location::parse("/srv/x").unwrap();
            let file_name = file_name.to_owned();
            Resource { uri, file_name, size: 0, modified_millis: 0, kind }.digest()
        };
        assert_eq!(parse(ResourceKind::Config, hex).unwrap(), digest);
        assert_eq!(parse(ResourceKind::Layer, &format!("{hex}.sqsh")).unwrap(), digest);
        for (kind, bad) in [
            (ResourceKind::Layer, hex.to_owned()),
            (ResourceKind::Config, format!("{hex}.sqsh")),
            (ResourceKind::Layer, "../../x.sqsh".to_owned()),
            (ResourceKind::Layer, String::new()),
            (ResourceKind::Config, "/etc/passwd".to_owned()),
        ] {
            assert!(
                matches!(parse(kind, &bad), Err(StoreError::InvalidResourceName { .. })),
                "{bad}"
            );
        }
    }
}
