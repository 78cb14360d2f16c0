//! `worker-launcher.cfg`: what root's administrator decided, from bytes to parsed values.
//!
//! The keys and their defaults are the original's; ours are added to them. A file that the
//! original understands means the same here, and what it would drop or cut in silence is a
//! mistake that names its line.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::ids::{AccountName, CgroupPath, HostPath, IdError};

const GROUP: &str = "storm.worker-launcher.group";
const MINIMUM: &str = "min.user.id";
const BANNED: &str = "banned.users";
const RUN_ROOT: &str = "worker.launcher.oci.run-root";
const RUNC: &str = "worker.launcher.oci.runc";
const TIMEOUT: &str = "worker.launcher.oci.runc-timeout-secs";
const PARENT: &str = "worker.launcher.oci.cgroup-parent";
const RO_MOUNTS: &str = "worker.launcher.oci.ro-mounts";
const RW_MOUNTS: &str = "worker.launcher.oci.rw-mounts";
const LAYER_DIRS: &str = "worker.launcher.oci.layer-dirs";
const COMMANDS: &str = "worker.launcher.host-commands";
const PROFILER: &str = "worker.profiler.script.path";

/// Every key, and its default where it has one.
const KEYS: [(&str, Option<&str>); 14] = [
    (GROUP, None),
    (MINIMUM, Some("1000")),
    (BANNED, Some("bin")),
    (RUN_ROOT, Some("/run/worker-launcher")),
    (RUNC, Some("/usr/bin/runc")),
    (TIMEOUT, Some("60")),
    (PARENT, Some("/storm")),
    (RO_MOUNTS, None),
    (RW_MOUNTS, None),
    (LAYER_DIRS, None),
    (COMMANDS, Some("true")),
    (PROFILER, Some("")),
    // The original's, so that its file keeps working; nothing reads them.
    ("docker.binary", Some("/usr/bin/docker")),
    ("nsenter.binary", Some("/usr/bin/nsenter")),
];

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
    /// Every mistake in it, in the order of the lines and then of the keys.
    pub fn parse(
        bytes: &[u8],
        group_id: impl FnOnce(&AccountName) -> Result<u32, ConfigMistake>,
    ) -> Result<Self, Vec<ConfigMistake>> {
        let mut reader = Reader::default();
        reader.read_lines(bytes);
        reader.add_defaults();
        if !reader.values.contains_key(GROUP) {
            let fix = format!("add `{GROUP}=<the group of the supervisor's account>`");
            reader.mistake(format!("{GROUP} is missing"), &fix);
        }
        let group = reader.value(GROUP, AccountName::parse);
        let group_id = group.as_ref().and_then(|name| reader.keep(group_id(name)));
        if group_id == Some(0) {
            reader.mistake(format!("{GROUP} is root's group"), "use a group of the supervisor's");
        }
        let min_user_id =
            reader.value(MINIMUM, |text| text.parse().map_err(|_| format!("{text:?} is no uid")));
        let banned_users = reader.value(BANNED, |text| list(text, AccountName::parse));
        let run_root = reader.value(RUN_ROOT, HostPath::parse);
        let runc = reader.value(RUNC, HostPath::parse);
        let runc_timeout_secs = reader.value(TIMEOUT, |text| match text.parse() {
            Ok(0) | Err(_) => Err(format!("{text:?} is no number of seconds from 1 to 65535")),
            Ok(seconds) => Ok(seconds),
        });
        let cgroup_parent = reader.value(PARENT, CgroupPath::parse);
        let ro_mounts = reader.value(RO_MOUNTS, |text| list(text, HostPath::parse));
        let rw_mounts = reader.value(RW_MOUNTS, |text| list(text, HostPath::parse));
        let layer_dirs = reader.value(LAYER_DIRS, |text| list(text, HostPath::parse));
        let host_commands = reader.value(COMMANDS, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("{other:?} is neither true nor false")),
        });
        let profiler = reader.value(PROFILER, |text| match text {
            "" => Ok(None),
            path => HostPath::parse(path).map(Some),
        });
        let Reader { values, mistakes } = reader;
        let config = || {
            Some(Self {
                group_name: group?,
                group_id: group_id?,
                min_user_id: min_user_id?,
                banned_users: banned_users?,
                run_root: run_root?,
                runc: runc?,
                runc_timeout_secs: runc_timeout_secs?,
                cgroup_parent: cgroup_parent?,
                ro_mounts,
                rw_mounts,
                layer_dirs,
                host_commands: host_commands?,
                profiler_script: profiler?,
                effective: values.into_iter().map(|(key, value)| (key, value.text)).collect(),
            })
        };
        config().filter(|_| mistakes.is_empty()).ok_or(mistakes)
    }
}

/// A key's text and the line it came from.
struct Value {
    line: Option<usize>,
    text: String,
}

#[derive(Default)]
struct Reader {
    values: BTreeMap<&'static str, Value>,
    mistakes: Vec<ConfigMistake>,
}

impl Reader {
    fn mistake(&mut self, problem: String, fix: &str) {
        self.mistakes.push(ConfigMistake::new(problem, fix));
    }

    fn keep<T>(&mut self, value: Result<T, ConfigMistake>) -> Option<T> {
        value.map_err(|mistake| self.mistakes.push(mistake)).ok()
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
        let Some((known, _)) = KEYS.iter().find(|(known, _)| *known == key) else {
            let problem = format!("line {number} has the unknown key {}", shown(key));
            return self.mistake(problem, "correct the key, or remove the line");
        };
        // The original takes a value that starts so for one that was commented out.
        if text.starts_with('#') {
            return;
        }
        // The original would cut the value there.
        if text.contains('=') {
            let problem = format!("line {number} has a second `=`: {}", shown(line));
            return self.mistake(problem, "use a value without it");
        }
        let value = Value { line: Some(number), text: text.to_owned() };
        if self.values.insert(known, value).is_some() {
            let problem = format!("line {number} sets {key} a second time");
            self.mistake(problem, "keep one of the lines");
        }
    }

    fn add_defaults(&mut self) {
        for (key, default) in KEYS {
            if let Some(text) = default {
                let value = || Value { line: None, text: text.to_owned() };
                self.values.entry(key).or_insert_with(value);
            }
        }
    }

    /// The key's parsed value; `None` when it is not set, or when it is a mistake, which is kept.
    fn value<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Value { line, text } = self.values.get(key)?;
        let at = line.map_or_else(String::new, |line| format!("line {line}: "));
        let parsed = parse(text).map_err(|problem| {
            ConfigMistake::new(
                format!("{at}{key}: {problem}"),
                format!("correct the value of {key}"),
            )
        });
        self.keep(parsed)
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
        assert_eq!(config.effective.len(), 11, "keys without a default and a value are not there");
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
            (&format!("{GROUP_LINE}{GROUP_LINE}"), "line 2 sets storm.worker-launcher.group a sec"),
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
