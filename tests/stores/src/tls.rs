//! Certificates of an authority that nobody else trusts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cache::run;
use crate::error::{Doing, TestbedError};
use crate::scratch::Scratch;

/// An authority of its own, for servers on this host.
#[derive(Debug)]
pub struct Authority {
    scratch: Scratch,
    issued: AtomicUsize,
}

/// What a server shows its clients, and the key for it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// [`TestbedError`], most likely because the package `openssl` is missing.
    pub fn new() -> Result<Self, TestbedError> {
        let authority = Self { scratch: Scratch::new("authority")?, issued: AtomicUsize::new(0) };
        let mut openssl = request("an authority for tests", &authority.files("authority"));
        openssl
            .args(["-addext", "basicConstraints=critical,CA:TRUE"])
            .args(["-addext", "keyUsage=critical,keyCertSign"]);
        run("make a certificate authority", &mut openssl)?;
        Ok(authority)
    }

    /// Its certificate, for who is to trust it.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.files("authority").certificate
    }

    /// A new certificate for one host name.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when `openssl` refuses.
    pub fn issue(&self, host: &str) -> Result<Identity, TestbedError> {
        // Two for one host may be made at once.
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let (own, issued) = (self.files("authority"), self.files(&format!("{host}-{number}")));
        let mut openssl = request(host, &issued);
        openssl
            .arg("-CA")
            .arg(own.certificate)
            .arg("-CAkey")
            .arg(own.key)
            .args(["-addext", &format!("subjectAltName=DNS:{host}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        run("issue a certificate", &mut openssl)?;
        // For servers that are not root's.
        fs::set_permissions(&issued.key, fs::Permissions::from_mode(0o644))
            .doing("open a server's key")?;
        Ok(issued)
    }

    fn files(&self, name: &str) -> Identity {
        let file = |end: &str| self.scratch.path().join(format!("{name}.{end}"));
        Identity { certificate: file("pem"), key: file("key") }
    }
}

/// A certificate with a new key, valid for a day.
fn request(name: &str, files: &Identity) -> Command {
    let Identity { certificate, key } = files;
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-days", "1", "-noenc", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", &format!("/CN={name}")])
        // Nothing of this host's configuration.
        .args([Path::new("-config"), Path::new("/dev/null"), Path::new("-keyout"), key])
        .args([Path::new("-out"), certificate]);
    openssl
}
