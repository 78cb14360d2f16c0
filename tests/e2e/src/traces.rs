//! What a run has left on the host, and its removal by force.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};

use crate::accounts::Account;
use crate::cluster::as_account;
use crate::mountinfo::{self, Mount};
use crate::{E2eError, Layout, accounts, cgroups, command, files, interrupt, process};

/// Where runc keeps the state of containers, when nobody tells it another place.
const RUNC_STATE: &str = "/run/runc";

/// Everything on the host that belongs to a run: found by its accounts, its directories and its
/// cgroup, so that other work on the host does not matter.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Traces(Vec<String>);

impl Traces {
    /// What containers leave behind: processes, monitors among them, mounts, loop devices, cgroups,
    /// runc's state and the run root's directories.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn of_containers(layout: &Layout) -> Result<Self, E2eError> {
        let mut traces = Self::default();
        traces.add_mounts(layout)?;
        traces.add_loop_devices(layout)?;
        for name in layout.topology_accounts() {
            if let Some(account) = accounts::find(&name)? {
                for (pid, command) in process::of_users(&[account.uid])? {
                    traces.add("process", format!("{pid} {command}"));
                }
            }
        }
        for pid in cgroups::processes(&layout.monitors_cgroup())? {
            traces.add("process", format!("{pid}, a monitor"));
        }
        traces.add_runc_state(layout)?;
        for directory in cgroups::directories(&layout.cgroup_parent())? {
            for entry in files::list(&directory)? {
                // The launcher's own group of monitors stays, like its parent.
                if entry.is_dir() && entry.file_name() != Some("monitors".as_ref()) {
                    traces.add("cgroup", entry.display());
                }
            }
        }
        for entry in files::list(&layout.run_root)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if entry.is_dir() && !matches!(name.as_str(), "layers" | "records") {
                traces.add("directory", entry.display());
            }
        }
        for below in ["layers", "records"] {
            for entry in files::list(&layout.run_root.join(below))? {
                if entry.file_name() != Some("lock".as_ref()) {
                    traces.add("directory", entry.display());
                }
            }
        }
        Ok(traces)
    }

    /// All a run can leave, with its daemons, accounts and directories.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn of_run(layout: &Layout) -> Result<Self, E2eError> {
        let mut traces = Self::default();
        traces.add_mounts(layout)?;
        traces.add_loop_devices(layout)?;
        for name in all_accounts(layout) {
            if let Some(account) = accounts::find(&name)? {
                for (pid, command) in process::of_users(&[account.uid])? {
                    traces.add("process", format!("{pid} {command}"));
                }
                traces.add("account", name);
            }
        }
        for directory in cgroups::directories(&layout.cgroup_parent())? {
            traces.add("cgroup", directory.display());
        }
        traces.add_runc_state(layout)?;
        for directory in [&layout.scratch, &layout.run_root] {
            if directory.exists() {
                traces.add("directory", directory.display());
            }
        }
        Ok(traces)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, kind: &str, what: impl fmt::Display) {
        self.0.push(format!("{kind} {what}"));
    }

    /// In the mount namespace of any process, not only the host's.
    fn add_mounts(&mut self, layout: &Layout) -> Result<(), E2eError> {
        let mut seen = std::collections::BTreeSet::new();
        for entry in files::list(Path::new("/proc"))? {
            let pid = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !pid.chars().all(|letter| letter.is_ascii_digit()) {
                continue;
            }
            // A process may end between the listing and the look.
            let Ok(namespace) = process::namespace(&pid, "mnt") else {
                continue;
            };
            if !seen.insert(namespace) {
                continue;
            }
            for mount in mountinfo::of(&pid).unwrap_or_default() {
                if mount.target.starts_with(&layout.run_root)
                    || mount.target.starts_with(&layout.scratch)
                {
                    self.add("mount", format!("{} ({})", mount.target.display(), mount.kind));
                }
            }
        }
        Ok(())
    }

    fn add_runc_state(&mut self, layout: &Layout) -> Result<(), E2eError> {
        for state in runc_states(layout)? {
            self.add("runc's state", state.display());
        }
        Ok(())
    }

    fn add_loop_devices(&mut self, layout: &Layout) -> Result<(), E2eError> {
        for (device, file) in loop_devices(layout)? {
            self.add("loop device", format!("{} of {file}", device.display()));
        }
        Ok(())
    }
}

/// runc's directories of this run's containers: each says where its bundle is.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn runc_states(layout: &Layout) -> Result<Vec<PathBuf>, E2eError> {
    let mut states = files::list(Path::new(RUNC_STATE))?;
    states.retain(|entry| {
        // A container of somebody else may end between the listing and the look.
        let state = files::read(&entry.join("state.json"));
        state.is_ok_and(|state| state.contains(&layout.run_root.display().to_string()))
    });
    Ok(states)
}

/// The loop devices on this run's files, with those.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn loop_devices(layout: &Layout) -> Result<Vec<(PathBuf, String)>, E2eError> {
    let mut devices = Vec::new();
    for device in files::list(Path::new("/sys/block"))? {
        // A device that is not in use has no such file.
        let Ok(file) = files::read(&device.join("loop/backing_file")) else {
            continue;
        };
        if Path::new(file.trim()).starts_with(&layout.scratch) {
            devices.push((device, file.trim().to_owned()));
        }
    }
    Ok(devices)
}

impl fmt::Display for Traces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("; "))
    }
}

/// Lets the launcher unmount the layers that it keeps mounted for later containers.
///
/// # Errors
///
/// [`E2eError::Unconfirmed`] when the launcher refuses.
pub fn release_layers(
    layout: &Layout,
    daemon: &Account,
    user: &Account,
    container_id: &str,
) -> Result<(), E2eError> {
    let mut reap = as_account(daemon);
    reap.arg(layout.launcher()).arg(&user.name).args(["reap-oci-container", container_id, "0"]);
    command::output(&mut reap).map(|_| ())
}

/// Waits until the containers have left nothing. Loop devices go a moment after their mounts.
///
/// # Errors
///
/// [`E2eError::Left`].
pub fn expect_no_container(layout: &Layout) -> Result<(), E2eError> {
    let mut left = Traces::default();
    interrupt::wait(Duration::from_secs(5), || {
        left = Traces::of_containers(layout)?;
        Ok(left.is_empty())
    })?;
    if left.is_empty() { Ok(()) } else { Err(E2eError::Left(left.to_string())) }
}

/// Removes whatever a run has made and is still there, an interrupted run's too. Nothing is touched
/// that does not belong to the run's accounts, directories or cgroup.
///
/// # Errors
///
/// The first [`E2eError`]; what could be removed is removed all the same.
pub fn remove(layout: &Layout) -> Result<(), E2eError> {
    let mut results = vec![end_processes(&all_accounts(layout))];
    results.extend(forget_containers(layout));
    results.push(files::remove_tree(&layout.scratch));
    for name in all_accounts(layout) {
        results.push(accounts::remove(&name));
    }
    results.into_iter().collect()
}

fn all_accounts(layout: &Layout) -> Vec<String> {
    let mut names = layout.topology_accounts().to_vec();
    names.push(layout.daemon_account());
    names
}

/// Takes from the containers of a run what a restart of the host takes: processes, mounts, cgroups,
/// the run root and runc's state. The supervisor must not run.
///
/// # Errors
///
/// The first [`E2eError`]; what could be removed is removed all the same.
pub fn reboot(layout: &Layout) -> Result<(), E2eError> {
    let mut results = vec![end_processes(&layout.topology_accounts())];
    for pid in cgroups::processes(&layout.monitors_cgroup())? {
        process::kill(pid);
    }
    results.push(no_monitor_runs(layout));
    results.extend(forget_containers(layout));
    results.into_iter().collect()
}

fn no_monitor_runs(layout: &Layout) -> Result<(), E2eError> {
    let gone = interrupt::wait(Duration::from_secs(60), || {
        Ok(cgroups::processes(&layout.monitors_cgroup())?.is_empty())
    })?;
    if gone { Ok(()) } else { Err(E2eError::Left("monitors that do not end".to_owned())) }
}

/// What the kernel, runc and the launcher know of containers whose processes are gone.
fn forget_containers(layout: &Layout) -> [Result<(), E2eError>; 4] {
    [
        delete_containers(layout),
        unmount_all(layout),
        cgroups::remove(&layout.cgroup_parent()),
        files::remove_tree(&layout.run_root),
    ]
}

fn end_processes(names: &[String]) -> Result<(), E2eError> {
    let mut uids = Vec::new();
    for name in names {
        uids.extend(accounts::find(name)?.map(|account| account.uid));
    }
    let gone = interrupt::wait(Duration::from_secs(60), || {
        let processes = process::of_users(&uids)?;
        for (pid, _) in &processes {
            process::kill(*pid);
        }
        Ok(processes.is_empty())
    })?;
    if gone { Ok(()) } else { Err(E2eError::Left("processes that do not end".to_owned())) }
}

/// Lets runc forget containers whose processes are gone.
fn delete_containers(layout: &Layout) -> Result<(), E2eError> {
    for bundle in files::list(&layout.run_root)? {
        let id = bundle.file_name().unwrap_or_default();
        if Path::new(RUNC_STATE).join(id).is_dir() {
            command::output(Command::new("runc").arg("delete").arg("--force").arg(id))?;
        }
    }
    Ok(())
}

/// This run's mounts on the host.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn mounts(layout: &Layout) -> Result<Vec<Mount>, E2eError> {
    let mut mounts = mountinfo::of("self")?;
    let own = [&layout.run_root, &layout.scratch];
    mounts.retain(|mount| own.iter().any(|path| mount.target.starts_with(path)));
    Ok(mounts)
}

fn unmount_all(layout: &Layout) -> Result<(), E2eError> {
    for mount in mounts(layout)?.into_iter().rev() {
        unmount(&mount.target, UnmountFlags::DETACH).map_err(|error| E2eError::File {
            verb: "unmount",
            path: mount.target,
            source: error.into(),
        })?;
    }
    Ok(())
}
