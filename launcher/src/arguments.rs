//! The command line, parsed once: `<user> <verb> <arguments>` as Storm calls it, or one option.

use storm_oci_request::{ContainerId, HostPath};

use crate::error::LauncherError;

/// What the launcher is asked to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Invocation {
    /// One of the options that act for nobody.
    Tell(Tell),
    /// A verb on behalf of an account. The name is looked up, and judged, later.
    Act {
        /// The account's name as given.
        user: String,
        /// What to do.
        verb: Verb,
    },
}

/// What the launcher can be asked to tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tell {
    /// `--version`
    Version,
    /// `--checksetup`
    CheckSetup,
    /// `--print-config`
    PrintConfig,
}

/// A verb with its arguments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verb {
    /// Makes a topology's code directory readable for its user.
    CodeDir(HostPath),
    /// Makes an artifacts directory writable for its user.
    ArtifactsDir(HostPath),
    /// Makes a localized blob readable for its user.
    Blob(HostPath),
    /// Removes a tree.
    Rmr(HostPath),
    /// Sends a signal.
    Signal {
        /// A pid in the host's namespace. The original has a code of its own for one below 1.
        pid: i32,
        /// A signal's number, not yet judged either.
        signal: i32,
    },
    /// Launches a container.
    RunOciContainer {
        /// The worker's directory.
        worker_dir: HostPath,
        /// The request in it.
        request: HostPath,
        /// Where the container's output goes.
        artifacts: HostPath,
    },
    /// Removes what is left of an ended container.
    ReapOciContainer {
        /// The container.
        container: ContainerId,
        /// How many unused layers may stay mounted.
        keep_layers: u32,
    },
    /// Removes what is left of all ended containers of this caller and worker root.
    SweepOciContainers(HostPath),
}

/// Characters of a wrong argument that an error repeats.
const SHOWN: usize = 200;

/// Parses the arguments, the program's name first.
///
/// # Errors
///
/// The original's code 1 for wrong counts and numbers, 3 for unknown verbs.
pub(crate) fn parse(arguments: &[Vec<u8>]) -> Result<Invocation, LauncherError> {
    const USAGE: &str = "<user> <command> <arguments>, --checksetup, --print-config or --version";
    let mut texts = Vec::with_capacity(arguments.len());
    for (position, bytes) in arguments.iter().enumerate().skip(1) {
        let text = std::str::from_utf8(bytes);
        texts.push(text.map_err(|_| LauncherError::NotUtf8 { position })?);
    }
    match texts.as_slice() {
        ["--version"] => Ok(Invocation::Tell(Tell::Version)),
        ["--checksetup"] => Ok(Invocation::Tell(Tell::CheckSetup)),
        ["--print-config"] => Ok(Invocation::Tell(Tell::PrintConfig)),
        [user, verb, rest @ ..] if !user.starts_with("--") => {
            Ok(Invocation::Act { user: (*user).to_owned(), verb: parse_verb(verb, rest)? })
        }
        _ => Err(LauncherError::Arguments { expected: USAGE }),
    }
}

fn parse_verb(verb: &str, arguments: &[&str]) -> Result<Verb, LauncherError> {
    let wrong = |expected| Err(LauncherError::Arguments { expected });
    // The original compares without regard to case.
    match (verb.to_ascii_lowercase().as_str(), arguments) {
        ("code-dir", [path]) => Ok(Verb::CodeDir(HostPath::parse(path)?)),
        ("code-dir", _) => wrong("<user> code-dir <directory>"),
        ("artifacts-dir", [path]) => Ok(Verb::ArtifactsDir(HostPath::parse(path)?)),
        ("artifacts-dir", _) => wrong("<user> artifacts-dir <directory>"),
        ("blob", [path]) => Ok(Verb::Blob(HostPath::parse(path)?)),
        ("blob", _) => wrong("<user> blob <path>"),
        ("rmr", [path]) => Ok(Verb::Rmr(HostPath::parse(path)?)),
        ("rmr", _) => wrong("<user> rmr <path>"),
        ("signal", [pid, signal]) => Ok(Verb::Signal {
            pid: signed_number("pid", pid)?,
            signal: signed_number("signal", signal)?,
        }),
        ("signal", _) => wrong("<user> signal <pid> <signal>"),
        ("run-oci-container", [worker_dir, request, artifacts]) => Ok(Verb::RunOciContainer {
            worker_dir: HostPath::parse(worker_dir)?,
            request: HostPath::parse(request)?,
            artifacts: HostPath::parse(artifacts)?,
        }),
        ("run-oci-container", _) => {
            wrong("<user> run-oci-container <worker directory> <oci-config.json> <artifacts>")
        }
        ("reap-oci-container", [container, keep]) => Ok(Verb::ReapOciContainer {
            container: ContainerId::parse(container)?,
            keep_layers: number("number of layers to keep", keep)?,
        }),
        ("reap-oci-container", _) => wrong("<user> reap-oci-container <container id> <layers>"),
        ("sweep-oci-containers", [root]) => Ok(Verb::SweepOciContainers(HostPath::parse(root)?)),
        ("sweep-oci-containers", _) => wrong("<user> sweep-oci-containers <worker root>"),
        ("launch-docker-container" | "run-docker-cmd" | "profile-docker-container", _) => {
            Err(LauncherError::UnsupportedVerb {
                verb: "docker commands",
                why: "storm-oci runs containers without docker; use run-oci-container",
            })
        }
        _ => Err(LauncherError::UnknownVerb { verb: verb.chars().take(SHOWN).collect() }),
    }
}

/// A number without a sign.
fn number<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T, LauncherError> {
    digits(what, text, text)
}

/// A number that may have a minus sign.
fn signed_number(what: &'static str, text: &str) -> Result<i32, LauncherError> {
    digits(what, text, text.strip_prefix('-').unwrap_or(text))
}

/// Parses `text`, of which `plain` must be digits: the standard parsers take a plus sign too.
fn digits<T: std::str::FromStr>(
    what: &'static str,
    text: &str,
    plain: &str,
) -> Result<T, LauncherError> {
    let only_digits = plain.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if only_digits { text.parse().ok() } else { None };
    parsed.ok_or_else(|| LauncherError::Number { what, text: text.chars().take(SHOWN).collect() })
}
