//! Writes squashfs 4.0.
//!
//! ```text
//! superblock │ compression options │ data blocks, fragment blocks as they fill │ inodes │
//! directories │ fragment table │ export table │ ids │ attributes │ padding to 4 KiB
//! ```
//!
//! Contents are pushed in one after another and leave as they come: blocks are compressed on
//! threads of the writer's own, and go to the file in the order they came in. So the bytes of the
//! file depend on what was pushed alone, not on the number of threads, and a writer holds a
//! bounded number of blocks. The tables follow once the tree is known, the superblock last.

mod codec;
mod contents;
mod directory;
mod error;
mod ids;
mod inode;
mod metadata;
mod numbers;
mod options;
mod output;
mod pool;
mod superblock;
mod tables;
#[cfg(test)]
mod tests;
mod writer;
mod xattrs;

pub use error::{SquashfsError, Unstorable};
pub use options::{Compression, SquashfsOptions};
pub use writer::{SquashfsFile, SquashfsWriter};

/// As a number of bytes in a file.
fn wide(length: usize) -> u64 {
    u64::try_from(length).expect("no machine has more than 64 bits")
}
