//! What a client must know of a cluster: namenodes, security, limits of time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::configuration::Configuration;
use super::failure::Problem;
use super::login;
use crate::location::{Location, Scheme};
use crate::settings::RemoteSettings;

/// Where a namenode listens unless its address says otherwise.
const DEFAULT_PORT: u16 = 8020;
/// What of Hadoop's configuration the client reads, beside what is set here by name.
const CLIENT_KEYS: [&str; 3] = [
    "dfs.client.failover.",
    "dfs.client.use.datanode.hostname",
    "dfs.client.block.write.replace-datanode-on-failure.",
];
/// The values of `dfs.data.transfer.protection`.
const PROTECTIONS: [&str; 3] = ["authentication", "integrity", "privacy"];

/// A cluster as the client is told of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Cluster {
    /// `hdfs://` and a name service, or a namenode with its port.
    pub(super) url: String,
    /// The namenodes' addresses, in the order in which they are tried.
    pub(super) namenodes: Vec<String>,
    /// All that the client reads of Hadoop's configuration.
    pub(super) options: BTreeMap<String, String>,
    pub(super) security: Security,
    /// Whether data transfers are protected: otherwise datanodes that insist on it refuse us.
    pub(super) protected: bool,
}

/// How a client proves who it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Security {
    /// By saying so.
    Simple,
    /// By a ticket of Kerberos.
    Kerberos {
        /// From a keytab; else from the account's own ticket cache.
        login: Option<Login>,
    },
}

/// A principal, its host filled in, and where its keys are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Login {
    pub(super) principal: String,
    pub(super) keytab: PathBuf,
}

impl Cluster {
    /// Reads the configuration for a name service or namenode, or for the default file system
    /// when `authority` is empty. `first` is the namenode to begin with, modulo their number.
    pub(super) fn resolve(
        settings: &RemoteSettings,
        authority: &str,
        first: usize,
    ) -> Result<Self, Problem> {
        let hadoop = &settings.hadoop;
        let configuration = Configuration::read(hadoop.conf_dir.as_deref(), &hadoop.options.0)?;
        let authority = match authority {
            "" => default_authority(&configuration)?,
            named => named.to_owned(),
        };

        let mut options = BTreeMap::new();
        for key in CLIENT_KEYS.iter().flat_map(|prefix| configuration.keys(prefix)) {
            if let Some(value) = configuration.get(key)? {
                options.insert(key.to_owned(), value);
            }
        }
        let (url, namenodes) = match name_service(&configuration, &authority)? {
            Some(mut members) => {
                let count = members.len().max(1);
                members.rotate_left(first % count);
                let ids: Vec<_> = members.iter().map(|(id, _)| id.as_str()).collect();
                options.insert(format!("dfs.ha.namenodes.{authority}"), ids.join(","));
                for (id, address) in &members {
                    let key = format!("dfs.namenode.rpc-address.{authority}.{id}");
                    options.insert(key, address.clone());
                }
                let addresses = members.into_iter().map(|(_, address)| address).collect();
                (format!("hdfs://{authority}"), addresses)
            }
            None => {
                let address = with_port(&authority);
                (format!("hdfs://{address}"), vec![address])
            }
        };

        let protection = protection(&configuration)?;
        let protected = protection.is_some();
        if let Some(protection) = protection {
            options.insert("dfs.data.transfer.protection".to_owned(), protection);
        }
        let security = security(&configuration, settings)?;
        let authentication = match security {
            Security::Simple => "simple",
            Security::Kerberos { .. } => "kerberos",
        };
        options.insert("hadoop.security.authentication".to_owned(), authentication.to_owned());

        options.extend(patience(settings.request_timeout, namenodes.len()));
        // Who set a key for this program alone means it.
        for key in hadoop.options.0.keys().filter(|key| key.starts_with("dfs.client.")) {
            if let Some(value) = configuration.get(key)? {
                options.insert(key.clone(), value);
            }
        }
        Ok(Self { url, namenodes, options, security, protected })
    }

    /// The namenodes, for messages.
    pub(super) fn peers(&self) -> String {
        match self.namenodes.as_slice() {
            [one] => format!("namenode {one}"),
            several => format!("namenodes {}", several.join(", ")),
        }
    }
}

/// The authority of `fs.defaultFS`.
fn default_authority(configuration: &Configuration) -> Result<String, Problem> {
    let value = match configuration.get("fs.defaultFS")? {
        // Its name until Hadoop 2.
        None => configuration.get("fs.default.name")?,
        value => value,
    };
    let Some(value) = value else {
        return Err(Problem::misconfigured(
            "the location names no host, and Hadoop's `fs.defaultFS` is not set; hint: name one, or set storm.oci.hadoop.conf.dir",
        ));
    };
    // Hadoop writes it without a path.
    let location = Location::parse(&format!("{}/", value.trim_end_matches('/')));
    match location {
        Ok(location) if location.scheme() == Scheme::Hdfs && !location.authority().is_empty() => {
            Ok(location.authority().to_owned())
        }
        _ => Err(Problem::misconfigured(
            "the location names no host, and Hadoop's `fs.defaultFS` is not hdfs://<host or name service>",
        )),
    }
}

/// The namenodes of a name service with their ids; `None` if there is none of that name.
fn name_service(
    configuration: &Configuration,
    name: &str,
) -> Result<Option<Vec<(String, String)>>, Problem> {
    let Some(ids) = configuration.get(&format!("dfs.ha.namenodes.{name}"))? else {
        return Ok(None);
    };
    let mut members = Vec::new();
    for id in ids.split(',').map(str::trim).filter(|id| !id.is_empty()) {
        let key = format!("dfs.namenode.rpc-address.{name}.{id}");
        let address = configuration.get(&key)?.ok_or_else(|| {
            Problem::misconfigured(format!(
                "Hadoop's `dfs.ha.namenodes.{name}` has `{id}`, and `{key}` is not set"
            ))
        })?;
        members.push((id.to_owned(), with_port(&address)));
    }
    if members.is_empty() {
        return Err(Problem::misconfigured(format!(
            "Hadoop's `dfs.ha.namenodes.{name}` has no namenode"
        )));
    }
    Ok(Some(members))
}

fn with_port(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => address.to_owned(),
        _ => format!("{address}:{DEFAULT_PORT}"),
    }
}

fn protection(configuration: &Configuration) -> Result<Option<String>, Problem> {
    const KEY: &str = "dfs.data.transfer.protection";
    let value = configuration.get(KEY)?.map(|value| value.to_ascii_lowercase());
    if let Some(value) = &value
        && let Some(unknown) =
            value.split(',').map(str::trim).find(|name| !PROTECTIONS.contains(name))
    {
        return Err(Problem::misconfigured(format!(
            "Hadoop's `{KEY}` has `{unknown}`, which is not one of {}",
            PROTECTIONS.join(", ")
        )));
    }
    Ok(value)
}

fn security(configuration: &Configuration, settings: &RemoteSettings) -> Result<Security, Problem> {
    const KEY: &str = "hadoop.security.authentication";
    let method = configuration.get(KEY)?.unwrap_or_else(|| "simple".to_owned());
    let kerberos = match method.to_ascii_lowercase().as_str() {
        "simple" => false,
        "kerberos" => true,
        _ => {
            return Err(Problem::misconfigured(format!(
                "Hadoop's `{KEY}` is `{method}`, which is neither `simple` nor `kerberos`"
            )));
        }
    };
    match &settings.hadoop.login {
        Some(_) if !kerberos => Err(Problem::misconfigured(format!(
            "`storm.hdfs.login.keytab` is set, but Hadoop's `{KEY}` is not `kerberos`"
        ))),
        _ if !kerberos => Ok(Security::Simple),
        login => Ok(Security::Kerberos {
            login: login.as_ref().map(|login| Login {
                principal: login::of_this_host(&login.principal),
                keytab: login.keytab.clone(),
            }),
        }),
    }
}

/// The client's own retries and limits, so that it gives up before its caller does.
///
/// Its defaults take three minutes for a namenode that is down or refuses the login.
fn patience(timeout: Duration, namenodes: usize) -> [(String, String); 4] {
    // Each namenode is asked three times, with two pauses: a failover takes a moment.
    let failovers = namenodes.saturating_mul(3).saturating_sub(1);
    // A datanode that hangs must leave time for the other replicas.
    let socket = (timeout / 3).as_millis().max(1);
    [
        ("dfs.client.failover.max.attempts", failovers.to_string()),
        ("dfs.client.failover.sleep.base.millis", "200".to_owned()),
        ("dfs.client.failover.sleep.max.millis", "1000".to_owned()),
        ("dfs.client.socket-timeout", socket.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{HadoopLogin, HadoopSettings, StoreOptions};

    fn settings(options: &[(&str, &str)]) -> RemoteSettings {
        let options = options.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        let options = StoreOptions(options.collect());
        RemoteSettings {
            hadoop: HadoopSettings { options, ..HadoopSettings::default() },
            ..RemoteSettings::default()
        }
    }

    const HA: [(&str, &str); 5] = [
        ("fs.defaultFS", " hdfs://ns1/ "),
        ("dfs.ha.namenodes.ns1", "nn1, nn2"),
        ("dfs.namenode.rpc-address.ns1.nn1", "one.example.org"),
        ("dfs.namenode.rpc-address.ns1.nn2", "two.example.org:9000"),
        ("dfs.client.failover.max.attempts", "7"),
    ];

    #[test]
    fn a_name_service_is_its_namenodes() {
        let cluster = Cluster::resolve(&settings(&HA), "", 0).unwrap();
        assert_eq!(cluster.url, "hdfs://ns1");
        assert_eq!(cluster.namenodes, ["one.example.org:8020", "two.example.org:9000"]);
        assert_eq!(cluster.options["dfs.ha.namenodes.ns1"], "nn1,nn2");
        assert_eq!(cluster.options["dfs.namenode.rpc-address.ns1.nn1"], "one.example.org:8020");
        assert_eq!(cluster.options["dfs.client.failover.max.attempts"], "7");
        assert_eq!(cluster.options["dfs.client.socket-timeout"], "10000");
        assert_eq!(cluster.security, Security::Simple);

        let other = Cluster::resolve(&settings(&HA), "ns1", 3).unwrap();
        assert_eq!(other.namenodes, ["two.example.org:9000", "one.example.org:8020"]);
        assert_eq!(other.options["dfs.ha.namenodes.ns1"], "nn2,nn1");
    }

    #[test]
    fn a_host_is_a_namenode() {
        for (authority, address) in [("nn", "nn:8020"), ("nn:9", "nn:9"), ("[::1]", "[::1]:8020")] {
            let cluster = Cluster::resolve(&settings(&HA), authority, 1).unwrap();
            assert_eq!(cluster.url, format!("hdfs://{address}"));
            assert_eq!(cluster.peers(), format!("namenode {address}"));
        }
    }

    #[test]
    fn what_cannot_work_is_said_before_anything_is_asked() {
        for (options, problem) in [
            (
                &[][..],
                "the location names no host, and Hadoop's `fs.defaultFS` is not set; hint: name one, or set storm.oci.hadoop.conf.dir",
            ),
            (
                &[("fs.defaultFS", "file:///")],
                "the location names no host, and Hadoop's `fs.defaultFS` is not hdfs://<host or name service>",
            ),
            (
                &[("fs.defaultFS", "hdfs://a"), ("dfs.ha.namenodes.a", "x")],
                "Hadoop's `dfs.ha.namenodes.a` has `x`, and `dfs.namenode.rpc-address.a.x` is not set",
            ),
            (
                &[("fs.defaultFS", "hdfs://a"), ("dfs.ha.namenodes.a", ",")],
                "Hadoop's `dfs.ha.namenodes.a` has no namenode",
            ),
            (
                &[("fs.defaultFS", "hdfs://a"), ("dfs.data.transfer.protection", "integrity,x")],
                "Hadoop's `dfs.data.transfer.protection` has `x`, which is not one of authentication, integrity, privacy",
            ),
            (
                &[("fs.defaultFS", "hdfs://a"), ("hadoop.security.authentication", "token")],
                "Hadoop's `hadoop.security.authentication` is `token`, which is neither `simple` nor `kerberos`",
            ),
        ] {
            let found = Cluster::resolve(&settings(options), "", 0).unwrap_err();
            assert_eq!(found.to_string(), problem);
        }
    }

    #[test]
    fn a_keytab_needs_kerberos() {
        let mut with_login = settings(&HA);
        with_login.hadoop.login = Some(HadoopLogin {
            keytab: "/etc/storm.keytab".into(),
            principal: "storm/host@REALM".to_owned(),
        });
        let problem = Cluster::resolve(&with_login, "", 0).unwrap_err();
        assert_eq!(
            problem.to_string(),
            "`storm.hdfs.login.keytab` is set, but Hadoop's `hadoop.security.authentication` is not `kerberos`"
        );
        let options = &mut with_login.hadoop.options.0;
        options.insert("hadoop.security.authentication".into(), "KERBEROS".into());
        let cluster = Cluster::resolve(&with_login, "", 0).unwrap();
        assert_eq!(cluster.options["hadoop.security.authentication"], "kerberos");
        let Security::Kerberos { login: Some(login) } = cluster.security else {
            panic!("{:?}", cluster.security);
        };
        assert_eq!(login.principal, "storm/host@REALM");
    }
}
