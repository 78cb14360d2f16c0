//! What crosses the line between the supervisor's library and root: the launch request, the
//! records that the launcher leaves, and the names both sides use.
//!
//! The privileged side owns these types; the library depends on them, never the reverse. Nothing
//! here does I/O: bytes go in, values that cannot be wrong come out.
#![forbid(unsafe_code)]

mod cgroup_mounts;
mod command_line;
mod config_file;
mod document;
mod ids;
mod layer_key;
mod process_stat;
mod record;
mod request;
mod resources;
mod runtime_spec;
mod seccomp;
mod superblock;

pub use cgroup_mounts::*;
pub use command_line::*;
pub use config_file::*;
pub use document::*;
pub use ids::*;
pub use layer_key::*;
pub use process_stat::*;
pub use record::*;
pub use request::*;
pub use resources::*;
pub use runtime_spec::*;
pub use seccomp::*;
pub use superblock::*;
