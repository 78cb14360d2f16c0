//! What a launch and a reap cost beside bare runc, and beside the original launcher where its
//! path is given, all in one run: these figures mean something only as differences and ratios.
//!
//! `make bench` runs it as root. It works on a host of its own, as the launcher's tests do: its
//! own root directory, accounts, configuration and setuid copy, in a private mount namespace.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a scene that cannot be set ends the bench; figures are printed"
)]

mod figures;
mod statistics;
mod subject;
#[path = "../../launcher/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use figures::{Figure, Goal, Samples};
use statistics::wanted;
use subject::{Runtime, Subject, timed, timed_all};
use support::Host;
use support::container::{Worker, mounts};
use support::image::Image;

/// Each container does nothing, for longer than any measurement.
const IDLE: &str = "exec sleep 1000";

/// What the original launcher mounts at most.
const ORIGINAL_LAYERS: usize = 44;

fn main() {
    let host = Host::new();
    subject::adopt_orphans();
    let original = std::env::var_os("ORIGINAL_LAUNCHER").map(PathBuf::from);
    let mut runtimes = vec![Runtime::Bare, Runtime::Ours];
    if let Some(program) = &original {
        subject::install_original(program);
        runtimes.push(Runtime::Original);
    }
    let rounds = number("BENCH_ROUNDS", 100);
    let mut figures = Vec::new();
    if wanted("P1") || wanted("P4") {
        warm_launch_and_reap(&host, &runtimes, rounds, &mut figures);
    }
    if wanted("P2") {
        first_launch(&host, &runtimes, rounds / 5, &mut figures);
    }
    if wanted("P3") {
        most_layers(&host, rounds / 10, &mut figures);
    }
    if wanted("P8") {
        at_once(&host, number("BENCH_AT_ONCE", 100), rounds / 10, &mut figures);
    }
    figures::print(&figures);
    if let Some(path) = std::env::var_os("BENCH_JSON") {
        figures::keep(&figures, Path::new(&path));
    }
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// An image with a shell and this many layers.
fn image(host: &Host, layers: usize) -> Image {
    (1..layers).fold(Image::busybox(host), |image, number| {
        image.with_layer(host, &format!("layer-{number}"), |root| {
            fs::write(root.join(format!("file-{number}")), "x").unwrap();
        })
    })
}

/// P1 and P4: the runtimes take turns, each with a container of its own, over the same layers.
fn warm_launch_and_reap(
    host: &Host,
    runtimes: &[Runtime],
    rounds: usize,
    figures: &mut Vec<Figure>,
) {
    let image = image(host, 7);
    let subjects: Vec<Subject<'_>> = runtimes
        .iter()
        .map(|runtime| Subject::new(host, *runtime, Worker::new(host, &image, IDLE)))
        .collect();
    let mut launches = Samples::new(runtimes);
    let mut reaps = Samples::new(runtimes);
    let mut phases = figures::Phases::default();
    for round in 0..rounds {
        // Whoever comes first one time comes last the next.
        for turn in 0..subjects.len() {
            let subject = &subjects[(round + turn) % subjects.len()];
            launches.add(subject.runtime, timed(subject.launch()));
            phases.add(subject.record().as_ref());
            subject.end();
            reaps.add(subject.runtime, timed(subject.reap()));
        }
    }
    let mut launch = Figure::new("P1", "warm launch, 7 layers", launches, Goal::Over(1.5));
    launch.phases = phases.medians();
    figures.push(launch);
    figures.push(Figure::new("P4", "reap a dead container", reaps, Goal::Over(1.0)));
}

/// P2: with 30 layers that nobody has mounted, and right after with the same layers mounted.
fn first_launch(host: &Host, runtimes: &[Runtime], rounds: usize, figures: &mut Vec<Figure>) {
    let image = image(host, 30);
    let mounting: Vec<Runtime> =
        runtimes.iter().copied().filter(|runtime| *runtime != Runtime::Bare).collect();
    for runtime in mounting {
        let subject = Subject::new(host, runtime, Worker::new(host, &image, IDLE));
        let mut samples = Samples::new(&[Runtime::Warm, runtime]);
        for _ in 0..rounds {
            for kind in [runtime, Runtime::Warm] {
                samples.add(kind, timed(subject.launch()));
                subject.end();
                subject.reap_keeping(if kind == runtime { 100 } else { 0 });
            }
        }
        let what = format!("first launch, 30 layers, {}", runtime.name());
        figures.push(Figure::new("P2", &what, samples, Goal::Over(8.0)));
    }
}

/// P3: Docker's own limit, and what the original reaches.
fn most_layers(host: &Host, rounds: usize, figures: &mut Vec<Figure>) {
    let image = image(host, 127);
    let subject = Subject::new(host, Runtime::Ours, Worker::new(host, &image, IDLE));
    let mut samples = Samples::new(&[Runtime::Warm, Runtime::Ours]);
    for _ in 0..rounds.max(3) {
        for kind in [Runtime::Ours, Runtime::Warm] {
            samples.add(kind, timed(subject.launch()));
            assert_eq!(mounts(host).len(), 127);
            subject.end();
            subject.reap_keeping(if kind == Runtime::Ours { 127 } else { 0 });
        }
    }
    let what = format!("first launch, 127 layers (the original: {ORIGINAL_LAYERS} at most)");
    figures.push(Figure::new("P3", &what, samples, Goal::Works));
}

/// P8: all at once, over the same layers.
fn at_once(host: &Host, count: usize, rounds: usize, figures: &mut Vec<Figure>) {
    let image = image(host, 7);
    let runtimes = [Runtime::Bare, Runtime::Ours];
    let crowds = runtimes.map(|runtime| -> Vec<Subject<'_>> {
        (0..count).map(|_| Subject::new(host, runtime, Worker::new(host, &image, IDLE))).collect()
    });
    let mut samples = Samples::new(&runtimes);
    for round in 0..rounds.max(4) {
        for turn in 0..2 {
            let crowd = &crowds[(round + turn) % 2];
            let runtime = runtimes[(round + turn) % 2];
            samples.add(runtime, timed_all(crowd.iter().map(Subject::launch).collect()));
            crowd.iter().for_each(Subject::end);
            timed_all(crowd.iter().map(Subject::reap).collect());
        }
    }
    let what = format!("{count} launches at once, shared layers");
    figures.push(Figure::new("P8", &what, samples, Goal::Ratio(1.05)));
}
