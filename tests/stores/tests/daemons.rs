//! The daemons run, do what the tests of the stores ask of them, and leave nothing behind.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use storm_oci_test_stores::{
    Hdfs, HdfsSpec, Http, Kdc, Protection, S3, Scratch, Security, Throttle,
};

/// A file of 2.5 MB whose bytes differ.
fn file(scratch: &Scratch) -> (PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..640_000_u32).flat_map(u32::to_le_bytes).collect();
    let path = scratch.path().join("file");
    fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

/// Reads a file with Hadoop's own client.
fn read(hdfs: &Hdfs, scratch: &Scratch, remote: &str) -> Vec<u8> {
    let copy = scratch.path().join("copy");
    hdfs.shell(&["-get", "-f", remote, copy.to_str().unwrap()]).unwrap();
    fs::read(copy).unwrap()
}

fn is_alive(pid: u32) -> bool {
    // A killed process that nobody has waited for has no memory map.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn hdfs_survives_a_killed_datanode_and_a_corrupt_replica() {
    let scratch = Scratch::new("test").unwrap();
    let (path, bytes) = file(&scratch);
    let mut hdfs = Hdfs::start(HdfsSpec {
        datanodes: 3,
        block_size: 1 << 20,
        network: Some(Throttle { bytes_per_second: 1 << 30, round_trip: Duration::ZERO }),
        ..HdfsSpec::default()
    })
    .unwrap();
    hdfs.put(&path, "/file").unwrap();
    assert_eq!(hdfs.corrupt("/file", 1).unwrap(), 3);
    hdfs.datanode(0).kill().unwrap();
    assert_eq!(read(&hdfs, &scratch, "/file"), bytes);
    assert!(hdfs.received() > 2_500_000, "{}", hdfs.received());
    hdfs.namenode(0).kill().unwrap();
    hdfs.heal().unwrap();
    assert_eq!(read(&hdfs, &scratch, "/file"), bytes);

    let pids: Vec<_> = (0..3).filter_map(|index| hdfs.datanode(index).pid()).collect();
    assert!(pids.len() == 3 && pids.iter().all(|pid| is_alive(*pid)));
    let directory = hdfs.client_conf();
    drop(hdfs);
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    assert!(!directory.exists());
}

#[test]
fn a_name_service_goes_on_with_the_other_namenode() {
    let scratch = Scratch::new("test").unwrap();
    let (path, bytes) = file(&scratch);
    let mut hdfs = Hdfs::start(HdfsSpec { ha: true, ..HdfsSpec::default() }).unwrap();
    hdfs.put(&path, "/file").unwrap();
    hdfs.namenode(0).kill().unwrap();
    hdfs.activate(1).unwrap();
    assert_eq!(read(&hdfs, &scratch, "/file"), bytes);
}

#[test]
fn hdfs_with_kerberos_lets_in_who_has_a_ticket() {
    let scratch = Scratch::new("test").unwrap();
    let (path, bytes) = file(&scratch);
    let kdc = Arc::new(Kdc::start().unwrap());
    let security = Security::Kerberos { kdc: Arc::clone(&kdc), protection: Protection::Integrity };
    let hdfs = Hdfs::start(HdfsSpec { security, ..HdfsSpec::default() }).unwrap();
    hdfs.put(&path, "/file").unwrap();
    assert_eq!(read(&hdfs, &scratch, "/file"), bytes);
    let keytab = kdc.keytab("storm", "storm").unwrap();
    kdc.login("storm", &keytab, &scratch.path().join("tickets")).unwrap();
    kdc.admin("cpw -randkey storm").unwrap();
    kdc.login("storm", &keytab, &scratch.path().join("tickets")).unwrap_err();
    kdc.admin("getprinc nobody").unwrap_err();
}

#[test]
fn s3_and_the_web_server_answer() {
    let s3 = S3::start().unwrap();
    TcpStream::connect(s3.address()).unwrap();
    let http = Http::start().unwrap();
    fs::write(http.files().join("file"), "0123456789").unwrap();
    let head = |path: &str, header: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-i", "-r", "2-4", "-H", header]).arg(http.url(path));
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    let plain = head("/plain/file", "X: y");
    assert!(plain.starts_with("HTTP/1.1 206") && plain.ends_with("234"), "{plain}");
    assert!(plain.contains("ETag: "), "{plain}");
    assert!(head("/plain/file", "If-Match: \"other\"").starts_with("HTTP/1.1 412"));
    let whole = head("/no-ranges/file", "X: y");
    assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with("0123456789"), "{whole}");
    assert!(!head("/no-etag/file", "X: y").contains("ETag"));
    let chunked = head("/chunked/file", "X: y");
    assert!(chunked.starts_with("HTTP/1.1 200"), "{chunked}");
    assert!(chunked.contains("chunked") && !chunked.contains("Content-Length"), "{chunked}");
    for (path, status) in
        [("redirect", 302), ("denied", 403), ("password", 401), ("broken", 500), ("plain", 404)]
    {
        let answer = head(&format!("/{path}/nothing"), "X: y");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    http.set_unavailable(true).unwrap();
    assert!(head("/plain/file", "X: y").starts_with("HTTP/1.1 503"));
    http.set_unavailable(false).unwrap();
    assert!(head("/plain/file", "X: y").starts_with("HTTP/1.1 206"));
}

/// Runs as a child of the next test, which kills it.
#[test]
#[ignore = "started by a_killed_test_leaves_nothing"]
fn wait_to_be_killed() {
    let mut http = Http::start().unwrap();
    let report = std::env::var("REPORT_TO").unwrap();
    let text = format!("{}\n{}", http.daemon().pid().unwrap(), http.files().display());
    fs::write(format!("{report}.new"), text).unwrap();
    fs::rename(format!("{report}.new"), report).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_killed_test_leaves_nothing() {
    let scratch = Scratch::new("test").unwrap();
    let report = scratch.path().join("report");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "wait_to_be_killed", "--ignored"])
        .env("REPORT_TO", &report)
        .spawn()
        .unwrap();
    wait_until("the server runs", || report.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let text = fs::read_to_string(&report).unwrap();
    let (pid, files) = text.split_once('\n').unwrap();
    let pid = pid.parse().unwrap();
    wait_until("the server is gone", || !is_alive(pid));
    wait_until("its files are gone", || !Path::new(files).exists());
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited in vain: {what}");
}
