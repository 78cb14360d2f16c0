//! Rounds of lives on eight slots of one JVM: what is there before is what is there after.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use storm_oci_e2e::{
    E2eError, Layout, Node, Slots, cgroups, files, interrupt, mountinfo, node, process, say,
};

use crate::lives::{ENDS, ENDS_WITH, GOES_ON, localize};

const SLOTS: u32 = 8;

/// Until classes are loaded, pools are full, files are open that stay so, and each thread's part of
/// the memory is as large as it gets.
const WARM_UP_ROUNDS: u32 = 150;

/// Java ends idle threads of its own after a minute.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// Between two lines of progress.
const ROUNDS_A_LINE: u32 = 50;

/// What is counted: none of it may be more after than before.
type Counts = BTreeMap<&'static str, usize>;

/// Runs the rounds and compares.
pub(crate) fn check(node: &Node, rounds: u32) -> Result<(), E2eError> {
    let mut slots = Slots::start(node)?;
    localize(&mut slots)?;
    run(&mut slots, WARM_UP_ROUNDS.min(rounds))?;
    // Monitors end a moment after their containers.
    let alone = || Ok((processes(node)?.len() == 1).then_some(()));
    if interrupt::poll(SETTLE_LIMIT, alone)?.is_none() {
        return Err(E2eError::Left(format!("processes: {:?}", processes(node)?)));
    }
    let (counts, memory) = (count(node, &slots)?, Memory::of(&mut slots)?);
    let artifacts = artifacts(&node.layout)?;
    let began = Instant::now();
    run(&mut slots, rounds)?;
    let seconds = began.elapsed().as_secs_f64();
    let memory_after = Memory::of(&mut slots)?;
    let mut counts_after = counts.clone();
    let settled = interrupt::poll(SETTLE_LIMIT, || {
        counts_after = count(node, &slots)?;
        let more = counts_after.iter().any(|(what, count)| counts.get(what) < Some(count));
        Ok((!more).then_some(()))
    })?;
    let launches = rounds * SLOTS;
    say::fact("rounds, slots", format!("{rounds}, {SLOTS}: {launches} lives in {seconds:.0} s"));
    for (what, before) in &counts {
        let after = counts_after.get(what).copied().unwrap_or_default();
        say::fact(what, format!("{before} before, {after} after"));
    }
    memory.tell(&memory_after, launches);
    let made = self::artifacts(&node.layout)?.saturating_sub(artifacts);
    say::fact("files in artifacts", format!("{made} more: what each worker leaves for people"));
    if settled.is_none() {
        return Err(E2eError::Left(format!("{counts_after:?} instead of {counts:?}")));
    }
    // Fewer rounds show what is counted, not what is weighed.
    if rounds < WARM_UP_ROUNDS { Ok(()) } else { memory.check(&memory_after, launches) }
}

fn run(slots: &mut Slots, rounds: u32) -> Result<(), E2eError> {
    let (mut left, port) = (rounds, node::FIRST_PORT);
    while left > 0 {
        let some = left.min(ROUNDS_A_LINE);
        let done =
            slots.ask(&format!("rounds {some} {port} {SLOTS} {GOES_ON} {ENDS} {ENDS_WITH}"))?;
        let memory = Memory::of(slots)?;
        let (heap, anonymous) = (memory.heap >> 10, memory.anonymous >> 10);
        say::line(format!("... {done} rounds; Java heap {heap} KiB, anonymous {anonymous} KiB"));
        left -= some;
    }
    Ok(())
}

fn count(node: &Node, slots: &Slots) -> Result<Counts, E2eError> {
    let layout = &node.layout;
    let own = Path::new("/proc").join(slots.pid().to_string());
    let ours =
        |path: &Path| path.starts_with(&layout.run_root) || path.starts_with(&layout.scratch);
    let mut cgroups = 0;
    for directory in cgroups::directories(&layout.cgroup_parent())? {
        cgroups += entries(&directory, true)?;
    }
    let mut loop_devices = 0;
    for device in files::list(Path::new("/sys/block"))? {
        // A device that is not in use has no such file.
        let file = files::read(&device.join("loop/backing_file")).unwrap_or_default();
        loop_devices += usize::from(ours(Path::new(file.trim())));
    }
    Ok(Counts::from([
        ("file descriptors", files::list(&own.join("fd"))?.len()),
        ("threads", files::list(&own.join("task"))?.len()),
        ("mounts", mountinfo::of("self")?.iter().filter(|mount| ours(&mount.target)).count()),
        ("loop devices", loop_devices),
        ("cgroups", cgroups),
        ("entries of run root", entries(&layout.run_root, false)?),
        ("entries of workers", entries(&layout.workers(), false)?),
        ("entries of users", entries(&layout.scratch("local/workers-users"), false)?),
        ("processes", processes(node)?.len()),
    ]))
}

fn processes(node: &Node) -> Result<Vec<(u32, String)>, E2eError> {
    process::of_users(&[node.daemon.uid, node.user.uid])
}

/// What is below a directory, mounts not followed.
fn entries(directory: &Path, directories_only: bool) -> Result<usize, E2eError> {
    let mut found = 0;
    for entry in files::list(directory)? {
        let is_directory = entry.is_dir() && !entry.is_symlink();
        found += usize::from(is_directory || !directories_only);
        if is_directory && entry.file_name() != Some("mnt".as_ref()) {
            found += entries(&entry, directories_only)?;
        }
    }
    Ok(found)
}

fn artifacts(layout: &Layout) -> Result<usize, E2eError> {
    entries(&layout.scratch("logs/workers-artifacts"), false)
}

/// What the JVM holds, in bytes.
#[derive(Debug)]
struct Memory {
    /// Java objects, after collections.
    heap: i64,
    /// All that is not in files; the heap in it has its whole size from the start.
    anonymous: i64,
}

/// What each launch may add: little beside the smallest thing that could be forgotten for each.
const BYTES_A_LAUNCH: i64 = 256;
/// What may come at any time: compiled code, arenas of another thread.
const BYTES_ONCE: i64 = 2 << 20;

impl Memory {
    fn of(slots: &mut Slots) -> Result<Self, E2eError> {
        let [heap] = slots.ask_numbers("collect")?;
        let status = process::Status::read(slots.pid())?;
        let kib = status.field("RssAnon").split(' ').next().and_then(|kib| kib.parse::<i64>().ok());
        Ok(Self { heap, anonymous: kib.unwrap_or_default() << 10 })
    }

    fn tell(&self, after: &Self, launches: u32) {
        for (what, before, after) in [
            ("Java heap", self.heap, after.heap),
            ("anonymous memory", self.anonymous, after.anonymous),
        ] {
            say::fact(
                what,
                format!(
                    "{} KiB before, {} KiB after: {} bytes a launch",
                    before >> 10,
                    after >> 10,
                    (after - before) / i64::from(launches.max(1))
                ),
            );
        }
    }

    fn check(&self, after: &Self, launches: u32) -> Result<(), E2eError> {
        let limit = BYTES_ONCE + BYTES_A_LAUNCH * i64::from(launches);
        let (heap, anonymous) = (after.heap - self.heap, after.anonymous - self.anonymous);
        if heap <= limit && anonymous <= limit {
            return Ok(());
        }
        Err(E2eError::unconfirmed(
            format!("memory grows by no more than {limit} bytes in {launches} launches"),
            format!("heap {heap}, anonymous memory {anonymous}"),
        ))
    }
}
