//! What it costs to get an image's layers from HDFS: with our library, which hashes and
//! synchronizes them, beside Hadoop's Java client as Storm uses it, and beside a plain copy of
//! local files, all in one run: these figures mean something only as ratios.
//!
//! `make bench-store` runs it. The cluster, the data and all copies are in the temporary
//! directory, which should be on the disk that is meant.
#![allow(
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a scene that cannot be set ends the bench; figures are printed, from less than 2^52 bytes"
)]

mod client;
mod contender;
mod dataset;
mod figures;
mod scene;
#[path = "../statistics.rs"]
mod statistics;
mod usage;

use std::path::Path;

use contender::Way;
use dataset::Layers;
use figures::{Goal, Limit, Race};
use scene::{Network, Scene};
use statistics::wanted;

/// A real image's layers differ as much. A thousand million bytes together.
const SEVEN: [u64; 7] =
    [400_000_000, 240_000_000, 160_000_000, 100_000_000, 60_000_000, 30_000_000, 10_000_000];

/// More than an image may have: two images.
const SMALL: [u64; 200] = [250_000; 200];

/// All figures.
const FIGURES: [&str; 6] = ["S1", "S2", "S3", "S4", "S5", "S6"];

/// What makes a client's memory what it is when it has nothing to do.
const TINY: [u64; 1] = [4096];

/// Slots that need the same image at once.
const SLOTS: usize = 16;

const MIB: f64 = 1024.0 * 1024.0;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(client::ROLE) {
        return client::serve(arguments);
    }
    if !FIGURES.into_iter().any(wanted) {
        return;
    }
    let rounds = number("BENCH_ROUNDS", 10);
    let mut scene = Scene::new();
    let tiny = scene.layers("tiny", &TINY);
    let seven = scene.layers("seven", &SEVEN);
    let small = scene.layers("small", &SMALL);
    scene.publish();
    figures::print_host();
    let mut races = Vec::new();
    let mut limits = Vec::new();
    let bare = [Way::Copy, Way::Hadoop, Way::HadoopSynced, Way::Ours, Way::OursLocal];
    // Four fifths of the copy's speed.
    let as_fast = [(Way::Hadoop, 1.0), (Way::Copy, 1.25)];
    let a_third = [(Way::Hadoop, 1.0 / 3.0)];
    if wanted("S1") || wanted("S2") || wanted("S5") {
        let mut clients = scene.clients(Network::Loopback);
        let idle = clients.idle(&scene, &tiny);
        for (id, what, layers) in
            [("S1", "7 layers, loopback", &seven), ("S2", "200 small layers, loopback", &small)]
        {
            if wanted(id) {
                let mut race = race(id, what, layers, &bare, &as_fast);
                scene.run(&mut clients, layers, rounds, &mut race);
                race.print();
                races.push(race);
            }
        }
        let peak = clients.peak();
        limits.push(above_idle("memory above idle, HDFS", peak[0], idle[0]));
        limits.push(above_idle("memory above idle, a directory", peak[1], idle[1]));
    }
    if wanted("S3") || wanted("S4") || wanted("S6") {
        let mut clients = scene.clients(Network::Slow);
        let idle = clients.idle(&scene, &tiny);
        let ways = [Way::Hadoop, Way::Ours];
        for (id, what, layers) in [
            ("S3", "7 layers, 50 MB/s and 10 ms a connection", &seven),
            ("S4", "200 small layers, 50 MB/s and 10 ms a connection", &small),
        ] {
            if wanted(id) {
                let mut race = race(id, what, layers, &ways, &a_third);
                scene.run(&mut clients, layers, rounds.div_ceil(3), &mut race);
                race.print();
                races.push(race);
            }
        }
        if wanted("S6") {
            let downloads = scene.downloads(&mut clients, &seven, SLOTS);
            limits.push(Limit {
                id: "S6",
                what: format!("bytes from the datanode for {SLOTS} slots and one image"),
                value: downloads,
                // Checksums are 4 bytes in 512, and packets have headers.
                at_most: 1.02,
                unit: "x its size",
            });
        }
        limits.push(above_idle("memory above idle, slow network", clients.peak()[0], idle[0]));
    }
    limits.iter().for_each(Limit::print);
    if let Some(path) = std::env::var_os("BENCH_JSON") {
        figures::keep(&races, &limits, Path::new(&path));
    }
}

fn race(id: &'static str, what: &str, layers: &Layers, ways: &[Way], goals: &[(Way, f64)]) -> Race {
    let goals: Vec<Goal> =
        goals.iter().map(|(against, ratio)| Goal { against: *against, ratio: *ratio }).collect();
    Race::new(id, what, layers.size(), ways, &goals)
}
fn above_idle(what: &str, peak: u64, idle: u64) -> Limit {
    let value = peak.saturating_sub(idle) as f64 / MIB;
    Limit { id: "S5", what: what.to_owned(), value, at_most: 64.0, unit: "MiB" }
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}
