//! The command as users run it, with a store and a home of its own.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use storm_oci_test_stores::{OciLayout, Packing, Types};

/// A directory for one test.
pub(crate) struct Place {
    scratch: tempfile::TempDir,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Outcome {
    /// Its JSON, of a run that must have succeeded.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// It failed in a way that the user can mend, and says so.
    pub(crate) fn assert_refused(&self, said: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.err.contains("error: cannot ") && self.err.contains(said), "{said}: {self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { scratch: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The command, knowing nothing of this account.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_storm-oci"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.scratch.path())
            .current_dir(self.scratch.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.command(arguments).output().unwrap().into()
    }

    /// As [`Place::run`], which must succeed.
    pub(crate) fn done(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
        outcome
    }

    /// Makes `layout`, with two images, `one` and `two`, that share a layer; the descriptor of the
    /// first.
    pub(crate) fn two_images(&self) -> Value {
        let layout = OciLayout::create(&self.path("layout")).unwrap();
        let (lower, upper) = (archive("lower", b"below"), archive("upper", b"above"));
        let image = |layers: &[(&[u8], Packing)]| {
            layout.image(Types::Docker, "linux/amd64", layers).unwrap()
        };
        let one = image(&[(&lower, Packing::Gzip)]);
        let two = image(&[(&lower, Packing::Gzip), (&upper, Packing::Gzip)]);
        layout.tag("one", &one).unwrap();
        layout.tag("two", &two).unwrap();
        one
    }

    /// `layout:<tag>,<tags>`, as the script takes it.
    pub(crate) fn image(&self, tag: &str, tags: &str) -> String {
        format!("{}:{tag},{tags}", self.text("layout"))
    }

    /// All files below a directory, with their content.
    pub(crate) fn files(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let top = self.path(name);
        let mut directories = vec![top.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let name = path.strip_prefix(&top).unwrap().display().to_string();
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
        files
    }
}

/// A layer's archive of one file.
pub(crate) fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join(name), content).unwrap();
    let output = Command::new("tar")
        .args(["--numeric-owner", "--owner=0", "--group=0", "--mtime=@0", "-c", "-C"])
        .args([scratch.path(), Path::new(name)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}
