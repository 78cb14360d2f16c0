//! Containers that run or have run: adopting, signalling, telling dead from alive, cleaning up.
//!
//! Everything goes by worker id and works for workers never launched, launched by an earlier or
//! another process, and for those of Storm's own launcher, which leaves no records: these are
//! found by their cgroup.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use storm_oci_request::{
    AccountName, CgroupPath, ContainerId, LaunchRecord, LaunchState, WorkerId,
};
use tracing::{debug, info, warn};

use crate::beneath::Directory;
use crate::containers::Containers;
use crate::end::Known;
use crate::error::SupervisorError;
use crate::launcher::{Finished, LONG, SHORT};
use crate::limits::Limits;
use crate::oom::HitsAbove;
use crate::phases::Phases;
use crate::process;
use crate::scope;
use crate::text;
use crate::watch::Watched;

/// The launcher's verbs.
const SIGNAL: &str = "signal";
const REAP: &str = "reap-oci-container";
const SWEEP: &str = "sweep-oci-containers";

/// The launcher's exit code when there is no such process.
const NO_SUCH_PROCESS: i32 = 9;

/// `SIGTERM` and `SIGKILL` as the launcher takes them.
const TERM: &str = "15";
const KILL: &str = "9";

impl Containers {
    /// Watches every container that was started before this process. One that has ended meanwhile
    /// is reported at once, and so is a worker that has no container any more.
    pub(crate) fn adopt(&self) -> Result<(), SupervisorError> {
        let records = self.records.all()?;
        let recorded: BTreeSet<WorkerId> =
            records.iter().map(|record| record.container_id.worker_id()).collect();
        for worker in self.workers().filter(|worker| !recorded.contains(worker)) {
            // Storm's slot believes the last heartbeat until it is old; without one it looks itself.
            if self.ends.has_heartbeat(&worker) && self.is_dead(&worker) {
                self.ends.vanished(&worker);
            }
        }
        for record in records {
            if record.state != LaunchState::Started {
                continue;
            }
            let _scope = scope::container(&record.container_id).entered();
            let exit = self.records.exit(&record.container_id)?;
            info!(target: "storm_oci.lifecycle", "adopted: an earlier supervisor launched it");
            let mut phases = Phases::default();
            phases.extend(&record.phases);
            let artifacts = self.own_artifacts(&record.container_id.worker_id());
            let topology_id = artifacts.as_deref().and_then(topology_of);
            let known = self.known(&record, artifacts.as_deref(), &phases, topology_id, None);
            self.watch.add(Watched::new(&record, exit, known));
        }
        Ok(())
    }

    /// The workers that have a directory.
    fn workers(&self) -> impl Iterator<Item = WorkerId> {
        // The directory is Storm's, which makes it for its first worker.
        let entries = fs::read_dir(self.settings.workers_root.as_str()).into_iter().flatten();
        entries.filter_map(|entry| WorkerId::parse(entry.ok()?.file_name().to_str()?).ok())
    }

    /// What will be told of a container when it ends.
    pub(crate) fn known(
        &self,
        record: &LaunchRecord,
        artifacts: Option<&Path>,
        phases: &Phases,
        topology_id: Option<String>,
        launched_on: Option<i64>,
    ) -> Known {
        let artifacts = artifacts.and_then(|path| Directory::open(path).ok());
        let hits_above = HitsAbove::now(&self.hierarchies, &record.cgroup);
        let phases = phases.documents().to_vec();
        Known {
            launched_on,
            topology_id,
            phases,
            cgroup: record.cgroup.clone(),
            hits_above,
            limits: Limits::of(&self.hierarchies, &record.cgroup),
            artifacts,
        }
    }

    /// Where a worker's link to its artifacts leads, if it is the one that this account made: the
    /// link lies in a directory of the topology user's.
    fn own_artifacts(&self, worker: &WorkerId) -> Option<PathBuf> {
        let link = Path::new(self.settings.workers_root.as_str()).join(worker.as_str());
        let link = link.join("artifacts");
        let owner = fs::symlink_metadata(&link).ok()?.uid();
        (owner == Uid::current().as_raw()).then(|| fs::read_link(&link).ok()).flatten()
    }

    /// Removes what dead containers of this supervisor left behind.
    pub(crate) fn sweep(&self) {
        let root = self.settings.workers_root.as_str();
        let arguments = [self.account.as_str(), SWEEP, root];
        match self.launcher.run(SWEEP, &arguments, Path::new("/"), LONG) {
            Ok(finished) => {
                for line in finished.stderr.lines() {
                    info!(target: "storm_oci.lifecycle", "{}", text::shown(line));
                }
                warn_of_refusal(&finished, "sweep up dead containers");
            }
            Err(error) => {
                warn!(target: "storm_oci.lifecycle", "cannot sweep up dead containers: {}", error.report());
            }
        }
    }

    /// Forgets the ends that were asked for of workers which Storm has cleaned up after.
    pub(crate) fn forget_requests(&self) {
        let root = Path::new(self.settings.workers_root.as_str());
        if let Err(error) = self.requested.sweep(root) {
            warn!(target: "storm_oci.lifecycle", "cannot forget which workers were asked to end: {error}");
        }
    }

    /// Forgets that a worker was asked to end.
    pub(crate) fn forget_request(&self, worker: &WorkerId) {
        if let Err(error) = self.requested.remove(worker) {
            let _scope = scope::worker(worker, None).entered();
            warn!(target: "storm_oci.lifecycle", "cannot forget that it was asked to end: {error}");
        }
    }

    /// Signals the first process of a worker's container; the kernel ends the others with it.
    pub(crate) fn signal(&self, user: &str, worker: &WorkerId, force: bool) {
        let record = self.record_of(worker);
        let _scope = scope::worker(worker, record.as_ref()).entered();
        let Ok(user) = AccountName::parse(user) else {
            warn!(target: "storm_oci.lifecycle", "cannot signal: `{}` is no account", text::shown(user));
            return;
        };
        let targets = match record.and_then(|record| record.init) {
            Some(init) => Vec::from_iter(process::is_alive(init).then_some(init.pid)),
            None => self.unrecorded_inits(worker),
        };
        if targets.is_empty() {
            debug!(target: "storm_oci.lifecycle", "nothing to signal");
            return;
        }
        self.watch.request_end(worker);
        if let Err(error) = self.requested.add(worker) {
            warn!(target: "storm_oci.lifecycle", "cannot note that it is asked to end: {error}");
        }
        for pid in targets {
            let signal = if force { KILL } else { TERM };
            let pid = pid.to_string();
            let arguments = [user.as_str(), SIGNAL, &pid, signal];
            match self.launcher.run(SIGNAL, &arguments, Path::new("/"), SHORT) {
                // It ended meanwhile.
                Ok(finished) if finished.exit_code == NO_SUCH_PROCESS => {}
                Ok(finished) => warn_of_refusal(&finished, "signal a container"),
                Err(error) => {
                    warn!(target: "storm_oci.lifecycle", "cannot signal: {}", error.report());
                }
            }
        }
    }

    /// Whether nothing of a worker's container runs any more.
    ///
    /// What cannot be looked at counts as alive: the other answer would let Storm delete the
    /// directories below a running worker.
    pub(crate) fn is_dead(&self, worker: &WorkerId) -> bool {
        let init = self.record_of(worker).and_then(|record| record.init);
        if init.is_some_and(process::is_alive) {
            return false;
        }
        // The end of a pid namespace's first process is the end of all others in it: the kernel
        // ends them before that process becomes a zombie.
        if init.is_some() {
            return true;
        }
        self.cgroups_of(worker)
            .iter()
            .all(|cgroup| self.processes(cgroup).is_some_and(|pids| pids.is_empty()))
    }

    /// Has the launcher remove a container. `port` is -1 when Storm does not know it.
    pub(crate) fn reap(&self, user: &str, worker: &WorkerId, port: i32) {
        let recorded = self.record_of(worker);
        let _scope = scope::worker(worker, recorded.as_ref()).entered();
        let Ok(user) = AccountName::parse(user) else {
            warn!(target: "storm_oci.lifecycle", "cannot clean up: `{}` is no account", text::shown(user));
            return;
        };
        let named = ContainerId::parse(&format!("{port}-{worker}")).ok();
        let recorded = recorded.map(|record| record.container_id);
        let mut containers = self.hierarchies.containers_of(&self.settings.cgroup_parent, worker);
        containers.extend(named.into_iter().chain(recorded));
        let keep = self.settings.layers_to_keep.to_string();
        for container in containers {
            let _scope = scope::container(&container).entered();
            let arguments = [user.as_str(), REAP, container.as_str(), &keep];
            match self.launcher.run(REAP, &arguments, Path::new("/"), LONG) {
                Ok(finished) => warn_of_refusal(&finished, "remove a container"),
                Err(error) => {
                    warn!(target: "storm_oci.lifecycle", "cannot remove the container: {}", error.report());
                }
            }
        }
    }

    /// The cgroup of a worker's container, wherever that is known from.
    pub(crate) fn cgroup_of(&self, worker: &WorkerId) -> Option<CgroupPath> {
        let recorded = self.record_of(worker).map(|record| record.cgroup);
        recorded.or_else(|| self.cgroups_of(worker).into_iter().next())
    }

    /// A worker's record. One that cannot be read is as good as none: the cgroup tells.
    fn record_of(&self, worker: &WorkerId) -> Option<LaunchRecord> {
        let _scope = scope::worker(worker, None).entered();
        self.records.of_worker(worker).unwrap_or_else(|error| {
            warn!(target: "storm_oci.lifecycle", "{}", error.report());
            None
        })
    }

    /// The cgroups that are named after a worker.
    fn cgroups_of(&self, worker: &WorkerId) -> Vec<CgroupPath> {
        let parent = &self.settings.cgroup_parent;
        self.hierarchies
            .containers_of(parent, worker)
            .iter()
            .map(|container| CgroupPath::of(parent, container))
            .collect()
    }

    /// The first processes of containers that have a cgroup, but no record.
    fn unrecorded_inits(&self, worker: &WorkerId) -> Vec<u32> {
        let processes = self.cgroups_of(worker);
        processes
            .iter()
            .filter_map(|cgroup| self.processes(cgroup))
            .flatten()
            .filter(|pid| process::is_first_of_namespace(*pid))
            .collect()
    }

    /// The processes in a cgroup; `None` when that cannot be told.
    fn processes(&self, cgroup: &CgroupPath) -> Option<BTreeSet<u32>> {
        self.hierarchies
            .processes(cgroup)
            .inspect_err(|error| {
                warn!(target: "storm_oci.lifecycle", "{}", error.report());
            })
            .ok()
    }
}

/// The topology whose worker's artifacts these are: `workers-artifacts/<topology id>/<port>`.
fn topology_of(artifacts: &Path) -> Option<String> {
    artifacts.parent()?.file_name()?.to_str().map(str::to_owned)
}

fn warn_of_refusal(finished: &Finished, what: &str) {
    if let Some(refusal) = finished.refusal() {
        let code = finished.exit_code;
        warn!(target: "storm_oci.lifecycle", "cannot {what}: launcher ended with {code}: {}", refusal.report());
    }
}
