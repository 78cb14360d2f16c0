//! A web server, and the ways web servers differ: Apache's, without its service.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::daemon::Daemon;
use crate::error::{Doing, TestbedError};
use crate::ports;
use crate::scratch::{Scratch, make_dir, write};
use crate::tls::Identity;

/// One set of files under several paths, each served in its own way:
///
/// | path | what it does |
/// |---|---|
/// | `/plain/` | ranges, ETag, If-Match |
/// | `/no-ranges/` | ranges are ignored: always the whole file |
/// | `/no-etag/` | no ETag, only Last-Modified |
/// | `/chunked/` | no length and no ranges |
/// | `/redirect/` | 302 to `/plain/` |
/// | `/denied/` | 403 |
/// | `/password/` | 401 |
/// | `/broken/` | 500 |
/// | any | 503 while [`Http::set_unavailable`] says so |
#[derive(Debug)]
pub struct Http {
    daemon: Daemon,
    port: u16,
    scheme: &'static str,
    // Dropped after the daemon.
    scratch: Scratch,
}

const MODULES: &str = "/usr/lib/apache2/modules";

/// The length of a program's output is not known before its end.
const SCRIPT: &str = r#"#!/bin/sh
printf 'Content-Type: application/octet-stream\n\n'
cat "${0%/*}/files$PATH_INFO"
"#;

impl Http {
    /// Starts the server.
    ///
    /// # Errors
    ///
    /// [`TestbedError`], most likely because the package `apache2-bin` is missing.
    pub fn start() -> Result<Self, TestbedError> {
        Self::start_as(None)
    }

    /// Starts a server that speaks TLS and nothing else. Its [`Http::url`] has an address, which
    /// may not be what the certificate is for.
    ///
    /// # Errors
    ///
    /// As for [`Http::start`].
    pub fn start_tls(identity: &Identity) -> Result<Self, TestbedError> {
        Self::start_as(Some(identity))
    }

    fn start_as(identity: Option<&Identity>) -> Result<Self, TestbedError> {
        let scratch = Scratch::new("http")?;
        let port = ports::free_local()?;
        make_dir(&scratch.path().join("files"))?;
        let own = scratch.path().join("own");
        make_dir(&own)?;
        fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).doing("open a directory")?;
        let script = scratch.path().join("chunked");
        write(&script, SCRIPT)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).doing("allow a script")?;
        let log = own.join("error.log");
        write(&log, "")?;
        fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).doing("open a log")?;
        let conf = scratch.path().join("apache.conf");
        let directory = scratch.path().display().to_string();
        let (scheme, secured) = match identity {
            Some(identity) => ("https", secured(identity)),
            None => ("http", String::new()),
        };
        write(&conf, configuration(&directory, port) + &secured)?;
        // One process, so that killing it kills all of the server. It refuses to be root's, and
        // one that changes its own account would not end with this process.
        let mut daemon =
            Daemon::new("the web server", "apache2", log).args(["-X", "-f"]).args([&conf]);
        if rustix::process::geteuid().is_root() {
            daemon = daemon.unprivileged();
        }
        let mut server = Self { daemon, port, scheme, scratch };
        server.restart()?;
        Ok(server)
    }

    /// Starts the server again after [`Http::daemon`] was killed.
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

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address())
    }

    /// The directory that is served. The server's account must be able to read what is put here.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.scratch.path().join("files")
    }

    /// From now on every request is answered with 503, or no longer.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when the file that says so cannot be written.
    pub fn set_unavailable(&self, unavailable: bool) -> Result<(), TestbedError> {
        let switch = self.scratch.path().join("unavailable");
        if unavailable {
            write(&switch, "")
        } else if switch.exists() {
            fs::remove_file(switch).doing("make the web server available")
        } else {
            Ok(())
        }
    }
}

fn secured(Identity { certificate, key }: &Identity) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!(
        "LoadModule ssl_module {MODULES}/mod_ssl.so\nSSLEngine on\nSSLSessionCache none\n\
         SSLCertificateFile {certificate}\nSSLCertificateKeyFile {key}\n"
    )
}

fn configuration(directory: &str, port: u16) -> String {
    let modules: String = [
        "mpm_event",
        "authn_core",
        "authn_file",
        "authz_core",
        "authz_user",
        "auth_basic",
        "alias",
        "cgi",
        "mime",
        "rewrite",
    ]
    .iter()
    .map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n"))
    .collect();
    let aliases: String = ["plain", "no-ranges", "no-etag", "denied", "password", "broken"]
        .iter()
        .map(|name| format!("Alias /{name}/ {directory}/files/\n"))
        .collect();
    format!(
        r#"{modules}
ServerRoot {directory}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {directory}/own/pid
ErrorLog {directory}/own/error.log
DefaultRuntimeDir {directory}/own
Mutex pthread
TypesConfig /dev/null
FileETag MTime Size
DocumentRoot {directory}/files
<Files chunked>
  Require all granted
</Files>
<Directory {directory}/files>
  Require all granted
</Directory>
{aliases}
ScriptAlias /chunked {directory}/chunked
Redirect 302 /redirect/ /plain/
RewriteEngine on
RewriteCond {directory}/unavailable -f
RewriteRule ^ - [R=503,L]
RewriteRule ^/broken/ - [R=500,L]
<Location /no-ranges/>
  MaxRanges none
</Location>
<Location /no-etag/>
  FileETag None
</Location>
<Location /denied/>
  Require all denied
</Location>
<Location /password/>
  AuthType Basic
  AuthName "tests"
  AuthUserFile /dev/null
  Require valid-user
</Location>
"#
    )
}
