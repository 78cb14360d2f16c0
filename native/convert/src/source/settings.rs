//! How registries are reached.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a registry is told about who asks. Never shown, not even by `Debug`.
#[derive(Clone, Eq, PartialEq)]
pub enum Credentials {
    /// A name and a password, or a token that is used as one.
    Password {
        /// The account's name.
        username: String,
        /// Its secret.
        password: String,
    },
    /// A refresh token, which a registry's token server changes into an access token.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::IdentityToken(_) => "IdentityToken(…)",
        })
    }
}

/// How registries are reached. Layouts, archives and directories need none of it.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Speak HTTP without TLS to the registry.
    pub plain_http: bool,
    /// A PEM file of authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Used instead of those of any file.
    pub credentials: Option<Credentials>,
    /// The file of credentials, of Docker's or containers' form, which must exist. No other file is
    /// looked at then.
    pub auth_file: Option<PathBuf>,
    /// Files of credentials; the first with an entry for the image counts, and those that do not
    /// exist are passed over.
    pub default_auth_files: Vec<PathBuf>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long the registry may send nothing.
    pub read_timeout: Duration,
    /// How often a request is repeated that failed in a way that may pass.
    pub retries: u32,
    /// How long is waited before the first repetition; before each further one twice as long. A
    /// registry that says how long to wait is heeded instead.
    pub retry_delay: Duration,
}

impl Default for SourceSettings {
    /// TLS with the system's authorities, and no credentials.
    fn default() -> Self {
        Self {
            plain_http: false,
            ca_file: None,
            credentials: None,
            auth_file: None,
            default_auth_files: Vec::new(),
            connect_timeout: Duration::from_secs(20),
            read_timeout: Duration::from_secs(60),
            retries: 4,
            retry_delay: Duration::from_millis(500),
        }
    }
}

impl SourceSettings {
    /// The defaults, with the files of credentials where Docker, Podman and skopeo keep them:
    /// `$REGISTRY_AUTH_FILE`, or else `$XDG_RUNTIME_DIR/containers/auth.json`,
    /// `~/.config/containers/auth.json` and `~/.docker/config.json` (in `$DOCKER_CONFIG` if set).
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let directory = |name: &str| variable(name).map(PathBuf::from);
        let in_home = |name: &str| directory("HOME").map(|home| home.join(name));
        let containers = |parent: PathBuf| parent.join(Path::new("containers/auth.json"));
        let files = [
            directory("XDG_RUNTIME_DIR").map(containers),
            directory("XDG_CONFIG_HOME").or_else(|| in_home(".config")).map(containers),
            directory("DOCKER_CONFIG")
                .or_else(|| in_home(".docker"))
                .map(|parent| parent.join("config.json")),
        ];
        Self {
            auth_file: directory("REGISTRY_AUTH_FILE"),
            default_auth_files: files.into_iter().flatten().collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(variables: &[(&str, &str)]) -> Vec<String> {
        let settings = SourceSettings::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        });
        let explicit = settings.auth_file.into_iter();
        let files = explicit.chain(settings.default_auth_files);
        files.map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn credentials_are_where_other_tools_keep_them() {
        assert_eq!(files(&[]), [""; 0]);
        assert_eq!(
            files(&[("HOME", "/home/a"), ("XDG_RUNTIME_DIR", "/run/user/7")]),
            [
                "/run/user/7/containers/auth.json",
                "/home/a/.config/containers/auth.json",
                "/home/a/.docker/config.json",
            ]
        );
        assert_eq!(
            files(&[
                ("HOME", "/home/a"),
                ("XDG_CONFIG_HOME", "/c"),
                ("DOCKER_CONFIG", "/d"),
                ("REGISTRY_AUTH_FILE", "/own"),
            ]),
            ["/own", "/c/containers/auth.json", "/d/config.json"]
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let password = Credentials::Password { username: "u".into(), password: "secret".into() };
        let token = Credentials::IdentityToken("secret".into());
        for credentials in [password, token] {
            let settings =
                SourceSettings { credentials: Some(credentials), ..SourceSettings::default() };
            assert!(!format!("{settings:?}").contains("secret"));
        }
    }
}
