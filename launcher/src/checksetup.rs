//! `--checksetup`: every problem of the installation, each with its fix, not only the first.
//!
//! For administrators and for the supervisor's start. It changes nothing. Without root's rights
//! it looks at what anybody can see, and says that the rest needs root.

use std::fmt::Display;

use nix::unistd::User;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, FileType, OFlags, fstatfs, statat};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};
use storm_oci_request::HostPath;

use crate::cgroup::Hierarchies;
use crate::config::{self, Config};
use crate::error::{LauncherError, Result, Step, must};
use crate::runc::Runc;
use crate::self_check::{self, faults};
use crate::sys_file::{kind, open, read_at_most};
use crate::{kernel, report, sanitize, trusted};

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
    let mut found = Findings { problems: powerless.into_iter().collect(), warnings: vec![] };
    let config = found.check_config();
    found.note(|found| found.check_own_file(config.as_ref()));
    if let Some(config) = &config {
        found.check_accounts(config);
        found.note(|found| found.check_runc(config, as_root));
        for program in config.init.iter().chain(&config.profiler_script) {
            found.note(|found| found.check_program(program));
        }
        found.note(|found| found.check_run_root(config));
        found.check_lists(config);
    }
    found.note(|found| found.check_cgroups());
    found.check_kernel(as_root);
    found.problems.iter().for_each(report::problem);
    if found.problems.is_empty() {
        found.warnings.insert(0, format!("the installation is fine ({})", config::path()));
    }
    let lines = found.warnings.iter().map(|line| report::one_line(line));
    report::answer(&lines.collect::<String>());
    found.problems.first().map_or(0, |first| first.step.exit_code())
}

impl Findings {
    fn note(&mut self, check: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = check(self) {
            self.problems.push(error);
        }
    }

    fn warn(&mut self, warning: impl Display, fix: &str) {
        self.warnings.push(format!("warning: {warning} (hint: {fix})"));
    }

    /// What others could have written is read for its mistakes only: it must not make root look
    /// around for them.
    fn check_config(&mut self) -> Option<Config> {
        let known = self.problems.len();
        let mut config = None;
        self.note(|found| {
            let (file, _) = trusted::inspect(&config::path(), &mut found.problems)?;
            config = config::read(&file).map_err(|mistakes| found.problems.extend(mistakes)).ok();
            Ok(())
        });
        config.filter(|_| self.problems.len() == known)
    }

    fn check_own_file(&mut self, config: Option<&Config>) -> Result<()> {
        if sanitize::lies_on_nosuid() {
            let problem = "it lies on a file system mounted nosuid";
            self.problems.push(self_check::fault(problem, sanitize::NOSUID_FIX));
        }
        let stat = self_check::stat_self().map_err(|error| error.with_hint("mount /proc"))?;
        self.problems.extend(config.into_iter().flat_map(|config| faults(&stat, config)));
        Ok(())
    }

    fn check_accounts(&mut self, config: &Config) {
        for name in &config.banned_users {
            if matches!(User::from_name(name.as_str()), Ok(None)) {
                let warning = format_args!("banned.users has `{name}`, which is no account here");
                self.warn(warning, "correct its spelling, or take it out");
            }
        }
    }

    fn check_program(&mut self, path: &HostPath) -> Result<()> {
        let (_, passed) = trusted::inspect(path.as_str(), &mut self.problems)?;
        trusted::check_program(path, &passed)
    }

    fn check_runc(&mut self, config: &Config, as_root: bool) -> Result<()> {
        self.check_program(&config.runc)?;
        // Nothing is run on behalf of an installation that is not as it should be.
        if !as_root || !self.problems.is_empty() {
            return Ok(());
        }
        let version = Runc::open(config).and_then(|runc| {
            let text = runc.version()?;
            let new = parse_version(&text).is_some_and(|version| version >= OLDEST_RUNC);
            let (major, minor) = OLDEST_RUNC;
            let problem = format_args!("its version is {text:?}, must be {major}.{minor} or newer");
            must(new, Step::Config, &config.runc, problem)
        });
        let fix = "install runc, and set worker.launcher.oci.runc to its path";
        version.map_err(|error| error.with_hint(fix))
    }

    /// The run root may be missing, since a launch makes it; what is there must be root's.
    fn check_run_root(&mut self, config: &Config) -> Result<()> {
        let path = &config.run_root;
        let (parent, name) = path.as_str().rsplit_once('/').unwrap_or_default();
        let (mut place, _) = trusted::inspect(parent, &mut self.problems)?;
        if exists(&place, name, AtFlags::SYMLINK_NOFOLLOW) {
            let (opened, stat) =
                trusted::open_below(&place, name, path.as_str(), &mut self.problems)?;
            let directory = kind(&stat) == FileType::Directory;
            let fix = "remove it, or set worker.launcher.oci.run-root to another path";
            must(directory, Step::Config, path, "it is not a directory")
                .map_err(|error| error.with_hint(fix))?;
            place = opened;
        }
        if fstatfs(&place).is_ok_and(|found| found.f_type != libc::TMPFS_MAGIC) {
            self.warn(
                format_args!("the run root `{path}` is not on a tmpfs: launches wait for a disk"),
                "set worker.launcher.oci.run-root to a directory below /run",
            );
        }
        Ok(())
    }

    fn check_lists(&mut self, config: &Config) {
        let lists = [&config.ro_mounts, &config.rw_mounts, &config.layer_dirs];
        for path in lists.into_iter().flatten().flatten() {
            if !exists(CWD, path.as_str(), AtFlags::empty()) {
                let warning = format_args!("`{path}` is listed and not there");
                self.warn(warning, "make it, or take it out");
            }
        }
    }

    fn check_cgroups(&mut self) -> Result<()> {
        let fix = "mount cgroups, as every service manager does at boot";
        let hierarchies = Hierarchies::find().map_err(|error| error.with_hint(fix))?;
        for controller in ["cpu", "memory"].into_iter().filter(|name| hierarchies.lack(name)) {
            let fix = format!("boot without cgroup_disable={controller}, and mount its hierarchy");
            let lacking = Step::Cgroup.refused(controller, "no hierarchy has this controller");
            self.problems.push(lacking.with_hint(fix));
        }
        Ok(())
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
                self.problems.push(Step::Mount.refused(object, source).with_hint(fix));
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
        let value =
            open(CWD, PROTECTED_LINKS, OFlags::RDONLY).and_then(|file| read_at_most(file, 16));
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
