//! One cluster, one data set, and who gets it from there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use storm_oci_test_stores::{Hdfs, HdfsSpec, Scratch, Throttle};

use crate::contender::{Client, Way, compile_java, copy, synchronize};
use crate::dataset::Layers;
use crate::figures::{Race, Sample};
use crate::usage;

/// What each connection to a datanode of a busy cluster gets.
const BUSY: Throttle =
    Throttle { bytes_per_second: 50_000_000, round_trip: Duration::from_millis(10) };

/// Hadoop's default; the testbed's is smaller.
const BLOCK_SIZE: u64 = 128 << 20;

/// How clients reach the datanode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Network {
    /// At the address that the namenode sees.
    Loopback,
    /// Under the name that the datanode gives, which is its proxy's.
    Slow,
}

/// The cluster and the data.
pub(crate) struct Scene {
    hdfs: Hdfs,
    classes: PathBuf,
    scratch: Scratch,
}

impl Scene {
    /// Starts the cluster.
    pub(crate) fn new() -> Self {
        let hdfs = Hdfs::start(HdfsSpec {
            network: Some(BUSY),
            block_size: BLOCK_SIZE,
            jvm_options: vec!["-Xmx512m".to_owned()],
            ..HdfsSpec::default()
        });
        let hdfs = hdfs.unwrap_or_else(|error| panic!("{error}"));
        let scratch = Scratch::new("bench").unwrap();
        let classes = compile_java(&hdfs.class_path(), scratch.path());
        Self { hdfs, classes, scratch }
    }

    fn local(&self) -> PathBuf {
        self.scratch.path().join("stores")
    }

    /// Writes a store with such layers, for now on this host only.
    pub(crate) fn layers(&self, store: &'static str, sizes: &[u64]) -> Layers {
        Layers::write(&self.local(), store, sizes)
    }

    /// Copies all stores into HDFS.
    pub(crate) fn publish(&self) {
        self.hdfs.put(&self.local(), "/").unwrap_or_else(|error| panic!("{error}"));
        rustix::fs::sync();
    }

    /// Starts both clients.
    pub(crate) fn clients(&self, network: Network) -> Clients {
        let named = format!("dfs.client.use.datanode.hostname={}", network == Network::Slow);
        Clients {
            hadoop: Client::hadoop(&self.hdfs.class_path(), &self.classes, &[&named]),
            ours: Client::ours(&self.hdfs.client_conf(), &[&named]),
            local: Client::ours(&self.hdfs.client_conf(), &[]),
        }
    }

    /// Lets the ways take turns, each with an empty directory.
    pub(crate) fn run(
        &mut self,
        clients: &mut Clients,
        layers: &Layers,
        rounds: usize,
        race: &mut Race,
    ) {
        let ways = race.ways();
        for round in 0..rounds {
            // Whoever comes first one time comes last the next.
            for turn in 0..ways.len() {
                let way = ways[(round + turn) % ways.len()];
                // Measured together with the copy that it completes.
                if way != Way::HadoopSynced {
                    self.measure(clients, layers, way, round == 0, race);
                }
            }
        }
    }

    fn measure(
        &mut self,
        clients: &mut Clients,
        layers: &Layers,
        way: Way,
        thoroughly: bool,
        race: &mut Race,
    ) {
        let into = Destination::new(self.scratch.path());
        let users = self.users(clients, way);
        let before = users.map(usage::cpu);
        let millis = self.fetch(clients, layers, way, into.path());
        let after = users.map(usage::cpu);
        let cpu = std::array::from_fn(|user| after[user].since(before[user]));
        race.add(way, Sample { millis, cpu });
        if way == Way::Hadoop && race.ways().contains(&Way::HadoopSynced) {
            let synced = millis + synchronize(layers, into.path());
            race.add(Way::HadoopSynced, Sample { millis: synced, cpu });
        }
        layers.check(&into.layers(way), thoroughly);
    }

    /// The processes whose processor time counts, in the order of [`crate::figures::USERS`].
    fn users(&mut self, clients: &Clients, way: Way) -> [u32; 3] {
        let client = match way {
            Way::Copy => std::process::id(),
            Way::Hadoop | Way::HadoopSynced => clients.hadoop.pid(),
            Way::Ours => clients.ours.pid(),
            Way::OursLocal => clients.local.pid(),
        };
        [client, self.hdfs.datanode(0).pid().unwrap(), self.hdfs.namenode(0).pid().unwrap()]
    }

    fn fetch(&self, clients: &mut Clients, layers: &Layers, way: Way, into: &Path) -> f64 {
        let local = self.local().join(layers.store);
        let into_text = into.display();
        match way {
            Way::Copy => copy(layers, &local.join("layers"), into),
            Way::Hadoop | Way::HadoopSynced => {
                clients.hadoop.ask(&format!("{}/layers {into_text}", self.top(layers)))
            }
            Way::Ours => clients.ours.ask(&request(&self.top(layers), layers, into, 1)),
            Way::OursLocal => {
                clients.local.ask(&request(&local.display().to_string(), layers, into, 1))
            }
        }
    }

    fn top(&self, layers: &Layers) -> String {
        self.hdfs.url(&format!("/stores/{}", layers.store))
    }

    /// How many times an image's size comes from the datanode's proxy when so many slots need it.
    pub(crate) fn downloads(&self, clients: &mut Clients, layers: &Layers, slots: usize) -> f64 {
        let into = Destination::new(self.scratch.path());
        let before = self.hdfs.received();
        clients.ours.ask(&request(&self.top(layers), layers, into.path(), slots));
        let received = self.hdfs.received() - before;
        layers.check(&into.layers(Way::Ours), true);
        received as f64 / layers.size() as f64
    }
}

/// As [`crate::client::serve`] wants it.
fn request(store: &str, layers: &Layers, into: &Path, slots: usize) -> String {
    format!("{store} {} {} {slots}", layers.tags.join(","), into.display())
}

/// The clients of one network.
pub(crate) struct Clients {
    hadoop: Client,
    ours: Client,
    /// Ours again, for files of this host: what it uses is told apart.
    local: Client,
}

impl Clients {
    /// The memory that our two clients have when they have connected and fetched something, in
    /// bytes. All clients have loaded their code then.
    pub(crate) fn idle(&mut self, scene: &Scene, tiny: &Layers) -> [u64; 2] {
        for way in [Way::Hadoop, Way::Ours, Way::OursLocal] {
            scene.fetch(self, tiny, way, Destination::new(scene.scratch.path()).path());
        }
        self.both().map(|pid| {
            usage::forget_peak(pid);
            usage::resident(pid)
        })
    }

    /// The most memory that they have had since, in bytes.
    pub(crate) fn peak(&self) -> [u64; 2] {
        self.both().map(usage::peak)
    }

    fn both(&self) -> [u32; 2] {
        [self.ours.pid(), self.local.pid()]
    }
}

/// An empty directory for one measurement. What comes after starts with nothing left to write.
struct Destination(PathBuf);

impl Destination {
    fn new(parent: &Path) -> Self {
        let path = parent.join("copies");
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Where a way puts the layers.
    fn layers(&self, way: Way) -> PathBuf {
        match way {
            Way::Ours | Way::OursLocal => self.0.join("layers"),
            Way::Copy | Way::Hadoop | Way::HadoopSynced => self.0.clone(),
        }
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
        let parent = File::open(self.0.parent().unwrap()).unwrap();
        rustix::fs::syncfs(parent).unwrap();
    }
}
