//! Every request in `tests/fixtures/requests` is accepted, or refused with the error its name says.
//!
//! A file in `reject` is named `<error code>--<what>.json`; its bytes are the request, nothing is
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
    CgroupPath, LaunchRequest, MAX_REQUEST_BYTES, RequestError, RuntimeSpec, SpecInputs,
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

fn read(bytes: &[u8]) -> Result<LaunchRequest, RequestError> {
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
        let written = request.to_json().unwrap();
        assert_eq!(read(&written).unwrap(), request, "{}", file.display());
    }
}

#[test]
fn storms_own_requests_are_written_as_they_were() {
    for name in ["appendix.json", "stock-run.json"] {
        let bytes = fs::read(requests().join("accept").join(name)).unwrap();
        let original: Value = serde_json::from_slice(&bytes).unwrap();
        let written = read(&bytes).unwrap().to_json().unwrap();
        let ours: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(ours, original, "{name}");
    }
    let recorded = fs::read(requests().join("accept/stock-run.json")).unwrap();
    let written = read(&recorded).unwrap().to_json().unwrap();
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
        };
        let spec = RuntimeSpec::compose(&request, &inputs).to_json().unwrap();
        let spec: Value = serde_json::from_slice(&spec).unwrap();
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
        for (index, mount) in spec["mounts"].as_array().unwrap().iter().enumerate().skip(7) {
            let source = format!("/run/x/binds/{}", index - 7);
            assert_eq!(mount["source"], source, "{name}");
            let options = mount["options"].as_array().unwrap();
            for needed in ["rbind", "rprivate", "rnosuid", "rnodev"] {
                assert!(options.contains(&needed.into()), "{name}: {mount}");
            }
        }
    }
}

#[test]
fn rejected_requests_give_the_error_in_their_name() {
    for file in cases("reject") {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let (code, _) = stem.split_once("--").unwrap_or_else(|| panic!("{stem} names no error"));
        match read(&fs::read(&file).unwrap()) {
            Ok(_) => panic!("{stem} was accepted"),
            Err(error) => {
                assert_eq!(error.code(), code, "{stem}: {error}");
                let text = error.to_string();
                assert!(!text.contains(char::is_control), "{stem}: {text:?}");
                assert!(text.chars().count() < 600, "{stem}: {text}");
            }
        }
    }
}

#[test]
fn every_error_has_a_rejected_request() {
    let tested: BTreeSet<String> = cases("reject")
        .iter()
        .map(|file| file.file_stem().unwrap().to_str().unwrap())
        .map(|stem| stem.split_once("--").unwrap().0.to_owned())
        .collect();
    let codes: BTreeSet<String> = include_str!("../src/error.rs")
        .lines()
        .filter_map(|line| line.split_once("=> \"")?.1.split_once('"'))
        .map(|(code, _)| code.to_owned())
        // Its case would be a file of more than a mebibyte: `size_is_limited` has it.
        .filter(|code| code != "too-large")
        .collect();
    assert!(codes.len() > 30, "the codes were not found");
    assert_eq!(tested, codes);
}

#[test]
fn size_is_limited() {
    let mut bytes = fs::read(requests().join("accept/minimal.json")).unwrap();
    bytes.resize(MAX_REQUEST_BYTES, b' ');
    read(&bytes).unwrap();
    bytes.push(b' ');
    assert_eq!(read(&bytes).unwrap_err().code(), "too-large");
}

#[test]
fn no_part_of_a_request_is_a_request() {
    let bytes = fs::read(requests().join("accept/minimal.json")).unwrap();
    let end = bytes.trim_ascii_end().len();
    read(&bytes[..end]).unwrap();
    for length in 0..end {
        assert_eq!(read(&bytes[..length]).unwrap_err().code(), "malformed", "{length} bytes");
    }
}

#[test]
fn errors_name_the_key() {
    for (file, expected) in [
        ("unknown-key--cpu-burst", "key `ociRuntimeConfig.linux.resources.cpu.burst` is unknown"),
        ("unknown-key--layer", "key `layers[0].digest` is unknown"),
        ("unknown-key--escaped-name", r"key `a\nb\u{7}` is unknown"),
        ("duplicate-key--mount-source", "key `ociRuntimeConfig.mounts[0].source` is there twice"),
        ("missing-key--reapLayerKeepCount", "key `reapLayerKeepCount` is missing"),
        (
            "out-of-range--keep-count-negative",
            "`reapLayerKeepCount` is -1, allowed is 0 to 4294967295",
        ),
        (
            "out-of-range--seccomp-errno",
            "`ociRuntimeConfig.linux.seccomp.syscalls[0].errnoRet` is 4096, allowed is 0 to 4095",
        ),
        (
            "hooks--prestart",
            "`ociRuntimeConfig.hooks` is refused: hooks would run as root on the host",
        ),
        (
            "foreign-cgroup--prefix",
            "cgroup `/storm2/6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb` is not \
             `/storm/6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb`",
        ),
    ] {
        let path = requests().join("reject").join(file).with_extension("json");
        let error = read(&fs::read(path).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{file}");
    }
}
