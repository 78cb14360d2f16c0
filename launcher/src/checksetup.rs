//! `--checksetup`: every problem of the installation, each with its fix, not only the first.
//!
//! For administrators and for the supervisor's start. It changes nothing. Without root's rights
//! it looks at what anybody can see, and says that the rest needs root.

use nix::unistd::User;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, FileType, OFlags, fstatfs, statat};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};
use storm_oci_request::HostPath;

use crate::cgroup::Hierarchies;
use crate::config::{self, Config};
use crate::error::{LauncherError, Result, Step};
use crate::kernel;
use crate::report;
use crate::runc::Runc;
use crate::sanitize;
use crate::self_check;
use crate::sys_file::{kind, open, read_at_most};
use crate::trusted;

/// The oldest runc that knows recursive mount options.
const OLDEST_RUNC: (u32, u32) = (1, 1);

/// What was found.
#[derive(Default)]
struct Findings {
    /// What keeps the launcher from working, or from being safe.
    problems: Vec<LauncherError>,
    /// What works, but hardly as it was meant.
    warnings: Vec<String>,
}

/// Reports every problem; gives the first one's exit code, or 0. `powerless` is why the program is
/// not root, when it is not.
pub(crate) fn check(powerless: Option<LauncherError>) -> u8 {
    let as_root = powerless.is_none();
    let mut findings = Findings { problems: powerless.into_iter().collect(), warnings: vec![] };
    let config = findings.check_config();
    findings.check_own_file(config.as_ref());
    if let Some(config) = &config {
        findings.check_accounts(config);
        findings.check_runc(config, as_root);
        if let Some(script) = &config.profiler_script {
            findings.check_program(script);
        }
        findings.check_run_root(config);
        findings.check_lists(config);
    }
    findings.check_cgroups();
    findings.check_kernel(as_root);
    findings.problems.iter().for_each(report::problem);
    if findings.problems.is_empty() {
        findings.warnings.insert(0, format!("the installation is fine ({})", config::path()));
    }
    let lines = findings.warnings.iter().map(|line| report::one_line(line));
    report::answer(&lines.collect::<String>());
    findings.problems.first().map_or(0, |first| first.step.exit_code())
}

impl Findings {
    fn problem(
        &mut self,
        step: Step,
        object: &str,
        problem: impl std::fmt::Display,
        fix: impl Into<String>,
    ) {
        self.problems.push(step.refused(object, problem).with_hint(fix));
    }

    fn warn(&mut self, warning: &str, fix: &str) {
        self.warnings.push(format!("warning: {warning} (hint: {fix})"));
    }

    fn keep<T>(&mut self, outcome: Result<T>) -> Option<T> {
        outcome.map_err(|error| self.problems.push(error)).ok()
    }

    /// What others could have written is read for its mistakes only: it must not make root look
    /// around for them.
    fn check_config(&mut self) -> Option<Config> {
        let known = self.problems.len();
        let opened = trusted::inspect(&config::path(), &mut self.problems);
        let (file, _) = self.keep(opened)?;
        let read = config::read(&file).map_err(|mistakes| self.problems.extend(mistakes));
        read.ok().filter(|_| self.problems.len() == known)
    }

    fn check_own_file(&mut self, config: Option<&Config>) {
        if sanitize::lies_on_nosuid() {
            let problem = "it lies on a file system mounted nosuid";
            self.problems.push(self_check::fault(problem, sanitize::NOSUID_FIX));
        }
        let stat = self_check::stat_self().map_err(|error| error.with_hint("mount /proc"));
        if let (Some(stat), Some(config)) = (self.keep(stat), config) {
            self.problems.extend(self_check::faults(&stat, config));
        }
    }

    fn check_accounts(&mut self, config: &Config) {
        for name in &config.banned_users {
            if matches!(User::from_name(name.as_str()), Ok(None)) {
                let warning = format!("banned.users has `{name}`, which is no account here");
                self.warn(&warning, "correct its spelling, or take it out");
            }
        }
    }

    fn check_program(&mut self, path: &HostPath) {
        let checked = trusted::inspect(path.as_str(), &mut self.problems)
            .and_then(|(_, passed)| trusted::check_program(path, &passed));
        self.keep(checked);
    }

    fn check_runc(&mut self, config: &Config, as_root: bool) {
        self.check_program(&config.runc);
        // Nothing is run on behalf of an installation that is not as it should be.
        if !as_root || !self.problems.is_empty() {
            return;
        }
        let version = Runc::open(config).and_then(|runc| runc.version());
        let fix = "install runc, and set worker.launcher.oci.runc to its path";
        let Some(text) = self.keep(version.map_err(|error| error.with_hint(fix))) else {
            return;
        };
        if parse_version(&text).is_none_or(|version| version < OLDEST_RUNC) {
            let (major, minor) = OLDEST_RUNC;
            let problem = format!("its version is {text:?}, must be {major}.{minor} or newer");
            self.problem(Step::Config, config.runc.as_str(), problem, fix);
        }
    }

    /// The run root may be missing, since a launch makes it; what is there must be root's.
    fn check_run_root(&mut self, config: &Config) {
        let path = config.run_root.as_str();
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        let parent = trusted::inspect(parent, &mut self.problems);
        let Some((mut place, _)) = self.keep(parent) else {
            return;
        };
        if exists(&place, name, AtFlags::SYMLINK_NOFOLLOW) {
            let opened = trusted::open_below(&place, name, path, &mut self.problems);
            match self.keep(opened) {
                Some((opened, stat)) if kind(&stat) == FileType::Directory => place = opened,
                Some(_) => {
                    let fix = "remove it, or set worker.launcher.oci.run-root to another path";
                    return self.problem(Step::Config, path, "it is not a directory", fix);
                }
                None => return,
            }
        }
        if fstatfs(&place).is_ok_and(|found| found.f_type != libc::TMPFS_MAGIC) {
            self.warn(
                &format!("the run root `{path}` is not on a tmpfs: launches wait for a disk"),
                "set worker.launcher.oci.run-root to a directory below /run",
            );
        }
    }

    fn check_lists(&mut self, config: &Config) {
        let lists = [&config.ro_mounts, &config.rw_mounts, &config.layer_dirs];
        for path in lists.into_iter().flatten().flatten() {
            if !exists(CWD, path.as_str(), AtFlags::empty()) {
                self.warn(&format!("`{path}` is listed and not there"), "make it, or take it out");
            }
        }
    }

    fn check_cgroups(&mut self) {
        let found = Hierarchies::find();
        let fix = "mount cgroups, as every service manager does at boot";
        let Some(hierarchies) = self.keep(found.map_err(|error| error.with_hint(fix))) else {
            return;
        };
        for controller in ["cpu", "memory"].into_iter().filter(|name| hierarchies.lack(name)) {
            let fix = format!("boot without cgroup_disable={controller}, and mount its hierarchy");
            self.problem(Step::Cgroup, controller, "no hierarchy has this controller", fix);
        }
    }

    /// Asking for a file system loads its module, and mounts nothing.
    fn check_kernel(&mut self, as_root: bool) {
        const LOOP: &str = "/dev/loop-control";
        let file_system = |name| fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC).map(drop);
        let modules = [
            ("squashfs", "squashfs", file_system("squashfs")),
            ("overlay", "overlay", file_system("overlay")),
            ("loop", LOOP, open(CWD, LOOP, OFlags::RDWR | OFlags::NOFOLLOW).map(drop)),
        ];
        for (module, object, found) in modules {
            // A kernel without the call tells when it mounts.
            if let (true, Err(source)) = (as_root && found != Err(Errno::NOSYS), found) {
                let fix = format!("modprobe {module}, and list it in /etc/modules-load.d");
                self.problem(Step::Mount, object, source.to_string(), fix);
            }
        }
        if !kernel::restricts_recursively() {
            self.warn(
                "the kernel restricts mounts one by one: it is older than Linux 5.12",
                "nothing is missing, but binds with mounts below them take longer",
            );
        }
        // One guard leans on it: a user who may link files of the supervisor's gets them with the
        // directory he links them into.
        let switch = open(CWD, PROTECTED_LINKS, OFlags::RDONLY);
        let value = switch.and_then(|file| read_at_most(file, 16));
        if matches!(value, Ok(Some(text)) if text.starts_with(b"0")) {
            self.warn(
                "fs.protected_hardlinks is 0, so users may link files that they cannot write",
                "sysctl fs.protected_hardlinks=1",
            );
        }
    }
}

const PROTECTED_LINKS: &str = "/proc/sys/fs/protected_hardlinks";

fn exists(directory: impl AsFd, path: &str, flags: AtFlags) -> bool {
    !matches!(statat(directory, path, flags), Err(Errno::NOENT))
}

/// Major and minor number of `runc version 1.1.5+ds1`.
fn parse_version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.strip_prefix("runc version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        for (line, version) in [
            ("runc version 1.1.5+ds1", Some((1, 1))),
            ("runc version 1.3.0-rc.1", Some((1, 3))),
            ("runc version 1.0.0-rc93", Some((1, 0))),
            ("runc version 10.2", Some((10, 2))),
            ("runc version 1", None),
            ("crun version 1.8.1", None),
            ("", None),
        ] {
            assert_eq!(parse_version(line), version, "{line}");
        }
        assert!((1, 0) < OLDEST_RUNC && (10, 0) > OLDEST_RUNC);
    }
}
