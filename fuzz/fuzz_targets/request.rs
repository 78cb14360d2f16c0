//! The launch request, with its limits and system call filter.
//!
//! What is accepted is written and read again as the same request. Its `config.json` is decided by
//! the launcher wherever the request has no say: user, capabilities, namespaces, devices, hooks. A
//! refusal is one short line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use storm_oci_request::{
    CgroupPath, HostPath, LaunchRequest, MAX_LAYERS, MAX_REQUEST_BYTES, Seccomp, SpecInputs,
    runtime_spec,
};

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = Seccomp::parse(bytes) {
        check_refusal(&error.to_string());
    }
    match LaunchRequest::parse(bytes) {
        Ok(request) => check_request(bytes, &request),
        Err(error) => check_refusal(&error.to_string()),
    }
});

fn check_refusal(text: &str) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
    assert!(text.len() < 8192, "{text}");
}

fn check_request(bytes: &[u8], request: &LaunchRequest) {
    assert!(bytes.len() <= MAX_REQUEST_BYTES);
    assert!(!request.layers.is_empty());
    let mut layers: Vec<_> = request.layers.iter().map(|layer| &layer.path).collect();
    layers.sort();
    layers.dedup();
    assert!(layers.len() <= MAX_LAYERS);
    let written = serde_json::to_vec(request).unwrap();
    assert_eq!(LaunchRequest::parse(&written).unwrap(), *request);

    let parent = CgroupPath::parse("/storm").unwrap();
    let own = format!("/storm/{}", request.container_id);
    let has_own = request.oci_runtime_config.linux.cgroups_path.as_str() == own;
    assert_eq!(request.check_cgroup(&parent).is_ok(), has_own);

    let rootfs = HostPath::parse("/run/x/rootfs").unwrap();
    let inputs = SpecInputs {
        uid: 1234,
        gid: 1235,
        additional_gids: &[],
        hostname: "host",
        rootfs: &rootfs,
        binds: &rootfs,
        rlimits: &[],
        recursive_options: true,
    };
    let spec = runtime_spec(request, &inputs);
    let keys: Vec<&String> = spec.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["hostname", "linux", "mounts", "ociVersion", "process", "root"]);
    assert_eq!(spec["root"], json!({"path": "/run/x/rootfs", "readonly": false}));
    assert_eq!(spec["process"]["user"], json!({"uid": 1234, "gid": 1235}));
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    let capabilities = spec["process"]["capabilities"].as_object().unwrap();
    assert!(capabilities.len() == 5 && capabilities.values().all(|set| *set == json!([])));
    assert_eq!(
        spec["linux"]["namespaces"],
        json!([{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}])
    );
    assert_eq!(spec["linux"]["resources"]["devices"], json!([{"access": "rwm", "allow": false}]));
    let filter = &spec["linux"]["seccomp"];
    assert!(filter.get("listenerPath").is_none());
    let rules = filter["syscalls"].as_array().into_iter().flatten();
    for action in rules.map(|rule| &rule["action"]).chain(filter.get("defaultAction")) {
        assert!(!matches!(action.as_str().unwrap(), "SCMP_ACT_NOTIFY" | "SCMP_ACT_TRACE"));
    }
    for text in request.oci_runtime_config.process.args.iter() {
        assert!(!text.contains('\0'));
    }
    assert!(no_null(&spec), "{spec}");
}

fn no_null(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => items.iter().all(no_null),
        Value::Object(fields) => fields.values().all(no_null),
        _ => true,
    }
}
