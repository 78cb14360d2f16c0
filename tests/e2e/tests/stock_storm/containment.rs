//! What must hold of a running container, read from the host's side.

use std::path::Path;

use storm_oci_e2e::container::{self, Container};
use storm_oci_e2e::process::{self, Status};
use storm_oci_e2e::storm_conf::{CPU_PERCENT, PIDS};
use storm_oci_e2e::topology::{self, Report};
use storm_oci_e2e::verdicts::{holds, same};
use storm_oci_e2e::{E2eError, Testbed, cgroups, files, image};
use storm_oci_request::LayerRecord;

/// The counts are the text's, and the process that counted is one of the container's.
pub(crate) fn counted_in_the_container(
    testbed: &Testbed,
    container: &Container,
    report: &Report,
) -> Result<(), E2eError> {
    let text = topology::count(&topology::text(&testbed.layout)?);
    let expected = text.into_iter().map(|(word, count)| (word, count * report.passes)).collect();
    same("the topology counts the text's words", &report.counts, &expected)?;
    let counter = container.host_pid(report.pid)?;
    holds("the counting process is in the container", counter.is_some(), report.pid)?;
    let release = files::read(&container.inside(image::OS_RELEASE))?;
    holds("the container's root is the image", release.contains(image::VARIANT), release)
}

/// Whiteout and opaque directory work, and nobody can write to the image.
pub(crate) fn overlay(container: &Container) -> Result<(), E2eError> {
    let hidden = container.inside(image::WHITEOUT);
    holds("a whiteout hides a lower file", !hidden.exists(), hidden.display())?;
    let mut seen = Vec::new();
    for entry in files::list(&container.inside(image::OPAQUE))? {
        seen.push(entry.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    same("an opaque directory hides what is below", seen, vec![image::OPAQUE_ENTRY.to_owned()])?;
    let root = container.mounts()?.into_iter().find(|mount| mount.target == Path::new("/"));
    let root = root.ok_or_else(|| E2eError::unconfirmed("the container has a root", "no mount"))?;
    same("the root file system is an overlay", root.kind.as_str(), "overlay")?;
    holds("the root file system is read-only", root.has("ro"), &root.options)
}

/// Every process has the topology user's ids, no capability and no way to get one.
pub(crate) fn identity(testbed: &Testbed, container: &Container) -> Result<(), E2eError> {
    let pids = container.processes()?;
    holds("a worker is at least two processes", pids.len() >= 2, format!("{pids:?}"))?;
    for pid in pids {
        let status = Status::read(pid)?;
        same("every process has the user's uid", status.only_id("Uid"), Some(testbed.user.uid))?;
        same("every process has the user's gid", status.only_id("Gid"), Some(testbed.user.gid))?;
        let groups = status.field("Groups").to_owned();
        let own = groups.is_empty() || groups == testbed.user.gid.to_string();
        holds("no process is in a group of the host's", own, groups)?;
        for set in process::CAPABILITY_SETS {
            same("every capability set is empty", status.field(set), "0000000000000000")?;
        }
        same("no process can gain privileges", status.field("NoNewPrivs"), "1")?;
    }
    Ok(())
}

/// The namespaces Storm's specification names are the container's own, the others the host's.
pub(crate) fn namespaces(container: &Container) -> Result<(), E2eError> {
    let init = container.init.to_string();
    for name in process::NAMESPACES {
        let own = process::namespace("self", name)? != process::namespace(&init, name)?;
        let expected = matches!(name, "mnt" | "pid" | "ipc" | "uts");
        same(&format!("the {name} namespace is the container's own"), own, expected)?;
    }
    Ok(())
}

/// The seccomp mode of all processes: 0 without, 2 with a filter.
pub(crate) fn seccomp(container: &Container, mode: &str) -> Result<(), E2eError> {
    for pid in container.processes()? {
        same("the seccomp mode is as configured", Status::read(pid)?.field("Seccomp"), mode)?;
    }
    Ok(())
}

/// The cgroup has the limits that the request asked for, and all of the container is in it.
pub(crate) fn limits(container: &Container) -> Result<(), E2eError> {
    let limits = cgroups::limits(&container.cgroup())?;
    same("the CPU quota is the configured one", limits.cpu_percent, Some(u64::from(CPU_PERCENT)))?;
    same("processes are limited as configured", limits.processes, Some(u64::from(PIDS)))?;
    let request = container.request()?;
    let wanted = request
        .pointer("/ociRuntimeConfig/linux/resources/memory/limit")
        .and_then(serde_json::Value::as_u64);
    holds("the request limits memory", wanted.is_some_and(|bytes| bytes > 0), request)?;
    same("the memory limit is the request's", limits.memory_bytes, wanted)?;
    let members = container.processes()?;
    holds("pid 1 is in the cgroup", members.contains(&container.init), format!("{members:?}"))
}

/// Two containers of one image use the same mounts: one loop device a layer.
pub(crate) fn layers_are_shared(
    testbed: &Testbed,
    one: &Container,
    other: &Container,
) -> Result<(), E2eError> {
    let keys = |container: &Container| -> Vec<_> {
        container.record.layers.iter().map(|layer: &LayerRecord| layer.key.to_string()).collect()
    };
    same("two containers of one image have the same layers", keys(one), keys(other))?;
    let mounts = container::mounted_layers(&testbed.layout)?;
    for key in keys(one) {
        let target = testbed.layout.run_root.join("layers").join(&key).join("mnt");
        let count = mounts.iter().filter(|mount| mount.target == target).count();
        same("a shared layer is mounted once", count, 1)?;
    }
    for layer in &testbed.layers {
        let file = format!("{}.sqsh", layer.digest);
        let mut devices = 0;
        for device in files::list(Path::new("/sys/block"))? {
            let backing = files::read(&device.join("loop/backing_file")).unwrap_or_default();
            let of_this_run = Path::new(backing.trim()).starts_with(&testbed.layout.scratch);
            devices += usize::from(of_this_run && backing.trim().ends_with(&file));
        }
        same("a shared layer has one loop device", devices, 1)?;
    }
    Ok(())
}

/// The launch found every layer mounted.
pub(crate) fn mounted_nothing(container: &Container) -> Result<(), E2eError> {
    let mounted: Vec<_> = container
        .record
        .layers
        .iter()
        .filter(|layer| layer.mounted)
        .map(|layer| &layer.path)
        .collect();
    holds("a later launch mounts no layer", mounted.is_empty(), format!("{mounted:?}"))?;
    holds("a launch has layers", !container.record.layers.is_empty(), "none")
}
