//! Where a run keeps what it makes.
//!
//! ```text
//! /var/lib/storm-oci-demo/       removed at the end; root's, as is all above it: the launcher
//!   prefix/                      insists on that for its configuration
//!   conf/                        worker-launcher.cfg
//!   storm/                       storm.home
//!   local/                       storm.local.dir
//!   logs/                        storm.log.dir
//!   zookeeper/
//!   images/                      the image store, in Storm's layout
//!   layers/                      storm.oci.resources.local.dir
//! /run/storm-oci-demo/           the launcher's run root
//! /var/cache/storm-oci/          kept: Storm's jars, layers of the image
//! <repository>/target/<name>-logs/   kept: the logs of the last run
//! ```
//!
//! The demo and the tests use the same places, one after the other: the launcher has its
//! configuration's directory compiled in, and one build serves both.

use std::env;
use std::path::{Path, PathBuf};

/// The directories and names of one run.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The root of this repository.
    pub repository: PathBuf,
    /// Everything that is removed at the end.
    pub scratch: PathBuf,
    /// The launcher's run root.
    pub run_root: PathBuf,
    /// What later runs use again.
    pub cache: PathBuf,
    /// Logs that survive.
    pub logs: PathBuf,
}

impl Layout {
    /// The layout of a run whose logs are kept under `name`. `STORM_OCI_CACHE` overrides the cache's place.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let repository = repository.canonicalize().unwrap_or(repository);
        let cache = env::var_os("STORM_OCI_CACHE")
            .map_or_else(|| "/var/cache/storm-oci".into(), PathBuf::from);
        Self {
            scratch: "/var/lib/storm-oci-demo".into(),
            run_root: "/run/storm-oci-demo".into(),
            cache,
            logs: repository.join("target").join(format!("{name}-logs")),
            repository,
        }
    }

    /// A path below the scratch directory.
    #[must_use]
    pub fn scratch(&self, below: &str) -> PathBuf {
        self.scratch.join(below)
    }

    /// Where `make install` puts programs and libraries.
    #[must_use]
    pub fn prefix(&self) -> PathBuf {
        self.scratch("prefix")
    }

    /// The installed launcher.
    #[must_use]
    pub fn launcher(&self) -> PathBuf {
        self.scratch("prefix/bin/worker-launcher")
    }

    /// The installed init of containers.
    #[must_use]
    pub fn init(&self) -> PathBuf {
        self.prefix().join("lib/storm-oci/storm-oci-init")
    }

    /// The installed profiler script.
    #[must_use]
    pub fn profiler(&self) -> PathBuf {
        self.prefix().join("lib/storm-oci/worker-profiler.sh")
    }

    /// The launcher's configuration.
    #[must_use]
    pub fn launcher_conf(&self) -> PathBuf {
        self.scratch("conf/worker-launcher.cfg")
    }

    /// The directory of the worker directories.
    #[must_use]
    pub fn workers(&self) -> PathBuf {
        self.scratch("local/workers")
    }

    /// The supervisor's log.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.scratch("logs/supervisor.log")
    }

    /// The cgroup all containers of this run are below.
    #[must_use]
    pub fn cgroup_parent(&self) -> String {
        "/storm-oci-demo".to_owned()
    }

    /// The cgroup of the processes that wait for the ends of containers.
    #[must_use]
    pub fn monitors_cgroup(&self) -> String {
        format!("{}/monitors", self.cgroup_parent())
    }

    /// The account of the daemons, and its group, the launcher's.
    #[must_use]
    pub fn daemon_account(&self) -> String {
        "soci-demo".to_owned()
    }

    /// The account that submits topologies and that workers run as.
    #[must_use]
    pub fn topology_account(&self) -> String {
        "soci-demo-user".to_owned()
    }

    /// An account of another user of the cluster.
    #[must_use]
    pub fn other_account(&self) -> String {
        "soci-demo-other".to_owned()
    }

    /// The accounts that workers run as.
    #[must_use]
    pub fn topology_accounts(&self) -> [String; 2] {
        [self.topology_account(), self.other_account()]
    }

    /// Where a file of `storm.log.dir` is found once the run is over.
    #[must_use]
    pub fn kept(&self, log: &str) -> PathBuf {
        self.logs.join("storm").join(log)
    }

    /// The log of one step, in the place that survives.
    #[must_use]
    pub fn log(&self, step: &str) -> PathBuf {
        self.logs.join(format!("{step}.log"))
    }
}
