//! An S3 server that checks signatures.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::cache;
use crate::daemon::Daemon;
use crate::error::TestbedError;
use crate::ports;
use crate::scratch::{Scratch, make_dir};

/// A server with one bucket.
#[derive(Debug)]
pub struct S3 {
    daemon: Daemon,
    port: u16,
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

    /// Starts the server; the first time on a machine, builds it.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it cannot be built or started.
    pub fn start() -> Result<Self, TestbedError> {
        let program = cache::s3_server()?;
        let scratch = Scratch::new("s3")?;
        let port = ports::free_local()?;
        let root = scratch.path().join("buckets");
        make_dir(&root.join(Self::BUCKET))?;
        let daemon = Daemon::new(
            "the S3 server",
            &program.display().to_string(),
            scratch.path().join("s3.log"),
        )
        .args(["--port", &format!("127.0.0.1:{port}"), "--region", Self::REGION, "posix"])
        .args([&root])
        .env("ROOT_ACCESS_KEY", Self::ACCESS_KEY)
        .env("ROOT_SECRET_KEY", Self::SECRET_KEY);
        let mut server = Self { daemon, port, scratch };
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
        format!("http://{}", self.address())
    }

    /// The bucket's files.
    #[must_use]
    pub fn bucket_dir(&self) -> PathBuf {
        self.scratch.path().join("buckets").join(Self::BUCKET)
    }
}
