//! Composes the launch request.

use storm_oci_request::{
    BindMount, CgroupPath, LaunchRequest, LinuxSettings, Process, RequestLayer, RequestVersion,
    RuntimeConfig,
};

use crate::config::Settings;
use crate::error::SupervisorError;
use crate::image::LocalImage;
use crate::reservation::Reservation;
use crate::worker::Worker;

/// What runs the worker's script.
const SHELL: &str = "bash";

/// The request for one worker.
///
/// The image's environment comes before the topology's, so that the latter counts; the image's
/// entry point comes before the shell.
///
/// # Errors
///
/// [`SupervisorError::Request`] when the launcher would refuse it.
pub(crate) fn compose(
    settings: &Settings,
    worker: &Worker,
    image: &LocalImage,
    reservation: &Reservation,
    mounts: Vec<BindMount>,
) -> Result<LaunchRequest, SupervisorError> {
    let topology_env = worker.environment.iter();
    let env = image.env.iter().cloned();
    let env = env.chain(topology_env.map(|(name, value)| format!("{name}={value}")));
    let shell = [SHELL.to_owned(), worker.script.to_string()];
    let args = image.entrypoint.iter().cloned().chain(shell);
    let pid_file = format!("{}/container-{}.pid", worker.artifacts, worker.id);
    let request = LaunchRequest {
        version: RequestVersion::V0_1,
        username: worker.user.clone(),
        container_id: worker.container.clone(),
        pid_file: pid_file
            .try_into()
            .map_err(|source| SupervisorError::Name { what: "pid file", source })?,
        container_script_path: worker.script.clone(),
        layers: image
            .layers
            .iter()
            .map(|layer| RequestLayer { media_type: layer.media_type, path: layer.path.clone() })
            .collect(),
        reap_layer_keep_count: settings.layers_to_keep,
        init: settings.init,
        oci_runtime_config: RuntimeConfig {
            mounts,
            process: Process {
                cwd: worker.directory.clone(),
                env: env.collect(),
                args: args.collect(),
            },
            linux: LinuxSettings {
                cgroups_path: CgroupPath::of(&settings.cgroup_parent, &worker.container),
                resources: reservation.resources(&settings.limits),
                seccomp: settings.seccomp.clone(),
            },
        },
    };
    request.check()?;
    Ok(request)
}

#[cfg(test)]
pub(crate) mod tests;
