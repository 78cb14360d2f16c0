//! Images for workers: from a tag to local files.
//!
//! An [`ImageStore`] resolves a tag to a manifest's digest, reads manifests and image configs, and
//! keeps layers in a local cache. Nothing from a store is trusted: every text becomes a
//! [`Digest`], a [`Reference`] or a [`Location`] before it names a file, and what carries a digest
//! is compared with it.
#![forbid(unsafe_code)]

mod cache;
mod close_tags;
mod config;
mod content;
mod digest;
mod document_kind;
mod error;
mod index;
mod layer_file;
mod location;
mod manifest;
mod media_type;
mod platform;
mod recent_manifests;
mod reference;
pub mod remote;
mod resource;
mod scheme;
mod settings;
mod store;
mod tag_map;
mod tags;

pub use cache::{Collected, InUse, LocalLayer};
pub use config::ImageConfig;
pub use content::Content;
pub use digest::Digest;
pub use error::{ErrorKind, Object, RemoteCause, StoreError};
pub use index::ImageIndex;
pub use layer_file::{LayerFile, LayerFormat};
pub use location::Location;
pub use manifest::{Descriptor, LayerDescriptor, Manifest};
pub use media_type::LayerMediaType;
pub use platform::Platform;
pub use reference::Reference;
pub use resource::{Resource, ResourceKind};
pub use settings::{
    CacheBudget, HadoopLogin, HadoopSettings, ObjectSettings, RemoteSettings, StoreOptions,
    StoreSettings, Verification,
};
pub use store::ImageStore;
