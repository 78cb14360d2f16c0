//! What crosses the line between the supervisor's library and root: the launch request, the
//! records that the launcher leaves, and the names both sides use.
//!
//! The privileged side owns these types; the library depends on them, never the reverse. Nothing
//! here does I/O: bytes go in, values that cannot be wrong come out.
#![forbid(unsafe_code)]

mod ids;
mod layer_key;
mod record;

pub use ids::{AccountName, CgroupPath, ContainerId, HostPath, IdError, WorkerId};
pub use layer_key::{FileIdentity, LayerKey};
pub use record::{
    Caller, ExitRecord, LaunchRecord, LaunchState, LayerRecord, Phase, ProcessRecord,
    RECORD_VERSION, RecordError,
};
