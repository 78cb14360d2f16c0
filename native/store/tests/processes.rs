//! One cache, several processes.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{Fixture, TAG, Watch, names};

/// Large enough for several processes to meet while it is fetched.
const LARGE: u64 = 24 << 20;
/// One look at the size and one transfer.
const LARGE_OPENS: usize = 2;

/// A store with an image of one layer, which takes no space there.
fn large_image(size: u64) -> (Fixture, storm_oci_store::LayerDescriptor) {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"");
    File::create(fixture.layer_path(&layer.digest)).unwrap().set_len(size).unwrap();
    fixture.image(TAG, std::slice::from_ref(&layer));
    (fixture, layer)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Starts a process that keeps its leases until its standard input ends, and waits for them.
fn holder(fixture: &Fixture) -> Child {
    let mut child =
        fixture.command().arg("hold").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.take(2).count(), 2);
    child
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_and_processes_fetch_a_layer_once() {
    let (fixture, layer) = large_image(LARGE);
    let watch = Watch::on(&fixture.layer_path(&layer.digest));
    let store = std::sync::Arc::new(fixture.store());
    let children: Vec<_> =
        (0..2).map(|_| fixture.command().stdout(Stdio::piped()).spawn().unwrap()).collect();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (store, layer) = (std::sync::Arc::clone(&store), layer.clone());
            tokio::spawn(async move { store.localize_layer(&layer).await.unwrap().fetched })
        })
        .collect();
    let mut fetched = 0;
    for task in tasks {
        fetched += usize::from(task.await.unwrap());
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        fetched += String::from_utf8(output.stdout).unwrap().matches("fetched ").count();
    }
    assert_eq!((fetched, watch.uses().opens), (1, LARGE_OPENS));
    assert_eq!(names(&fixture.local().join("partial")), [""; 0]);
}

#[tokio::test]
async fn a_killed_fetch_leaves_nothing_and_is_made_up_for() {
    // A third of it takes long enough to be killed in.
    let (fixture, layer) = large_image(3 * LARGE);
    let mut child = fixture.command().stdout(Stdio::null()).spawn().unwrap();
    let partial = fixture.local().join(format!("partial/{}.sqsh", layer.digest.as_hex()));
    wait_until("nothing is fetched", || {
        fs::metadata(&partial).is_ok_and(|metadata| metadata.len() > 0)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(partial.exists(), "the fetch had ended before it was killed");
    let (path, record) = fixture.cached(&layer);
    assert!(!path.exists() && !record.exists());

    // The next supervisor sweeps, the next launch fetches.
    let store = fixture.store();
    assert_eq!(names(&fixture.local().join("partial")), [""; 0]);
    File::create(fixture.layer_path(&layer.digest)).unwrap().set_len(1 << 20).unwrap();
    let local = store.localize_layer(&layer).await.unwrap();
    assert_eq!((local.fetched, local.bytes), (true, 1 << 20));
}

#[tokio::test]
async fn a_sweep_leaves_a_living_fetch_alone() {
    let (fixture, layer) = large_image(LARGE);
    let child = fixture.command().stdout(Stdio::piped()).spawn().unwrap();
    let partial = fixture.local().join(format!("partial/{}.sqsh", layer.digest.as_hex()));
    wait_until("nothing is fetched", || partial.exists());
    drop(fixture.store());
    let output = child.wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(output.contains("fetched "), "{output}");
}

#[tokio::test]
async fn another_process_takes_over_a_killed_fetch() {
    let (fixture, layer) = large_image(3 * LARGE);
    let mut first = fixture.command().stdout(Stdio::null()).spawn().unwrap();
    let partial = fixture.local().join(format!("partial/{}.sqsh", layer.digest.as_hex()));
    wait_until("nothing is fetched", || partial.exists());
    let second = fixture.command().stdout(Stdio::piped()).spawn().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let output = second.wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(output.contains("fetched "), "{output}");
    assert_eq!(names(&fixture.local().join("partial")), [""; 0]);
}

#[tokio::test]
async fn a_lease_ends_with_its_process() {
    let (fixture, layer) = large_image(1 << 20);
    let mut child = holder(&fixture);
    let (path, record) = fixture.cached(&layer);
    let store = fixture.store();
    store.discard_layer(&layer.file()).unwrap();
    assert!(path.exists() && !record.exists(), "another process holds a lease");
    child.kill().unwrap();
    child.wait().unwrap();
    store.discard_layer(&layer.file()).unwrap();
    assert!(!path.exists());
}
