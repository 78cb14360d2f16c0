//! The storm.yaml of a run.

use serde_json::{Value, json};

use crate::Layout;
use crate::testbed::IMAGE;

/// Where the daemons listen.
#[derive(Clone, Debug)]
pub struct Ports {
    /// ZooKeeper's clients.
    pub zookeeper: u16,
    /// Nimbus.
    pub nimbus: u16,
    /// The supervisor, for its workers.
    pub supervisor: u16,
    /// One a worker.
    pub slots: Vec<u16>,
}

/// What differs between the demo and the tests.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `storm.oci.image`.
    pub image: String,
    /// `storm.oci.allowed.images` of the supervisor.
    pub allowed_images: Vec<String>,
    /// `storm.oci.readonly.bindmounts`.
    pub readonly_mounts: Vec<String>,
    /// Whether containers get the seccomp profile of `conf/`.
    pub seccomp: bool,
    /// How long a worker may take to send its first heartbeat, in seconds.
    pub worker_start_seconds: u32,
    /// Where images come from.
    pub images: Images,
    /// `storm.oci.init`.
    pub init: bool,
    /// Whether workers run in containers; else as plain processes, as Storm does by default.
    pub contained: bool,
    /// Whom Nimbus takes every client for.
    pub submitter: String,
    /// How many workers the supervisor has room for.
    pub slots: u16,
    /// Keys that count instead of the ones below.
    pub more: Vec<(&'static str, Value)>,
}

impl Settings {
    /// The demo's image for every topology, and all that this project has switched on.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            image: IMAGE.to_owned(),
            allowed_images: vec![IMAGE.to_owned()],
            readonly_mounts: Vec::new(),
            seccomp: true,
            worker_start_seconds: 60,
            images: Images::in_directory(layout),
            init: true,
            contained: true,
            submitter: layout.topology_account(),
            slots: 11,
            more: Vec::new(),
        }
    }
}

/// An image store, and the supervisor's copies of what it took from there.
#[derive(Clone, Debug)]
pub struct Images {
    /// `storm.oci.image.hdfs.toplevel.dir`; the tag map is in it.
    pub top_level: String,
    /// `storm.oci.resources.local.dir`, below the scratch directory.
    pub local_dir: &'static str,
}

impl Images {
    /// The store in the scratch directory.
    #[must_use]
    pub fn in_directory(layout: &Layout) -> Self {
        let top_level = format!("file://{}", layout.scratch("images").display());
        Self { top_level, local_dir: "layers" }
    }
}

/// What `storm.worker.cgroup.cpu.limit` is set to, in percent of a core. Storm's scheduler would
/// give a word count less than half a core, too little for a JVM to start in time.
pub const CPU_PERCENT: u32 = 200;

/// `storm.oci.pids.limit`.
pub const PIDS: u32 = 4096;

/// What workers report of their cgroups: names of Storm's, each with the class of this project that
/// does it.
#[must_use]
pub fn worker_metrics() -> [(&'static str, String); 6] {
    [
        "CGroupCpu",
        "CGroupCpuGuarantee",
        "CGroupCpuGuaranteeByCfsQuota",
        "CGroupCpuStat",
        "CGroupMemoryLimit",
        "CGroupMemoryUsage",
    ]
    .map(|class| (class, format!("org.apache.storm.oci.metrics.{class}")))
}

/// Prints the gauges of cgroups to each worker's output, which Storm turns into lines of its log.
fn reporter() -> Value {
    json!({
        "class": "org.apache.storm.metrics2.reporters.ConsoleStormReporter",
        "report.period": 5,
        "report.period.units": "SECONDS",
        "filter": {
            "class": "org.apache.storm.metrics2.filters.RegexFilter",
            "expression": ".*-CGroup.*",
        },
    })
}

/// The whole configuration; the keys of the isolation plugin are explained in
/// `conf/storm.yaml.example`.
#[must_use]
pub fn storm_yaml(layout: &Layout, ports: &Ports, settings: &Settings) -> Value {
    let path = |below: &str| layout.scratch(below).display().to_string();
    let mut conf = json!({
        "storm.zookeeper.servers": ["localhost"],
        "storm.zookeeper.port": ports.zookeeper,
        "dev.zookeeper.path": path("zookeeper/data"),
        "nimbus.seeds": ["localhost"],
        "nimbus.thrift.port": ports.nimbus,
        // Assign at once; the default looks every 10 s.
        "nimbus.monitor.freq.secs": 2,
        "storm.local.hostname": "localhost",
        "storm.local.dir": path("local"),
        "storm.log.dir": path("logs"),
        "storm.metricstore.rocksdb.location": path("local/metrics"),
        "debug.simple.transport.user": settings.submitter,

        "supervisor.thrift.port": ports.supervisor,
        "supervisor.slots.ports": ports.slots,
        "supervisor.memory.capacity.mb": 16384.0,
        "supervisor.cpu.capacity": 3200.0,
        "supervisor.run.worker.as.user": true,
        "supervisor.worker.launcher": layout.launcher().display().to_string(),
        "supervisor.worker.start.timeout.secs": settings.worker_start_seconds,
        "supervisor.worker.timeout.secs": 30,
        // The default looks for changed blobs every 30 s.
        "supervisor.localizer.update.blob.interval.secs": 2,
        "storm.worker.cgroup.cpu.limit": CPU_PERCENT,
        "storm.cgroup.memory.enforcement.enable": true,
    });
    if let (Some(conf), Value::Object(own)) = (conf.as_object_mut(), own_keys(layout, settings)) {
        conf.extend(own);
        let more = settings.more.iter();
        conf.extend(more.map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
    conf
}

/// What this project adds.
fn own_keys(layout: &Layout, settings: &Settings) -> Value {
    let path = |below: &str| layout.scratch(below).display().to_string();
    let store = &settings.images.top_level;
    let mut conf = json!({
        "storm.resource.isolation.plugin.enable": settings.contained,
        "storm.resource.isolation.plugin":
            "org.apache.storm.container.oci.NativeRuncLibContainerManager",
        "storm.oci.native.library": path("prefix/lib/storm-oci/libstorm_oci.so"),
        "storm.oci.init": settings.init,
        "storm.oci.image": settings.image,
        "storm.oci.allowed.images": settings.allowed_images,
        "storm.oci.cgroup.root": "/sys/fs/cgroup",
        "storm.oci.cgroup.parent": layout.cgroup_parent(),
        "storm.oci.nscd.dir": "/var/run/nscd",
        "storm.oci.readonly.bindmounts": settings.readonly_mounts,
        "storm.oci.readwrite.bindmounts": [],
        "storm.oci.image.hdfs.toplevel.dir": store,
        "storm.oci.image.tag.to.manifest.plugin":
            "org.apache.storm.container.oci.LocalOrHdfsImageTagToManifestPlugin",
        "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file":
            format!("{store}/image-tag-to-hash"),
        "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.cache.refresh.interval.secs": 1,
        "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.num.manifests.to.cache": 10,
        "storm.oci.manifest.to.resources.plugin":
            "org.apache.storm.container.oci.HdfsManifestToResourcesPlugin",
        "storm.oci.resources.localizer":
            "org.apache.storm.container.oci.HdfsOciResourcesLocalizer",
        "storm.oci.resources.local.dir": path(settings.images.local_dir),
        "storm.oci.layer.mounts.to.keep": 100,
        "storm.oci.pids.limit": PIDS,
    });
    if let Some(keys) = conf.as_object_mut() {
        keys.insert("worker.metrics".to_owned(), worker_metrics().into_iter().collect());
        keys.insert("topology.metrics.reporters".to_owned(), json!([reporter()]));
    }
    if settings.seccomp
        && let Some(keys) = conf.as_object_mut()
    {
        keys.insert("storm.oci.seccomp.profile".to_owned(), json!(path("seccomp.json")));
    }
    conf
}
