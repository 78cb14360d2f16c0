//! Ctrl-C and requests to end: what the tests have started ends before they do.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::container::{self, hierarchies};

/// Between two looks at what is left.
const LOOK: Duration = Duration::from_millis(10);

/// After so many looks that found nothing, nothing more comes: a launch that was under way shows
/// within much less.
const QUIET_LOOKS: u32 = 50;

/// From now on such a signal ends the tests as they would end by themselves, with nothing left.
pub(crate) fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).expect("handle signals");
        std::thread::spawn(move || {
            for signal in signals.forever() {
                end_all();
                let _ended = signal_hook::low_level::emulate_default_handler(signal);
            }
        });
    });
    // Once they end no test begins.
    drop(container::workers());
}

/// Ends all that this program's tests have started. Workers do not come or go meanwhile, nor ever
/// after.
fn end_all() {
    let workers = container::workers();
    let own = rustix::process::getpid();
    // What a killed launcher leaves would otherwise become another process's child.
    rustix::process::set_child_subreaper(Some(own)).expect("become a subreaper");
    let mut quiet = 0;
    while quiet < QUIET_LOOKS {
        let cgroups = cgroups(workers.iter());
        let mut processes = descendants(own.as_raw_nonzero().get());
        processes.extend(workers.iter().flat_map(|worker| container::named(worker)));
        processes.extend(cgroups.iter().flat_map(|cgroup| container::processes(cgroup)));
        processes.iter().copied().for_each(container::kill);
        for cgroup in &cgroups {
            let _busy = fs::remove_dir(cgroup);
        }
        let found = !(processes.is_empty() && cgroups.is_empty());
        quiet = if found { 0 } else { quiet + 1 };
        std::thread::sleep(LOOK);
    }
    for worker in workers.iter() {
        let _gone = fs::remove_dir_all(Path::new(container::RUNC_STATE).join(worker));
    }
    container::remove_parents();
    // It stays locked until the process has ended.
    std::mem::forget(workers);
}

/// The cgroups of containers, and those that tests have made and named after their process.
fn cgroups<'a>(workers: impl Iterator<Item = &'a String>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = workers.flat_map(|name| container::cgroups_of(name)).collect();
    let ending = format!("-{}", std::process::id());
    for entry in hierarchies().iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("soci-") && name.ends_with(&ending) {
            found.push(entry.path());
        }
    }
    found
}

/// The processes below this one, but for zombies: those wait for whoever started them.
fn descendants(of: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
        if let (Some(state), Some(Ok(parent))) = (fields.next(), fields.next().map(str::parse))
            && state != "Z"
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.remove(&of).unwrap_or_default();
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let more = children.remove(parent).unwrap_or_default();
        found.extend(more);
        next += 1;
    }
    found
}
