//! Images as Storm's plugin interfaces see them: places in a store, localized one by one.

use std::path::PathBuf;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{ImageStore, LAYERS_AT_ONCE};
use crate::cache::{Content, LayerSource};
use crate::error::{Object, StoreError};
use crate::layer_file::LayerFormat;
use crate::location::Location;
use crate::manifest::{Descriptor, LayerDescriptor, Manifest};
use crate::resource::{Resource, ResourceKind, ResourceName};

impl ImageStore {
    /// A manifest's layers as Storm's plugin interface wants them, lowest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if the store lacks one.
    pub async fn layer_resources(&self, manifest: &Manifest) -> Result<Vec<Resource>, StoreError> {
        let resource = async |layer: &LayerDescriptor| {
            let file = layer.file();
            let (uri, name) = (self.layer_location(&file), file.to_string());
            self.resource(uri, name, layer.size, ResourceKind::Layer).await
        };
        stream::iter(&manifest.layers).map(resource).buffered(LAYERS_AT_ONCE).try_collect().await
    }

    /// A manifest's image config as Storm's plugin interface wants it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if the store lacks it.
    pub async fn config_resource(&self, manifest: &Manifest) -> Result<Resource, StoreError> {
        let Descriptor { digest, size, .. } = &manifest.config;
        let uri = self.config_location(digest);
        self.resource(uri, digest.as_hex().to_owned(), *size, ResourceKind::Config).await
    }

    /// The local copy of a resource, which may come from another plugin and another store.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidResourceName`], and those of [`ImageStore::config`] and
    /// [`ImageStore::localize_layer`].
    pub async fn localize_resource(&self, resource: &Resource) -> Result<PathBuf, StoreError> {
        let location = resource.uri.clone();
        match resource.name()? {
            ResourceName::Config(digest) => Ok(self.documents.config(&digest, &location).await?.1),
            ResourceName::Layer(file) => {
                let content = match file.format {
                    // Of an archive or of the file: the name does not tell.
                    LayerFormat::Squashfs => None,
                    LayerFormat::Erofs => {
                        Some(Content { sha256: file.digest.clone(), size: resource.size })
                    }
                };
                Ok(self.localize_one(LayerSource { file, location, content }).await?.path)
            }
        }
    }

    async fn resource(
        &self,
        uri: Location,
        file_name: String,
        size: u64,
        kind: ResourceKind,
    ) -> Result<Resource, StoreError> {
        let object = match kind {
            ResourceKind::Config => Object::Config,
            ResourceKind::Layer => Object::Layer,
        };
        let stat = self.lookup.stat(object, &uri).await?;
        let modified_millis = stat.modified_millis;
        Ok(Resource { uri, file_name, size, modified_millis, kind })
    }
}
