use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use storm_oci_request::MAX_REQUEST_BYTES;

use super::*;
use crate::request::tests::{image, worker};

/// A worker whose directories exist.
fn placed() -> (tempfile::TempDir, Worker) {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| HostPath::parse(root.path().join(name).to_str().unwrap()).unwrap();
    let mut worker = worker();
    worker.directory = path("worker");
    worker.artifacts_root = path("artifacts");
    for directory in [&worker.directory, &worker.artifacts_root] {
        fs::create_dir(directory.as_str()).unwrap();
    }
    (root, worker)
}

#[test]
fn the_image_note_is_yaml_for_people() {
    let (root, worker) = placed();
    let mut image = image(root.path(), serde_json::Value::Null);
    image.manifest = Some("ef1ff2".to_owned());
    image.config_path = "file:///srv/images/config/1: #x".to_owned();
    write_image_note(&worker, &image);
    let path = root.path().join(format!("artifacts/runc-{}.yaml", worker.container));
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        "imageName: storm/rhel7:dev_current\nmanifest: ef1ff2\n\
         configPath: \"file:///srv/images/config/1: #x\"\n"
    );
}

#[test]
fn the_image_note_follows_no_link_of_the_topologys_user() {
    let (root, worker) = placed();
    let image = image(root.path(), serde_json::Value::Null);
    let victim = root.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let name = format!("artifacts/runc-{}.yaml", worker.container);
    let link = root.path().join(name);
    symlink(&victim, &link).unwrap();
    write_image_note(&worker, &image);
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert!(link.is_symlink(), "what is there stays");
}

#[test]
fn scalars_that_yaml_would_misread_are_quoted() {
    for (text, written) in [
        ("storm/test:1", "storm/test:1"),
        ("/srv/x", "/srv/x"),
        ("123", "\"123\""),
        ("1e5", "\"1e5\""),
        ("true", "\"true\""),
        ("No", "\"No\""),
        ("", "\"\""),
        ("a: b", "\"a: b\""),
        ("a:", "\"a:\""),
        ("-a", "\"-a\""),
        ("a\n", "\"a\\n\""),
    ] {
        assert_eq!(yaml(text), written);
    }
}

#[test]
fn the_request_is_readable_by_this_account_only() {
    let (root, worker) = placed();
    let json = crate::request::tests::appendix_request();
    let path = write_request(&worker, &json).unwrap();
    assert_eq!(path.as_str(), root.path().join("worker/oci-config.json").to_str().unwrap());
    assert_eq!(fs::metadata(path.as_str()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(LaunchRequest::parse(&fs::read(path.as_str()).unwrap()).unwrap(), json);
    // A second try writes it anew, even over a link.
    fs::remove_file(path.as_str()).unwrap();
    symlink(root.path().join("elsewhere"), path.as_str()).unwrap();
    write_request(&worker, &json).unwrap();
    assert!(!root.path().join("elsewhere").exists());
}

#[test]
fn a_request_that_the_launcher_would_not_read_is_not_written() {
    let (root, worker) = placed();
    let mut request = crate::request::tests::appendix_request();
    let long = format!("A={}", "x".repeat(MAX_REQUEST_BYTES));
    request.oci_runtime_config.process.env.push(long);
    let error = write_request(&worker, &request).unwrap_err();
    assert!(error.report().contains("bytes"), "{}", error.report());
    assert!(!root.path().join("worker/oci-config.json").exists());
}

#[test]
fn a_missing_worker_directory_is_named() {
    let (root, worker) = placed();
    fs::remove_dir(root.path().join("worker")).unwrap();
    let error = write_request(&worker, &crate::request::tests::appendix_request()).unwrap_err();
    assert!(error.report().starts_with("cannot write `"), "{}", error.report());
}
