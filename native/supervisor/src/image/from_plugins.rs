//! Images that custom plugins resolved: their files are on this host already.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use storm_oci_request::LayerMediaType;
use storm_oci_store::{LayerFile, LayerFormat};

use super::{ImageLayer, LocalImage, host_path, media_type};
use crate::documents::ImageDocument;
use crate::error::SupervisorError;

/// The most that is read of an image config that a custom plugin localized.
const CONFIG_BYTES: u64 = 4 * 1024 * 1024;

impl LocalImage {
    /// What custom plugins made of a tag; `None` when they did not resolve it.
    pub(crate) fn from_plugins(
        tag: &str,
        document: &ImageDocument,
    ) -> Result<Option<Self>, SupervisorError> {
        let incomplete =
            |what| SupervisorError::ImageIncomplete { tag: crate::text::shown(tag), what };
        let (config_path, layers) = match (&document.config_path, &document.layers) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(incomplete("layers, but no image config")),
            (Some(_), None) => return Err(incomplete("an image config, but no layers")),
            (Some(config_path), Some(layers)) => (config_path, layers),
        };
        let config_path = host_path("image config", config_path)?;
        let config = PluginConfig::read(Path::new(config_path.as_str()))?;
        let layers = layers.iter().map(|path| {
            let media_type = media_type_of(Path::new(path));
            Ok(ImageLayer { path: host_path("layer", path)?, media_type, cached: None })
        });
        Ok(Some(Self {
            tag: tag.to_owned(),
            manifest: document.manifest.clone(),
            config_path: config_path.to_string(),
            env: config.env.unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            layers: layers.collect::<Result<_, SupervisorError>>()?,
        }))
    }
}

/// The part of an image config that a launch uses.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PluginConfig {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
}

impl PluginConfig {
    fn read(path: &Path) -> Result<Self, SupervisorError> {
        #[derive(Deserialize)]
        struct Document {
            config: Option<PluginConfig>,
        }
        let unreadable = |source| SupervisorError::ImageConfig { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(CONFIG_BYTES).read_to_end(&mut bytes))
            .map_err(unreadable)?;
        let document: Document = serde_json::from_slice(&bytes)
            .map_err(|source| unreadable(io::Error::new(io::ErrorKind::InvalidData, source)))?;
        Ok(document.config.unwrap_or_default())
    }
}

/// What a custom plugin's layer is mounted as: a squashfs, as with Storm's manager, unless its
/// name is that of an EROFS layer of ours.
fn media_type_of(path: &Path) -> LayerMediaType {
    let name = path.file_name().and_then(|name| name.to_str());
    let file = name.and_then(LayerFile::parse);
    media_type(file.map_or(LayerFormat::Squashfs, |file| file.format))
}
