//! `worker-launcher.cfg`: what root's administrator decided.
//!
//! One compiled-in path. The file and every directory above it belong to root and cannot be
//! written by anybody else, which is checked on the opened descriptors; the file is read once,
//! from the descriptor that was checked. Keys are the original's; ours are added to them.

use std::collections::BTreeMap;

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, fstat};
use storm_oci_request::{AccountName, CgroupPath, HostPath};

use crate::error::LauncherError;
use crate::sys_file::read_at_most;
use crate::trusted::open_trusted;

/// Where the configuration lies; compiled in.
pub(crate) const CONF_DIR: &str = env!("STORM_OCI_CONF_DIR");

/// The file's name.
pub(crate) const FILE_NAME: &str = "worker-launcher.cfg";

/// Far above any real configuration.
const MAX_BYTES: usize = 64 * 1024;

const GROUP: &str = "storm.worker-launcher.group";
const MINIMUM: &str = "min.user.id";
const BANNED: &str = "banned.users";
const RUN_ROOT: &str = "worker.launcher.oci.run-root";
const RUNC: &str = "worker.launcher.oci.runc";
const PARENT: &str = "worker.launcher.oci.cgroup-parent";
const COMMANDS: &str = "worker.launcher.host-commands";

/// Every key, and its default where it has one.
const KEYS: [(&str, Option<&str>); 10] = [
    (GROUP, None),
    (MINIMUM, Some("1000")),
    (BANNED, Some("bin")),
    (RUN_ROOT, Some("/run/worker-launcher")),
    (RUNC, Some("/usr/bin/runc")),
    (PARENT, Some("/storm")),
    (COMMANDS, Some("true")),
    ("worker.profiler.script.path", Some("")),
    // Known so that an existing file keeps working; nothing reads them.
    ("docker.binary", Some("/usr/bin/docker")),
    ("nsenter.binary", Some("/usr/bin/nsenter")),
];

/// The configuration, each value parsed.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The group that may run the launcher.
    pub(crate) group_name: AccountName,
    /// Its id.
    pub(crate) group_id: u32,
    /// The smallest uid that may be acted for.
    pub(crate) min_user_id: u32,
    /// Accounts that may never be acted for.
    pub(crate) banned_users: Vec<AccountName>,
    /// Where layers, containers and records live.
    pub(crate) run_root: HostPath,
    /// runc's program file.
    pub(crate) runc: HostPath,
    /// The cgroup below which every container's is.
    pub(crate) cgroup_parent: CgroupPath,
    /// The text of every key, defaults included, for `--print-config`.
    pub(crate) effective: BTreeMap<&'static str, String>,
}

/// A mistake in the configuration, and how to mend it.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Mistake {
    /// What is wrong, with the line or key.
    pub(crate) problem: String,
    /// What the administrator can do.
    pub(crate) fix: String,
}

impl Mistake {
    fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { problem: problem.into(), fix: fix.into() }
    }
}

/// The configuration file's path.
pub(crate) fn path() -> String {
    format!("{CONF_DIR}/{FILE_NAME}")
}

/// Reads the configuration from its one place.
///
/// # Errors
///
/// [`LauncherError::Config`] naming the file, directory or line at fault.
pub(crate) fn load() -> Result<Config, LauncherError> {
    let file = open_trusted(&path())?;
    let mut mistakes = Vec::new();
    let config = read(&file, &mut mistakes);
    match (config, mistakes.into_iter().next()) {
        (Some(config), None) => Ok(config),
        (_, mistake) => Err(LauncherError::Config {
            path: path(),
            problem: mistake.map_or_else(String::new, |mistake| mistake.problem),
        }),
    }
}

/// Reads an opened configuration and notes every mistake; `None` when there was one.
pub(crate) fn read(file: &OwnedFd, mistakes: &mut Vec<Mistake>) -> Option<Config> {
    let text = read_text(file).map_err(|mistake| mistakes.push(mistake)).ok()?;
    let values = parse(&text, mistakes);
    from_values(values, group_id, mistakes)
}

fn read_text(file: &OwnedFd) -> Result<String, Mistake> {
    let replace = || format!("write {} anew from worker-launcher.cfg.example", path());
    let wrong = |problem: String| Mistake::new(problem, replace());
    let stat = fstat(file).map_err(|source| wrong(source.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(wrong("it is not a regular file".to_owned()));
    }
    let bytes = read_at_most(file, MAX_BYTES).map_err(|source| wrong(source.to_string()))?;
    let bytes = bytes.ok_or_else(|| wrong(format!("larger than {MAX_BYTES} bytes")))?;
    String::from_utf8(bytes).map_err(|_| wrong("not valid UTF-8".to_owned()))
}

/// Reads `key=value` lines; blank lines and lines that start with `#` are skipped.
fn parse(text: &str, mistakes: &mut Vec<Mistake>) -> BTreeMap<&'static str, String> {
    let mut values = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index.saturating_add(1);
        let Some((key, value)) = line.split_once('=') else {
            let problem = format!("line {number} is not `key=value`: {line:?}");
            mistakes.push(Mistake::new(problem, "write it so, or put # before it"));
            continue;
        };
        let key = key.trim();
        let Some((known, _)) = KEYS.iter().find(|(known, _)| *known == key) else {
            let problem = format!("line {number} has the unknown key {key:?}");
            mistakes.push(Mistake::new(problem, "correct the key, or remove the line"));
            continue;
        };
        if values.insert(*known, value.trim().to_owned()).is_some() {
            let problem = format!("line {number} sets {key} a second time");
            mistakes.push(Mistake::new(problem, "keep one of the lines"));
        }
    }
    values
}

/// Fills in the defaults and parses each value. `group_id` looks a group's name up.
fn from_values(
    mut effective: BTreeMap<&'static str, String>,
    group_id: impl Fn(&AccountName) -> Result<u32, Mistake>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Config> {
    for (key, default) in KEYS {
        if let Some(default) = default {
            effective.entry(key).or_insert_with(|| default.to_owned());
        }
    }
    let text = |key: &str| effective.get(key).map_or("", String::as_str);
    let group = read_group(effective.get(GROUP), group_id);
    let minimum = text(MINIMUM).parse().map_err(|_| {
        let problem = format!("{MINIMUM}: {:?} is no user id", text(MINIMUM));
        Mistake::new(problem, format!("set {MINIMUM} to a number such as 1000"))
    });
    let banned = text(BANNED)
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| AccountName::parse(name).map_err(|error| wrong_value(BANNED, &error)))
        .collect::<Result<Vec<_>, _>>();
    let parent = CgroupPath::parse(text(PARENT)).map_err(|error| wrong_value(PARENT, &error));
    let path = |key| HostPath::parse(text(key)).map_err(|error| wrong_value(key, &error));
    let (run_root, runc) = (path(RUN_ROOT), path(RUNC));
    let commands = match text(COMMANDS) {
        "true" | "false" => Ok(()),
        other => Err(wrong_value(COMMANDS, &format!("{other:?} is neither true nor false"))),
    };
    let mut keep = Keep(mistakes);
    let group = keep.value(group);
    let min_user_id = keep.value(minimum);
    let banned_users = keep.value(banned);
    let run_root = keep.value(run_root);
    let runc = keep.value(runc);
    let cgroup_parent = keep.value(parent);
    keep.value(commands);
    if !mistakes.is_empty() {
        return None;
    }
    let (group_name, group_id) = group?;
    Some(Config {
        group_name,
        group_id,
        min_user_id: min_user_id?,
        banned_users: banned_users?,
        run_root: run_root?,
        runc: runc?,
        cgroup_parent: cgroup_parent?,
        effective,
    })
}

/// Keeps the mistakes and hands on the values.
struct Keep<'a>(&'a mut Vec<Mistake>);

impl Keep<'_> {
    fn value<T>(&mut self, value: Result<T, Mistake>) -> Option<T> {
        value.map_err(|mistake| self.0.push(mistake)).ok()
    }
}

fn read_group(
    text: Option<&String>,
    group_id: impl Fn(&AccountName) -> Result<u32, Mistake>,
) -> Result<(AccountName, u32), Mistake> {
    let Some(text) = text else {
        let fix = format!("add `{GROUP}=<the group of the supervisor's account>`");
        return Err(Mistake::new(format!("{GROUP} is missing"), fix));
    };
    let name = AccountName::parse(text).map_err(|error| wrong_value(GROUP, &error))?;
    let id = group_id(&name)?;
    if id == 0 {
        let problem = format!("{GROUP}: `{name}` is root's group");
        return Err(Mistake::new(problem, "use a group of the supervisor's own"));
    }
    Ok((name, id))
}

fn wrong_value(key: &str, problem: &dyn std::fmt::Display) -> Mistake {
    Mistake::new(format!("{key}: {problem}"), format!("correct the value of {key}"))
}

fn group_id(name: &AccountName) -> Result<u32, Mistake> {
    match nix::unistd::Group::from_name(name.as_str()) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(Mistake::new(
            format!("{GROUP}: no group `{name}`"),
            format!("groupadd --system {name}"),
        )),
        Err(source) => Err(Mistake::new(
            format!("{GROUP}: cannot look up group `{name}`: {source}"),
            "see that the name service answers `getent group`",
        )),
    }
}

/// A configuration with every default.
#[cfg(test)]
pub(crate) fn for_tests() -> Config {
    let mut mistakes = Vec::new();
    let values = parse("storm.worker-launcher.group=storm\n", &mut mistakes);
    from_values(values, |_| Ok(995), &mut mistakes).expect("the defaults are right")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let values = parse(text, &mut mistakes);
        let group = |name: &AccountName| match name.as_str() {
            "storm" => Ok(995),
            "root" => Ok(0),
            other => Err(Mistake::new(format!("no group `{other}`"), "groupadd")),
        };
        from_values(values, group, &mut mistakes).ok_or(mistakes)
    }

    #[test]
    fn only_the_group_is_required() {
        let config = read("storm.worker-launcher.group=storm\n").unwrap();
        assert_eq!((config.group_id, config.min_user_id), (995, 1000));
        assert_eq!(config.banned_users, [AccountName::parse("bin").unwrap()]);
        assert_eq!(config.run_root.as_str(), "/run/worker-launcher");
        assert_eq!(config.cgroup_parent.as_str(), "/storm");
    }

    #[test]
    fn comments_blanks_and_spaces_are_fine() {
        let text = "# c\n\n storm.worker-launcher.group = storm \nbanned.users=a, b,\n";
        assert_eq!(read(text).unwrap().banned_users.len(), 2);
    }

    #[test]
    fn every_mistake_is_named() {
        const GROUP: &str = "storm.worker-launcher.group=storm\n";
        for (text, expected) in [
            ("min.user.id=1000\n", "storm.worker-launcher.group is missing"),
            ("storm.worker-launcher.group=none\n", "no group `none`"),
            ("storm.worker-launcher.group=root\n", "root's group"),
            (&format!("{GROUP}nonsense\n"), "line 2 is not `key=value`"),
            (&format!("{GROUP}a.key=1\n"), "line 2 has the unknown key"),
            (&format!("{GROUP}{GROUP}"), "line 2 sets storm.worker-launcher.group a second"),
            (&format!("{GROUP}min.user.id=-1\n"), "min.user.id"),
            (&format!("{GROUP}banned.users=a b\n"), "banned.users"),
            (&format!("{GROUP}worker.launcher.oci.runc=runc\n"), "worker.launcher.oci.runc"),
            (&format!("{GROUP}worker.launcher.oci.run-root=/a/../b\n"), "run-root"),
            (&format!("{GROUP}worker.launcher.oci.cgroup-parent=/\n"), "cgroup-parent"),
            (&format!("{GROUP}worker.launcher.host-commands=1\n"), "host-commands"),
        ] {
            let mistakes = read(text).map(|config| config.group_id).unwrap_err();
            let [mistake] = mistakes.as_slice() else {
                panic!("{text:?} gave {mistakes:?}");
            };
            assert!(
                mistake.problem.contains(expected) && !mistake.fix.is_empty(),
                "{text:?} gave {mistake:?}"
            );
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = "nonsense\nmin.user.id=x\nworker.launcher.oci.runc=runc\n";
        let mistakes = read(text).map(|config| config.group_id).unwrap_err();
        let problems: Vec<&str> = mistakes.iter().map(|mistake| &*mistake.problem).collect();
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
