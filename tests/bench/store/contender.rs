//! The ways to get layers that are compared.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use crate::client;
use crate::dataset::Layers;

/// Who gets the layers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// A plain copy of local files, one after another, each with fsync.
    Copy,
    /// Hadoop's Java client: one after another, nothing hashed, nothing synchronized.
    Hadoop,
    /// The same, and fsync for each file after it.
    HadoopSynced,
    /// Our library: hashed and synchronized.
    Ours,
    /// Our library, from a directory of this host.
    OursLocal,
}

impl Way {
    /// How figures name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy + fsync",
            Self::Hadoop => "Java client",
            Self::HadoopSynced => "Java + fsync",
            Self::Ours => "ours",
            Self::OursLocal => "ours, local",
        }
    }
}

/// Copies all layers; the milliseconds it took.
pub(crate) fn copy(layers: &Layers, from: &Path, to: &Path) -> f64 {
    let start = Instant::now();
    for (file, ..) in &layers.files {
        let mut copy = File::create(to.join(file)).unwrap();
        io::copy(&mut File::open(from.join(file)).unwrap(), &mut copy).unwrap();
        copy.sync_all().unwrap();
    }
    millis(start)
}

/// Waits until copied layers are on the disk; the milliseconds it took.
pub(crate) fn synchronize(layers: &Layers, directory: &Path) -> f64 {
    let start = Instant::now();
    for (file, ..) in &layers.files {
        File::open(directory.join(file)).unwrap().sync_all().unwrap();
    }
    millis(start)
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// A client that stays, as a supervisor does: it answers requests with milliseconds. It is killed
/// with this process, and when it is dropped.
pub(crate) struct Client {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    /// Hadoop's own, in a JVM as large as a supervisor's.
    pub(crate) fn hadoop(class_path: &str, classes: &Path, options: &[&str]) -> Self {
        let class_path = format!("{}:{class_path}", classes.display());
        let mut command = mortal(Path::new("java"));
        command.args(["-Xmx256m", "-cp", &class_path, "HadoopClient"]).args(options);
        Self::start(command)
    }

    /// Ours.
    pub(crate) fn ours(conf_dir: &Path, options: &[&str]) -> Self {
        let mut command = mortal(&std::env::current_exe().unwrap());
        command.arg(client::ROLE).arg(conf_dir).args(options);
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let requests = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, requests, answers }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Has a request done.
    pub(crate) fn ask(&mut self, request: &str) -> f64 {
        writeln!(self.requests, "{request}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap_or_else(|_| panic!("no answer to `{request}`: '{answer}'"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that has ended already needs nothing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn mortal(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=KILL", "--"]).arg(program);
    command
}

/// Compiles the Java client's driver into `directory`.
pub(crate) fn compile_java(class_path: &str, directory: &Path) -> PathBuf {
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bench/store/HadoopClient.java");
    let classes = directory.join("classes");
    fs::create_dir_all(&classes).unwrap();
    let mut compiler = Command::new("javac");
    compiler.args(["-cp", class_path, "-d"]).arg(&classes).arg(source);
    assert!(compiler.status().unwrap().success(), "cannot compile the Java client");
    classes
}
