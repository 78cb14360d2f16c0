//! A Kerberos realm of its own: MIT's KDC, as Debian packages it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{self, run};
use crate::daemon::Daemon;
use crate::error::TestbedError;
use crate::ports;
use crate::scratch::{Scratch, write};

/// A realm. Nothing below `/etc` is touched: clients need `KRB5_CONFIG`, a JVM
/// `-Djava.security.krb5.conf`.
#[derive(Debug)]
pub struct Kdc {
    daemon: Daemon,
    port: u16,
    // Dropped after the daemon.
    scratch: Scratch,
}

const REALM: &str = Kdc::REALM;

impl Kdc {
    /// The realm's name.
    pub const REALM: &'static str = "HDFS.TEST";

    /// Makes the realm and starts its KDC.
    ///
    /// # Errors
    ///
    /// [`TestbedError`], most likely because the packages `krb5-kdc` and `krb5-admin-server` are
    /// missing.
    pub fn start() -> Result<Self, TestbedError> {
        let scratch = Scratch::new("kdc")?;
        let directory = scratch.path();
        let port = ports::free_local()?;
        let at = |name: &str| directory.join(name).display().to_string();
        write(
            &directory.join("krb5.conf"),
            format!(
                "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n rdns = false\n \
                 dns_canonicalize_hostname = false\n udp_preference_limit = 1\n\
                 [realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n\
                 [domain_realm]\n localhost = {REALM}\n"
            ),
        )?;
        write(
            &directory.join("kdc.conf"),
            format!(
                "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n\
                 [realms]\n {REALM} = {{\n  database_name = {}\n  key_stash_file = {}\n  \
                 acl_file = {}\n  max_renewable_life = 7d\n  \
                 supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal\n }}\n",
                at("principal"),
                at("stash"),
                at("acl"),
            ),
        )?;
        let daemon = Daemon::new("the KDC", "krb5kdc", directory.join("kdc.log"))
            .args(["-n", "-r", REALM, "-P"])
            .args([directory.join("kdc.pid")])
            .env("KRB5_CONFIG", directory.join("krb5.conf"))
            .env("KRB5_KDC_PROFILE", directory.join("kdc.conf"));
        let mut kdc = Self { daemon, port, scratch };
        let mut create = kdc.tool("kdb5_util");
        // The password only derives a key that is stashed; nobody types it.
        create.args(["-r", REALM, "-P", "not-typed", "create", "-s"]);
        run("make a Kerberos realm", &mut create)?;
        for service in ["hdfs/localhost", "HTTP/localhost"] {
            kdc.keytab("hdfs", service)?;
        }
        kdc.restart()?;
        Ok(kdc)
    }

    /// Starts the KDC again after [`Kdc::daemon`] was killed.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it does not answer.
    pub fn restart(&mut self) -> Result<(), TestbedError> {
        self.daemon.start_listening(self.port)
    }

    /// The KDC itself.
    pub const fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// The clients' configuration, for `KRB5_CONFIG`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.scratch.path().join("krb5.conf")
    }

    /// Where a keytab of this name is.
    #[must_use]
    pub fn keytab_path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(format!("{name}.keytab"))
    }

    /// Makes a principal, if there is none, with a new random key, and adds that to the keytab
    /// `name`. Keys exported before are wrong from now on.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when `kadmin.local` refuses.
    pub fn keytab(&self, name: &str, principal: &str) -> Result<PathBuf, TestbedError> {
        let path = self.keytab_path(name);
        // Refused for a principal that is there.
        let _ = self.admin(&format!("addprinc -randkey {principal}"));
        self.admin(&format!("ktadd -k {} {principal}", path.display()))?;
        Ok(path)
    }

    /// One command of `kadmin.local`, such as `modprinc -maxlife 30s storm` (short tickets) or
    /// `cpw -randkey storm` (an exported keytab goes wrong).
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it fails.
    pub fn admin(&self, command: &str) -> Result<(), TestbedError> {
        let mut kadmin = self.tool("kadmin.local");
        kadmin.args(["-r", REALM, "-q", command]);
        let doing = format!("run `{command}` in kadmin");
        let output = cache::output(&doing, &mut kadmin)?;
        // Its exit status is 0 whatever happened.
        match output.lines().find(|line| line.contains(": ") && line.contains(" while ")) {
            Some(line) => Err(TestbedError::new(doing, line)),
            None => Ok(()),
        }
    }

    /// Logs in from a keytab; the ticket goes to the file `cache`, for `KRB5CCNAME`.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when the KDC refuses.
    pub fn login(&self, principal: &str, keytab: &Path, cache: &Path) -> Result<(), TestbedError> {
        let mut kinit = self.tool("kinit");
        kinit.arg("-k").arg("-t").arg(keytab).arg("-c").arg(cache).arg(principal);
        run("log in to Kerberos", &mut kinit)
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("KRB5_CONFIG", self.config())
            .env("KRB5_KDC_PROFILE", self.scratch.path().join("kdc.conf"));
        command
    }
}
