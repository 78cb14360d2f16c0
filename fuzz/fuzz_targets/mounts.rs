//! The mount list: a request's bind mounts, and what runc gets for them.
//!
//! runc gets the launcher's own mounts unchanged and first, then one bind for each of the request's:
//! from the clone that the launcher made, never from a path of the request, to a normal path that
//! covers nothing of the launcher's, recursive and private. Where runc can, it also is told to leave
//! out set-user-ID programs and devices, and to make read-only what the request wants so.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use storm_oci_request::{HostPath, LaunchRequest, SpecInputs, runtime_spec};

/// A request, before and after its mount list.
const BEFORE: &str = r#"{"version":"0.1","username":"alice","containerId":"6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb","pidFile":"/w/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/container-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb.pid","containerScriptPath":"/w/1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/x.sh","layers":[{"mediaType":"application/vnd.squashfs","path":"/l"}],"reapLayerKeepCount":1,"ociRuntimeConfig":{"process":{"cwd":"/w","env":[],"args":["a"]},"linux":{"cgroupsPath":"/storm/x"},"mounts":"#;
const AFTER: &str = "}}";

fuzz_target!(|list: &str| {
    let Ok(request) = LaunchRequest::parse(format!("{BEFORE}{list}{AFTER}").as_bytes()) else {
        return;
    };
    check_mounts(&request, true);
    check_mounts(&request, false);
});

fn check_mounts(request: &LaunchRequest, recursive_options: bool) {
    let directory = HostPath::parse("/run/x").unwrap();
    let inputs = SpecInputs {
        uid: 1,
        gid: 1,
        additional_gids: &[],
        hostname: "h",
        rootfs: &directory,
        binds: &directory,
        rlimits: &[],
        recursive_options,
    };
    let spec = runtime_spec(request, &inputs);
    let (fixed, binds) = spec["mounts"].as_array().unwrap().split_at(7);
    let destinations: Vec<&str> =
        fixed.iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
    assert_eq!(
        destinations,
        ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]
    );
    let wanted = &request.oci_runtime_config.mounts;
    assert_eq!(binds.len(), wanted.len());
    for ((index, bind), wanted) in binds.iter().enumerate().zip(wanted) {
        let access = if wanted.read_only { "rro" } else { "rw" };
        let options = match recursive_options {
            true => json!([access, "rbind", "rprivate", "rnosuid", "rnodev"]),
            false => json!(["rbind", "rprivate"]),
        };
        assert_eq!(bind["type"], "bind");
        assert_eq!(bind["source"], format!("/run/x/{index}"));
        assert_eq!(bind["options"], options);
        check_destination(bind, wanted.read_only);
        check_normal(wanted.source.as_str());
    }
}

fn check_destination(bind: &Value, read_only: bool) {
    let destination = bind["destination"].as_str().unwrap();
    check_normal(destination);
    assert_ne!(destination, "/");
    let below = |top: &str| Path::new(destination).starts_with(top);
    let launchers = below("/proc") || below("/dev") || below("/sys");
    assert!(!launchers || destination == "/sys/fs/cgroup" && read_only, "{destination}");
}

fn check_normal(path: &str) {
    let mut components = Path::new(path).components();
    assert_eq!(components.next(), Some(Component::RootDir), "{path}");
    assert!(components.all(|component| matches!(component, Component::Normal(_))), "{path}");
    assert!(!path.contains("//") && !path.contains("/./") && !path.ends_with("/."), "{path}");
    assert!(!path.contains(char::is_control), "{path:?}");
}
