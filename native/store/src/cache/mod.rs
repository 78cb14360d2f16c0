//! The local cache: `storm.oci.resources.local.dir`.
//!
//! ```text
//! layers/<hex>.sqsh         0444   a squashfs layer, complete and checked
//! layers/<hex>.erofs        0444   an EROFS layer, the same
//! layers/<file>.json        0644   the record of its completed fetch; without it the layer does not count
//! config/<hex>              0644   an image config, checked whenever it is read
//! manifests/<hex>           0644   a manifest, checked whenever it is read
//! leases/<hex>              0644   flock: shared while a launch uses the layer, exclusive to remove it; its
//!                                  time of change is the layer's last use
//! partial/<name>            0600   being written; renamed to its place when complete
//! partial/<name>.lock       0644   flock: held by the one who writes <name>
//! collect.lock              0644   flock: held by the one who removes layers for want of room
//! partial/<name>.progress   0644   which bytes of which object <name> has, if its fetch ended early
//! ```
//!
//! Several processes of one account may use a cache at once. Locks are the kernel's, so those of a
//! dead process are gone with it. Nothing here is trusted for its name alone.

mod batch;
mod blocking;
mod collect;
mod completed;
mod directories;
mod document;
mod download;
mod fetch;
mod flight;
mod layer;
mod localization;
mod lock;
mod lookup;
mod partial;
mod progress;
mod ranges;
mod retry;
mod side_file;
mod target;
mod transfers;

pub(crate) use blocking::blocking;
pub(crate) use collect::Collector;
pub use collect::{Collected, InUse};
pub(crate) use directories::Directories;
pub(crate) use document::Documents;
pub(crate) use fetch::LayerFetches;
pub use layer::LocalLayer;
pub(crate) use layer::{LayerCache, LayerSource};
pub(crate) use localization::Localization;
pub(crate) use lookup::Lookup;
pub(crate) use side_file::Content;
pub(crate) use transfers::Transfers;
