//! `worker-launcher.cfg`: what root's administrator decided.
//!
//! One compiled-in path. The file and every directory above it belong to root and cannot be
//! written by anybody else, which is checked on the opened descriptors; the file is read once,
//! from the descriptor that was checked. Keys are the original's; ours are added to them.

use std::collections::BTreeMap;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use storm_oci_request::{AccountName, CgroupPath, HostPath};

use crate::error::LauncherError;
use crate::sys_file::read_at_most;

/// Where the configuration lies; compiled in.
pub(crate) const CONF_DIR: &str = env!("STORM_OCI_CONF_DIR");

/// The file's name.
pub(crate) const FILE_NAME: &str = "worker-launcher.cfg";

/// Far above any real configuration.
const MAX_BYTES: usize = 64 * 1024;

/// Every key, and its default where it has one.
const KEYS: [(&str, Option<&str>); 10] = [
    ("storm.worker-launcher.group", None),
    ("min.user.id", Some("1000")),
    ("banned.users", Some("bin")),
    ("worker.launcher.oci.run-root", Some("/run/worker-launcher")),
    ("worker.launcher.oci.runc", Some("/usr/bin/runc")),
    ("worker.launcher.oci.cgroup-parent", Some("/storm")),
    ("worker.launcher.host-commands", Some("true")),
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

/// Reads the configuration from its one place.
///
/// # Errors
///
/// [`LauncherError::Config`] naming the file, directory or line at fault.
pub(crate) fn load() -> Result<Config, LauncherError> {
    let path = format!("{CONF_DIR}/{FILE_NAME}");
    let file = open_trusted(&path)?;
    let wrong = |problem: String| LauncherError::Config {
        path: path.clone(),
        problem,
    };
    let bytes = read_at_most(&file, MAX_BYTES).map_err(|source| wrong(source.to_string()))?;
    let bytes = bytes.ok_or_else(|| wrong(format!("larger than {MAX_BYTES} bytes")))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("not valid UTF-8".to_owned()))?;
    let values = parse(&text).map_err(wrong)?;
    from_values(values, group_id).map_err(wrong)
}

/// Opens a root-owned file below root-owned directories that only root can write.
///
/// # Errors
///
/// [`LauncherError::Config`] naming the component that fails.
pub(crate) fn open_trusted(path: &str) -> Result<OwnedFd, LauncherError> {
    let mut walked = String::from("/");
    let mut current = open_component(CWD.as_fd(), "/", &walked, OFlags::DIRECTORY)?;
    let mut components = path
        .split('/')
        .filter(|component| !component.is_empty())
        .peekable();
    while let Some(component) = components.next() {
        if walked.len() > 1 {
            walked.push('/');
        }
        walked.push_str(component);
        let kind = if components.peek().is_some() {
            OFlags::DIRECTORY
        } else {
            OFlags::empty()
        };
        current = open_component(current.as_fd(), component, &walked, kind)?;
    }
    Ok(current)
}

fn open_component(
    parent: rustix::fd::BorrowedFd<'_>,
    name: &str,
    walked: &str,
    kind: OFlags,
) -> Result<OwnedFd, LauncherError> {
    let wrong = |problem: String| LauncherError::Config {
        path: walked.to_owned(),
        problem,
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | kind;
    let fd = openat(parent, name, flags, Mode::empty())
        .map_err(|source| wrong(format!("{source} (symbolic links are not followed here)")))?;
    let stat = fstat(&fd).map_err(|source| wrong(source.to_string()))?;
    if stat.st_uid != 0 {
        return Err(wrong(format!(
            "owned by uid {}, must be root's",
            stat.st_uid
        )));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(wrong(format!(
            "mode {:04o} lets group or others write, must not",
            stat.st_mode & 0o7777
        )));
    }
    Ok(fd)
}

/// Reads `key=value` lines; blank lines and lines that start with `#` are skipped.
fn parse(text: &str) -> Result<BTreeMap<&'static str, String>, String> {
    let mut values = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index.saturating_add(1);
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {number} is not `key=value`: {line:?}"))?;
        let key = key.trim();
        let Some((known, _)) = KEYS.iter().find(|(known, _)| *known == key) else {
            return Err(format!("line {number} has the unknown key {key:?}"));
        };
        if values.insert(*known, value.trim().to_owned()).is_some() {
            return Err(format!("line {number} sets {key} a second time"));
        }
    }
    Ok(values)
}

/// Fills in the defaults and parses each value. `group_id` looks a group's name up.
fn from_values(
    mut effective: BTreeMap<&'static str, String>,
    group_id: impl Fn(&AccountName) -> Result<u32, String>,
) -> Result<Config, String> {
    for (key, default) in KEYS {
        match default {
            Some(default) => {
                effective.entry(key).or_insert_with(|| default.to_owned());
            }
            None if effective.contains_key(key) => {}
            None => return Err(format!("{key} is missing")),
        }
    }
    let text = |key: &str| effective.get(key).map_or("", String::as_str);
    let named = |key: &str, problem: String| format!("{key}: {problem}");
    let path =
        |key: &str| HostPath::parse(text(key)).map_err(|problem| named(key, problem.to_string()));
    let group_key = "storm.worker-launcher.group";
    let group_name = AccountName::parse(text(group_key))
        .map_err(|problem| named(group_key, problem.to_string()))?;
    let min_user_id = text("min.user.id").parse().map_err(|_| {
        named(
            "min.user.id",
            format!("{:?} is no user id", text("min.user.id")),
        )
    })?;
    let banned_users = text("banned.users")
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| {
            AccountName::parse(name).map_err(|error| named("banned.users", error.to_string()))
        })
        .collect::<Result<_, _>>()?;
    let cgroup_key = "worker.launcher.oci.cgroup-parent";
    let cgroup_parent = CgroupPath::parse(text(cgroup_key))
        .map_err(|problem| named(cgroup_key, problem.to_string()))?;
    if !matches!(text("worker.launcher.host-commands"), "true" | "false") {
        return Err("worker.launcher.host-commands is neither true nor false".to_owned());
    }
    Ok(Config {
        group_id: group_id(&group_name).map_err(|problem| named(group_key, problem))?,
        group_name,
        min_user_id,
        banned_users,
        run_root: path("worker.launcher.oci.run-root")?,
        runc: path("worker.launcher.oci.runc")?,
        cgroup_parent,
        effective,
    })
}

fn group_id(name: &AccountName) -> Result<u32, String> {
    match nix::unistd::Group::from_name(name.as_str()) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!("no group `{name}`")),
        Err(source) => Err(format!("cannot look up group `{name}`: {source}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        from_values(parse(text)?, |name| match name.as_str() {
            "storm" => Ok(995),
            other => Err(format!("no group `{other}`")),
        })
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
            (
                "min.user.id=1000\n",
                "storm.worker-launcher.group is missing",
            ),
            ("storm.worker-launcher.group=none\n", "no group `none`"),
            (&format!("{GROUP}nonsense\n"), "line 2 is not `key=value`"),
            (&format!("{GROUP}a.key=1\n"), "line 2 has the unknown key"),
            (
                &format!("{GROUP}{GROUP}"),
                "line 2 sets storm.worker-launcher.group a second",
            ),
            (&format!("{GROUP}min.user.id=-1\n"), "min.user.id"),
            (&format!("{GROUP}banned.users=a b\n"), "banned.users"),
            (
                &format!("{GROUP}worker.launcher.oci.runc=runc\n"),
                "worker.launcher.oci.runc",
            ),
            (
                &format!("{GROUP}worker.launcher.oci.run-root=/a/../b\n"),
                "run-root",
            ),
            (
                &format!("{GROUP}worker.launcher.oci.cgroup-parent=/\n"),
                "cgroup-parent",
            ),
            (
                &format!("{GROUP}worker.launcher.host-commands=1\n"),
                "host-commands",
            ),
        ] {
            let problem = read(text).map(|config| config.group_id).unwrap_err();
            assert!(problem.contains(expected), "{text:?} gave {problem:?}");
        }
    }
}
