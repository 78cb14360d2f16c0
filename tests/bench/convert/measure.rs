//! What a program and all that it starts use.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// The argument that makes this program run another and print what that used.
pub(crate) const ROLE: &str = "--measure";

/// One conversion.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Seconds until it ended.
    pub(crate) wall: f64,
    /// Seconds of all processors.
    pub(crate) cpu: f64,
    /// Bytes that the largest process had in memory.
    pub(crate) memory: u64,
    /// The most bytes on the disk at once, if it was watched.
    pub(crate) disk: u64,
    /// Bytes of the result.
    pub(crate) output: u64,
}

/// Runs a command and prints seconds, processor seconds and bytes of memory. A process of its own,
/// since only what it waited for is counted.
pub(crate) fn run(command: &[&str]) {
    let start = Instant::now();
    let (program, arguments) = command.split_first().unwrap();
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status().unwrap();
    let wall = start.elapsed().as_secs_f64();
    assert!(status.success(), "{command:?} failed");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let cpu =
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64;
    println!("{wall} {} {}", cpu / 1e6, usage.max_rss() * 1024);
}

/// Runs a command in a directory, and waits until what it wrote is on the disk.
pub(crate) fn sample(command: &[String], place: &Path, watch_disk: bool) -> Sample {
    let done = AtomicBool::new(false);
    let (output, disk) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while watch_disk && !done.load(Ordering::Relaxed) {
                most = most.max(disk_usage(place));
                thread::sleep(Duration::from_millis(50));
            }
            most
        });
        let mut measured = Command::new(std::env::current_exe().unwrap());
        measured.arg(ROLE).args(command).current_dir(place).stderr(Stdio::inherit());
        let output = measured.output();
        done.store(true, Ordering::Relaxed);
        (output.unwrap(), watch.join().unwrap())
    });
    assert!(output.status.success(), "{command:?} failed");
    // Or the next one would wait for this one's bytes.
    rustix::fs::sync();
    let text = String::from_utf8(output.stdout).unwrap();
    let [wall, cpu, memory] = text.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{text}");
    };
    Sample {
        wall: wall.parse().unwrap(),
        cpu: cpu.parse().unwrap(),
        memory: memory.parse().unwrap(),
        disk: disk.max(disk_usage(place)),
        output: 0,
    }
}

/// Bytes that a directory takes. What vanishes meanwhile is not counted.
fn disk_usage(place: &Path) -> u64 {
    let of_entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let metadata = entry.metadata().ok()?;
        let own = metadata.blocks() * 512;
        Some(if metadata.is_dir() { own + disk_usage(&entry.path()) } else { own })
    };
    fs::read_dir(place).map_or(0, |entries| entries.filter_map(of_entry).sum())
}
