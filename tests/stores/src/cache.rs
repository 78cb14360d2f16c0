//! What is fetched once and kept: Hadoop's jars, the S3 server and the registry.
//!
//! `STORM_OCI_CACHE`, or `/var/cache/storm-oci`: the directory that the end-to-end tests keep
//! Storm's jars in.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::error::{Doing, TestbedError};
use crate::scratch::make_dir;

/// Hadoop's release.
pub const HADOOP_VERSION: &str = "3.4.2";
/// A Go module whose server checks signatures, as S3 does, and builds in a minute.
const S3_SERVER: &str = "github.com/versity/versitygw/cmd/versitygw";
const S3_SERVER_VERSION: &str = "v1.8.0";

const POM: &str = include_str!("../hadoop/pom.xml");
/// Storm's release.
const STORM_VERSION: &str = "2.8.3";
const STORM_POM: &str = include_str!("../storm/pom.xml");

/// The directory.
#[must_use]
pub fn directory() -> PathBuf {
    env::var_os("STORM_OCI_CACHE").map_or_else(|| "/var/cache/storm-oci".into(), PathBuf::from)
}

/// The directory of Hadoop's jars: its daemons and its Java client.
///
/// # Errors
///
/// [`TestbedError`] when Maven cannot fetch them.
pub fn hadoop_jars() -> Result<PathBuf, TestbedError> {
    jars("hadoop", HADOOP_VERSION, POM)
}

/// The directory of the jars with Storm's own class for manifests.
///
/// # Errors
///
/// [`TestbedError`] when Maven cannot fetch them.
pub fn storm_jars() -> Result<PathBuf, TestbedError> {
    jars("storms-manifests", STORM_VERSION, STORM_POM)
}

/// The directory of the jars that a project needs, named by what it is and its description.
fn jars(name: &str, version: &str, description: &str) -> Result<PathBuf, TestbedError> {
    let mut key = hex(&Sha256::digest(description));
    key.truncate(12);
    once(&format!("{name}-{version}-{key}"), |target| {
        let pom = target.join("pom.xml");
        fs::write(&pom, description).doing(format_args!("write {}", pom.display()))?;
        let mut maven = Command::new("mvn");
        maven
            .args(["--batch-mode", "--quiet", "dependency:copy-dependencies"])
            .arg("-DincludeScope=runtime")
            .arg(format!("-DoutputDirectory={}", target.display()))
            .arg("-f")
            .arg(&pom);
        run(&format!("fetch the jars of {name}"), &mut maven)
    })
}

/// The program of the S3 server.
///
/// # Errors
///
/// [`TestbedError`] when Go cannot fetch or build it.
pub fn s3_server() -> Result<PathBuf, TestbedError> {
    let directory = once(&format!("versitygw-{S3_SERVER_VERSION}"), |target| {
        let mut go = Command::new("go");
        go.arg("install").arg(format!("{S3_SERVER}@{S3_SERVER_VERSION}")).env("GOBIN", target);
        run("build the S3 server", &mut go)
    })?;
    Ok(directory.join("versitygw"))
}

/// The program of the OCI registry: Debian's, of whose package no script runs, so that no service
/// starts.
///
/// # Errors
///
/// [`TestbedError`] when apt cannot fetch it.
pub fn registry() -> Result<PathBuf, TestbedError> {
    let directory = once("docker-registry", |target| {
        let mut apt = Command::new("apt-get");
        apt.args(["--quiet", "download", "docker-registry"]).current_dir(target);
        run("fetch the package docker-registry", &mut apt)?;
        let packages = fs::read_dir(target).doing("read the cache")?.filter_map(Result::ok);
        let package = packages.map(|file| file.path()).next();
        let package = package.ok_or("there is none").doing("find the package docker-registry")?;
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("--extract").arg(&package).arg(target);
        run("unpack the package docker-registry", &mut dpkg)?;
        fs::remove_file(&package).doing(format_args!("remove {}", package.display()))
    })?;
    Ok(directory.join("usr/bin/docker-registry"))
}

/// Makes a directory of the cache, unless it is there. Another process that wants it too waits.
pub(crate) fn once(
    name: &str,
    make: impl FnOnce(&Path) -> Result<(), TestbedError>,
) -> Result<PathBuf, TestbedError> {
    let target = directory().join(name);
    if target.exists() {
        return Ok(target);
    }
    make_dir(&directory())?;
    let lock = directory().join(format!("{name}.lock"));
    let lock = File::create(&lock).doing(format_args!("make {}", lock.display()))?;
    flock(&lock, FlockOperation::LockExclusive).doing("lock the cache")?;
    if target.exists() {
        return Ok(target);
    }
    let part = target.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part).doing(format_args!("remove {}", part.display()))?;
    }
    make_dir(&part)?;
    make(&part)?;
    fs::rename(&part, &target).doing(format_args!("rename {}", part.display()))?;
    Ok(target)
}

/// Runs a program to its end; its output is shown when it fails.
pub(crate) fn run(doing: &str, command: &mut Command) -> Result<(), TestbedError> {
    output(doing, command).map(|_| ())
}

/// What a program prints to either of its outputs.
pub(crate) fn output(doing: &str, command: &mut Command) -> Result<String, TestbedError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().doing(format_args!("{doing}: start `{program}`"))?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let cause = format!("`{program}` ended with {}\n{printed}", output.status);
    Err(TestbedError::new(doing, cause))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
