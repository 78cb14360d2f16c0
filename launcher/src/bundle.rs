//! The container's `config.json`.

use rustix::process::{Resource, Rlimit as Limit, getrlimit};
use storm_oci_request::{HostPath, LaunchRequest, Rlimit, RlimitResource, RuntimeSpec, SpecInputs};

use crate::account::Account;
use crate::directory::Directory;
use crate::error::{LauncherError, Step};
use crate::sanitize::CallerProcess;

/// The bundle's one file.
const CONFIG: &str = "config.json";

/// Composes the container's configuration and writes it to its directory.
///
/// Returns it, for the copy that people read.
pub(crate) fn write(
    directory: &Directory,
    caller: &CallerProcess,
    account: &Account,
    request: &LaunchRequest,
) -> Result<Vec<u8>, LauncherError> {
    let identity = &account.identity;
    let additional: Vec<u32> =
        identity.groups.iter().copied().filter(|gid| *gid != identity.gid).collect();
    let host = rustix::system::uname();
    let hostname = host.nodename().to_string_lossy();
    let rootfs = HostPath::parse(&directory.path_of("rootfs"))?;
    let binds = HostPath::parse(&directory.path_of("binds"))?;
    let rlimits = changed_limits(&caller.limits);
    let inputs = SpecInputs {
        uid: identity.uid,
        gid: identity.gid,
        additional_gids: &additional,
        hostname: &hostname,
        rootfs: &rootfs,
        binds: &binds,
        rlimits: &rlimits,
    };
    let spec = RuntimeSpec::compose(request, &inputs);
    let json = spec.to_json().map_err(|_| {
        LauncherError::failed(Step::Write, directory.path_of(CONFIG), rustix::io::Errno::INVAL)
    })?;
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

fn named(resource: Resource) -> Option<RlimitResource> {
    match resource {
        Resource::As => Some(RlimitResource::AddressSpace),
        Resource::Core => Some(RlimitResource::Core),
        Resource::Cpu => Some(RlimitResource::Cpu),
        Resource::Data => Some(RlimitResource::Data),
        Resource::Fsize => Some(RlimitResource::FileSize),
        Resource::Nofile => Some(RlimitResource::OpenFiles),
        Resource::Stack => Some(RlimitResource::Stack),
        _ => None,
    }
}
