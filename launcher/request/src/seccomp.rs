//! The system call filter: `linux.seccomp` of the runtime specification, typed.
//!
//! Left out on purpose: listeners and the actions `SCMP_ACT_NOTIFY` and `SCMP_ACT_TRACE`, which
//! hand decisions about a container's system calls to another process.
//!
//! # References
//!
//! OCI runtime specification, `config-linux.md`, "Seccomp"; `seccomp(2)`

use serde::{Deserialize, Serialize};

use crate::document::{self, Bounded, DocumentError, not_empty, present};
use crate::ids::parsed_text;

/// A system call filter.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Seccomp {
    /// What happens at a system call that no rule names.
    pub default_action: Action,
    /// The error number of the default action when that is [`Action::Errno`]; `EPERM` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub default_errno_ret: Option<Bounded<0, 4095>>,
    /// The architectures filtered beside the machine's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<Architecture>,
    /// Flags of the filter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// The rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<SyscallRule>,
}

/// One rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SyscallRule {
    /// The system calls; runc skips names its libseccomp does not know.
    #[serde(deserialize_with = "not_empty")]
    pub names: Vec<SystemCallName>,
    /// What happens.
    pub action: Action,
    /// The error number when the action is [`Action::Errno`]; `EPERM` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub errno_ret: Option<Bounded<0, 4095>>,
    /// Conditions on arguments; the rule applies when all hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<ArgumentCondition>,
}

/// A condition on one argument of a system call.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ArgumentCondition {
    /// Which argument.
    pub index: Bounded<0, 5>,
    /// What it is compared with; for [`Operator::MaskedEq`] the mask.
    pub value: u64,
    /// For [`Operator::MaskedEq`] what the masked argument is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub value_two: Option<u64>,
    /// The comparison.
    pub op: Operator,
}

impl Seccomp {
    /// Reads a profile file.
    ///
    /// # Errors
    ///
    /// [`DocumentError`]; the first thing that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        document::read(bytes)
    }
}

parsed_text! {
    /// The name of a system call, whether there is one or not.
    SystemCallName is a "system call" like "1 to 64 characters of a-z 0-9 _" by |text| {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then_some(text)
    }
}

/// Defines an enum of the specification's names, each variant beside its own.
macro_rules! named {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
        pub enum $name {
            $($(#[$inner])* #[serde(rename = $text)] $variant,)+
        }
    };
}

named! {
    /// What happens at a system call.
    Action {
        /// It is performed.
        Allow = "SCMP_ACT_ALLOW",
        /// It fails with an error number.
        Errno = "SCMP_ACT_ERRNO",
        /// It is performed and logged.
        Log = "SCMP_ACT_LOG",
        /// The process gets `SIGSYS`.
        Trap = "SCMP_ACT_TRAP",
        /// The thread is killed.
        Kill = "SCMP_ACT_KILL",
        /// The thread is killed.
        KillThread = "SCMP_ACT_KILL_THREAD",
        /// The process is killed.
        KillProcess = "SCMP_ACT_KILL_PROCESS",
    }
}

named! {
    /// How an argument is compared.
    Operator {
        /// Not equal.
        NotEqual = "SCMP_CMP_NE",
        /// Less.
        Less = "SCMP_CMP_LT",
        /// Less or equal.
        LessOrEqual = "SCMP_CMP_LE",
        /// Equal.
        Equal = "SCMP_CMP_EQ",
        /// Greater or equal.
        GreaterOrEqual = "SCMP_CMP_GE",
        /// Greater.
        Greater = "SCMP_CMP_GT",
        /// Equal under a mask.
        MaskedEq = "SCMP_CMP_MASKED_EQ",
    }
}

named! {
    /// Flags of the filter.
    Flag {
        /// All threads get the filter.
        Tsync = "SECCOMP_FILTER_FLAG_TSYNC",
        /// What the filter does is logged.
        Log = "SECCOMP_FILTER_FLAG_LOG",
        /// The speculative store bypass mitigation that comes with a filter stays off.
        SpecAllow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    }
}

named! {
    /// The architectures libseccomp knows and Storm's hosts may be.
    Architecture {
        /// 32-bit x86.
        X86 = "SCMP_ARCH_X86",
        /// 64-bit x86.
        X86_64 = "SCMP_ARCH_X86_64",
        /// 64-bit x86 with 32-bit pointers.
        X32 = "SCMP_ARCH_X32",
        /// 32-bit Arm.
        Arm = "SCMP_ARCH_ARM",
        /// 64-bit Arm.
        Aarch64 = "SCMP_ARCH_AARCH64",
        /// 64-bit POWER, little endian.
        Ppc64le = "SCMP_ARCH_PPC64LE",
        /// 64-bit POWER.
        Ppc64 = "SCMP_ARCH_PPC64",
        /// 32-bit System z.
        S390 = "SCMP_ARCH_S390",
        /// 64-bit System z.
        S390x = "SCMP_ARCH_S390X",
        /// 64-bit RISC-V.
        Riscv64 = "SCMP_ARCH_RISCV64",
    }
}
