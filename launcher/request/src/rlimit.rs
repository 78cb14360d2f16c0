//! Limits of a process, as the runtime specification names them.

use serde::Serialize;

/// One limit.
///
/// # References
///
/// `getrlimit(2)`; OCI runtime specification, `config.md`, "POSIX process"
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Rlimit {
    /// What is limited.
    #[serde(rename = "type")]
    pub resource: RlimitResource,
    /// The hard limit; `u64::MAX` is none.
    pub hard: u64,
    /// The soft limit; `u64::MAX` is none.
    pub soft: u64,
}

/// What a limit is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum RlimitResource {
    /// Bytes of address space.
    #[serde(rename = "RLIMIT_AS")]
    AddressSpace,
    /// Bytes of a core file.
    #[serde(rename = "RLIMIT_CORE")]
    Core,
    /// Seconds of processor time.
    #[serde(rename = "RLIMIT_CPU")]
    Cpu,
    /// Bytes of data segments.
    #[serde(rename = "RLIMIT_DATA")]
    Data,
    /// Bytes of a file.
    #[serde(rename = "RLIMIT_FSIZE")]
    FileSize,
    /// File locks and leases.
    #[serde(rename = "RLIMIT_LOCKS")]
    Locks,
    /// Bytes of locked memory.
    #[serde(rename = "RLIMIT_MEMLOCK")]
    LockedMemory,
    /// Bytes of message queues.
    #[serde(rename = "RLIMIT_MSGQUEUE")]
    MessageQueues,
    /// How far the nice value may be raised.
    #[serde(rename = "RLIMIT_NICE")]
    Nice,
    /// Open files.
    #[serde(rename = "RLIMIT_NOFILE")]
    OpenFiles,
    /// Processes and threads of the user.
    #[serde(rename = "RLIMIT_NPROC")]
    Processes,
    /// Bytes of resident memory.
    #[serde(rename = "RLIMIT_RSS")]
    ResidentMemory,
    /// Real-time priority.
    #[serde(rename = "RLIMIT_RTPRIO")]
    RealtimePriority,
    /// Microseconds of real-time scheduling without a system call.
    #[serde(rename = "RLIMIT_RTTIME")]
    RealtimeMicros,
    /// Pending signals.
    #[serde(rename = "RLIMIT_SIGPENDING")]
    PendingSignals,
    /// Bytes of stack.
    #[serde(rename = "RLIMIT_STACK")]
    Stack,
}
