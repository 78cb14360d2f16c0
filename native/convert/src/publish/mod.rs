//! Puts images into a store, and tends it.
//!
//! What a tag leads to is there before the tag is: layers, their side files, the config, the
//! manifest, and the tag map last. Each object is written under a temporary name and read back, so
//! a process that dies leaves what is complete, and perhaps a temporary file. The tag map is
//! written, and things are removed, under a lock beside it: [`lock`].

mod cleanup;
mod copy;
mod documents;
mod error;
mod gc;
mod images;
mod inventory;
mod layers;
mod lock;
mod manifest;
mod problem;
mod publisher;
mod remove;
mod settings;
mod tag_file;
mod tags;
mod verify;

pub use cleanup::CleanupOptions;
pub use copy::Copied;
pub use error::PublishError;
pub use gc::{GcOptions, Plan, Removal, Why};
pub use images::{Image, ImageDetails, LayerDetails};
pub use layers::LayerState;
pub use manifest::{
    PublishedLayer, SOURCE_INDEX, SOURCE_LAYER, SOURCE_MANIFEST, SQUASHFS_SHA256, SQUASHFS_SIZE,
    publishable_manifest,
};
pub use problem::{Fault, Problem};
pub use publisher::{Publisher, Written};
pub use remove::RemoveOptions;
pub use settings::PublishSettings;
pub use tag_file::{MalformedLine, TagFile};
pub use tags::Tagged;
pub use verify::Verified;
