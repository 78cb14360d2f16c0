//! HDFS: real namenodes and datanodes, a JVM each.

mod blocks;
mod conf;
mod nodes;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::cache;
use crate::daemon::Daemon;
use crate::error::TestbedError;
use crate::kdc::Kdc;
use crate::local_http;
use crate::proxy::{Proxy, Throttle};
use crate::scratch::Scratch;
use nodes::{DataNode, NameNode, Plan};

/// The cluster to start.
#[derive(Clone, Debug)]
pub struct HdfsSpec {
    /// How many datanodes. Each file has a replica on every one.
    pub datanodes: u16,
    /// Who may come in.
    pub security: Security,
    /// Whether there are two namenodes behind the name service `images`. The first one is active.
    pub ha: bool,
    /// If any, clients reach the datanodes through a proxy each, on an address of its own: the
    /// datanodes' host name, so that a client without `dfs.client.use.datanode.hostname`, which is
    /// in [`Hdfs::client_conf`], goes past the proxies, as the daemons themselves do.
    pub network: Option<Throttle>,
    /// The size of a block, in bytes.
    pub block_size: u64,
    /// Options of each JVM.
    pub jvm_options: Vec<String>,
    /// More Hadoop keys, for daemons and clients.
    pub properties: Vec<(String, String)>,
}

impl Default for HdfsSpec {
    /// One datanode, no security, blocks of 16 MiB, JVMs that start fast.
    fn default() -> Self {
        Self {
            datanodes: 1,
            security: Security::Simple,
            ha: false,
            network: None,
            block_size: 16 << 20,
            jvm_options: ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
                .map(str::to_owned)
                .to_vec(),
            properties: Vec::new(),
        }
    }
}

/// How a cluster knows its clients.
#[derive(Clone, Debug)]
pub enum Security {
    /// By the name they give.
    Simple,
    /// By their Kerberos ticket. Daemons are `hdfs/localhost`.
    Kerberos {
        /// Their realm.
        kdc: Arc<Kdc>,
        /// Of RPC and of data transfer.
        protection: Protection,
    },
}

/// `hadoop.rpc.protection` and `dfs.data.transfer.protection`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protection {
    /// Peers prove who they are.
    Authentication,
    /// And every message is signed.
    Integrity,
    /// And encrypted.
    Privacy,
}

impl Protection {
    /// Hadoop's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Integrity => "integrity",
            Self::Privacy => "privacy",
        }
    }
}

/// A cluster that runs.
#[derive(Debug)]
pub struct Hdfs {
    namenodes: Vec<NameNode>,
    datanodes: Vec<DataNode>,
    plan: Plan,
    // Dropped after the daemons.
    scratch: Scratch,
}

impl Hdfs {
    /// Formats and starts a cluster; returns when files can be written and read. Takes 3 to 7
    /// seconds; the first time on a machine, the jars are fetched.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] with the end of a daemon's log.
    pub fn start(spec: HdfsSpec) -> Result<Self, TestbedError> {
        let scratch = Scratch::new("hdfs")?;
        let jars = cache::hadoop_jars()?;
        let plan = Plan::new(spec, &jars, scratch.path())?;
        let namenodes = plan.namenodes()?;
        let datanodes = plan.datanodes()?;
        let mut hdfs = Self { namenodes, datanodes, plan, scratch };
        hdfs.heal()?;
        Ok(hdfs)
    }

    /// Makes everything run again: killed daemons are started, hung ones go on, proxies pass at
    /// the speed they started with. Returns when all datanodes are live.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] with the end of a daemon's log.
    pub fn heal(&mut self) -> Result<(), TestbedError> {
        for daemon in self
            .namenodes
            .iter_mut()
            .map(|node| &mut node.daemon)
            .chain(self.datanodes.iter_mut().map(|node| &mut node.daemon))
        {
            if daemon.is_started() {
                daemon.go_on()?;
            }
            daemon.start()?;
        }
        for proxy in self.datanodes.iter().filter_map(|node| node.proxy.as_ref()) {
            proxy.throttle(self.plan.spec.network.unwrap_or(Throttle::NONE));
            proxy.resume();
        }
        for node in &mut self.namenodes {
            node.wait_for_answer()?;
        }
        // A namenode takes one that was killed a moment ago for live.
        for node in &mut self.datanodes {
            let port = node.address.port();
            node.daemon.wait(|| local_http::accepts(port))?;
        }
        if self.plan.spec.ha && !self.namenodes.iter().any(NameNode::is_active) {
            self.activate(0)?;
        }
        let count = self.datanodes.len();
        let Some(active) = self.namenodes.iter_mut().find(|node| node.is_active()) else {
            return Err(TestbedError::new("start HDFS", "no namenode is active"));
        };
        active.wait_for_datanodes(count, !self.plan.spec.ha)
    }

    /// Makes a namenode of a name service the active one; the other, if it runs, becomes the
    /// standby.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when Hadoop's tool fails.
    pub fn activate(&mut self, namenode: usize) -> Result<(), TestbedError> {
        for (index, node) in self.namenodes.iter().enumerate() {
            if index != namenode && node.is_active() {
                self.haadmin(&["-transitionToStandby", &nodes::namenode_id(index)])?;
            }
        }
        self.haadmin(&["-transitionToActive", "--forceactive", &nodes::namenode_id(namenode)])
    }

    fn haadmin(&self, arguments: &[&str]) -> Result<(), TestbedError> {
        let mut command = self.java("org.apache.hadoop.hdfs.tools.DFSHAAdmin");
        cache::run("switch namenodes", command.args(arguments)).map(|_| ())
    }

    /// Copies a file or a directory from this host with Hadoop's own client, over what is there.
    /// The directory above must exist.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] with what the client says.
    pub fn put(&self, local: &Path, remote: &str) -> Result<(), TestbedError> {
        // Taken for a URL.
        let local = local.display().to_string().replace('%', "%25").replace(' ', "%20");
        self.shell(&["-put", "-f", &local, remote]).map(|_| ())
    }

    /// Runs Hadoop's `hdfs dfs` with these arguments, as the superuser; gives what it prints.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] with what it says.
    pub fn shell(&self, arguments: &[&str]) -> Result<String, TestbedError> {
        let mut command = self.java("org.apache.hadoop.fs.FsShell");
        let doing = format!("run `hdfs dfs {}`", arguments.join(" "));
        cache::output(&doing, command.args(arguments))
    }

    /// A JVM with Hadoop's client, its configuration, and a login of the superuser. Lacks the
    /// class to run.
    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"])
            .args(self.plan.kerberos_options())
            .arg("-cp")
            .arg(self.class_path())
            .arg(class);
        if let Security::Kerberos { .. } = self.plan.spec.security {
            command.env("KRB5CCNAME", self.plan.superuser_tickets());
        }
        command
    }

    /// For a JVM with Hadoop's client: this cluster's configuration, and the jars.
    #[must_use]
    pub fn class_path(&self) -> String {
        format!("{}:{}/*", self.client_conf().display(), self.plan.jars.display())
    }

    /// A `HADOOP_CONF_DIR` for clients.
    #[must_use]
    pub fn client_conf(&self) -> PathBuf {
        self.scratch.path().join("client")
    }

    /// The URL of an absolute path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.plan.default_fs)
    }

    /// A namenode: 0, or 1 with [`HdfsSpec::ha`].
    ///
    /// # Panics
    ///
    /// When there is no such namenode.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "documented")]
    pub fn namenode(&mut self, index: usize) -> &mut Daemon {
        &mut self.namenodes[index].daemon
    }

    /// A datanode.
    ///
    /// # Panics
    ///
    /// When there is no such datanode.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "documented")]
    pub fn datanode(&mut self, index: usize) -> &mut Daemon {
        &mut self.datanodes[index].daemon
    }

    /// Where a datanode listens for data transfers: the proxy's upstream.
    ///
    /// # Panics
    ///
    /// When there is no such datanode.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "documented")]
    pub fn datanode_address(&self, index: usize) -> SocketAddr {
        self.datanodes[index].address
    }

    /// The proxy before a datanode, with [`HdfsSpec::network`].
    ///
    /// # Panics
    ///
    /// When there is no such proxy.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "documented")]
    pub fn proxy(&self, datanode: usize) -> &Proxy {
        self.datanodes[datanode].proxy.as_ref().expect("the cluster has a network")
    }

    /// How many bytes all datanodes have sent to clients, with [`HdfsSpec::network`].
    #[must_use]
    pub fn received(&self) -> u64 {
        self.datanodes.iter().filter_map(|node| node.proxy.as_ref()).map(Proxy::received).sum()
    }
}
