//! The container's `config.json`.

use rustix::process::{Resource, Rlimit as Limit, getrlimit};
use storm_oci_request::{HostPath, LaunchRequest, Rlimit, SpecInputs, runtime_spec};

use crate::Call;
use crate::directory::Directory;
use crate::error::Result;
use crate::kernel::restricts_recursively;

/// The bundle's one file.
const CONFIG: &str = "config.json";

/// Composes the container's configuration and writes it to its directory.
///
/// Returns it, for the copy that people read.
pub(crate) fn write(
    directory: &Directory,
    call: &Call,
    request: &LaunchRequest,
) -> Result<Vec<u8>> {
    let identity = &call.account.identity;
    let additional: Vec<u32> =
        identity.groups.iter().copied().filter(|gid| *gid != identity.gid).collect();
    let host = rustix::system::uname();
    let hostname = host.nodename().to_string_lossy();
    let rootfs = HostPath::parse(&directory.path_of("rootfs"))?;
    let binds = HostPath::parse(&directory.path_of("binds"))?;
    let rlimits = changed_limits(&call.caller.limits);
    let inputs = SpecInputs {
        uid: identity.uid,
        gid: identity.gid,
        additional_gids: &additional,
        hostname: &hostname,
        rootfs: &rootfs,
        binds: &binds,
        rlimits: &rlimits,
        recursive_options: restricts_recursively(),
    };
    let json = runtime_spec(request, &inputs).to_string().into_bytes();
    directory.create_with(CONFIG, 0o600, &json)?;
    Ok(json)
}

/// The limits that this process raised for its own work, as the caller had them.
fn changed_limits(before: &[(Resource, Limit)]) -> Vec<Rlimit> {
    before
        .iter()
        .filter(|(resource, limit)| getrlimit(*resource) != *limit)
        .filter_map(|(resource, limit)| {
            Some(Rlimit {
                resource: named(*resource)?,
                hard: limit.maximum.unwrap_or(u64::MAX),
                soft: limit.current.unwrap_or(u64::MAX),
            })
        })
        .collect()
}

fn named(resource: Resource) -> Option<&'static str> {
    match resource {
        Resource::As => Some("RLIMIT_AS"),
        Resource::Core => Some("RLIMIT_CORE"),
        Resource::Cpu => Some("RLIMIT_CPU"),
        Resource::Data => Some("RLIMIT_DATA"),
        Resource::Fsize => Some("RLIMIT_FSIZE"),
        Resource::Nofile => Some("RLIMIT_NOFILE"),
        Resource::Stack => Some("RLIMIT_STACK"),
        _ => None,
    }
}
