//! What watching workers costs: from a worker's end to Storm's exit callback, beside a look every
//! three seconds as Storm's own manager takes; reading memory usage from Java, beside Storm's own
//! reading of the same cgroup; and the processor time of a JVM with many idle workers, beside the
//! same JVM with none. All in one run.
//!
//! `make bench-life` runs it as root, on a node without a cluster.
#![allow(
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a scene that cannot be set ends the bench; figures are printed, from less than 2^52"
)]

#[path = "../statistics.rs"]
mod statistics;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use statistics::{kernel, median, minimum, processors, wanted};
use storm_oci_e2e::say::Steps;
use storm_oci_e2e::{Layout, Node, Slots, cgroups, files, interrupt, node, testbed};

/// Workers that note when they end, as the last thing they do.
const NOTES_ITS_END: &str = "notes-its-end-1-1700000000";
const EXIT_CODE: i64 = 7;
/// Workers that do nothing.
const IDLE: &str = "idle-2-1700000000";

/// Workers that end in one round; all of them wait for the same look.
const AT_ONCE: u16 = 8;

const EXIT_GOAL_MS: f64 = 10.0;
const USAGE_GOAL_US: f64 = 20.0;
const USAGE_CALLS: u32 = 100_000;

fn main() {
    testbed::as_root().unwrap();
    interrupt::listen().unwrap();
    let mut steps = Steps::new(node::STEPS + 1);
    let node = Node::create(Layout::new("bench-life"), &mut steps).unwrap();
    let mut slots = Slots::start(&node).unwrap();
    // The shell tells the time without a process of its own.
    // At any time between two looks.
    let sleep = "sleep $((RANDOM % 3 + 1)).$((RANDOM % 10))";
    let notes = format!("{sleep}; echo $EPOCHREALTIME > tmp/ended; exit {EXIT_CODE}");
    slots.localize(NOTES_ITS_END, node::IMAGE, &notes).unwrap();
    slots.localize(IDLE, node::IMAGE, "exec sleep 100000").unwrap();
    steps.begin("figures");
    println!("{}, {} processors", kernel(), processors());
    let mut figures = Vec::new();
    if wanted("P7") {
        figures.push(ends(&node, &mut slots, number("BENCH_ROUNDS", 10)));
    }
    if wanted("P9") {
        figures.push(usage(&node, &mut slots));
    }
    if wanted("IDLE") {
        figures.push(idle(&mut slots, number("BENCH_IDLE_SECONDS", 60)));
    }
    if let Some(path) = std::env::var_os("BENCH_JSON") {
        let all = json!({"kernel": kernel(), "processors": processors(), "figures": figures});
        let path = Path::new(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{all:#}\n")).unwrap();
    }
    drop(slots);
    node.remove().unwrap();
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn met(value: f64, goal: f64) -> &'static str {
    if value <= goal { "met" } else { "NOT MET" }
}

/// P7. The init's end, the monitor's record and the library's thread are all in it.
fn ends(node: &Node, slots: &mut Slots, rounds: u64) -> Value {
    let (mut ours, mut polled) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let ports = node::FIRST_PORT..node::FIRST_PORT + AT_ONCE;
        let mut started = Vec::new();
        for port in ports {
            let worker = slots.ask(&format!("launch {port} {NOTES_ITS_END}")).unwrap();
            let [pid]: [i64; 1] = slots.ask_numbers(&format!("pid {port}")).unwrap();
            slots.ask(&format!("poll {port}")).unwrap();
            started.push((port, worker, pid));
        }
        for (port, worker, pid) in started {
            let [code, told] = slots.ask_numbers(&format!("await-exit {port}")).unwrap();
            assert_eq!(code, EXIT_CODE, "of {worker}");
            let note = node.layout.workers().join(worker).join("tmp/ended");
            // Seconds with six decimals.
            let ended: i64 = files::read(&note).unwrap().trim().replace('.', "").parse().unwrap();
            let [seen] = slots.ask_numbers(&format!("await-polled {port} {pid}")).unwrap();
            ours.push((told - ended) as f64 / 1000.0);
            polled.push((seen - ended) as f64 / 1000.0);
            slots.ask(&format!("await-death {port}")).unwrap();
            slots.ask(&format!("clean-up {port}")).unwrap();
        }
    }
    let (told, seen) = (median(&ours), median(&polled));
    println!(
        "P7 a worker's end known in Java, with its code: median {told:.2} ms, minimum {:.2} ms, goal {EXIT_GOAL_MS} ms, {}\n   \
         a look every 3 s: median {seen:.0} ms, {:.0} times as long ({} ends)",
        minimum(&ours),
        met(told, EXIT_GOAL_MS),
        seen / told,
        ours.len()
    );
    json!({"id": "P7", "median_ms": told, "minimum_ms": minimum(&ours), "ends": ours.len(),
           "polled_median_ms": seen, "goal_ms": EXIT_GOAL_MS, "met": told <= EXIT_GOAL_MS})
}

/// P9.
fn usage(node: &Node, slots: &mut Slots) -> Value {
    let port = node::FIRST_PORT;
    let worker = slots.ask(&format!("launch {port} {IDLE}")).unwrap();
    let cgroup = format!("{}/{port}-{worker}", node.layout.cgroup_parent());
    let directories = cgroups::directories(&cgroup).unwrap();
    let file = directories
        .iter()
        .flat_map(|directory| {
            ["memory.usage_in_bytes", "memory.current"].map(|name| directory.join(name))
        })
        .find(|file| file.exists())
        .unwrap();
    let [ours, stock]: [i64; 2] =
        slots.ask_numbers(&format!("memory-cost {port} {} {USAGE_CALLS}", file.display())).unwrap();
    end(slots, port);
    let (ours, stock) = (ours as f64 / 1000.0, stock as f64 / 1000.0);
    println!(
        "P9 memory usage of one worker in Java: median {ours:.2} us, goal {USAGE_GOAL_US} us, {}\n   \
         Storm's own reading of {}, without inactive pages: median {stock:.2} us, {:.1} times as long ({USAGE_CALLS} calls)",
        met(ours, USAGE_GOAL_US),
        file.file_name().unwrap().display(),
        stock / ours
    );
    json!({"id": "P9", "median_us": ours, "stock_median_us": stock, "calls": USAGE_CALLS,
           "goal_us": USAGE_GOAL_US, "met": ours <= USAGE_GOAL_US})
}

/// Without workers, with one in each slot, and without again.
fn idle(slots: &mut Slots, seconds: u64) -> Value {
    let ports = node::FIRST_PORT..node::FIRST_PORT + node::SLOTS;
    let before = processor_time(slots, seconds);
    for port in ports.clone() {
        slots.ask(&format!("launch {port} {IDLE}")).unwrap();
    }
    let with = processor_time(slots, seconds);
    for port in ports {
        end(slots, port);
    }
    let after = processor_time(slots, seconds);
    println!(
        "processor time of the JVM in {seconds} s: {before:.1} ms with no worker, {with:.1} ms with {}, {after:.1} ms with none again",
        node::SLOTS
    );
    json!({"id": "IDLE", "seconds": seconds, "workers": node::SLOTS, "none_before_ms": before,
           "with_workers_ms": with, "none_after_ms": after})
}

fn end(slots: &mut Slots, port: u16) {
    slots.ask(&format!("force-kill {port}")).unwrap();
    slots.ask(&format!("await-death {port}")).unwrap();
    slots.ask(&format!("clean-up {port}")).unwrap();
}

/// What all threads of the JVM take of the processors, in milliseconds. One that ends meanwhile
/// takes its own with it, so threads of launches have to end first.
fn processor_time(slots: &Slots, seconds: u64) -> f64 {
    let tasks = Path::new("/proc").join(slots.pid().to_string()).join("task");
    let nanos = || -> f64 {
        let threads = files::list(&tasks).unwrap();
        let times = threads.iter().filter_map(|thread| {
            files::read(&thread.join("schedstat")).ok()?.split(' ').next()?.parse::<f64>().ok()
        });
        times.sum()
    };
    std::thread::sleep(SETTLED);
    let before = nanos();
    std::thread::sleep(Duration::from_secs(seconds));
    (nanos() - before) / 1e6
}

/// Java keeps the threads that waited for processes for a minute.
const SETTLED: Duration = Duration::from_secs(65);
