//! Every request in `tests/fixtures/requests` is accepted, or refused with the words that
//! `refusals.txt` has for it.
//!
//! A file in `reject` is named `<what is wrong>--<how>.json`; its bytes are the request, nothing is
//! wrapped around them.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads its own fixtures by path and may panic"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use storm_oci_request::{
    CgroupPath, DocumentError, LaunchRequest, MAX_REQUEST_BYTES, SpecInputs, runtime_spec,
};

fn requests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/requests")
}

/// The directory's JSON files, sorted. Anything else in it fails the test.
fn cases(directory: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(requests().join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} has no case");
    for file in &files {
        assert!(file.is_file() && file.extension().is_some_and(|extension| extension == "json"));
    }
    files
}

fn read(bytes: &[u8]) -> Result<LaunchRequest, DocumentError> {
    let request = LaunchRequest::parse(bytes)?;
    request.check_cgroup(&CgroupPath::parse("/storm").unwrap())?;
    Ok(request)
}

#[test]
fn there_are_two_directories_of_cases() {
    let names: BTreeSet<_> = fs::read_dir(requests())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["accept".to_owned(), "reject".to_owned()]));
}

#[test]
fn accepted_requests_are_read_written_and_read_again() {
    for file in cases("accept") {
        let bytes = fs::read(&file).unwrap();
        let request = read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let written = serde_json::to_vec(&request).unwrap();
        assert_eq!(read(&written).unwrap(), request, "{}", file.display());
    }
}

#[test]
fn storms_own_requests_are_written_as_they_were() {
    for name in ["appendix.json", "stock-run.json"] {
        let bytes = fs::read(requests().join("accept").join(name)).unwrap();
        let original: Value = serde_json::from_slice(&bytes).unwrap();
        let written = serde_json::to_vec(&read(&bytes).unwrap()).unwrap();
        let ours: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(ours, original, "{name}");
    }
    let recorded = fs::read(requests().join("accept/stock-run.json")).unwrap();
    let written = serde_json::to_vec(&read(&recorded).unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(written).unwrap(),
        String::from_utf8(recorded).unwrap().trim_end(),
        "the keys' order is Storm's too"
    );
}

#[test]
fn no_request_changes_what_the_launcher_decides() {
    for file in cases("accept") {
        let request = read(&fs::read(&file).unwrap()).unwrap();
        let rootfs = storm_oci_request::HostPath::parse("/run/x/rootfs").unwrap();
        let binds = storm_oci_request::HostPath::parse("/run/x/binds").unwrap();
        let inputs = SpecInputs {
            uid: 1234,
            gid: 1235,
            additional_gids: &[],
            hostname: "host",
            rootfs: &rootfs,
            binds: &binds,
            rlimits: &[],
            recursive_options: true,
        };
        let spec = runtime_spec(&request, &inputs);
        let name = file.display();
        assert_eq!(spec["root"]["path"], "/run/x/rootfs", "{name}");
        assert_eq!(spec["root"]["readonly"], false, "{name}");
        assert_eq!(spec["process"]["noNewPrivileges"], true, "{name}");
        assert_eq!(
            spec["process"]["user"],
            serde_json::json!({"uid": 1234, "gid": 1235}),
            "{name}"
        );
        let capabilities = spec["process"]["capabilities"].as_object().unwrap();
        assert_eq!(capabilities.len(), 5, "{name}");
        assert!(capabilities.values().all(|set| set == &Value::Array(Vec::new())), "{name}");
        assert_eq!(spec["linux"]["namespaces"].as_array().unwrap().len(), 4, "{name}");
        assert_eq!(
            spec["linux"]["resources"]["devices"],
            serde_json::json!([{"access": "rwm", "allow": false}]),
            "{name}"
        );
        assert!(spec.get("hooks").is_none(), "{name}");
        let mut clones = 0..request.oci_runtime_config.mounts.len();
        for mount in spec["mounts"].as_array().unwrap().iter().skip(7) {
            let init = mount["destination"] == "/dev/storm-oci-init";
            let clone = if init { clones.end } else { clones.next().unwrap() };
            assert_eq!(mount["source"], format!("/run/x/binds/{clone}"), "{name}");
            let options = mount["options"].as_array().unwrap();
            for needed in ["rbind", "rprivate", "rnosuid", "rnodev"] {
                assert!(options.contains(&needed.into()), "{name}: {mount}");
            }
        }
    }
}

#[test]
fn rejected_requests_are_refused_for_the_reason_written_down() {
    let mut written = include_str!("refusals.txt").lines();
    for file in cases("reject") {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let Err(error) = read(&fs::read(&file).unwrap()) else {
            panic!("{stem} was accepted");
        };
        let line = format!("{stem} | {error}");
        assert_eq!(written.next(), Some(line.as_str()));
        assert!(!line.contains(char::is_control), "{stem}");
        assert!(line.chars().count() < 600, "{stem}");
    }
    assert_eq!(written.next(), None);
}

#[test]
fn a_long_message_is_cut_and_still_tells_the_place() {
    let request = fs::read_to_string(requests().join("accept/minimal.json")).unwrap();
    let long = request.replace("0.1", &"x\u{1b}".repeat(2000).replace('\u{1b}', "\\u001b"));
    let error = read(long.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("unknown variant `x\u{fffd}x"), "{error}");
    assert!(error.contains(" at line ") && error.chars().count() < 1100, "{error}");
}

#[test]
fn size_is_limited() {
    let mut bytes = fs::read(requests().join("accept/minimal.json")).unwrap();
    bytes.resize(MAX_REQUEST_BYTES, b' ');
    read(&bytes).unwrap();
    bytes.push(b' ');
    let refused = read(&bytes).unwrap_err().to_string();
    assert_eq!(refused, "it has 1048577 bytes, at most 1048576 are read");
}

#[test]
fn no_part_of_a_request_is_a_request() {
    let bytes = fs::read(requests().join("accept/minimal.json")).unwrap();
    let end = bytes.trim_ascii_end().len();
    read(&bytes[..end]).unwrap();
    for length in 0..end {
        let error = read(&bytes[..length]).unwrap_err().to_string();
        assert!(error.starts_with("EOF while parsing"), "{length} bytes: {error}");
    }
}
