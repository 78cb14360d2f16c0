//! What a launch request may say: the rules on its values.

use std::collections::BTreeSet;

use crate::error::RequestError;
use crate::ids::{CgroupPath, HostPath};

use super::{BindMount, LaunchRequest, Process};

/// The most distinct layers one root file system may have: what Docker allows, and what the
/// kernel's overlay file system mounts with room to spare.
pub const MAX_LAYERS: usize = 127;

/// What the launcher mounts itself: nothing may cover these or lie below them.
const MOUNTED_BY_LAUNCHER: [&str; 3] = ["proc", "dev", "sys"];

/// Where Storm shows the host's cgroups, to read: the one exception below `/sys`.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

impl LaunchRequest {
    /// Checks the request's values. [`LaunchRequest::parse`] has done so already; who composes a
    /// request learns here what the launcher would refuse.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; the first thing that is wrong.
    pub fn check(&self) -> Result<(), RequestError> {
        self.check_worker_files()?;
        self.check_layers()?;
        let config = &self.oci_runtime_config;
        config.mounts.iter().try_for_each(check_mount)?;
        check_process(&config.process)?;
        if let Some(resources) = &config.linux.resources {
            resources.check()?;
        }
        if let Some(seccomp) = &config.linux.seccomp {
            seccomp.check("ociRuntimeConfig.linux.seccomp.")?;
        }
        Ok(())
    }

    /// Checks that the cgroup is `<parent>/<container id>` and no other.
    ///
    /// # Errors
    ///
    /// [`RequestError::ForeignCgroup`].
    pub fn check_cgroup(&self, parent: &CgroupPath) -> Result<(), RequestError> {
        let expected = CgroupPath::of(parent, &self.container_id);
        let found = &self.oci_runtime_config.linux.cgroups_path;
        if *found == expected {
            return Ok(());
        }
        Err(RequestError::ForeignCgroup { found: found.clone(), expected })
    }

    fn check_worker_files(&self) -> Result<(), RequestError> {
        let worker = self.container_id.worker_id();
        let expected = format!("container-{worker}.pid");
        if self.pid_file.components().last() != Some(expected.as_str()) {
            return Err(RequestError::PidFile { found: self.pid_file.clone(), expected });
        }
        if self.container_script_path.components().nth_back(1) != Some(worker.as_str()) {
            return Err(RequestError::Script {
                found: self.container_script_path.clone(),
                expected: worker.as_str().to_owned(),
            });
        }
        Ok(())
    }

    fn check_layers(&self) -> Result<(), RequestError> {
        let distinct: BTreeSet<&HostPath> = self.layers.iter().map(|layer| &layer.path).collect();
        match distinct.len() {
            0 => Err(RequestError::NoLayers),
            1..=MAX_LAYERS => Ok(()),
            found => Err(RequestError::TooManyLayers { found, limit: MAX_LAYERS }),
        }
    }
}

fn check_mount(mount: &BindMount) -> Result<(), RequestError> {
    let destination = &mount.destination;
    if destination.as_str() == CGROUP_ROOT {
        return if mount.read_only {
            Ok(())
        } else {
            Err(RequestError::MountWritable(destination.clone()))
        };
    }
    let taken = match destination.components().next() {
        None => true,
        Some(first) => MOUNTED_BY_LAUNCHER.contains(&first),
    };
    if taken {
        return Err(RequestError::MountDestination(destination.clone()));
    }
    Ok(())
}

fn check_process(process: &Process) -> Result<(), RequestError> {
    for (index, entry) in process.env.iter().enumerate() {
        let path = || format!("ociRuntimeConfig.process.env[{index}]");
        if entry.contains('\0') {
            return Err(RequestError::NulCharacter(path()));
        }
        if entry.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
            return Err(RequestError::EnvironmentEntry(path()));
        }
    }
    for (index, argument) in process.args.iter().enumerate() {
        if argument.contains('\0') {
            let path = format!("ociRuntimeConfig.process.args[{index}]");
            return Err(RequestError::NulCharacter(path));
        }
    }
    match process.args.first() {
        Some(program) if !program.is_empty() => Ok(()),
        _ => Err(RequestError::NoProgram),
    }
}
