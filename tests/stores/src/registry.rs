//! An OCI registry: Distribution's, as Debian packages it, without its service.

mod front;
mod storage;
mod tokens;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::cache;
use crate::daemon::Daemon;
use crate::error::TestbedError;
use crate::ports;
use crate::scratch::{Scratch, make_dir, write};
use crate::tls::Identity;
use tokens::Tokens;

pub use front::{Answer, Asked, Front};

/// Who may read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Login {
    /// All.
    #[default]
    None,
    /// [`Registry::USERNAME`] with [`Registry::PASSWORD`].
    Password,
    /// Who has a token of a server of tokens. That gives one for [`Registry::USERNAME`] with
    /// [`Registry::PASSWORD`], for [`Registry::IDENTITY_TOKEN`], and, if `anonymous`, for nothing.
    Token {
        /// Whether nothing is enough.
        anonymous: bool,
    },
}

/// What sort of registry is wanted.
#[derive(Clone, Debug, Default)]
pub struct RegistrySpec {
    /// Who may read.
    pub login: Login,
    /// Speak TLS, and nothing else.
    pub tls: Option<Identity>,
}

/// A registry on this host. Images are put into its storage, so that it also has what no client
/// would push.
///
/// ```no_run
/// # fn main() -> Result<(), storm_oci_test_stores::TestbedError> {
/// # use storm_oci_test_stores::{OciLayout, Packing, Registry, RegistrySpec, Types};
/// let layout = OciLayout::create("/tmp/layout".as_ref())?;
/// let image = layout.image(Types::Docker, "linux/amd64", &[(b"a tar file", Packing::Gzip)])?;
/// let registry = Registry::start(RegistrySpec::default())?;
/// registry.push(&layout, &image, "storm/worker:1.0")?;
/// println!("{}", registry.name("storm/worker:1.0"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Registry {
    daemon: Daemon,
    tokens: Option<Tokens>,
    port: u16,
    // Dropped after the daemon.
    scratch: Scratch,
}

impl Registry {
    /// The only account's name.
    pub const USERNAME: &'static str = "storm";
    /// Its password.
    pub const PASSWORD: &'static str = "a secret for tests";
    /// What it may show a server of tokens instead.
    pub const IDENTITY_TOKEN: &'static str = "an identity token for tests";
    /// The account with bcrypt's hash of its password, which takes long to make.
    const HTPASSWD: &'static str =
        "storm:$2b$05$abcdefghijklmnopqrstuuDscV.M0b7g62Jm.pinIhWhDeB7384te\n";

    /// Starts one; the first time on a machine, fetches it.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it cannot be fetched or started.
    pub fn start(spec: RegistrySpec) -> Result<Self, TestbedError> {
        let program = cache::registry()?;
        let scratch = Scratch::new("registry")?;
        let port = ports::free_local()?;
        let at = |name: &str| scratch.path().join(name).display().to_string();
        make_dir(&scratch.path().join("store"))?;
        let mut config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http:\n  addr: 127.0.0.1:{port}\n",
            at("store")
        );
        if let Some(Identity { certificate, key }) = &spec.tls {
            let (certificate, key) = (certificate.display(), key.display());
            config += &format!("  tls: {{certificate: {certificate}, key: {key}}}\n");
        }
        let mut tokens = None;
        match spec.login {
            Login::None => {}
            Login::Password => {
                write(&scratch.path().join("htpasswd"), Self::HTPASSWD)?;
                let path = at("htpasswd");
                config += &format!("auth: {{htpasswd: {{realm: tests, path: {path}}}}}\n");
            }
            Login::Token { anonymous } => {
                let server = Tokens::start(scratch.path(), anonymous)?;
                config += &server.configuration();
                tokens = Some(server);
            }
        }
        write(&scratch.path().join("config.yml"), config)?;
        let daemon =
            Daemon::new("the registry", &program.display().to_string(), scratch.path().join("log"))
                .args(["serve", &at("config.yml")]);
        let mut registry = Self { daemon, tokens, port, scratch };
        registry.restart()?;
        Ok(registry)
    }

    /// Starts the registry again after [`Registry::daemon`] was killed.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it does not answer.
    pub fn restart(&mut self) -> Result<(), TestbedError> {
        self.daemon.start_listening(self.port)
    }

    /// The registry itself.
    pub const fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// How an image is called from outside: `localhost:PORT/…`.
    #[must_use]
    pub fn name(&self, image: &str) -> String {
        format!("localhost:{}/{image}", self.port)
    }

    /// How many tokens its server gave; 0 if it has none.
    #[must_use]
    pub fn tokens_given(&self) -> usize {
        self.tokens.as_ref().map_or(0, Tokens::given)
    }

    /// What its daemon said.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.scratch.path().join("log")
    }
}
