//! ZooKeeper, Nimbus and one supervisor of a stock Storm.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::accounts::Account;
use crate::daemon::Daemon;
use crate::storm_conf::{self, Ports, Settings};
use crate::{E2eError, Layout, command, files};

/// Keeps a JVM from leaving a directory with its account's name in `/tmp`.
pub const NO_COUNTERS: &str = "-XX:-UsePerfData";

const ZOOKEEPER: &str = "org.apache.storm.command.DevZookeeper";
const NIMBUS: &str = "org.apache.storm.daemon.nimbus.Nimbus";
const SUPERVISOR: &str = "org.apache.storm.daemon.supervisor.Supervisor";
const KILL_WORKERS: &str = "org.apache.storm.command.KillWorkers";

/// Three daemons. Dropped, they end; workers do not end with them.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    account: Account,
    ports: Ports,
    // Dropped in this order: Nimbus and the supervisor before the ZooKeeper they talk to.
    supervisor: Option<Daemon>,
    nimbus: Option<Daemon>,
    zookeeper: Daemon,
}

impl Cluster {
    /// Starts the daemons, one after the other.
    ///
    /// # Errors
    ///
    /// [`E2eError::DaemonEnded`] or [`E2eError::TimedOut`], with the daemon's log.
    pub fn start(
        layout: &Layout,
        account: &Account,
        settings: &Settings,
    ) -> Result<Self, E2eError> {
        let ports = free_ports(settings.slots)?;
        for directory in ["local", "logs", "zookeeper", "layers"] {
            let path = layout.scratch(directory);
            files::make_dir(&path)?;
            files::give(&path, account.uid, account.gid)?;
        }
        write_conf(layout, &layout.scratch("storm/conf"), &ports, settings)?;

        let zookeeper =
            daemon(layout, account, "zookeeper", ZOOKEEPER, "storm/conf", ports.zookeeper)?;
        let mut cluster = Self {
            layout: layout.clone(),
            account: account.clone(),
            ports,
            supervisor: None,
            nimbus: None,
            zookeeper,
        };
        cluster.start_nimbus(settings)?;
        cluster.start_supervisor()?;
        Ok(cluster)
    }

    /// Starts Nimbus, anew when it runs.
    ///
    /// # Errors
    ///
    /// [`E2eError::DaemonEnded`] or [`E2eError::TimedOut`].
    pub fn start_nimbus(&mut self, settings: &Settings) -> Result<(), E2eError> {
        if let Some(nimbus) = self.nimbus.take() {
            nimbus.stop();
        }
        // Nimbus allows every image, as on a cluster whose nodes are set up differently: so that
        // the supervisor's own check is seen.
        let open = Settings { allowed_images: vec!["*".to_owned()], ..settings.clone() };
        let (layout, ports) = (&self.layout, &self.ports);
        files::make_dir(&layout.scratch("nimbus-conf"))?;
        write_conf(layout, &layout.scratch("nimbus-conf"), ports, &open)?;
        let (name, conf) = ("nimbus", "nimbus-conf");
        self.nimbus = Some(daemon(layout, &self.account, name, NIMBUS, conf, ports.nimbus)?);
        Ok(())
    }

    /// Writes a new configuration for the supervisor; it counts from its next start.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn configure(&self, settings: &Settings) -> Result<(), E2eError> {
        write_conf(&self.layout, &self.layout.scratch("storm/conf"), &self.ports, settings)
    }

    /// The ports of the supervisor's workers.
    #[must_use]
    pub fn slots(&self) -> &[u16] {
        &self.ports.slots
    }

    /// Starts the supervisor, when it was stopped.
    ///
    /// # Errors
    ///
    /// [`E2eError::DaemonEnded`] or [`E2eError::TimedOut`].
    pub fn start_supervisor(&mut self) -> Result<(), E2eError> {
        self.supervisor = Some(daemon(
            &self.layout,
            &self.account,
            "supervisor",
            SUPERVISOR,
            "storm/conf",
            self.ports.supervisor,
        )?);
        Ok(())
    }

    /// Starts the supervisor and waits for nothing.
    ///
    /// # Errors
    ///
    /// [`E2eError::Start`].
    pub fn spawn_supervisor(&mut self) -> Result<(), E2eError> {
        let Self { layout, account, .. } = &*self;
        let mut command = daemon_command(layout, account, "supervisor", SUPERVISOR, "storm/conf")?;
        let log = layout.kept("supervisor.log");
        self.supervisor = Some(Daemon::spawn("supervisor", &mut command, log)?);
        Ok(())
    }

    /// Stops the supervisor; its workers go on.
    pub fn stop_supervisor(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.stop();
        }
    }

    /// Kills the supervisor as a fault would; its workers go on.
    pub fn kill_supervisor(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.kill();
        }
    }

    /// Whether the supervisor has ended by itself. One that has counts as stopped.
    ///
    /// # Errors
    ///
    /// [`E2eError::Start`] when the kernel does not tell.
    pub fn supervisor_ended(&mut self) -> Result<bool, E2eError> {
        let ended = match &mut self.supervisor {
            Some(supervisor) => supervisor.ended()?.is_some(),
            None => true,
        };
        if ended {
            self.supervisor = None;
        }
        Ok(ended)
    }

    /// Ends all workers of this node, as `storm kill_workers` does.
    ///
    /// # Errors
    ///
    /// [`E2eError::Ended`].
    pub fn kill_workers(&self) -> Result<(), E2eError> {
        let mut java =
            storm_command(&self.layout, &self.account, "kill-workers", KILL_WORKERS, "storm/conf");
        command::run("kill all workers", &mut java, &self.layout.log("kill-workers"))
    }

    /// The supervisor's pid, while it runs.
    ///
    /// # Errors
    ///
    /// [`E2eError::DaemonEnded`] when it has ended by itself.
    pub fn supervisor_pid(&mut self) -> Result<Option<u32>, E2eError> {
        match &mut self.supervisor {
            Some(supervisor) => {
                supervisor.check()?;
                Ok(Some(supervisor.pid()))
            }
            None => Ok(None),
        }
    }

    /// Fails if any daemon that should run has ended.
    ///
    /// # Errors
    ///
    /// [`E2eError::DaemonEnded`].
    pub fn check(&mut self) -> Result<(), E2eError> {
        self.zookeeper.check()?;
        if let Some(nimbus) = &mut self.nimbus {
            nimbus.check()?;
        }
        self.supervisor_pid().map(|_| ())
    }
}

fn write_conf(
    layout: &Layout,
    dir: &Path,
    ports: &Ports,
    settings: &Settings,
) -> Result<(), E2eError> {
    // JSON is YAML.
    files::write(
        &dir.join("storm.yaml"),
        format!("{:#}\n", storm_conf::storm_yaml(layout, ports, settings)),
    )
}

/// Storm's usual ports where they are free, else any.
fn free_ports(slots: u16) -> Result<Ports, E2eError> {
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut choose = |usual: u16| -> Result<u16, E2eError> {
        let listener = TcpListener::bind(("0.0.0.0", usual))
            .or_else(|_| TcpListener::bind(("0.0.0.0", 0)))
            .map_err(|source| E2eError::Start { program: "a listener".to_owned(), source })?;
        let port = listener
            .local_addr()
            .map_err(|source| E2eError::Start { program: "a listener".to_owned(), source })?
            .port();
        held.push(listener);
        Ok(port)
    };
    Ok(Ports {
        zookeeper: choose(2181)?,
        nimbus: choose(6627)?,
        supervisor: choose(6628)?,
        slots: (0..slots).map(|slot| choose(6700 + slot)).collect::<Result<_, _>>()?,
    })
}

fn daemon(
    layout: &Layout,
    account: &Account,
    name: &'static str,
    class: &str,
    conf: &str,
    port: u16,
) -> Result<Daemon, E2eError> {
    let mut command = daemon_command(layout, account, name, class, conf)?;
    Daemon::start(name, &mut command, port, layout.kept(&format!("{name}.log")))
}

/// A daemon's JVM, its output in a log of its own.
fn daemon_command(
    layout: &Layout,
    account: &Account,
    name: &str,
    class: &str,
    conf: &str,
) -> Result<Command, E2eError> {
    let mut command = storm_command(layout, account, name, class, conf);
    let console = layout.log(&format!("{name}-console"));
    let output = std::fs::File::create(&console).map_err(|source| E2eError::File {
        verb: "write",
        path: console,
        source,
    })?;
    let errors = output
        .try_clone()
        .map_err(|source| E2eError::Start { program: name.to_owned(), source })?;
    command.stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    Ok(command)
}

/// A JVM with a daemon's class path and one of Storm's own classes.
fn storm_command(
    layout: &Layout,
    account: &Account,
    name: &str,
    class: &str,
    conf: &str,
) -> Command {
    let mut command = as_account(account);
    command
        .args(["java", "-server", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(NO_COUNTERS)
        .args(storm_properties(layout))
        .arg(format!(
            "-Dlog4j.configurationFile={}",
            layout.scratch("storm/log4j2/cluster.xml").display()
        ))
        .arg("-Djava.deserialization.disabled=true")
        .arg("-Djava.library.path=/usr/local/lib:/usr/lib:/usr/lib64")
        .arg(format!("-Ddaemon.name={name}"))
        .arg(format!("-Dlogfile.name={name}.log"))
        .arg("-cp")
        .arg(class_path(layout, &["", "lib", "extlib", "extlib-daemon"], conf))
        .arg(class);
    command
}

/// A command that runs as `account`, with no more environment than it needs: all of the
/// supervisor's reaches the launcher. It ends with this process.
#[must_use]
pub fn as_account(account: &Account) -> Command {
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={}", account.uid))
        .arg(format!("--regid={}", account.gid))
        .args(["--clear-groups", "--pdeathsig=KILL", "env", "-i"])
        .args(["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"]);
    command
}

/// The properties every JVM of Storm wants.
#[must_use]
pub fn storm_properties(layout: &Layout) -> Vec<String> {
    vec![
        "-Dstorm.options=".to_owned(),
        "-Dstorm.conf.file=".to_owned(),
        format!("-Dstorm.home={}", layout.scratch("storm").display()),
        format!("-Dstorm.log.dir={}", layout.scratch("logs").display()),
    ]
}

/// A class path of directories of jars below the home (Java expands the `*`), then `conf`.
#[must_use]
pub fn class_path(layout: &Layout, directories: &[&str], conf: &str) -> String {
    let home = layout.scratch("storm");
    let mut entries: Vec<String> =
        directories.iter().map(|below| home.join(below).join("*").display().to_string()).collect();
    entries.push(layout.scratch(conf).display().to_string());
    entries.join(":")
}
