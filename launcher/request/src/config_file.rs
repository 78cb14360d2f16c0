//! `worker-launcher.cfg`: what root's administrator decided, from bytes to parsed values.
//!
//! The keys and their defaults are the original's; ours are added to them. A file that the
//! original understands means the same here, and what it would drop or cut in silence is a
//! mistake that names its line.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::ids::{AccountName, CgroupPath, HostPath, IdError};

/// The configuration, each value parsed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The group that may run the launcher.
    pub group_name: AccountName,
    /// Its id, never 0.
    pub group_id: u32,
    /// The smallest uid that may be acted for.
    pub min_user_id: u32,
    /// Accounts that may never be acted for.
    pub banned_users: Vec<AccountName>,
    /// Where layers, containers and records live.
    pub run_root: HostPath,
    /// runc's program file.
    pub runc: HostPath,
    /// The seconds that runc may take for one task before it is ended.
    pub runc_timeout_secs: u16,
    /// The program that is the first of a container whose request wants one; `None` when there is
    /// none.
    pub init: Option<HostPath>,
    /// The cgroup below which every container's is.
    pub cgroup_parent: CgroupPath,
    /// What may be bound read-only, with all below it. When this and [`Self::rw_mounts`] are
    /// `None`, only the topology user's rights decide.
    pub ro_mounts: Option<Vec<HostPath>>,
    /// What may be bound for writing or read-only.
    pub rw_mounts: Option<Vec<HostPath>>,
    /// Where layer files may lie, at any depth; `None` when only their owner and mode decide.
    pub layer_dirs: Option<Vec<HostPath>>,
    /// Whether `worker` and `profiler` may run a user's commands outside containers.
    pub host_commands: bool,
    /// The script that profiles a worker; `None` when nothing is profiled.
    pub profiler_script: Option<HostPath>,
    /// The text of every key that is set or has a default.
    pub effective: BTreeMap<&'static str, String>,
}

/// A mistake in the configuration, and how to mend it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct ConfigMistake {
    /// What is wrong, with the line or key.
    pub problem: String,
    /// What the administrator can do.
    pub fix: String,
}

impl ConfigMistake {
    /// A mistake with its mend.
    #[must_use]
    pub fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { problem: problem.into(), fix: fix.into() }
    }
}

impl Config {
    /// Parses the whole file. `group_id` looks up a group's id by its name.
    ///
    /// # Errors
    ///
    /// Every mistake in it.
    pub fn parse(
        bytes: &[u8],
        group_id: impl FnOnce(&AccountName) -> Result<u32, ConfigMistake>,
    ) -> Result<Self, Vec<ConfigMistake>> {
        let mut file = File::default();
        file.read_lines(bytes);
        let group_name = file.value(GROUP, None, AccountName::parse);
        if !file.effective.contains_key(GROUP) {
            let fix = format!("add `{GROUP}=<the group of the supervisor's account>`");
            file.mistake(format!("{GROUP} is missing"), fix);
        }
        let group_id = group_name
            .as_ref()
            .and_then(|name| group_id(name).map_err(|mistake| file.mistakes.push(mistake)).ok());
        if group_id == Some(0) {
            file.mistake(format!("{GROUP} is root's group"), "use a group of the supervisor's");
        }
        let min_user_id = file.value("min.user.id", Some("1000"), |text| {
            text.parse().map_err(|_| format!("{text:?} is no uid"))
        });
        let accounts = |text: &str| list(text, AccountName::parse);
        let paths = |text: &str| list(text, HostPath::parse);
        let banned_users = file.value("banned.users", Some("bin"), accounts);
        let run_root = file.value(
            "worker.launcher.oci.run-root",
            Some("/run/worker-launcher"),
            HostPath::parse,
        );
        let runc = file.value("worker.launcher.oci.runc", Some("/usr/bin/runc"), HostPath::parse);
        let runc_timeout_secs =
            file.value("worker.launcher.oci.runc-timeout-secs", Some("60"), |text| {
                let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
                seconds.ok_or_else(|| format!("{text:?} is no number of seconds from 1 to 65535"))
            });
        let optional = |text: &str| {
            Some(text).filter(|text| !text.is_empty()).map(HostPath::parse).transpose()
        };
        let init = file.value("worker.launcher.oci.init", Some(""), optional);
        let cgroup_parent =
            file.value("worker.launcher.oci.cgroup-parent", Some("/storm"), CgroupPath::parse);
        let ro_mounts = file.value("worker.launcher.oci.ro-mounts", None, paths);
        let rw_mounts = file.value("worker.launcher.oci.rw-mounts", None, paths);
        let layer_dirs = file.value("worker.launcher.oci.layer-dirs", None, paths);
        let host_commands = file.value("worker.launcher.host-commands", Some("true"), |text| {
            text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
        });
        let profiler_script = file.value("worker.profiler.script.path", Some(""), optional);
        // The original's, so that its file keeps working; nothing reads them.
        for (key, default) in
            [("docker.binary", "/usr/bin/docker"), ("nsenter.binary", "/usr/bin/nsenter")]
        {
            file.value(key, Some(default), |_| Ok::<_, IdError>(()));
        }
        let File { effective, mistakes, .. } = file.without_unknown_keys();
        let config = || {
            Some(Self {
                group_name: group_name?,
                group_id: group_id?,
                min_user_id: min_user_id?,
                banned_users: banned_users?,
                run_root: run_root?,
                runc: runc?,
                runc_timeout_secs: runc_timeout_secs?,
                init: init?,
                cgroup_parent: cgroup_parent?,
                ro_mounts,
                rw_mounts,
                layer_dirs,
                host_commands: host_commands?,
                profiler_script: profiler_script?,
                effective,
            })
        };
        config().filter(|_| mistakes.is_empty()).ok_or(mistakes)
    }
}

const GROUP: &str = "storm.worker-launcher.group";

/// The file while it is read.
#[derive(Default)]
struct File {
    /// The lines that no key was asked of yet: key, line number and text.
    lines: BTreeMap<String, (usize, String)>,
    effective: BTreeMap<&'static str, String>,
    mistakes: Vec<ConfigMistake>,
}

impl File {
    fn mistake(&mut self, problem: String, fix: impl Into<String>) {
        self.mistakes.push(ConfigMistake::new(problem, fix));
    }

    fn read_lines(&mut self, bytes: &[u8]) {
        for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
            match std::str::from_utf8(line) {
                Ok(line) => self.read_line(number, line.trim()),
                Err(_) => self.mistake(
                    format!("line {number} is not valid UTF-8"),
                    "write it in plain characters, or put # before it",
                ),
            }
        }
    }

    fn read_line(&mut self, number: usize, line: &str) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let Some((key, text)) = line.split_once('=') else {
            let problem = format!("line {number} is not `key=value`: {}", shown(line));
            return self.mistake(problem, "write it so, or put # before it");
        };
        let (key, text) = (key.trim(), text.trim());
        let value = (number, text.to_owned());
        // The original takes a value that starts so for one that was commented out.
        if text.starts_with('#') {
            self.lines.entry(key.to_owned()).or_insert(value);
            return;
        }
        // The original would cut the value there.
        if text.contains('=') {
            let problem = format!("line {number} has a second `=`: {}", shown(line));
            return self.mistake(problem, "use a value without it");
        }
        let before = self.lines.insert(key.to_owned(), value);
        if before.is_some_and(|(_, text)| !text.starts_with('#')) {
            let problem = format!("line {number} sets {} a second time", shown(key));
            self.mistake(problem, "keep one of the lines");
        }
    }

    /// The key's parsed value; `None` when it is not set, or when it is a mistake, which is kept.
    fn value<T, E: Display>(
        &mut self,
        key: &'static str,
        default: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let line = self.lines.remove(key).filter(|(_, text)| !text.starts_with('#'));
        let (place, text) = match line {
            Some((number, text)) => (format!("line {number}: "), text),
            None => (String::new(), default?.to_owned()),
        };
        let parsed = parse(&text).map_err(|problem| {
            let fix = format!("correct the value of {key}");
            self.mistake(format!("{place}{key}: {problem}"), fix);
        });
        self.effective.insert(key, text);
        parsed.ok()
    }

    /// When every key was asked for, what is left of the lines has a key that is none.
    fn without_unknown_keys(mut self) -> Self {
        for (key, (number, _)) in std::mem::take(&mut self.lines) {
            let problem = format!("line {number} has the unknown key {}", shown(&key));
            self.mistake(problem, "correct the key, or remove the line");
        }
        self
    }
}

/// Comma-separated items; blanks around them and empty ones do not count.
fn list<T>(text: &str, parse: fn(&str) -> Result<T, IdError>) -> Result<Vec<T>, IdError> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(parse).collect()
}

/// What a mistake repeats of a line: its start, escaped.
fn shown(text: &str) -> String {
    /// Characters.
    const LIMIT: usize = 80;
    format!("{:?}", text.chars().take(LIMIT).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP_LINE: &str = "storm.worker-launcher.group=storm\n";

    fn parse(text: impl AsRef<[u8]>) -> Result<Config, Vec<ConfigMistake>> {
        Config::parse(text.as_ref(), |name| match name.as_str() {
            "storm" => Ok(995),
            "root" => Ok(0),
            other => Err(ConfigMistake::new(format!("no group `{other}`"), "groupadd")),
        })
    }

    fn paths(texts: &[&str]) -> Option<Vec<HostPath>> {
        Some(texts.iter().map(|text| HostPath::parse(text).unwrap()).collect())
    }

    #[test]
    fn only_the_group_is_required() {
        let config = parse(GROUP_LINE).unwrap();
        assert_eq!((config.group_id, config.min_user_id), (995, 1000));
        assert_eq!(config.banned_users, [AccountName::parse("bin").unwrap()]);
        assert_eq!(config.run_root.as_str(), "/run/worker-launcher");
        assert_eq!(config.cgroup_parent.as_str(), "/storm");
        assert_eq!(config.runc_timeout_secs, 60);
        assert_eq!((config.host_commands, config.profiler_script), (true, None));
        assert_eq!((config.ro_mounts, config.rw_mounts, config.layer_dirs), (None, None, None));
        assert_eq!(config.effective.len(), 12, "keys without a default and a value are not there");
    }

    #[test]
    fn comments_blanks_and_spaces_are_fine() {
        let text = "# c\r\n\n storm.worker-launcher.group = storm \r\nbanned.users=a, b,\n\
                    min.user.id=#5\nworker.launcher.oci.runc = # no\n";
        let config = parse(text).unwrap();
        assert_eq!(config.banned_users.len(), 2);
        assert_eq!((config.min_user_id, config.runc.as_str()), (1000, "/usr/bin/runc"));
    }

    #[test]
    fn an_empty_list_allows_nothing_and_no_list_decides_nothing() {
        let text = format!(
            "{GROUP_LINE}worker.launcher.oci.ro-mounts=/usr/share/zoneinfo, /data/\n\
             worker.launcher.oci.rw-mounts=\nbanned.users=\n"
        );
        let config = parse(text).unwrap();
        assert_eq!(config.ro_mounts, paths(&["/usr/share/zoneinfo", "/data"]));
        assert_eq!(config.rw_mounts, paths(&[]));
        assert_eq!((config.layer_dirs, config.banned_users), (None, vec![]));
    }

    /// Everything that the original's parser knows, as an operator has it on a host.
    #[test]
    fn the_originals_file_is_accepted() {
        let text = "storm.worker-launcher.group=storm\nmin.user.id=500\nbanned.users=mapred,hdfs\n\
                    docker.binary=/usr/local/bin/docker\nnsenter.binary=/bin/nsenter\n\
                    worker.profiler.script.path=/usr/local/sbin/profiler\n\
                    worker.launcher.oci.run-root=/var/run/wl\nworker.launcher.oci.runc=/opt/runc";
        let config = parse(text).unwrap();
        assert_eq!((config.min_user_id, config.banned_users.len()), (500, 2));
        assert_eq!((config.run_root.as_str(), config.runc.as_str()), ("/var/run/wl", "/opt/runc"));
        assert_eq!(config.profiler_script.unwrap().as_str(), "/usr/local/sbin/profiler");
        assert_eq!(config.effective["docker.binary"], "/usr/local/bin/docker");
    }

    #[test]
    fn every_mistake_is_named() {
        for (text, expected) in [
            ("min.user.id=1000\n", "storm.worker-launcher.group is missing"),
            ("storm.worker-launcher.group=#storm\n", "storm.worker-launcher.group is missing"),
            ("storm.worker-launcher.group=none\n", "no group `none`"),
            ("storm.worker-launcher.group=root\n", "root's group"),
            ("storm.worker-launcher.group=\n", "line 1: storm.worker-launcher.group"),
            (&format!("{GROUP_LINE}nonsense\n"), "line 2 is not `key=value`"),
            (&format!("{GROUP_LINE}=\n"), "line 2 has the unknown key \"\""),
            (&format!("{GROUP_LINE}a.key=1\n"), "line 2 has the unknown key"),
            (&format!("{GROUP_LINE}MIN.USER.ID=1\n"), "line 2 has the unknown key"),
            (&format!("{GROUP_LINE}{GROUP_LINE}"), "line 2 sets \"storm.worker-launcher.group\""),
            (&format!("{GROUP_LINE}worker.launcher.oci.runc=/a=b\n"), "line 2 has a second `=`"),
            (&format!("{GROUP_LINE}min.user.id=-1\n"), "line 2: min.user.id"),
            (&format!("{GROUP_LINE}min.user.id=4294967296\n"), "line 2: min.user.id"),
            (&format!("{GROUP_LINE}min.user.id=\n"), "line 2: min.user.id"),
            (&format!("{GROUP_LINE}banned.users=a b\n"), "line 2: banned.users"),
            (&format!("{GROUP_LINE}worker.launcher.oci.runc=runc\n"), "worker.launcher.oci.runc"),
            (&format!("{GROUP_LINE}worker.launcher.oci.run-root=/a/../b\n"), "run-root"),
            (&format!("{GROUP_LINE}worker.launcher.oci.runc-timeout-secs=0\n"), "runc-timeout"),
            (&format!("{GROUP_LINE}worker.launcher.oci.cgroup-parent=/\n"), "cgroup-parent"),
            (&format!("{GROUP_LINE}worker.launcher.oci.ro-mounts=/a,b\n"), "line 2: worker.launch"),
            (&format!("{GROUP_LINE}worker.launcher.oci.rw-mounts=*\n"), "oci.rw-mounts"),
            (&format!("{GROUP_LINE}worker.launcher.oci.layer-dirs=./a\n"), "oci.layer-dirs"),
            (&format!("{GROUP_LINE}worker.profiler.script.path=p\n"), "worker.profiler.script"),
            (&format!("{GROUP_LINE}worker.launcher.host-commands=1\n"), "host-commands"),
        ] {
            let mistakes = parse(text).unwrap_err();
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
        let text = b"nonsense\n\xff=\nmin.user.id=x\nworker.launcher.oci.runc=runc";
        let mistakes = parse(text).unwrap_err();
        let problems: Vec<&str> = mistakes.iter().map(|mistake| &*mistake.problem).collect();
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert_eq!(problems[1], "line 2 is not valid UTF-8");
    }

    #[test]
    fn a_mistake_repeats_the_start_of_a_line_only() {
        let mistakes = parse(format!("{GROUP_LINE}{}\x1b", "x".repeat(9999))).unwrap_err();
        assert!(mistakes[0].problem.len() < 150, "{mistakes:?}");
        let mistakes = parse(format!("{GROUP_LINE}a\x1b[2Jb")).unwrap_err();
        assert!(!mistakes[0].problem.contains('\x1b'), "{mistakes:?}");
    }
}
