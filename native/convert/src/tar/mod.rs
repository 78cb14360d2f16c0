//! Reads tar archives: ustar, PAX and GNU.
//!
//! A reader of its own, since an archive of unknown origin needs limits on its headers, all forms
//! of sparse files and the exact rules of PAX records; `docs/adr/0021` has the reasons.

mod entry;
mod error;
mod header;
mod input;
mod number;
mod pax;
mod reader;
mod shown;
mod sparse;
#[cfg(test)]
mod tests;

pub use entry::{Entry, EntryKind};
pub use error::TarError;
pub use reader::{Piece, TarReader};
pub(crate) use shown::shown;
