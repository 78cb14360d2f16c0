//! What a launcher left: files, mounts, a container's configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::scene::{GROUPS, OWNERS};
use crate::support::container::Worker;
use crate::support::tree::symbolic;
use crate::support::{Host, SCRATCH};

/// Directories of a host that a scenario may change.
const WATCHED: [&str; 2] = ["storm", "home"];

/// Mode, owner and group of every entry, by its path below the harness's tmpfs.
pub(crate) fn tree() -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    for top in WATCHED {
        add(&Path::new(SCRATCH).join(top), &mut entries);
    }
    entries
}

fn add(path: &Path, entries: &mut BTreeMap<String, String>) {
    let stat = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let name = |names: &[(&str, u32)], id: u32| {
        let known = names.iter().find(|(_, one)| *one == id);
        known.map_or_else(|| id.to_string(), |(name, _)| (*name).to_owned())
    };
    let line = format!(
        "{} {} {}",
        symbolic(stat.mode()),
        name(&OWNERS, stat.uid()),
        name(&GROUPS, stat.gid())
    );
    let below = path.strip_prefix(SCRATCH).unwrap().to_str().unwrap();
    entries.insert(below.to_owned(), line);
    if stat.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            add(&entry.unwrap().path(), entries);
        }
    }
}

/// What each changed entry is now.
pub(crate) fn changes(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Value {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    let now = |path| after.get(path).map_or("gone", String::as_str);
    Value::Object(changed.map(|path| (path.clone(), json!(now(path)))).collect())
}

/// The pid in the worker's pid file.
pub(crate) fn first_process(worker: &Worker) -> Option<u32> {
    let path = worker.artifacts.join(format!("container-{}.pid", worker.id));
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Rights and type of every mount that a container sees: of those over one another the topmost.
/// Left out is what depends on the host's kernel: what runc masks below `/proc` and `/sys`. Of the
/// cgroup hierarchies there is one entry.
pub(crate) fn mounts(worker: &Worker) -> Value {
    let Some(pid) = first_process(worker) else { return json!({}) };
    let mut mounts = Map::new();
    let mut hierarchies = BTreeSet::new();
    for (point, rights, kind) in table(&format!("/proc/{pid}/mountinfo")) {
        if let Some(hierarchy) = point.strip_prefix("/sys/fs/cgroup") {
            // The host's own restrictions of these differ from host to host.
            let access = rights.split(',').next().unwrap_or_default().to_owned();
            if hierarchy.is_empty() {
                hierarchies.clear();
                mounts.insert(point, json!(access));
            } else {
                hierarchies.insert(access);
            }
        } else if !point.starts_with("/proc/") && !point.starts_with("/sys/") {
            let bound = point.starts_with(SCRATCH) || point == "/tmp";
            let kind = if bound { "bind" } else { &kind };
            mounts.insert(point, json!(format!("{rights} {kind}")));
        }
    }
    if !hierarchies.is_empty() {
        let all: Vec<String> = hierarchies.into_iter().collect();
        mounts.insert("/sys/fs/cgroup/*".to_owned(), json!(all.join(" | ")));
    }
    Value::Object(mounts)
}

/// Rights and type of the mounts below the run root in the host's namespace.
pub(crate) fn host_mounts(host: &Host, worker: &Worker) -> Value {
    let root = host.run_root();
    let mounts = table("/proc/thread-self/mountinfo").into_iter().filter_map(|mount| {
        let (point, rights, kind) = mount;
        let below = Path::new(&point).strip_prefix(&root).ok()?.to_str()?.to_owned();
        let parts: Vec<&str> = below.split('/').collect();
        let place = match parts.as_slice() {
            ["layers", _, rest @ ..] => format!("layers/*/{}", rest.join("/")),
            [first, rest @ ..] if *first == worker.container => {
                format!("{{container}}/{}", rest.join("/"))
            }
            _ => below,
        };
        Some((place, json!(format!("{rights} {kind}"))))
    });
    Value::Object(mounts.collect())
}

/// Mount point, rights and file system type of each line.
fn table(path: &str) -> Vec<(String, String, String)> {
    const RIGHTS: [&str; 5] = ["ro", "rw", "nosuid", "nodev", "noexec"];
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let separator = words.iter().position(|word| *word == "-").unwrap();
        let rights: Vec<&str> = words[5].split(',').filter(|one| RIGHTS.contains(one)).collect();
        (words[4].to_owned(), rights.join(","), words[separator + 1].to_owned())
    });
    lines.collect()
}

/// The `config.json` in the worker's directory. Limits are the caller's and so the host's.
pub(crate) fn config(worker: &Worker) -> Value {
    let Ok(bytes) = fs::read(worker.directory.join("config.json")) else { return json!({}) };
    let mut config: Value = serde_json::from_slice(&bytes).unwrap();
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    if config["hostname"] == own.trim() {
        config["hostname"] = json!("{hostname}");
    }
    if let Some(limits) = config.pointer_mut("/process/rlimits") {
        *limits = json!("{limits}");
    }
    config
}

/// What is in the files that the original's results name; `null` where there is none.
pub(crate) fn contents(expected: &Value, text: impl Fn(&str) -> String) -> Value {
    let files = expected.as_object().unwrap().keys().map(|name| {
        let content = fs::read_to_string(Path::new(SCRATCH).join(text(name))).ok();
        (name.clone(), json!(content))
    });
    Value::Object(files.collect())
}
