//! From an image in a registry or an archive to squashfs layers in an image store.
//!
//! ```text
//! source ── blob ──▶ layer ── tar ─▶ tree ──▶ squashfs ── file ──▶ publish ──▶ store
//!   │ registry         │ inflate, digests       │ data blocks as they come      │ temporary name,
//!   │ OCI layout       │ entries, OCI's rules   │ tables at the end             │ read back, rename
//!   │ docker archive   ▼                        ▼                               ▼ tag map last
//!   └ skopeo's dir    one pass over the blob, nothing unpacked to disk
//! ```
//!
//! Nothing from a source is trusted: a manifest is compared with the digest it was asked by, a
//! blob with its descriptor, its content with the config's diff id, and each has its limits.
#![forbid(unsafe_code)]

#[cfg(test)]
#[path = "../tests/archive/mod.rs"]
mod archive;
pub mod erofs;
mod error;
pub mod image;
pub mod layer;
mod limits;
pub mod publish;
pub mod source;
pub mod squashfs;
pub mod tar;
pub mod tree;

pub use error::ConvertError;
pub use limits::Limits;
