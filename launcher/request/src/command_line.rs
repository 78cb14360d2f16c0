//! The command line: `<user> <verb> <arguments>` as Storm calls it, or one option.

/// Why a command line was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{found}: {problem}")]
pub struct CommandLineError {
    /// Whether it is the command that is unknown, which has an exit code of its own.
    pub unknown_command: bool,
    /// The argument that is wrong, shortened.
    pub found: String,
    /// What is wrong with it or what is expected.
    pub problem: String,
}

/// What the launcher is asked to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Invocation {
    /// One of [`OPTIONS`]: these act for nobody.
    Tell(&'static str),
    /// A verb on behalf of an account. The name and the arguments are judged later.
    Act {
        /// The account's name as given.
        user: String,
        /// One of [`VERBS`].
        verb: &'static str,
        /// As many arguments as the verb takes.
        arguments: Vec<String>,
    },
}

const OPTIONS: [&str; 3] = ["--version", "--checksetup", "--print-config"];

/// Every verb with its arguments.
const VERBS: [(&str, &str); 11] = [
    ("code-dir", "<directory>"),
    ("artifacts-dir", "<directory>"),
    ("blob", "<path>"),
    ("rmr", "<path>"),
    ("worker", "<worker directory> <script>"),
    ("profiler", "<directory> <script>"),
    ("signal", "<pid> <signal>"),
    ("run-oci-container", "<worker directory> <oci-config.json> <artifacts>"),
    ("reap-oci-container", "<container id> <layers>"),
    ("profile-oci-container", "<pid> <command file>"),
    ("sweep-oci-containers", "<worker root>"),
];

/// The original's verbs that this launcher does not have.
const DOCKER: [&str; 3] = ["launch-docker-container", "run-docker-cmd", "profile-docker-container"];

/// Characters of a wrong argument that an error repeats.
const SHOWN: usize = 200;

/// Finds out what is asked for, the program's name first.
///
/// # Errors
///
/// [`CommandLineError`] for an unknown option or verb, or for more or fewer arguments than it takes.
pub fn parse_command_line(arguments: Vec<Vec<u8>>) -> Result<Invocation, CommandLineError> {
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).map_err(|error| {
            let shown = String::from_utf8_lossy(error.as_bytes());
            wrong(&shown, "expected arguments in UTF-8")
        })
    };
    let texts: Vec<String> = arguments.into_iter().skip(1).map(text).collect::<Result<_, _>>()?;
    if let [text] = texts.as_slice()
        && let Some(option) = OPTIONS.into_iter().find(|option| option == text)
    {
        return Ok(Invocation::Tell(option));
    }
    let (user, verb, arguments) = match texts.as_slice() {
        [user, verb, arguments @ ..] if !user.starts_with("--") => (user, verb, arguments),
        _ => {
            let usage = format!("expected <user> <command> <arguments>, or {}", OPTIONS.join(", "));
            return Err(wrong("worker-launcher", &usage));
        }
    };
    let (verb, usage) = find(verb)?;
    if arguments.len() != usage.matches('<').count() {
        return Err(wrong(verb, &format!("expected <user> {verb} {usage}")));
    }
    Ok(Invocation::Act { user: user.clone(), verb, arguments: arguments.to_vec() })
}

/// The original compares verbs without regard to case.
fn find(verb: &str) -> Result<(&'static str, &'static str), CommandLineError> {
    let is = |known: &str| known.eq_ignore_ascii_case(verb);
    VERBS.into_iter().find(|(known, _)| is(known)).ok_or_else(|| {
        let why = if DOCKER.into_iter().any(is) {
            "storm-oci runs containers without docker; use run-oci-container"
        } else {
            "no such command"
        };
        CommandLineError { unknown_command: true, ..wrong(verb, why) }
    })
}

/// A whole number: without a plus sign, which the standard parser takes.
///
/// # Errors
///
/// [`CommandLineError`] for anything else, and for one that `T` cannot hold.
pub fn parse_number<T: std::str::FromStr>(text: &str) -> Result<T, CommandLineError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let parsed = if plain { text.parse().ok() } else { None };
    parsed.ok_or_else(|| wrong(text, "not a whole number that fits"))
}

fn wrong(found: &str, problem: &str) -> CommandLineError {
    let found = found.chars().take(SHOWN).collect();
    CommandLineError { unknown_command: false, found, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Invocation, CommandLineError> {
        let own = std::iter::once("worker-launcher").chain(arguments.iter().copied());
        parse_command_line(own.map(|argument| argument.as_bytes().to_vec()).collect())
    }

    #[test]
    fn verbs_have_no_case() {
        for verb in ["worker", "WORKER", "Worker"] {
            let Ok(Invocation::Act { verb, arguments, .. }) = parsed(&["u", verb, "/a", "/b"])
            else {
                panic!("{verb}");
            };
            assert_eq!((verb, arguments.len()), ("worker", 2));
        }
        let docker = parsed(&["u", "Profile-Docker-Container", "x", "y"]).unwrap_err();
        assert!(docker.unknown_command && docker.problem.contains("docker"));
    }

    #[test]
    fn options_stand_alone() {
        assert_eq!(parsed(&["--version"]).unwrap(), Invocation::Tell("--version"));
        for wrong in [&[][..], &["u"], &["--version", "x"], &["--Version"], &["--x", "rmr", "/a"]] {
            assert!(!parsed(wrong).unwrap_err().unknown_command, "{wrong:?}");
        }
    }

    #[test]
    fn numbers_are_plain() {
        assert_eq!(parse_number::<i32>("-7").unwrap(), -7);
        for wrong in ["", "+1", "1-", "--1", "0x1", " 1", "1e3", "4294967296"] {
            assert!(parse_number::<u32>(wrong).is_err(), "{wrong}");
        }
        assert!(parse_number::<u32>("-1").is_err());
    }
}
