//! What it costs to make a squashfs file of a layer: with our library, as Storm's script does it,
//! and with the tools that take an archive; and to bring a whole image to HDFS. All in one run on
//! the same layers: these figures mean something only as ratios.
//!
//! `make bench-convert` runs it. The layers are the demo's; archives of them are kept beside those.
//! All else is in the temporary directory, which should be on the disk that is meant.
#![allow(
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a scene that cannot be set ends the bench; figures are printed, from less than 2^52 bytes"
)]

mod figures;
mod layers;
mod measure;
mod publish;
#[path = "../statistics.rs"]
mod statistics;
mod way;

use std::path::Path;

use figures::Race;
use layers::Layer;
use publish::Publish;
use statistics::wanted;
use way::Way;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [way::ROLE, blob, file] => return way::convert(Path::new(blob), Path::new(file)),
        [measure::ROLE, ref command @ ..] => return measure::run(command),
        _ => {}
    }
    let rounds = std::env::var("BENCH_ROUNDS").map_or(3, |text| text.parse().unwrap());
    figures::print_host();
    let races: Vec<Race> = layers::all().into_iter().map(|layer| race(layer, rounds)).collect();
    let publish = wanted("C3").then(|| publish::measure(&publish::program(), rounds));
    publish.iter().for_each(Publish::print);
    if let Some(path) = std::env::var_os("BENCH_JSON") {
        figures::keep(&races, publish.as_ref(), Path::new(&path));
    }
}

/// All ways in turns, so that what slows the whole host down for a while counts little. The first
/// round warms up, and tells what each needs of the disk.
fn race(layer: Layer, rounds: usize) -> Race {
    let mut race = Race::new(layer);
    for way in Way::ALL {
        race.warm_up(way, way.run(race.blob(), true));
    }
    for _ in 0..rounds {
        for way in Way::ALL {
            race.add(way, way.run(race.blob(), false));
        }
    }
    race.print();
    race
}
