//! A host of its own for each privileged test.
//!
//! [`Host::new`] gives the test's thread a private mount namespace: a root directory of its own,
//! a tmpfs over `/mnt` and an overlay over `/etc`. The accounts, the configuration at its
//! compiled-in place, the setuid program and every tree a test attacks exist only in there. The
//! real host has no such account, sees none of these mounts, and nothing is left when the thread
//! ends, however it ends.
//!
//! Processes and cgroups are the host's: what a test starts, it ends.
#![allow(dead_code, reason = "each test program uses its own part of the harness")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests set scenes by path, in their own mount namespace"
)]

pub(crate) mod before_exec;
pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod interrupt;
pub(crate) mod kill_points;
pub(crate) mod mapping;
pub(crate) mod outcome;
pub(crate) mod profiler;
pub(crate) mod race;
pub(crate) mod root;
pub(crate) mod trace;
pub(crate) mod tree;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

pub(crate) use outcome::Outcome;

/// An account that exists only inside a [`Host`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestAccount {
    pub(crate) name: &'static str,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Runs the launcher, as Storm's supervisor does; its uid is below `min.user.id`.
pub(crate) const SUPERVISOR: TestAccount =
    TestAccount { name: "soci-super", uid: 64_101, gid: GROUP_ID };

/// Owns topologies.
pub(crate) const USER: TestAccount = TestAccount { name: "soci-user", uid: 64_110, gid: 64_110 };

/// Owns other topologies.
pub(crate) const OTHER_USER: TestAccount =
    TestAccount { name: "soci-other", uid: 64_111, gid: 64_111 };

/// A second supervisor on the same host, in the launcher's group too.
pub(crate) const OTHER_SUPERVISOR: TestAccount =
    TestAccount { name: "soci-super2", uid: 64_102, gid: GROUP_ID };

/// May never be acted for: it is in `banned.users`.
pub(crate) const BANNED: TestAccount =
    TestAccount { name: "soci-banned", uid: 64_112, gid: 64_112 };

/// May never be acted for: it is in the launcher's group.
pub(crate) const GROUP_MEMBER: TestAccount =
    TestAccount { name: "soci-member", uid: 64_113, gid: 64_113 };

const ACCOUNTS: [TestAccount; 6] =
    [SUPERVISOR, USER, OTHER_USER, OTHER_SUPERVISOR, BANNED, GROUP_MEMBER];

/// The launcher's group.
pub(crate) const GROUP: &str = "soci-group";
/// Its id.
pub(crate) const GROUP_ID: u32 = 64_100;

/// Where the compiled program looks for its configuration.
pub(crate) const CONF_DIR: &str = env!("STORM_OCI_CONF_DIR");

/// The tmpfs of a test, and everything in it.
pub(crate) const SCRATCH: &str = "/mnt";

/// Removes the mounts of a [`Host`] when the test ends or panics.
pub(crate) struct Host {
    mounts: Vec<PathBuf>,
}

impl Host {
    /// Builds the host. Not being root is a failure, never a reason to skip.
    pub(crate) fn new() -> Self {
        assert!(
            geteuid().is_root(),
            "privileged tests need root: run them through `make test` as root"
        );
        // Its thread stays in the host's namespace.
        interrupt::listen();
        unshare(CloneFlags::CLONE_NEWNS).expect("unshare the mount namespace");
        let none: Option<&str> = None;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).expect("make all mounts private");
        let mut host = Self { mounts: Vec::new() };
        root::enter();
        root::tmpfs(SCRATCH);
        host.mounts.push(SCRATCH.into());
        host.cover("/etc");
        if !Path::new(CONF_DIR).starts_with("/etc") {
            let existing = Path::new(CONF_DIR)
                .ancestors()
                .find(|ancestor| ancestor.is_dir())
                .expect("/ is a directory")
                .to_owned();
            host.cover(existing.to_str().expect("CONF_DIR is text"));
        }
        write_accounts();
        for (name, owner, mode) in [
            ("bin", None, 0o755),
            ("storm", Some(SUPERVISOR), 0o755),
            ("storm/workers", Some(SUPERVISOR), 0o755),
            ("storm/stormdist", Some(SUPERVISOR), 0o755),
            ("home", None, 0o755),
            ("home/user", Some(USER), 0o755),
        ] {
            host.directory(Path::new(SCRATCH).join(name), owner, mode);
        }
        host.configure("");
        install(&host.program());
        host
    }

    /// The installed setuid program.
    pub(crate) fn program(&self) -> PathBuf {
        Path::new(SCRATCH).join("bin/worker-launcher")
    }

    /// A directory of the supervisor's, below one of root's.
    pub(crate) fn storm(&self) -> PathBuf {
        Path::new(SCRATCH).join("storm")
    }

    /// The run root of the default configuration. The launcher makes it.
    pub(crate) fn run_root(&self) -> PathBuf {
        Path::new(SCRATCH).join("run")
    }

    /// The configuration file's path.
    pub(crate) fn config_path(&self) -> PathBuf {
        Path::new(CONF_DIR).join("worker-launcher.cfg")
    }

    /// Writes the configuration: the harness's, with `lines` added or put in the place of its
    /// own lines for the same keys.
    pub(crate) fn configure(&self, lines: &str) {
        let runc = ["/usr/sbin/runc", "/usr/bin/runc"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .unwrap_or("/usr/bin/runc");
        let own = format!(
            "storm.worker-launcher.group={GROUP}\nmin.user.id={}\nbanned.users={}\n\
             worker.launcher.oci.run-root={SCRATCH}/run\nworker.launcher.oci.runc={runc}\n\
             worker.launcher.oci.cgroup-parent=/{}\n",
            USER.uid,
            BANNED.name,
            container::cgroup_parent(),
        );
        let key = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
        let replaced: Vec<String> = lines.lines().map(key).collect();
        let text: String = own
            .lines()
            .filter(|line| !replaced.contains(&key(line)))
            .chain(lines.lines())
            .map(|line| format!("{line}\n"))
            .collect();
        self.write_config(text.as_bytes());
    }

    /// Writes these bytes as the whole configuration.
    pub(crate) fn write_config(&self, bytes: &[u8]) {
        fs::create_dir_all(CONF_DIR).expect("make the configuration's directory");
        let path = self.config_path();
        fs::write(&path, bytes).expect("write the configuration");
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("set its mode");
    }

    /// The launcher with these arguments, called as the supervisor does: its ids, its group, no
    /// other group, an empty environment, `/` as working directory.
    pub(crate) fn command<A: AsRef<std::ffi::OsStr>>(&self, arguments: &[A]) -> Command {
        self.command_as(SUPERVISOR, arguments)
    }

    /// The launcher with these arguments, called by `caller`.
    pub(crate) fn command_as<A: AsRef<std::ffi::OsStr>>(
        &self,
        caller: TestAccount,
        arguments: &[A],
    ) -> Command {
        let mut command = self.command_of_root(arguments);
        command.uid(caller.uid).gid(caller.gid);
        command
    }

    /// The same before the caller took on its ids, for what only root can prepare.
    pub(crate) fn command_of_root<A: AsRef<std::ffi::OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(self.program());
        command.args(arguments).env_clear().current_dir("/");
        command.envs(std::env::var_os(SWITCHES).map(|names| (SWITCHES, names)));
        command
    }

    /// Runs the launcher as the supervisor does, to its end.
    pub(crate) fn call<A: AsRef<std::ffi::OsStr>>(&self, arguments: &[A]) -> Outcome {
        outcome::run(self.command(arguments))
    }

    /// Makes a directory. `None` leaves it root's.
    pub(crate) fn directory(&self, path: impl AsRef<Path>, owner: Option<TestAccount>, mode: u32) {
        let path = path.as_ref();
        fs::create_dir(path).unwrap_or_else(|error| panic!("make {path:?}: {error}"));
        settle(path, owner, mode);
    }

    /// Makes a file. `None` leaves it root's.
    pub(crate) fn file(
        &self,
        path: impl AsRef<Path>,
        owner: Option<TestAccount>,
        mode: u32,
        text: &str,
    ) {
        let path = path.as_ref();
        fs::write(path, text).unwrap_or_else(|error| panic!("write {path:?}: {error}"));
        settle(path, owner, mode);
    }

    /// Makes a symbolic link. `None` leaves it root's.
    pub(crate) fn link(&self, target: &str, path: impl AsRef<Path>, owner: Option<TestAccount>) {
        let path = path.as_ref();
        symlink(target, path).unwrap_or_else(|error| panic!("link {path:?}: {error}"));
        if let Some(owner) = owner {
            std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid)).expect("lchown");
        }
    }

    /// Lays a writable layer over `directory`, for this test's eyes only.
    pub(crate) fn cover(&mut self, directory: &str) {
        let base = Path::new(SCRATCH).join(format!(".cover-{}", self.mounts.len()));
        let (upper, work) = (base.join("upper"), base.join("work"));
        for path in [&base, &upper, &work] {
            fs::create_dir(path).expect("make the overlay's directories");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        let options =
            format!("lowerdir={directory},upperdir={},workdir={}", upper.display(), work.display());
        mount(
            Some("overlay"),
            directory,
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .unwrap_or_else(|error| panic!("mount an overlay on {directory}: {error}"));
        self.mounts.push(directory.into());
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The namespace ends with the thread; this is for tests that share one thread.
        for path in self.mounts.drain(..).rev() {
            let unmounted = umount2(&path, MntFlags::MNT_DETACH);
            if !std::thread::panicking() {
                unmounted.unwrap_or_else(|error| panic!("unmount {path:?}: {error}"));
            }
        }
    }
}

/// Installs the compiled program at `path` as `make install` does.
///
/// By another process: a descriptor open for writing here would be inherited by what other
/// threads start just then, and the kernel executes no file that anybody can still write.
pub(crate) fn install(path: &Path) {
    let mut command = Command::new("install");
    command
        .args(["-o", "root", "-g", &GROUP_ID.to_string(), "-m", "6550"])
        .args([&program_under_test(), path]);
    outcome::run(command).expect_success();
}

/// The program to test: this build's, unless `LAUNCHER_UNDER_TEST` names another.
fn program_under_test() -> PathBuf {
    std::env::var_os("LAUNCHER_UNDER_TEST")
        .map_or_else(|| env!("CARGO_BIN_EXE_worker-launcher").into(), PathBuf::from)
}

/// Names what a test build goes without; other builds ignore it.
pub(crate) const SWITCHES: &str = "STORM_OCI_WITHOUT";

fn settle(path: &Path, owner: Option<TestAccount>, mode: u32) {
    if let Some(owner) = owner {
        chown(path, Some(owner.uid), Some(owner.gid))
            .unwrap_or_else(|error| panic!("chown {path:?}: {error}"));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|error| panic!("chmod {path:?}: {error}"));
}

/// Adds the test accounts to the covered `/etc`.
fn write_accounts() {
    let mut passwd = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let mut group = fs::read_to_string("/etc/group").expect("read /etc/group");
    group.push_str(&format!("{GROUP}:x:{GROUP_ID}:{}\n", GROUP_MEMBER.name));
    for TestAccount { name, uid, gid } in ACCOUNTS {
        assert!(!passwd.contains(&format!(":x:{uid}:")), "uid {uid} is in use on this host");
        passwd.push_str(&format!("{name}:x:{uid}:{gid}::/nonexistent:/usr/sbin/nologin\n"));
        if gid != GROUP_ID {
            group.push_str(&format!("{name}:x:{gid}:\n"));
        }
    }
    fs::write("/etc/passwd", passwd).expect("write the covered /etc/passwd");
    fs::write("/etc/group", group).expect("write the covered /etc/group");
}
