//! Processes that are killed at any point of a fetch.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use super::Images;

const MIB: usize = 1 << 20;
const LAYERS: [usize; 3] = [12 * MIB, 3 * MIB, 70_000];
/// How often a fetch is killed, unless `STORM_OCI_KILLS` says.
const KILLS: u32 = 10;
/// What is done after the last byte has come: digests, the disk, names, records.
const AFTER_THE_LAST_BYTE: Duration = Duration::from_millis(200);

#[expect(clippy::print_stderr, reason = "how many were killed is what a long run is for")]
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_killed_at_any_point_is_made_up_for() {
    let kills = std::env::var("STORM_OCI_KILLS").map_or(KILLS, |count| count.parse().unwrap());
    let images = Images::new(&LAYERS);
    let (mut killed, mut started) = (0, 0);
    while killed < kills {
        // One to three in a row, so that what a killed one left is met by one that is killed, too.
        for _ in 0..=killed % 3 {
            // Spread evenly, in an order that looks like chance and is the same each time.
            let point = (f64::from(started) * 0.618_033_988_75).fract();
            started += 1;
            killed += u32::from(killed_at(&images, point));
        }
        assert!(started < 10 * kills, "{killed} of {started} were killed in a fetch");
        let status = images.process().stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "after {killed} kills");
        images.expect_fetched();
        fs::remove_dir_all(images.fixture.local()).unwrap();
    }
    eprintln!("{killed} fetches were killed, {} had ended before", started - killed);
}

/// Starts a fetch and kills it at a point between its start, 0, and its end, 1; tells whether it
/// had not ended by itself.
fn killed_at(images: &Images, point: f64) -> bool {
    let before = images.hdfs.received();
    let mut child = images.process().stdout(Stdio::null()).spawn().unwrap();
    let is_running = |child: &mut Child| child.try_wait().unwrap().is_none();
    // The last tenth of the points is for what comes after the last byte.
    let all: usize = LAYERS.iter().sum();
    let share = (point / 0.9).min(1.0) * f64::from(u32::try_from(all).unwrap());
    while f64::from(u32::try_from(images.hdfs.received() - before).unwrap()) < share {
        if !is_running(&mut child) {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(AFTER_THE_LAST_BYTE.mul_f64(((point - 0.9) / 0.1).max(0.0)));
    let killed = is_running(&mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    killed
}
