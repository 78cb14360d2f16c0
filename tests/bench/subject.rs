//! The runtimes that are compared: each launches, and removes, the same container.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::container::{Worker, eventually};
use crate::support::{GROUP_ID, Host, SCRATCH, SUPERVISOR, USER, outcome};

/// Lets the host come to rest after what was measured before.
const PAUSE: Duration = Duration::from_millis(60);

/// Who launches a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Runtime {
    /// runc alone, on the bundle that our launcher writes and a root file system made before.
    Bare,
    /// Our launcher, with its monitor.
    Ours,
    /// The original launcher.
    Original,
    /// The same launcher as the other side's, with every layer mounted.
    Warm,
}

impl Runtime {
    /// How figures name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare runc",
            Self::Ours => "ours",
            Self::Original => "original",
            Self::Warm => "warm",
        }
    }
}

/// One container, as one runtime launches it again and again.
pub(crate) struct Subject<'a> {
    pub(crate) runtime: Runtime,
    host: &'a Host,
    worker: Worker,
}

impl<'a> Subject<'a> {
    /// Prepares a container. Its first launch is done and undone: layers are mounted, mount
    /// points are made.
    pub(crate) fn new(host: &'a Host, runtime: Runtime, worker: Worker) -> Self {
        let mut subject = Self { runtime: Runtime::Ours, host, worker };
        if runtime == Runtime::Bare {
            subject.run(subject.launch());
            subject.prepare_bundle();
            subject.end();
            subject.run(subject.reap());
        }
        subject.runtime = runtime;
        subject.run(subject.launch());
        subject.end();
        subject.run(subject.reap());
        subject
    }

    fn bundle(&self) -> PathBuf {
        Path::new(SCRATCH).join("bundles").join(&self.worker.container)
    }

    /// The bundle of the running container, with the root file system and the sources of binds
    /// where bare runc finds them.
    fn prepare_bundle(&self) {
        let bundle = self.bundle();
        fs::create_dir_all(&bundle).unwrap();
        let rootfs = self.shared_rootfs();
        let own = self.host.run_root().join(&self.worker.container);
        let text = fs::read_to_string(own.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["root"]["path"] = json!(rootfs);
        let asked = &self.worker.request["ociRuntimeConfig"]["mounts"];
        let binds = config["mounts"].as_array_mut().unwrap().iter_mut();
        let binds =
            binds.filter(|bind| bind["source"].as_str().is_some_and(|s| s.starts_with('/')));
        for (bind, asked) in binds.zip(asked.as_array().unwrap()) {
            assert_eq!(bind["destination"], asked["destination"]);
            bind["source"] = asked["source"].clone();
        }
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    }

    /// The image's root file system, mounted once for all that run it bare: what they see in the
    /// host's mount table is no more than what launchers leave there.
    fn shared_rootfs(&self) -> PathBuf {
        let record = self.worker.record(self.host);
        let keys = record["layers"].as_array().unwrap().iter().rev();
        let keys: Vec<&str> = keys.map(|layer| layer["key"].as_str().unwrap()).collect();
        let layers = self.host.run_root().join("layers");
        let lower: Vec<String> =
            keys.iter().map(|key| format!("{}/mnt", layers.join(key).display())).collect();
        let base = Path::new(SCRATCH).join("bundles").join(keys[0]);
        let rootfs = base.join("rootfs");
        if rootfs.exists() {
            return rootfs;
        }
        for name in ["rootfs", "upper", "work"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            base.join("upper").display(),
            base.join("work").display()
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("overlay"), &rootfs, Some("overlay"), flags, Some(options.as_str())).unwrap();
        rootfs
    }

    /// The command that launches the container.
    pub(crate) fn launch(&self) -> Command {
        match self.runtime {
            Runtime::Bare => {
                let bundle = self.bundle();
                let mut command = runc(&["--log", "/dev/null", "run", "--detach", "--pid-file"]);
                command.args([&bundle.join("pid"), Path::new("--bundle"), &bundle]);
                command.arg(&self.worker.container);
                command.stdout(File::create(bundle.join("out")).unwrap());
                command.stderr(File::create(bundle.join("err")).unwrap());
                command
            }
            _ => {
                // A launch gives the worker's directory, and all in it, to the user.
                self.worker.write_request();
                self.launcher(&self.worker.launch_arguments())
            }
        }
    }

    /// The command that removes it when it has ended.
    pub(crate) fn reap(&self) -> Command {
        match self.runtime {
            Runtime::Bare => runc(&["delete", &self.worker.container]),
            _ => self.reaper(100),
        }
    }

    fn reaper(&self, keep: u32) -> Command {
        let keep = keep.to_string();
        self.launcher(&[USER.name, "reap-oci-container", &self.worker.container, &keep])
    }

    /// Removes the ended container, and layers down to `keep`; the kernel gives loop devices back
    /// a while after.
    pub(crate) fn reap_keeping(&self, keep: u32) {
        self.run(self.reaper(keep));
        std::thread::sleep(if keep == 0 { PAUSE * 6 } else { PAUSE });
    }

    fn launcher<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = if self.runtime == Runtime::Original {
            // A run root of its own: it takes whatever lies there for its own.
            let run_root = format!("{SCRATCH}/run-original");
            self.host.configure(&format!("worker.launcher.oci.run-root={run_root}"));
            let mut command = Command::new(original_program());
            command.args(arguments).uid(SUPERVISOR.uid).gid(SUPERVISOR.gid).env_clear();
            command.current_dir(&self.worker.directory);
            command
        } else {
            self.host.configure("");
            self.host.command(arguments)
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn run(&self, command: Command) {
        timed_all(vec![command]);
    }

    /// Our launcher's record of the running container.
    pub(crate) fn record(&self) -> Option<Value> {
        (self.runtime == Runtime::Ours).then(|| self.worker.record(self.host))
    }

    /// Kills the container and waits for its end.
    pub(crate) fn end(&self) {
        match self.runtime {
            Runtime::Ours | Runtime::Warm => {
                self.worker.kill(self.host);
                self.worker.exit_record(self.host);
            }
            Runtime::Bare => end_process(&self.bundle().join("pid")),
            Runtime::Original => {
                let file = self.worker.request["pidFile"].as_str().unwrap();
                end_process(Path::new(file));
                // It launches nothing where these lie.
                fs::remove_file(file).unwrap();
                fs::remove_file(self.worker.directory.join("config.json")).unwrap();
            }
        }
    }
}

/// Ends the container that a pid file names; this process is its heir.
fn end_process(pid_file: &Path) {
    let pid = Pid::from_raw(fs::read_to_string(pid_file).unwrap().trim().parse().unwrap());
    kill(pid, Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(pid, None).unwrap();
    eventually("its process is gone", || kill(pid, None).is_err());
}

/// Makes this process the heir of containers that nobody else waits for.
pub(crate) fn adopt_orphans() {
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).unwrap();
}

/// runc, started in the same way as the launchers: as somebody, with an empty environment.
fn runc(arguments: &[&str]) -> Command {
    let program = ["/usr/sbin/runc", "/usr/bin/runc"];
    let program = program.into_iter().find(|path| Path::new(path).exists()).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).uid(0).gid(0).env_clear().current_dir("/").stdin(Stdio::null());
    command
}

fn original_program() -> PathBuf {
    Path::new(SCRATCH).join("bin/original")
}

/// Installs the original launcher. It must have been compiled for the directory that this
/// project's launcher reads its configuration from.
pub(crate) fn install_original(program: &Path) {
    let mut install = Command::new("install");
    install.args(["-o", "root", "-g", &GROUP_ID.to_string(), "-m", "6550"]);
    install.args([program, &original_program()]);
    outcome::run(install).expect_success();
}

/// Runs one command; the milliseconds until it returned.
pub(crate) fn timed(command: Command) -> f64 {
    std::thread::sleep(PAUSE);
    timed_all(vec![command])
}

/// Starts all commands, waits for all; the milliseconds until the last returned.
pub(crate) fn timed_all(mut commands: Vec<Command>) -> f64 {
    let start = Instant::now();
    let children: Vec<_> = commands.iter_mut().map(|command| command.spawn().unwrap()).collect();
    let ended: Vec<_> =
        children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let elapsed = start.elapsed();
    for (output, command) in ended.iter().zip(&commands) {
        assert!(output.status.success(), "{command:?}: {:?}", output.status);
    }
    elapsed.as_secs_f64() * 1e3
}
