//! The normaliser alone, without what writes its tree.

#[path = "../../native/convert/src/layer/entry_error.rs"]
mod entry_error;
#[path = "../../native/convert/src/layer/finish.rs"]
mod finish;
#[path = "../../native/convert/src/layer/normaliser.rs"]
mod normaliser;
#[path = "../../native/convert/src/layer/parents.rs"]
mod parents;
#[path = "../../native/convert/src/layer/path.rs"]
mod path;
#[path = "../../native/convert/src/layer/warnings.rs"]
mod warnings;
#[path = "../../native/convert/src/layer/xattrs.rs"]
mod xattrs;

pub(crate) use normaliser::Normaliser;
pub use parents::Parents;
