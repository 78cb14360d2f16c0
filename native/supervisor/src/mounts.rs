//! What of the host a worker sees, in Storm's order: read-only before read-write, parents before
//! children, the worker's temporary directory on `/tmp` last.

use storm_oci_request::{BindMount, HostPath};

use crate::config::{Settings, keys};
use crate::error::SupervisorError;
use crate::worker::Worker;

/// Files of the host that every worker gets, if the host has them.
const HOST_FILES: [&str; 3] = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

/// Where the worker's temporary directory is mounted.
const TMP: &str = "/tmp";

/// A mount and who wants it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PlannedMount {
    pub(crate) bind: BindMount,
    wanted_by: WantedBy,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum WantedBy {
    /// The operator, under this key.
    Operator(&'static str),
    /// Storm, for comfort: not every host has it, and a worker can do without.
    Storm,
    /// The worker: it cannot run without.
    Worker,
}

/// Every mount of a worker.
///
/// A mount that is there already is not repeated. Of two with the same destination the later one
/// counts, as it would cover the earlier one.
pub(crate) fn plan(settings: &Settings, worker: &Worker) -> Vec<PlannedMount> {
    let mut mounts = Plan::default();
    let readonly = WantedBy::Operator(keys::READONLY_BINDS);
    let readwrite = WantedBy::Operator(keys::READWRITE_BINDS);
    for path in &settings.readonly_binds {
        mounts.add_same(path, true, readonly);
    }
    for path in &settings.readwrite_binds {
        mounts.add_same(path, false, readwrite);
    }
    for path in HOST_FILES.iter().filter_map(|path| HostPath::parse(path).ok()) {
        mounts.add_same(&path, true, WantedBy::Storm);
    }
    mounts.add_same(&settings.nscd_dir, true, WantedBy::Storm);
    for path in [&worker.storm_home, &settings.cgroup_root, &settings.supervisor_local_dir] {
        mounts.add_same(path, true, WantedBy::Worker);
    }
    for path in
        [&worker.directory, &worker.artifacts_root, &worker.user_file, &worker.shared_by_topology]
    {
        mounts.add_same(path, false, WantedBy::Worker);
    }
    if let Ok(tmp) = HostPath::parse(TMP) {
        mounts.add(&worker.tmp, tmp, false, WantedBy::Worker);
    }
    mounts.0
}

#[derive(Default)]
struct Plan(Vec<PlannedMount>);

impl Plan {
    fn add_same(&mut self, path: &HostPath, read_only: bool, wanted_by: WantedBy) {
        self.add(path, path.clone(), read_only, wanted_by);
    }

    fn add(
        &mut self,
        source: &HostPath,
        destination: HostPath,
        read_only: bool,
        wanted_by: WantedBy,
    ) {
        let bind = BindMount { destination, source: source.clone(), read_only };
        if self.0.iter().any(|planned| planned.bind == bind) {
            return;
        }
        self.0.retain(|planned| planned.bind.destination != bind.destination);
        self.0.push(PlannedMount { bind, wanted_by });
    }
}

/// The mounts whose sources exist, and the sources that Storm could do without.
///
/// # Errors
///
/// [`SupervisorError::MountSource`] for a missing source that somebody relies on.
pub(crate) fn existing(
    planned: Vec<PlannedMount>,
    is_missing: impl Fn(&HostPath) -> bool,
) -> Result<(Vec<BindMount>, Vec<HostPath>), SupervisorError> {
    let mut mounts = Vec::with_capacity(planned.len());
    let mut skipped = Vec::new();
    for PlannedMount { bind, wanted_by } in planned {
        if !is_missing(&bind.source) {
            mounts.push(bind);
            continue;
        }
        let key = match wanted_by {
            WantedBy::Storm => {
                skipped.push(bind.source);
                continue;
            }
            WantedBy::Operator(key) => Some(key),
            WantedBy::Worker => None,
        };
        return Err(SupervisorError::MountSource { path: bind.source.to_string(), key });
    }
    Ok((mounts, skipped))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::tests::settings;
    use crate::request::tests::worker;

    fn destinations(mounts: &[PlannedMount]) -> Vec<&str> {
        mounts.iter().map(|planned| planned.bind.destination.as_str()).collect()
    }

    #[test]
    fn storms_order() {
        let settings = settings(json!({
            keys::READONLY_BINDS: ["/etc/krb5.conf"],
            keys::READWRITE_BINDS: ["/srv/shared"],
        }));
        let worker = worker();
        let planned = plan(&settings, &worker);
        assert_eq!(
            destinations(&planned),
            [
                "/etc/krb5.conf",
                "/srv/shared",
                "/etc/resolv.conf",
                "/etc/hostname",
                "/etc/hosts",
                "/var/run/nscd",
                "/home/y/lib64/storm",
                "/sys/fs/cgroup",
                "/home/y/var/storm/supervisor",
                worker.directory.as_str(),
                worker.artifacts_root.as_str(),
                worker.user_file.as_str(),
                worker.shared_by_topology.as_str(),
                "/tmp",
            ]
        );
        let writable: Vec<bool> = planned.iter().map(|each| !each.bind.read_only).collect();
        assert_eq!(
            writable,
            [
                false, true, false, false, false, false, false, false, false, true, true, true,
                true, true
            ]
        );
        assert_eq!(planned[13].bind.source, worker.tmp);
    }

    #[test]
    fn a_later_mount_takes_the_place_of_an_earlier_one() {
        let settings = settings(json!({
            keys::READONLY_BINDS: ["/home/y/lib64/storm"],
            keys::READWRITE_BINDS: ["/etc/hosts", "/tmp"],
        }));
        let planned = plan(&settings, &worker());
        let found = destinations(&planned);
        // The same mount twice stays where it was first.
        assert_eq!(found[0], "/home/y/lib64/storm");
        assert_eq!(found[1..4], ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"]);
        assert!(planned[3].bind.read_only);
        assert_eq!(found.iter().filter(|path| **path == "/tmp").count(), 1);
    }

    #[test]
    fn missing_sources_are_skipped_or_refused() {
        let settings = settings(json!({keys::READONLY_BINDS: ["/etc/krb5.conf"]}));
        let worker = worker();
        let missing = |path: &'static str| {
            existing(plan(&settings, &worker), move |source| source.as_str() == path)
        };
        let (mounts, skipped) = missing("/var/run/nscd").unwrap();
        assert_eq!(skipped, [HostPath::parse("/var/run/nscd").unwrap()]);
        assert_eq!(mounts.len(), 12);
        assert_eq!(
            missing("/etc/krb5.conf").unwrap_err().report(),
            "cannot mount `/etc/krb5.conf`: it does not exist, but \
             `storm.oci.readonly.bindmounts` names it"
        );
        assert_eq!(
            missing("/home/y/lib64/storm").unwrap_err().report(),
            "cannot mount `/home/y/lib64/storm`: it does not exist"
        );
    }
}
