//! The daemons of a cluster: where they listen, what they are told, and when they are ready.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::conf::Conf;
use super::{HdfsSpec, Security};
use crate::cache;
use crate::daemon::Daemon;
use crate::error::{Doing, TestbedError};
use crate::kdc::Kdc;
use crate::proxy::Proxy;
use crate::scratch::make_dir;
use crate::{local_http, ports};

const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";
/// The name service of two namenodes.
const SERVICE: &str = "images";
/// Where datanodes listen, and where their proxies do, on the same port. All of 127/8 is this host.
const BARE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PROXIED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What is decided before the first daemon starts.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) spec: HdfsSpec,
    pub(super) jars: PathBuf,
    pub(super) default_fs: String,
    directory: PathBuf,
    /// RPC and web, of each namenode.
    ports: Vec<(u16, u16)>,
    /// What daemons and clients are told.
    common: Conf,
}

impl Plan {
    pub(super) fn new(spec: HdfsSpec, jars: &Path, directory: &Path) -> Result<Self, TestbedError> {
        let ports = (0..if spec.ha { 2 } else { 1 })
            .map(|_| Ok((ports::free_local()?, ports::free_local()?)))
            .collect::<Result<Vec<_>, TestbedError>>()?;
        let default_fs = match ports.first() {
            Some((rpc, _)) if !spec.ha => format!("hdfs://localhost:{rpc}"),
            _ => format!("hdfs://{SERVICE}"),
        };
        let mut plan = Self {
            spec,
            jars: jars.to_owned(),
            default_fs,
            directory: directory.to_owned(),
            ports,
            common: Conf::default(),
        };
        plan.common = plan.common();
        plan.common.write(&directory.join("client"))?;
        plan.log_in()?;
        Ok(plan)
    }

    fn common(&self) -> Conf {
        let mut conf = Conf::default();
        conf.set("fs.defaultFS", &self.default_fs)
            .set("dfs.replication", self.spec.datanodes)
            .set("dfs.blocksize", self.spec.block_size)
            .set("dfs.namenode.fs-limits.min-block-size", 1024);
        if self.spec.network.is_some() {
            conf.set("dfs.client.use.datanode.hostname", true);
        }
        if self.spec.ha {
            conf.set("dfs.nameservices", SERVICE)
                .set(format!("dfs.ha.namenodes.{SERVICE}"), "nn1,nn2")
                .set(
                    format!("dfs.client.failover.proxy.provider.{SERVICE}"),
                    "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider",
                );
        }
        for (index, (rpc, web)) in self.ports.iter().enumerate() {
            let suffix = if self.spec.ha {
                format!(".{SERVICE}.{}", namenode_id(index))
            } else {
                String::new()
            };
            conf.set(format!("dfs.namenode.rpc-address{suffix}"), format!("localhost:{rpc}"))
                .set(format!("dfs.namenode.http-address{suffix}"), format!("localhost:{web}"));
        }
        if let Security::Kerberos { protection, .. } = &self.spec.security {
            conf.set("hadoop.security.authentication", "kerberos")
                .set("hadoop.security.authorization", true)
                .set("hadoop.rpc.protection", protection.as_str())
                .set("dfs.data.transfer.protection", protection.as_str())
                .set("dfs.block.access.token.enable", true)
                .set("dfs.namenode.kerberos.principal", format!("hdfs/localhost@{}", Kdc::REALM))
                .set("dfs.datanode.kerberos.principal", format!("hdfs/localhost@{}", Kdc::REALM));
        }
        for (key, value) in &self.spec.properties {
            conf.set(key, value);
        }
        conf
    }

    fn daemon_conf(&self) -> Conf {
        let mut conf = Conf::default();
        if let Security::Kerberos { kdc, .. } = &self.spec.security {
            let keytab = kdc.keytab_path("hdfs").display().to_string();
            conf.set("dfs.namenode.keytab.file", &keytab)
                .set("dfs.datanode.keytab.file", &keytab)
                .set(
                    "dfs.web.authentication.kerberos.principal",
                    format!("HTTP/localhost@{}", Kdc::REALM),
                )
                .set("dfs.web.authentication.kerberos.keytab", &keytab)
                // Datanodes insist on privileged ports or TLS else.
                .set("ignore.secure.ports.for.testing", true);
        }
        conf
    }

    pub(super) fn namenodes(&self) -> Result<Vec<NameNode>, TestbedError> {
        let mut conf = self.daemon_conf();
        conf.set("dfs.namenode.safemode.extension", 0)
            // A datanode is dead after 14 s, instead of ten minutes.
            .set("dfs.namenode.heartbeat.recheck-interval", 2000)
            .set("dfs.heartbeat.interval", 1)
            .set("dfs.namenode.datanode.registration.ip-hostname-check", false);
        if self.spec.ha {
            conf.set("dfs.namenode.shared.edits.dir", self.file_url("shared"))
                .set("dfs.ha.tail-edits.period", 1);
        }
        let mut nodes = Vec::new();
        for (index, (_, web)) in self.ports.iter().enumerate() {
            let id = namenode_id(index);
            let name_dir = self.directory.join(&id).join("name");
            let mut conf = self.common.with(&conf);
            conf.set("dfs.namenode.name.dir", format!("file://{}", name_dir.display()));
            if self.spec.ha {
                conf.set("dfs.ha.namenode.id", &id);
            }
            conf.write_for_daemon(&self.directory.join(&id).join("conf"))?;
            if index == 0 {
                let mut format = Command::new("java");
                format
                    .args(self.java_arguments(&id, NAMENODE))
                    .args(["-format", "-nonInteractive"]);
                cache::run("format a namenode", &mut format)?;
            } else {
                let formatted = self.directory.join(namenode_id(0)).join("name");
                let mut copy = Command::new("cp");
                cache::run(
                    "copy a namenode's directory",
                    copy.arg("-r").args([formatted, name_dir]),
                )?;
            }
            let daemon = self.daemon(&id, NAMENODE, format!("namenode {id}"));
            nodes.push(NameNode { daemon, web: *web });
        }
        Ok(nodes)
    }

    pub(super) fn datanodes(&self) -> Result<Vec<DataNode>, TestbedError> {
        (0..self.spec.datanodes).map(|index| self.one_datanode(index)).collect()
    }

    fn one_datanode(&self, index: u16) -> Result<DataNode, TestbedError> {
        let id = format!("dn{index}");
        let data = self.directory.join(&id).join("data");
        make_dir(&data)?;
        let port = ports::free(&[BARE, PROXIED])?;
        let proxied = self.spec.network.map(|throttle| {
            let [from, to] = [PROXIED, BARE].map(|address| SocketAddr::from((address, port)));
            Proxy::listen(from, to, throttle)
        });
        let hostname = if proxied.is_some() { PROXIED.to_string() } else { "localhost".to_owned() };
        let ipc = ports::free_local()?;
        let mut conf = self.common.with(&self.daemon_conf());
        conf.set("dfs.datanode.data.dir", format!("file://{}", data.display()))
            .set("dfs.datanode.hostname", hostname)
            .set("dfs.datanode.address", format!("{BARE}:{port}"))
            .set("dfs.datanode.ipc.address", format!("{BARE}:{ipc}"))
            .set("dfs.datanode.http.address", format!("{BARE}:0"))
            .set("dfs.heartbeat.interval", 1)
            // A datanode reads its new blocks at once. Whether it finds a spoilt one, and has it
            // replaced, before a reader does would be chance.
            .set("dfs.block.scanner.volume.bytes.per.second", 0);
        conf.write_for_daemon(&self.directory.join(&id).join("conf"))?;
        let daemon = self.daemon(&id, DATANODE, format!("datanode {index}"));
        Ok(DataNode { daemon, data, address: (BARE, port).into(), proxy: proxied.transpose()? })
    }

    fn daemon(&self, id: &str, class: &str, name: String) -> Daemon {
        Daemon::new(name, "java", self.directory.join(format!("{id}.log")))
            .args(self.java_arguments(id, class))
    }

    fn java_arguments(&self, id: &str, class: &str) -> Vec<String> {
        let home = self.directory.join(id);
        let conf = home.join("conf");
        let mut arguments = self.spec.jvm_options.clone();
        arguments.extend(self.kerberos_options());
        // The web server's files and the JVM's counters stay behind when a daemon is killed.
        arguments.push(format!("-Djava.io.tmpdir={}", home.display()));
        arguments.push("-XX:-UsePerfData".to_owned());
        arguments.push("-cp".to_owned());
        arguments.push(format!("{}:{}/*", conf.display(), self.jars.display()));
        arguments.push(class.to_owned());
        arguments
    }

    pub(super) fn kerberos_options(&self) -> Option<String> {
        match &self.spec.security {
            Security::Simple => None,
            Security::Kerberos { kdc, .. } => {
                Some(format!("-Djava.security.krb5.conf={}", kdc.config().display()))
            }
        }
    }

    /// For Hadoop's own tools.
    fn log_in(&self) -> Result<(), TestbedError> {
        match &self.spec.security {
            Security::Simple => Ok(()),
            Security::Kerberos { kdc, .. } => {
                kdc.login("hdfs/localhost", &kdc.keytab_path("hdfs"), &self.superuser_tickets())
            }
        }
    }

    pub(super) fn superuser_tickets(&self) -> PathBuf {
        self.directory.join("superuser.tickets")
    }

    fn file_url(&self, below: &str) -> String {
        format!("file://{}", self.directory.join(below).display())
    }
}

/// As the configuration names them.
pub(super) fn namenode_id(index: usize) -> String {
    format!("nn{}", index + 1)
}

#[derive(Debug)]
pub(super) struct DataNode {
    pub(super) daemon: Daemon,
    pub(super) data: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) proxy: Option<Proxy>,
}

#[derive(Debug)]
pub(super) struct NameNode {
    pub(super) daemon: Daemon,
    pub(super) web: u16,
}

impl NameNode {
    pub(super) fn wait_for_answer(&mut self) -> Result<(), TestbedError> {
        let web = self.web;
        self.daemon.wait(|| bean(web, "NameNodeStatus").is_some())
    }

    pub(super) fn is_active(&self) -> bool {
        bean(self.web, "NameNodeStatus").is_some_and(|bean| says(&bean, "State", "active"))
    }

    /// Live datanodes alone are not enough: after a restart the namenode may still be in safe mode,
    /// and it leaves that when it knows of one replica of each block, which may be a corrupt one. A
    /// storage is stale until its datanode has reported all it has; after a failover that takes
    /// hours, so a name service goes without.
    pub(super) fn wait_for_datanodes(
        &mut self,
        count: usize,
        is_alone: bool,
    ) -> Result<(), TestbedError> {
        let web = self.web;
        let count = u64::try_from(count).doing("count datanodes")?;
        let mut found = String::new();
        let ready = self.daemon.wait(|| {
            let Some(bean) = bean(web, "FSNamesystemState") else { return false };
            found = ["FSState", "NumLiveDataNodes", "NumStaleStorages"]
                .map(|key| format!("{key} {}", bean.get(key).unwrap_or(&Value::Null)))
                .join(", ");
            says(&bean, "FSState", "Operational")
                && says(&bean, "NumLiveDataNodes", count)
                && (!is_alone || says(&bean, "NumStaleStorages", 0))
        });
        ready.map_err(|error| {
            TestbedError::new(format_args!("see {count} datanodes ({found})"), error)
        })
    }
}

fn bean(web: u16, name: &str) -> Option<Value> {
    let page = local_http::get(web, &format!("/jmx?qry=Hadoop:service=NameNode,name={name}"))?;
    let page: Value = serde_json::from_str(&page).ok()?;
    page.get("beans")?.get(0).cloned()
}

fn says(bean: &Value, key: &str, value: impl Into<Value>) -> bool {
    bean.get(key).is_some_and(|found| *found == value.into())
}
