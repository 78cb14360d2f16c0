//! What was measured, as a table and as JSON.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::contender::Way;
use crate::statistics::{kernel, median, minimum, processors};
use crate::usage::{self, Cpu};

/// Who used processors while one way got its layers.
pub(crate) const USERS: [&str; 3] = ["client", "datanode", "namenode"];

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Until all layers were there.
    pub(crate) millis: f64,
    /// Of each of [`USERS`].
    pub(crate) cpu: [Cpu; 3],
}

/// At most so many times as long as another way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) against: Way,
    pub(crate) ratio: f64,
}

/// The ways to get one image, measured in turns.
pub(crate) struct Race {
    id: &'static str,
    what: String,
    bytes: u64,
    goals: Vec<Goal>,
    samples: Vec<(Way, Vec<Sample>)>,
    /// The host's when the last sample was taken.
    load: f64,
}

impl Race {
    /// Nothing measured yet.
    pub(crate) fn new(
        id: &'static str,
        what: &str,
        bytes: u64,
        ways: &[Way],
        goals: &[Goal],
    ) -> Self {
        let samples = ways.iter().map(|way| (*way, Vec::new())).collect();
        Self { id, what: what.to_owned(), bytes, goals: goals.to_vec(), samples, load: f64::NAN }
    }

    /// Whom it compares.
    pub(crate) fn ways(&self) -> Vec<Way> {
        self.samples.iter().map(|(way, _)| *way).collect()
    }

    /// One more measurement.
    pub(crate) fn add(&mut self, way: Way, sample: Sample) {
        let found = self.samples.iter_mut().find(|(known, _)| *known == way);
        found.unwrap().1.push(sample);
        self.load = usage::load();
    }

    fn millis(&self, way: Way) -> Vec<f64> {
        let found = self.samples.iter().find(|(known, _)| *known == way);
        found.unwrap().1.iter().map(|sample| sample.millis).collect()
    }

    /// Round by round, so that what slows the whole host down for a while counts little.
    fn ratio(&self, way: Way, against: Way) -> f64 {
        let pairs = self.millis(way).into_iter().zip(self.millis(against));
        median(&pairs.map(|(one, other)| one / other).collect::<Vec<_>>())
    }

    fn is_met(&self, goal: Goal) -> bool {
        self.ratio(Way::Ours, goal.against) <= goal.ratio
    }

    /// Prints its part of the table.
    pub(crate) fn print(&self) {
        println!("{} {}  (load {:.1} at the end)", self.id, self.what, self.load);
        for goal in &self.goals {
            println!(
                "   goal: ours at most {:.2} x {}: {:.2}, {}",
                goal.ratio,
                goal.against.name(),
                self.ratio(Way::Ours, goal.against),
                if self.is_met(*goal) { "met" } else { "NOT MET" }
            );
        }
        for (way, samples) in &self.samples {
            let millis = self.millis(*way);
            let rate = self.bytes as f64 / median(&millis) / 1e3;
            let cpu = |user| seconds(samples, user, Cpu::total);
            println!(
                "   {:<13} median {:8.1}  minimum {:8.1}  {:5.0} MB/s  processor s: {:.2} ({:.2} in the kernel) + {:.2} + {:.2}  ({} rounds)",
                way.name(),
                median(&millis),
                minimum(&millis),
                rate,
                cpu(0),
                seconds(samples, 0, |cpu| cpu.system),
                cpu(1),
                cpu(2),
                samples.len()
            );
        }
    }

    fn to_json(&self) -> Value {
        let ways = self.samples.iter().map(|(way, samples)| {
            let millis = self.millis(*way);
            json!({
                "way": way.name(),
                "median_ms": median(&millis),
                "minimum_ms": minimum(&millis),
                "samples_ms": millis,
                "processor_s": (0..USERS.len())
                    .map(|user| (USERS[user].to_owned(), seconds(samples, user, Cpu::total).into()))
                    .collect::<serde_json::Map<String, Value>>(),
                "client_kernel_s": seconds(samples, 0, |cpu| cpu.system),
            })
        });
        let goals = self.goals.iter().map(|goal| {
            json!({
                "against": goal.against.name(),
                "at_most": goal.ratio,
                "ratio": self.ratio(Way::Ours, goal.against),
                "met": self.is_met(*goal),
            })
        });
        json!({"id": self.id, "what": self.what, "bytes": self.bytes, "load": self.load,
               "ways": ways.collect::<Vec<_>>(), "goals": goals.collect::<Vec<_>>()})
    }
}

fn seconds(samples: &[Sample], user: usize, part: impl Fn(Cpu) -> f64) -> f64 {
    median(&samples.iter().map(|sample| part(sample.cpu[user])).collect::<Vec<_>>())
}

/// One value with a limit.
pub(crate) struct Limit {
    pub(crate) id: &'static str,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) at_most: f64,
    pub(crate) unit: &'static str,
}

impl Limit {
    /// Prints its line of the table.
    pub(crate) fn print(&self) {
        let met = if self.value <= self.at_most { "met" } else { "NOT MET" };
        println!(
            "{} {}: {:.2} {unit}, goal at most {} {unit}, {met}",
            self.id,
            self.what,
            self.value,
            self.at_most,
            unit = self.unit
        );
    }

    fn to_json(&self) -> Value {
        json!({"id": self.id, "what": self.what, "value": self.value, "unit": self.unit,
               "at_most": self.at_most, "met": self.value <= self.at_most})
    }
}

/// Prints what the figures have in common.
pub(crate) fn print_host() {
    println!("{}, {} processors, load {:.1}", kernel(), processors(), usage::load());
    println!("milliseconds; ratios are medians of rounds; processor s: {}\n", USERS.join(" + "));
}

/// Writes the figures to a file.
pub(crate) fn keep(races: &[Race], limits: &[Limit], path: &Path) {
    let races: Vec<Value> = races.iter().map(Race::to_json).collect();
    let limits: Vec<Value> = limits.iter().map(Limit::to_json).collect();
    let all = json!({"kernel": kernel(), "processors": processors(), "races": races,
                     "limits": limits});
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{all:#}\n")).unwrap();
}
