//! A whole image's way to HDFS, beside the programs that Storm's script starts for as much.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use storm_oci_e2e::{Layout, image};
use storm_oci_test_stores::{Hdfs, HdfsSpec, Scratch};

use crate::measure;
use crate::statistics::{median, minimum};

/// How often the script starts `hadoop` for an image of three layers and a store that is not there
/// yet. What else it does comes on top.
const STARTS: f64 = 37.0;

/// How many times as fast as these starts alone.
const GOAL: f64 = 10.0;

/// Seconds of our command and of one start of Hadoop's, in turns.
pub(crate) struct Publish {
    ours: Vec<f64>,
    cpu: Vec<f64>,
    memory: u64,
    start: Vec<f64>,
}

/// Publishes the demo's image, of a base system, a JDK and a small layer, from an OCI layout to a
/// new store in each round.
pub(crate) fn measure(program: &Path, rounds: usize) -> Publish {
    let spec = HdfsSpec {
        // Hadoop's default; the testbed's is smaller.
        block_size: 128 << 20,
        jvm_options: vec!["-Xmx512m".to_owned()],
        ..HdfsSpec::default()
    };
    let hdfs = Hdfs::start(spec).unwrap_or_else(|error| panic!("{error}"));
    let scratch = Scratch::new("bench").unwrap();
    let layout = Layout { scratch: scratch.path().to_owned(), ..Layout::new("bench") };
    let image = image::build(&layout).unwrap();
    let place = scratch.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let mut publish = Publish { ours: vec![], cpu: vec![], memory: 0, start: vec![] };
    // The first round warms up.
    for round in 0..=rounds {
        let store = hdfs.url(&format!("/images-{round}"));
        let ours = measure::sample(&ours(program, &image, &store, &hdfs), &place, false);
        let start = measure::sample(&hadoop(&hdfs), &place, false);
        if round > 0 {
            publish.ours.push(ours.wall);
            publish.cpu.push(ours.cpu);
            publish.memory = publish.memory.max(ours.memory);
            publish.start.push(start.wall);
        }
    }
    publish
}

fn ours(program: &Path, image: &str, store: &str, hdfs: &Hdfs) -> Vec<String> {
    let script = "\"$0\" store init -q --replication 1 && \
                  \"$0\" image publish \"$1\" --tag bench:1 -q --replication 1 --working-dir .";
    let conf_dir = hdfs.client_conf();
    let environment = [("STORM_OCI_STORE", store), ("HADOOP_CONF_DIR", conf_dir.to_str().unwrap())];
    let environment = environment.map(|(name, value)| format!("{name}={value}"));
    let program = program.to_str().unwrap();
    let command = ["sh", "-c", script, program, image].map(str::to_owned);
    [&["env".to_owned()][..], &environment, &command].concat()
}

/// The least that a start of Hadoop's command can be: no shell before it, nothing to transfer.
fn hadoop(hdfs: &Hdfs) -> Vec<String> {
    let class_path = hdfs.class_path();
    ["java", "-cp", &class_path, "org.apache.hadoop.fs.FsShell", "-ls", "/"]
        .map(str::to_owned)
        .to_vec()
}

impl Publish {
    fn ratio(&self) -> f64 {
        let pairs = self.start.iter().zip(&self.ours);
        median(&pairs.map(|(start, ours)| STARTS * start / ours).collect::<Vec<_>>())
    }

    /// Prints its part of the table.
    pub(crate) fn print(&self) {
        println!("C3 image of 3 layers to HDFS, with a new store");
        println!(
            "   ours: {:.2} times as fast as {STARTS} starts of Hadoop's command, goal {GOAL}, {}",
            self.ratio(),
            if self.ratio() >= GOAL { "met" } else { "NOT MET" }
        );
        println!(
            "   ours: median {:.2} s  minimum {:.2} s  processor {:.2} s  memory {:.1} MiB",
            median(&self.ours),
            minimum(&self.ours),
            median(&self.cpu),
            self.memory as f64 / (1024.0 * 1024.0)
        );
        println!(
            "   one start of Hadoop's command: median {:.2} s  minimum {:.2} s  ({} rounds)",
            median(&self.start),
            minimum(&self.start),
            self.start.len()
        );
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "id": "C3",
            "ours_s": self.ours,
            "ours_processor_s": median(&self.cpu),
            "ours_memory_bytes": self.memory,
            "hadoop_start_s": self.start,
            "starts": STARTS,
            "ratio": self.ratio(),
            "goal": GOAL,
            "met": self.ratio() >= GOAL,
        })
    }
}

/// The command that is measured: `STORM_OCI_UNDER_TEST`.
pub(crate) fn program() -> PathBuf {
    let program = std::env::var_os("STORM_OCI_UNDER_TEST").map(PathBuf::from);
    let program =
        program.unwrap_or_else(|| panic!("cannot find the command: run `make bench-convert`"));
    program.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}
