//! Medians, minima, differences and ratios of what was measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::statistics::{kernel, median, minimum, processors};
use crate::subject::Runtime;

/// What performance is wanted, against the first runtime of a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At most so many milliseconds more.
    Over(f64),
    /// At most so many times as long.
    Ratio(f64),
    /// That it works at all.
    Works,
}

/// Milliseconds of several runtimes, measured in turns.
pub(crate) struct Samples(Vec<(Runtime, Vec<f64>)>);

impl Samples {
    /// None yet. The others are compared with the first.
    pub(crate) fn new(runtimes: &[Runtime]) -> Self {
        Self(runtimes.iter().map(|runtime| (*runtime, Vec::new())).collect())
    }

    /// One more measurement.
    pub(crate) fn add(&mut self, runtime: Runtime, millis: f64) {
        let found = self.0.iter_mut().find(|(known, _)| *known == runtime);
        found.unwrap().1.push(millis);
    }
}

/// The steps of our launches, as their records tell them.
#[derive(Default)]
pub(crate) struct Phases(Vec<(String, Vec<f64>)>);

impl Phases {
    /// Adds the steps of one launch.
    pub(crate) fn add(&mut self, record: Option<&Value>) {
        for phase in record.and_then(|record| record["phases"].as_array()).into_iter().flatten() {
            let name = phase["name"].as_str().unwrap();
            let micros = phase["micros"].as_f64().unwrap();
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(micros),
                None => self.0.push((name.to_owned(), vec![micros])),
            }
        }
    }

    /// The median of each step, in microseconds and in their order.
    pub(crate) fn medians(&self) -> Vec<(String, f64)> {
        self.0.iter().map(|(name, values)| (name.clone(), median(values))).collect()
    }
}

/// One line of the table.
pub(crate) struct Figure {
    id: &'static str,
    what: String,
    samples: Samples,
    goal: Goal,
    /// Medians of the launch's own steps, in microseconds.
    pub(crate) phases: Vec<(String, f64)>,
}

impl Figure {
    /// What was measured, and what is wanted.
    pub(crate) fn new(id: &'static str, what: &str, samples: Samples, goal: Goal) -> Self {
        Self { id, what: what.to_owned(), samples, goal, phases: Vec::new() }
    }

    fn to_json(&self) -> Value {
        let mut runtimes = BTreeMap::new();
        for (runtime, values) in &self.samples.0 {
            let compared = json!({
                "median_ms": median(values),
                "minimum_ms": minimum(values),
                "median_of_differences_ms": median(&self.differences(values)),
                "ratio": self.ratio(values),
                "rounds": values.len(),
            });
            runtimes.insert(runtime.name(), compared);
        }
        json!({"id": self.id, "what": self.what, "runtimes": runtimes, "phases_us": self.phases,
               "goal": self.goal(), "met": self.met()})
    }

    fn base(&self) -> &[f64] {
        &self.samples.0[0].1
    }

    /// Round by round, so that what slows the whole host down for a while counts little.
    fn differences(&self, values: &[f64]) -> Vec<f64> {
        values.iter().zip(self.base()).map(|(value, base)| value - base).collect()
    }

    fn ratio(&self, values: &[f64]) -> f64 {
        let ratios = values.iter().zip(self.base()).map(|(value, base)| value / base);
        median(&ratios.collect::<Vec<f64>>())
    }

    fn goal(&self) -> String {
        let base = self.samples.0[0].0.name();
        match self.goal {
            Goal::Over(millis) => format!("{base} + {millis} ms"),
            Goal::Ratio(ratio) => format!("{ratio} x {base}"),
            Goal::Works => "works".to_owned(),
        }
    }

    fn met(&self) -> bool {
        let ours = &self.samples.0[1].1;
        match self.goal {
            Goal::Over(millis) => median(&self.differences(ours)) <= millis,
            Goal::Ratio(ratio) => self.ratio(ours) <= ratio,
            Goal::Works => !ours.is_empty(),
        }
    }
}

/// Prints the table.
pub(crate) fn print(figures: &[Figure]) {
    println!("{}, {} processors", kernel(), processors());
    println!("milliseconds; differences and ratios are medians of rounds\n");
    for figure in figures {
        let met = if figure.met() { "met" } else { "NOT MET" };
        println!("{} {}: goal {}, {met}", figure.id, figure.what, figure.goal());
        for (runtime, values) in &figure.samples.0 {
            println!(
                "   {:<10} median {:8.2}  minimum {:8.2}  difference {:+7.2}  ratio {:.3}  ({} rounds)",
                runtime.name(),
                median(values),
                minimum(values),
                median(&figure.differences(values)),
                figure.ratio(values),
                values.len()
            );
        }
        let steps: Vec<String> =
            figure.phases.iter().map(|(name, micros)| format!("{name} {micros:.0}")).collect();
        if !steps.is_empty() {
            println!("   steps in us: {}", steps.join(", "));
        }
    }
}

/// Writes the figures to a file.
pub(crate) fn keep(figures: &[Figure], path: &Path) {
    let figures: Vec<Value> = figures.iter().map(Figure::to_json).collect();
    let all = json!({"kernel": kernel(), "processors": processors(), "figures": figures});
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{all:#}\n")).unwrap();
}
