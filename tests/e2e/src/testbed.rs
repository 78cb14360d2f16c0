//! One stock Storm with this project installed, and the end of it.

use std::env;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::accounts::{self, Account};
use crate::cluster::Cluster;
use crate::image_store::{ImageStore, Layer};
use crate::publish::publish;
use crate::say::{self, Steps};
use crate::storm_conf::Settings;
use crate::{
    E2eError, Layout, Traces, command, container, files, image, install, interrupt, packages,
    process, storm_home, topology, traces,
};

/// The tag of the demo's image.
pub const IMAGE: &str = "storm/demo:1";

/// How many steps [`Testbed::create`] tells.
pub const STEPS: usize = 6;

/// A stock Storm with this project, on this host. Dropped, all of it is removed.
#[derive(Debug)]
pub struct Testbed {
    /// Where everything is.
    pub layout: Layout,
    /// The daemons' account.
    pub daemon: Account,
    /// The topologies' account.
    pub user: Account,
    /// The account of another user's topologies.
    pub other: Account,
    /// The image store.
    pub store: ImageStore,
    /// Where `storm-oci` gets [`IMAGE`] from.
    pub reference: String,
    /// The layers of [`IMAGE`], lowest first.
    pub layers: Vec<Layer>,
    /// What the launcher made of the configuration that `make install` put there.
    pub example_config: String,
    /// The daemons, once started.
    pub cluster: Option<Cluster>,
    removed: bool,
    _lock: File,
}

impl Testbed {
    /// Makes everything up to the point where the daemons can start.
    ///
    /// # Errors
    ///
    /// [`E2eError`]: the first step that fails; what was made is removed.
    pub fn create(layout: Layout, steps: &mut Steps) -> Result<Self, E2eError> {
        let mut testbed = Self::install(layout, steps)?;
        topology::build(&testbed.layout)?;

        steps.begin("the image");
        testbed.reference = image::build(&testbed.layout)?;
        let published = publish(&testbed.layout, &testbed.reference, IMAGE, &[])?;
        say::fact("image", format!("{IMAGE} = sha256:{}", published.digest));
        testbed.layers = published.layers;
        for layer in &testbed.layers {
            say::fact("layer", format!("sha256:{} {} MB", layer.digest, layer.size / 1_000_000));
        }
        Ok(testbed)
    }

    /// Installs this project and a stock Storm beside an empty image store.
    ///
    /// # Errors
    ///
    /// [`E2eError`]: the first step that fails; what was made is removed.
    pub fn install(layout: Layout, steps: &mut Steps) -> Result<Self, E2eError> {
        let lock = lock()?;
        files::remove_tree(&layout.logs)?;
        files::make_dir(&layout.logs)?;

        steps.begin("Debian packages");
        packages::ensure(&layout.log("packages"))?;

        steps.begin("build the library, the jar and the launcher");
        install::build(&layout)?;

        steps.begin("accounts and directories");
        let left = Traces::of_run(&layout)?;
        if !left.is_empty() {
            say::line(format!("removing what an earlier run left: {left}"));
            traces::remove(&layout)?;
        }
        let made = Self::make(layout.clone(), lock, steps);
        if made.is_err() {
            // The first error is the one to tell.
            let _ = traces::remove(&layout);
        }
        made
    }

    fn make(layout: Layout, lock: File, steps: &mut Steps) -> Result<Self, E2eError> {
        let log = layout.log("accounts");
        files::make_dir(&layout.scratch)?;
        let daemon = accounts::add_daemon(&layout.daemon_account(), &log)?;
        let user = accounts::add_topology(&layout.topology_account(), &log)?;
        let other = accounts::add_topology(&layout.other_account(), &log)?;
        say::fact("supervisor runs as", format!("{} (uid {})", daemon.name, daemon.uid));
        say::fact("workers run as", format!("{} (uid {})", user.name, user.uid));
        say::fact("scratch directory", layout.scratch.display());
        install::install(&layout)?;
        let example_config = install::print_config(&layout, &daemon)?;
        install::write_launcher_conf(&layout, &[])?;
        install::check_setup(&layout, &daemon)?;
        say::fact("installed and checked", layout.launcher().display());

        steps.begin("stock Storm");
        storm_home::create(&layout)?;
        let jar = layout.prefix().join("lib/storm-oci/storm-oci.jar");
        files::link_or_copy(&jar, &layout.scratch("storm/extlib-daemon/storm-oci.jar"))?;
        let metrics = layout.prefix().join("lib/storm-oci/storm-oci-metrics.jar");
        files::link_or_copy(&metrics, &layout.scratch("storm/extlib/storm-oci-metrics.jar"))?;
        let profile = files::read(&layout.repository.join("conf/seccomp.json.example"))?;
        files::write(&layout.scratch("seccomp.json"), profile)?;
        let store = ImageStore::create(&layout.scratch("images"))?;
        Ok(Self {
            layout,
            daemon,
            user,
            other,
            store,
            reference: String::new(),
            layers: Vec::new(),
            example_config,
            cluster: None,
            removed: false,
            _lock: lock,
        })
    }

    /// Starts the daemons.
    ///
    /// # Errors
    ///
    /// [`E2eError::DaemonEnded`] or [`E2eError::TimedOut`].
    pub fn start(&mut self, settings: &Settings, steps: &mut Steps) -> Result<(), E2eError> {
        steps.begin("ZooKeeper, Nimbus and a supervisor of stock Storm");
        self.cluster = Some(Cluster::start(&self.layout, &self.daemon, settings)?);
        Ok(())
    }

    /// Fails when a daemon has ended.
    ///
    /// # Errors
    ///
    /// [`E2eError::DaemonEnded`].
    pub fn check(&mut self) -> Result<(), E2eError> {
        self.cluster.as_mut().map_or(Ok(()), Cluster::check)
    }

    /// Lets the launcher unmount the layers that it keeps mounted for later containers.
    ///
    /// # Errors
    ///
    /// [`E2eError::Unconfirmed`] when the launcher refuses.
    pub fn release_layers(&self, container_id: &str) -> Result<(), E2eError> {
        traces::release_layers(&self.layout, &self.daemon, &self.user, container_id)
    }

    /// Waits until no worker is left, contained or not. Layers may stay mounted for later ones.
    ///
    /// # Errors
    ///
    /// [`E2eError::Left`].
    pub fn expect_nothing_running(&self) -> Result<(), E2eError> {
        let mut left = String::new();
        let gone = interrupt::wait(Duration::from_secs(30), || {
            let processes = process::of_users(&[self.user.uid, self.other.uid])?;
            let records = container::records(&self.layout)?.len();
            let workers = files::list(&self.layout.workers())?;
            left = format!("{processes:?}, {records} records, {workers:?}");
            Ok(processes.is_empty() && records == 0 && workers.is_empty())
        })?;
        if gone { Ok(()) } else { Err(E2eError::Left(left)) }
    }

    /// Waits until the containers have left nothing.
    ///
    /// # Errors
    ///
    /// [`E2eError::Left`].
    pub fn expect_no_container(&self) -> Result<(), E2eError> {
        traces::expect_no_container(&self.layout)
    }

    /// Stops the daemons and removes everything, then looks whether anything is left.
    ///
    /// # Errors
    ///
    /// [`E2eError::Left`], or what could not be removed.
    pub fn remove(mut self) -> Result<(), E2eError> {
        self.take_away()?;
        let left = Traces::of_run(&self.layout)?;
        if left.is_empty() { Ok(()) } else { Err(E2eError::Left(left.to_string())) }
    }

    fn take_away(&mut self) -> Result<(), E2eError> {
        self.removed = true;
        self.cluster = None;
        let kept = keep_logs(&self.layout);
        traces::remove(&self.layout)?;
        kept
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = self.take_away()
        {
            say::failure("cleaning up", &error);
        }
    }
}

/// Copies Storm's logs, the workers' among them, to where they survive.
fn keep_logs(layout: &Layout) -> Result<(), E2eError> {
    let mut copy = Command::new("cp");
    copy.arg("-rL").arg(layout.scratch("logs")).arg(layout.logs.join("storm"));
    if layout.scratch("logs").exists() { command::output(&mut copy).map(|_| ()) } else { Ok(()) }
}

/// Keeps other runs away until the file is dropped.
fn lock() -> Result<File, E2eError> {
    let path = PathBuf::from("/run/lock/storm-oci-demo");
    let file = File::create(&path).map_err(|source| E2eError::File {
        verb: "make",
        path: path.clone(),
        source,
    })?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| E2eError::Busy(path))?;
    Ok(file)
}

/// Goes on as root: returns when this process is root, else becomes `sudo` of itself.
///
/// # Errors
///
/// [`E2eError::NotRoot`] when there is no `sudo`.
pub fn as_root() -> Result<(), E2eError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    say::plain("This makes accounts and mounts, so it goes on through sudo.");
    // sudo clears the environment; the builds need the caller's cargo and JDK.
    let mut sudo = Command::new("sudo");
    sudo.args(["--", "env"]);
    for name in [
        "PATH",
        "JAVA_HOME",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "CARGO_TARGET_DIR",
        "STORM_OCI_CACHE",
        "STORM_OCI_LIFECYCLE",
    ] {
        if let Ok(value) = env::var(name) {
            sudo.arg(format!("{name}={value}"));
        }
    }
    let program = env::current_exe()
        .map_err(|source| E2eError::Start { program: "this program".to_owned(), source })?;
    // Only returns when it could not be started.
    let _ = sudo.arg(program).args(env::args_os().skip(1)).exec();
    Err(E2eError::NotRoot)
}
