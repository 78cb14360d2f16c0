use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

/// `name:secret-<name>` in base64.
const ONE: &str = "b25lOnNlY3JldC1vbmU=";
const TWO: &str = "dHdvOnNlY3JldC10d28=";
const THREE: &str = "dGhyZWU6c2VjcmV0LXRocmVl";

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &Value) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content.to_string()).unwrap();
        path
    }
}

fn lookup(path: PathBuf, registry: &str, repository: &str) -> Result<Option<String>, SourceError> {
    let settings = SourceSettings { auth_file: Some(path), ..SourceSettings::default() };
    let found = find(&settings, registry, repository)?;
    Ok(found.map(|credentials| match credentials {
        Credentials::Password { username, password } => {
            assert_eq!(password, format!("secret-{username}"));
            username
        }
        Credentials::IdentityToken(token) => token,
    }))
}

#[test]
fn the_most_exact_entry_counts() {
    let files = Files::new();
    let path = files.write(
        "auth.json",
        &json!({"auths": {
            "host:5000": {"auth": ONE},
            "host:5000/a": {"auth": TWO},
            "host:5000/a/b": {"auth": THREE},
            "https://old.example.org/v1/": {"auth": ONE},
            "token.example.org": {"auth": "", "identitytoken": "refresh"},
            "plain.example.org": {"username": "one", "password": "secret-one"},
            "https://index.docker.io/v1/": {"auth": TWO},
            "empty.example.org": {},
        }}),
    );
    for (registry, repository, wanted) in [
        ("host:5000", "x", Some("one")),
        ("host:5000", "a/x", Some("two")),
        ("host:5000", "ab", Some("one")),
        ("host:5000", "a/b", Some("three")),
        ("host:5000", "a/b/c/d", Some("three")),
        ("host:5001", "a/b", None),
        ("host", "a/b", None),
        ("old.example.org", "x", Some("one")),
        ("token.example.org", "x", Some("refresh")),
        ("plain.example.org", "x", Some("one")),
        ("docker.io", "library/busybox", Some("two")),
        ("index.docker.io", "library/busybox", Some("two")),
        ("empty.example.org", "x", None),
    ] {
        let found = lookup(path.clone(), registry, repository).unwrap();
        assert_eq!(found.as_deref(), wanted, "{registry}/{repository}");
    }
}

#[test]
fn files_are_looked_through_in_order() {
    let files = Files::new();
    let first = files.write("first", &json!({"auths": {"a.example.org": {"auth": ONE}}}));
    let second = files.write(
        "second",
        &json!({"auths": {"a.example.org": {"auth": TWO}, "b.example.org": {"auth": THREE}}}),
    );
    let mut settings = SourceSettings {
        default_auth_files: vec![files.0.path().join("missing"), first, second.clone()],
        ..SourceSettings::default()
    };
    let name = |settings: &SourceSettings, registry| match find(settings, registry, "x").unwrap() {
        Some(Credentials::Password { username, .. }) => username,
        other => panic!("{other:?}"),
    };
    assert_eq!(name(&settings, "a.example.org"), "one");
    assert_eq!(name(&settings, "b.example.org"), "three");
    settings.auth_file = Some(second);
    assert_eq!(name(&settings, "a.example.org"), "two");
    settings.credentials =
        Some(Credentials::Password { username: "own".into(), password: "x".into() });
    assert_eq!(name(&settings, "a.example.org"), "own");
    // One that is named must be there.
    settings.credentials = None;
    settings.auth_file = Some(files.0.path().join("missing"));
    assert!(matches!(find(&settings, "a.example.org", "x"), Err(SourceError::Local { .. })));
}

#[test]
fn what_cannot_be_read_is_not_repeated() {
    let files = Files::new();
    for content in [
        json!({"auths": {"a.example.org": {"auth": "secret!"}}}),
        json!({"auths": {"a.example.org": {"auth": "c2VjcmV0"}}}),
        json!({"auths": "secret"}),
        json!({"credsStore": "secret/../none"}),
        json!({"credHelpers": {"a.example.org": "there-is-none-of-this-name"}}),
    ] {
        let path = files.write("auth.json", &content);
        let error = lookup(path, "a.example.org", "x").unwrap_err();
        assert!(matches!(error, SourceError::AuthFile { .. }), "{content}: {error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        assert!(error.to_string().contains("auth.json"), "{error}");
    }
}

/// Where the test below finds itself again, with a helper on its PATH.
const AGAIN: &str = "STORM_OCI_TEST_AUTH_FILE";

#[test]
fn helpers_are_asked() {
    let Some(path) = std::env::var_os(AGAIN).map(PathBuf::from) else {
        return ask_with_helper_on_path();
    };
    let ask = |registry: &str| lookup(path.clone(), registry, "x");
    assert_eq!(ask("a.example.org").unwrap().as_deref(), Some("one"));
    assert_eq!(ask("t.example.org").unwrap().as_deref(), Some("refresh"));
    assert_eq!(ask("n.example.org").unwrap(), None);
    // Not its own helper but the store of all others, which is the same.
    assert_eq!(ask("docker.io").unwrap().as_deref(), Some("one"));
    let error = ask("z.example.org").unwrap_err();
    assert!(matches!(error, SourceError::AuthFile { .. }), "{error}");
    assert!(error.to_string().contains("docker-credential-test get"), "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

fn ask_with_helper_on_path() {
    let files = Files::new();
    let helper = files.0.path().join("docker-credential-test");
    let script = r#"#!/bin/sh
read -r server
case $server in
  a.example.org | https://index.docker.io/v1/)
    echo '{"ServerURL": "a", "Username": "one", "Secret": "secret-one"}' ;;
  t.example.org) echo '{"ServerURL": "t", "Username": "<token>", "Secret": "refresh"}' ;;
  n.example.org) echo 'credentials not found in native keychain'; exit 1 ;;
  *) echo "it is secret"; exit 1 ;;
esac
"#;
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let named = ["a.example.org", "t.example.org", "n.example.org", "z.example.org"];
    let helpers: BTreeMap<_, _> = named.iter().map(|name| (*name, "test")).collect();
    let path = files.write(
        "config.json",
        &json!({
            "auths": {"a.example.org": {}},
            "credsStore": "test",
            "credHelpers": helpers,
        }),
    );
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "source::registry::auth_file::tests::helpers_are_asked", "--nocapture"])
        .env(AGAIN, path)
        .env("PATH", format!("{}:/usr/bin:/bin", files.0.path().display()))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{output:?}");
}
