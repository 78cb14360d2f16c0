//! An S3 server that checks signatures.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::cache;
use crate::daemon::Daemon;
use crate::error::TestbedError;
use crate::ports;
use crate::scratch::{Scratch, make_dir};
use crate::tls::Identity;

/// A server with one bucket.
#[derive(Debug)]
pub struct S3 {
    daemon: Daemon,
    port: u16,
    scheme: &'static str,
    // Dropped after the daemon.
    scratch: Scratch,
}

impl S3 {
    /// The bucket.
    pub const BUCKET: &'static str = "images";
    /// The only account's name.
    pub const ACCESS_KEY: &'static str = "storm";
    /// Its secret.
    pub const SECRET_KEY: &'static str = "a secret for tests";
    /// The server's region.
    pub const REGION: &'static str = "us-east-1";

    /// Options, by the names of the `object_store` library, of a client that may do everything at
    /// this endpoint.
    #[must_use]
    pub fn client_options(endpoint: &str) -> BTreeMap<String, String> {
        [
            ("aws_endpoint", endpoint),
            ("aws_region", Self::REGION),
            ("aws_access_key_id", Self::ACCESS_KEY),
            ("aws_secret_access_key", Self::SECRET_KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Starts the server; the first time on a machine, builds it.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it cannot be built or started.
    pub fn start() -> Result<Self, TestbedError> {
        Self::start_as(None)
    }

    /// Starts a server that speaks TLS and nothing else. Its [`S3::endpoint`] has an address, which
    /// may not be what the certificate is for.
    ///
    /// # Errors
    ///
    /// As for [`S3::start`].
    pub fn start_tls(identity: &Identity) -> Result<Self, TestbedError> {
        Self::start_as(Some(identity))
    }

    fn start_as(identity: Option<&Identity>) -> Result<Self, TestbedError> {
        let program = cache::s3_server()?;
        let scratch = Scratch::new("s3")?;
        let port = ports::free_local()?;
        let root = scratch.path().join("buckets");
        make_dir(&root.join(Self::BUCKET))?;
        let mut daemon = Daemon::new(
            "the S3 server",
            &program.display().to_string(),
            scratch.path().join("s3.log"),
        )
        .args(["--port", &format!("127.0.0.1:{port}"), "--region", Self::REGION])
        .env("ROOT_ACCESS_KEY", Self::ACCESS_KEY)
        .env("ROOT_SECRET_KEY", Self::SECRET_KEY);
        if let Some(Identity { certificate, key }) = identity {
            daemon = daemon.args(["--cert".as_ref(), certificate.as_os_str()]);
            daemon = daemon.args(["--key".as_ref(), key.as_os_str()]);
        }
        let daemon = daemon.args(["posix".as_ref(), root.as_os_str()]);
        let scheme = if identity.is_some() { "https" } else { "http" };
        let mut server = Self { daemon, port, scheme, scratch };
        server.restart()?;
        Ok(server)
    }

    /// Starts the server again after [`S3::daemon`] was killed.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it does not answer.
    pub fn restart(&mut self) -> Result<(), TestbedError> {
        self.daemon.start_listening(self.port)
    }

    /// The server itself.
    pub const fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The URL clients are told.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address())
    }

    /// The bucket's files.
    #[must_use]
    pub fn bucket_dir(&self) -> PathBuf {
        self.scratch.path().join("buckets").join(Self::BUCKET)
    }
}
