//! Files and processes that a scenario starts with, and what happens between its calls.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;

use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::container::{Worker, eventually, is_running};
use crate::support::{OTHER_SUPERVISOR, OTHER_USER, SCRATCH, SUPERVISOR, USER};

/// The names of owners in the data.
pub(crate) const OWNERS: [(&str, u32); 5] = [
    ("root", 0),
    ("storm", SUPERVISOR.uid),
    ("storm2", OTHER_SUPERVISOR.uid),
    ("user", USER.uid),
    ("other", OTHER_USER.uid),
];

/// The names of groups in the data.
pub(crate) const GROUPS: [(&str, u32); 4] =
    [("root", 0), ("group", SUPERVISOR.gid), ("user", USER.gid), ("other", OTHER_USER.gid)];

fn number(names: &[(&str, u32)], name: &str) -> u32 {
    let found = names.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{name} is no name of the harness")).1
}

fn place(path: &str) -> PathBuf {
    Path::new(SCRATCH).join(path)
}

/// Makes what a line describes: `<mode> <owner> <group> <path>`, for a link followed by
/// `-> <target>`; or `same <path> <other>`, a second hard link, or `bind <path> <other>`, a mount
/// of the first over the second.
pub(crate) fn make(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["same", first, second] => fs::hard_link(place(first), place(second)).unwrap(),
        ["bind", first, second] => {
            let none: Option<&str> = None;
            mount(Some(&place(first)), &place(second), none, MsFlags::MS_BIND, none).unwrap();
        }
        [mode, owner, group, path, target @ ..] => {
            let path = place(path);
            match (mode.chars().next().unwrap(), target) {
                ('d', []) => fs::create_dir(&path).unwrap_or_else(|e| panic!("{path:?}: {e}")),
                ('-', []) => fs::write(&path, "text\n").unwrap(),
                ('p', []) => mkfifo(&path, Mode::empty()).unwrap(),
                ('l', ["->", target]) => symlink(target, &path).unwrap(),
                _ => panic!("{line:?} describes no file"),
            }
            lchown(&path, Some(number(&OWNERS, owner)), Some(number(&GROUPS, group))).unwrap();
            if !mode.starts_with('l') {
                fs::set_permissions(&path, fs::Permissions::from_mode(bits(mode))).unwrap();
            }
        }
        _ => panic!("{line:?} describes no file"),
    }
}

/// The mode that [`crate::support::tree::symbolic`] shows so.
fn bits(text: &str) -> u32 {
    (0..0o10_000)
        .find(|mode| crate::support::tree::symbolic(*mode)[1..] == text[1..])
        .unwrap_or_else(|| panic!("{text} is no mode"))
}

/// Lets something happen between two calls: the container's first process is killed (`end`) or
/// has been (`ended`), a file is changed (`remove <path>`, `cut <path> <bytes>`, `write <path>
/// <text>`, `mode <octal> <path>`).
pub(crate) fn happen(event: &str, worker: Option<&Worker>) {
    let words: Vec<&str> = event.splitn(3, ' ').collect();
    match words.as_slice() {
        ["end" | "ended"] => {
            let worker = worker.expect("a scenario with a worker");
            let pid = super::observe::first_process(worker).expect("a pid file");
            if event == "end" {
                crate::support::container::signal(pid, nix::sys::signal::Signal::SIGKILL);
            }
            eventually("the container's first process ends", || !is_running(pid));
        }
        ["remove", path] if place(path).is_dir() => fs::remove_dir(place(path)).unwrap(),
        ["remove", path] => fs::remove_file(place(path)).unwrap(),
        ["cut", path, bytes] => {
            let file = fs::OpenOptions::new().write(true).open(place(path)).unwrap();
            file.set_len(bytes.parse().unwrap()).unwrap();
        }
        ["mode", mode, path] => {
            let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
            fs::set_permissions(place(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        ["write", path, text] => fs::write(place(path), format!("{text}\n")).unwrap(),
        _ => panic!("{event:?} is nothing that can happen"),
    }
}

/// A process of the scenario's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    name: String,
    owner: String,
    /// The process whose group it joins; without one it leads its own.
    group: Option<String>,
}

/// The processes of a scenario, ended when dropped.
pub(crate) struct Processes(Mutex<BTreeMap<String, Child>>);

impl Processes {
    pub(crate) fn start(wanted: &[Process]) -> Self {
        let mut started: BTreeMap<String, Child> = BTreeMap::new();
        for process in wanted {
            let owner = number(&OWNERS, &process.owner);
            let group = process.group.as_ref().map_or(0, |name| {
                i32::try_from(started.get(name).expect("a process before").id()).unwrap()
            });
            let mut command = Command::new("/bin/sleep");
            command.arg("1000").process_group(group).uid(owner).gid(owner);
            started.insert(process.name.clone(), command.spawn().expect("start a process"));
        }
        Self(Mutex::new(started))
    }

    /// Puts pids in the places of `{pid:<name>}`.
    pub(crate) fn fill(&self, text: &str) -> String {
        let processes = self.0.lock().unwrap();
        processes.iter().fold(text.to_owned(), |text, (name, child)| {
            text.replace(&format!("{{pid:{name}}}"), &child.id().to_string())
        })
    }

    /// What has become of each: `runs`, or the signal that ended it.
    pub(crate) fn outcomes(&self) -> Value {
        let mut processes = self.0.lock().unwrap();
        let outcomes = processes.iter_mut().map(|(name, child)| {
            // A signal that was sent has its effect a moment later.
            let start = std::time::Instant::now();
            let ended = loop {
                match child.try_wait().unwrap() {
                    None if start.elapsed().as_millis() < 50 => std::thread::yield_now(),
                    ended => break ended,
                }
            };
            let outcome = ended.map_or_else(
                || "runs".to_owned(),
                |status| format!("ended by signal {}", status.signal().unwrap_or(0)),
            );
            (name.clone(), json!(outcome))
        });
        Value::Object(outcomes.collect())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let Ok(mut processes) = self.0.lock() else { return };
        for child in processes.values_mut() {
            let _ended = child.kill();
            let _waited = child.wait();
        }
    }
}
