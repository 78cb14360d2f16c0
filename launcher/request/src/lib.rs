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

pub use cgroup_mounts::{CgroupMount, CgroupVersion, unescape_mount};
pub use command_line::{CommandLineError, Invocation, parse_command_line, parse_number};
pub use config_file::{Config, ConfigMistake};
pub use document::{Bounded, DocumentError, MAX_REQUEST_BYTES};
pub use ids::{AccountName, CgroupPath, ContainerId, HostPath, IdError, WorkerId};
pub use layer_key::{FileIdentity, LayerKey};
pub use process_stat::ProcessStat;
pub use record::{
    Caller, ExitRecord, LaunchRecord, LaunchState, LayerRecord, Phase, ProcessRecord,
    RECORD_VERSION,
};
pub use request::{
    BindMount, LaunchRequest, LayerMediaType, LinuxSettings, MAX_LAYERS, Process, RequestLayer,
    RequestVersion, RuntimeConfig,
};
pub use resources::{BlockIo, Cpu, CpuList, Memory, Resources, ThrottleDevice, WeightDevice};
pub use runtime_spec::{Rlimit, SpecInputs, runtime_spec};
pub use seccomp::{
    Action, Architecture, ArgumentCondition, Flag, Operator, Seccomp, SyscallRule, SystemCallName,
};
pub use superblock::{SUPERBLOCK_BYTES, check_superblock};
