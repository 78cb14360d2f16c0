//! Files of an image as Storm's plugin interfaces pass them around.

use crate::digest::Digest;
use crate::error::{Object, StoreError, shown};
use crate::layer_file::LayerFile;
use crate::location::Location;

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
    /// The name of its local copy: `<hex>` for a config, that of a [`LayerFile`] for a layer.
    pub file_name: String,
    /// The size in bytes that the manifest gives, which for a layer is that of the archive it was
    /// made from, as with Storm's own plugin.
    pub size: u64,
    /// When the file in the store was last changed, in milliseconds since the epoch.
    pub modified_millis: i64,
    /// What it is.
    pub kind: ResourceKind,
}

/// What a resource's name tells. Names come from other plugins too, so they are parsed.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum ResourceName {
    Config(Digest),
    Layer(LayerFile),
}

impl Resource {
    pub(crate) fn name(&self) -> Result<ResourceName, StoreError> {
        let name = match self.kind {
            ResourceKind::Config => {
                Digest::parse_hex(&self.file_name).ok().map(ResourceName::Config)
            }
            ResourceKind::Layer => LayerFile::parse(&self.file_name).map(ResourceName::Layer),
        };
        let (object, expected) = match self.kind {
            ResourceKind::Config => (Object::Config, "<sha256 hex>"),
            ResourceKind::Layer => (Object::Layer, "<sha256 hex>.sqsh or <sha256 hex>.erofs"),
        };
        name.ok_or_else(|| StoreError::InvalidResourceName {
            object,
            file_name: shown(&self.file_name),
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer_file::LayerFormat;

    #[test]
    fn file_names_are_digests() {
        let digest = Digest::of(b"x");
        let hex = digest.as_hex();
        let parse = |kind, file_name: &str| {
            let uri = Location::parse("/srv/x").unwrap();
            let file_name = file_name.to_owned();
            Resource { uri, file_name, size: 0, modified_millis: 0, kind }.name()
        };
        let layer = |format| ResourceName::Layer(LayerFile { digest: digest.clone(), format });
        for (kind, good, name) in [
            (ResourceKind::Config, hex.to_owned(), ResourceName::Config(digest.clone())),
            (ResourceKind::Layer, format!("{hex}.sqsh"), layer(LayerFormat::Squashfs)),
            (ResourceKind::Layer, format!("{hex}.erofs"), layer(LayerFormat::Erofs)),
        ] {
            assert_eq!(parse(kind, &good).unwrap(), name);
        }
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
