//! What was measured, as a table and as JSON.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::layers::Layer;
use crate::measure::Sample;
use crate::publish::Publish;
use crate::statistics::{kernel, median, minimum, processors};
use crate::way::{self, Way};

const MB: f64 = 1e6;
const MIB: f64 = 1024.0 * 1024.0;

/// How many times faster than the script's way.
const OF_SCRIPT: f64 = 7.0;
/// How many times faster than the fastest other that compresses as much.
const OF_EQUAL: f64 = 2.5;
/// Bytes of memory, the tree included.
const MEMORY: f64 = 32.0;

/// All ways to convert one layer.
pub(crate) struct Race {
    layer: Layer,
    disk: Vec<(Way, u64)>,
    samples: Vec<(Way, Sample)>,
}

impl Race {
    /// Nothing measured yet.
    pub(crate) fn new(layer: Layer) -> Self {
        way::note_digest(&layer.blob);
        Self { layer, disk: Vec::new(), samples: Vec::new() }
    }

    pub(crate) fn blob(&self) -> &Path {
        &self.layer.blob
    }

    /// A run whose disk was watched, which takes time.
    pub(crate) fn warm_up(&mut self, way: Way, sample: Sample) {
        self.disk.push((way, sample.disk));
    }

    /// One more measurement.
    pub(crate) fn add(&mut self, way: Way, sample: Sample) {
        self.samples.push((way, sample));
    }

    fn all(&self, way: Way, part: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let samples = self.samples.iter().filter(|(known, _)| *known == way);
        samples.map(|(_, sample)| part(sample)).collect()
    }

    fn wall(&self, way: Way) -> Vec<f64> {
        self.all(way, |sample| sample.wall)
    }

    fn most_disk(&self, way: Way) -> f64 {
        self.disk.iter().find(|(known, _)| *known == way).map_or(0.0, |(_, disk)| *disk as f64)
    }

    /// How many times as fast as another way ours is, round by round.
    fn times(&self, other: Way) -> f64 {
        self.ratio(other, |sample| sample.wall)
    }

    fn ratio(&self, other: Way, part: impl Fn(&Sample) -> f64) -> f64 {
        let pairs = self.all(other, &part).into_iter().zip(self.all(Way::Ours, &part));
        median(&pairs.map(|(other, ours)| other / ours).collect::<Vec<_>>())
    }

    /// Each goal: what it is of, the value, the goal, and whether it is met.
    fn goals(&self) -> Vec<(String, f64, f64, bool)> {
        let equal = Way::EQUAL.map(|way| (way, self.times(way)));
        let (fastest, times) =
            equal.into_iter().min_by(|one, other| one.1.total_cmp(&other.1)).unwrap();
        let script = self.times(Way::Script);
        let memory = self.most_memory(Way::Ours) / MIB;
        let output = median(&self.all(Way::Ours, |sample| sample.output as f64));
        let disk = self.most_disk(Way::Ours) / output;
        vec![
            (
                format!("times as fast as {}", Way::Script.name()),
                script,
                OF_SCRIPT,
                script >= OF_SCRIPT,
            ),
            (format!("times as fast as {}", fastest.name()), times, OF_EQUAL, times >= OF_EQUAL),
            ("MiB of memory".to_owned(), memory, MEMORY, memory <= MEMORY),
            // Blocks of the disk are larger than the file's last one.
            ("times the output on the disk".to_owned(), disk, 1.01, disk <= 1.01),
        ]
    }

    fn most_memory(&self, way: Way) -> f64 {
        self.all(way, |sample| sample.memory as f64).into_iter().fold(0.0, f64::max)
    }

    /// Prints its part of the table.
    pub(crate) fn print(&self) {
        let blob = fs::metadata(self.blob()).unwrap().len() as f64 / MB;
        println!("{} {} layer, {blob:.1} MB of tar.gz", self.layer.id, self.layer.name);
        for (what, value, goal, is_met) in self.goals() {
            println!(
                "   ours: {value:.2} {what}, goal {goal}, {}",
                if is_met { "met" } else { "NOT MET" }
            );
        }
        // What else runs on the host changes this less than the time.
        for way in Way::ALL.into_iter().filter(|way| *way != Way::Ours) {
            let ratio = self.ratio(way, |sample| sample.cpu);
            println!("   {}: {ratio:.2} times our processor time", way.name());
        }
        for way in Way::ALL {
            let wall = self.wall(way);
            println!(
                "   {:<24} median {:6.2} s  minimum {:6.2} s  processor {:6.2} s  memory {:5.1} MiB  disk {:5.1} MB  output {:5.2} MB  ({} rounds)",
                way.name(),
                median(&wall),
                minimum(&wall),
                median(&self.all(way, |sample| sample.cpu)),
                self.most_memory(way) / MIB,
                self.most_disk(way) / MB,
                median(&self.all(way, |sample| sample.output as f64)) / MB,
                wall.len()
            );
        }
    }

    fn to_json(&self) -> Value {
        let ways = Way::ALL.map(|way| {
            json!({
                "way": way.name(),
                "samples_s": self.wall(way),
                "median_s": median(&self.wall(way)),
                "processor_s": median(&self.all(way, |sample| sample.cpu)),
                "memory_bytes": self.most_memory(way),
                "disk_bytes": self.most_disk(way),
                "output_bytes": median(&self.all(way, |sample| sample.output as f64)),
            })
        });
        let goals = self.goals().into_iter().map(|(what, value, goal, is_met)| {
            json!({"what": what, "value": value, "goal": goal, "met": is_met})
        });
        json!({"id": self.layer.id, "layer": self.layer.name, "ways": ways, "goals": goals.collect::<Vec<_>>()})
    }
}

/// Prints what the figures have in common.
pub(crate) fn print_host() {
    println!("{}, {} processors", kernel(), processors());
    println!("ratios are medians of rounds; memory is the largest process'\n");
}

/// Writes the figures to a file.
pub(crate) fn keep(races: &[Race], publish: Option<&Publish>, path: &Path) {
    let races: Vec<Value> = races.iter().map(Race::to_json).collect();
    let publish = publish.map(Publish::to_json);
    let all =
        json!({"kernel": kernel(), "processors": processors(), "races": races, "publish": publish});
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{all:#}\n")).unwrap();
}
