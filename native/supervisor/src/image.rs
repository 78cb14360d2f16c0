//! From image tag to local config and layers.

use crate::documents::{self, ResourceDocument};
use crate::error::SupervisorError;

/// Images alone, for Storm's three image plugin interfaces.
#[derive(Debug)]
pub struct Images {}

impl Images {
    /// Opens the store that Storm's configuration names.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Unready`] with every problem of the configuration.
    pub fn open(config_json: &str) -> Result<Self, SupervisorError> {
        let _: serde_json::Map<String, serde_json::Value> =
            documents::read("configuration", config_json)?;
        Ok(Self {})
    }

    /// The manifest document an image tag stands for.
    ///
    /// # Errors
    ///
    /// When the tag is unknown or the store cannot be read.
    pub fn manifest_json(&self, _tag: &str) -> Result<String, SupervisorError> {
        Ok(String::new())
    }

    /// The remote files a manifest names: `{"config":{…},"layers":[…]}`.
    ///
    /// # Errors
    ///
    /// When the document is not a manifest or the store cannot be read.
    pub fn resources_json(&self, _manifest_json: &str) -> Result<String, SupervisorError> {
        Ok(String::new())
    }

    /// Fetches one remote file and tells where it is: `{"path":"/…"}`.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched or is not what its name says.
    pub fn localize_json(&self, resource_json: &str) -> Result<String, SupervisorError> {
        let _: ResourceDocument = documents::read("resource", resource_json)?;
        Ok(String::new())
    }
}
