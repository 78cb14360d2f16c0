use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::config::{keys, tests::settings};
use crate::documents::{ImageDocument, LaunchDocument, ReserveDocument};
use crate::mounts;

/// Storm's documentation's own example of a request.
fn appendix() -> Value {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/appendix");
    let text = fs::read(fixtures.join("oci-config.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The appendix's request.
pub(crate) fn appendix_request() -> LaunchRequest {
    LaunchRequest::parse(appendix().to_string().as_bytes()).unwrap()
}

const WORKER: &str = "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";

pub(crate) fn launch_document() -> LaunchDocument {
    let storm = "/home/y/var/storm";
    let worker = format!("{storm}/workers/{WORKER}");
    let stormdist = format!("{storm}/supervisor/stormdist/wc1-2-1608581491");
    serde_json::from_value(json!({
        "user": "username1",
        "topologyId": "wc1-2-1608581491",
        "port": 6703,
        "workerId": WORKER,
        "workerDir": worker,
        "artifactsDir": format!("{worker}/artifacts"),
        "workerArtifactsRoot": format!("{storm}/workers-artifacts/wc1-2-1608581491/6703"),
        "workerTmp": format!("{worker}/tmp"),
        "workerUserFile": format!("{storm}/workers-users/{WORKER}"),
        "sharedByTopology": format!("{stormdist}/shared_by_topology"),
        "stormHome": "/home/y/lib64/storm",
        "script": format!("{worker}/storm-worker-script.sh"),
        "environment": {
            "LD_LIBRARY_PATH": format!("{stormdist}/resources/Linux-amd64:{stormdist}/resources:\
                /home/y/lib64:/usr/local/lib64:/usr/lib64:/lib64:"),
        },
        "image": {"tag": "storm/rhel7:dev_current"},
    }))
    .unwrap()
}

/// The appendix's worker.
pub(crate) fn worker() -> Worker {
    Worker::parse(&launch_document()).unwrap()
}

/// The image of the appendix: seven layers, and the environment of its config.
pub(crate) fn image(directory: &Path, entrypoint: Value) -> LocalImage {
    let config = directory.join("config");
    let document = json!({"config": {
        "Env": [
            "X_SCLS=rh-git218",
            "LD_LIBRARY_PATH=/opt/rh/httpd24/root/usr/lib64",
            "PATH=/opt/rh/rh-git218/root/usr/bin:/home/y/bin64:/home/y/bin:/usr/local/sbin:\
             /usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/home/y/share/yjava_jdk/java/bin",
            "PERL5LIB=/opt/rh/rh-git218/root/usr/share/perl5/vendor_perl",
            "LANG=en_US.UTF-8",
            "LANGUAGE=en_US:en",
            "LC_ALL=en_US.UTF-8",
            "JAVA_HOME=/home/y/share/yjava_jdk/java",
        ],
        "Entrypoint": entrypoint,
    }});
    fs::write(&config, document.to_string()).unwrap();
    let layers = [
        "3692c3483ef6516fba685b316448e8aaf0fc10bb66818116edc8e5e6800076c7",
        "ea067172a7138f035d89a5c378db6d66c1581d98b0497b21f256e04c3d2b5303",
        "1b73e9433ecca0a6bb152bd7525f2b7c233484d51c24f8a6ba483d5cfd3035dc",
        "18ee671016a1bf3ecab07395d93c2cbecd352d59c497a1551e2074d64e1098d9",
        "152ee1d2cccea9dfe6393d2bdf9d077b67616b2b417b25eb74fc5ffaadcb96f5",
        "344224962010c03c9ca1f11a9bff0dfcc296ac46d0a55e4ff30a0ad13b9817af",
        "8710a3d72f75b45c48ab6b9b67eb6d77caea3dac91a0c30e0831f591cba4887e",
    ]
    .map(|hex| format!("/home/y/var/storm/supervisor/oci-resources/layers/{hex}.sqsh"));
    let document = ImageDocument {
        tag: None,
        manifest: None,
        config_path: Some(config.to_str().unwrap().to_owned()),
        layers: Some(layers.to_vec()),
    };
    LocalImage::from_plugins("storm/rhel7:dev_current", &document).unwrap().unwrap()
}

/// Composes the appendix's request with other settings, image and reservation.
fn composed(change: Value, entrypoint: Value, reserve: Value, document: &LaunchDocument) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let profile = directory.path().join("seccomp.json");
    let seccomp = &appendix()["ociRuntimeConfig"]["linux"]["seccomp"];
    fs::write(&profile, seccomp.to_string()).unwrap();
    let mut all = json!({
        keys::READONLY_BINDS: ["/home/y/lib64/storm", "/etc/krb5.conf"],
        keys::SECCOMP_PROFILE: profile.to_str().unwrap(),
        keys::INIT: false,
    });
    for (key, value) in change.as_object().unwrap() {
        all[key] = value.clone();
    }
    let settings = settings(all);
    let worker = Worker::parse(document).unwrap();
    let reserve: ReserveDocument = serde_json::from_value(reserve).unwrap();
    let (mounts, skipped) = mounts::existing(mounts::plan(&settings, &worker), |_| false).unwrap();
    assert!(skipped.is_empty());
    let request = compose(
        &settings,
        &worker,
        &image(directory.path(), entrypoint),
        &Reservation::new(&settings, &reserve),
        mounts,
    )
    .unwrap();
    serde_json::from_slice(&serde_json::to_vec(&request).unwrap()).unwrap()
}

fn reserve(cpu: i64) -> Value {
    json!({"workerId": WORKER, "memoryMb": 896, "cpu": cpu, "numaId": null})
}

#[test]
fn the_appendix_inputs_give_the_appendix_request() {
    let request = composed(json!({}), Value::Null, reserve(140), &launch_document());
    assert_eq!(request, appendix());
}

#[test]
fn containers_have_our_init_unless_a_setting_says_no() {
    assert!(settings(json!({})).init);
    let change = json!({keys::INIT: true});
    let request = composed(change, Value::Null, reserve(140), &launch_document());
    assert_eq!(request["init"], true);
}

#[test]
fn the_entry_point_comes_before_the_shell() {
    let entrypoint = json!(["/usr/bin/tini", "--"]);
    let request = composed(json!({}), entrypoint, reserve(140), &launch_document());
    let script = format!("/home/y/var/storm/workers/{WORKER}/storm-worker-script.sh");
    assert_eq!(
        request["ociRuntimeConfig"]["process"]["args"],
        json!(["/usr/bin/tini", "--", "bash", script])
    );
}

#[test]
fn limits_follow_the_settings() {
    let resources = |change: Value, reserve: Value| {
        composed(change, Value::Null, reserve, &launch_document())["ociRuntimeConfig"]["linux"]
            ["resources"]
            .take()
    };
    let numa = json!({"1": {"numa.cores": [4, 5], "numa.memory.mb": 1, "numa.ports": [6703]}});
    let mut zone = reserve(140);
    zone["numaId"] = json!("1");
    let mut unlimited_zone = reserve(0);
    unlimited_zone["numaId"] = json!("1");
    for (change, reserve, expected) in [
        (
            json!({keys::MEMORY_ENFORCEMENT: true}),
            reserve(140),
            json!({
                "cpu": {"quota": 140_000, "period": 100_000},
                "memory": {"limit": 939_524_096},
            }),
        ),
        (
            json!({keys::CPU_LIMIT: 200}),
            reserve(10),
            json!({"cpu": {"quota": 200_000, "period": 100_000}}),
        ),
        (
            json!({keys::NUMA_META: numa}),
            zone.clone(),
            json!({"cpu": {"quota": 140_000, "period": 100_000, "cpus": "4,5", "mems": "1"}}),
        ),
        (json!({}), zone.clone(), json!({"cpu": {"quota": 140_000, "period": 100_000}})),
        (json!({}), reserve(0), Value::Null),
        (
            json!({keys::NUMA_META: numa}),
            unlimited_zone,
            json!({"cpu": {"cpus": "4,5", "mems": "1"}}),
        ),
        (
            json!({
                keys::MEMORY_ENFORCEMENT: true,
                keys::PIDS_LIMIT: 4096,
                keys::MEMORY_SWAP: 128,
                keys::MEMORY_HIGH: 0.75,
                keys::OOM_GROUP: true,
            }),
            reserve(0),
            json!({
                "memory": {"limit": 939_524_096, "swap": 1_073_741_824},
                "pids": {"limit": 4096},
                "unified": {"memory.high": "704643072", "memory.oom.group": "1"},
            }),
        ),
        (
            json!({keys::PIDS_LIMIT: 10, keys::MEMORY_SWAP: 128, keys::MEMORY_HIGH: 0.75}),
            reserve(0),
            json!({"pids": {"limit": 10}}),
        ),
    ] {
        assert_eq!(resources(change.clone(), reserve), expected, "{change}");
    }
}

#[test]
fn the_cgroup_is_below_an_absolute_parent() {
    let change = json!({keys::CGROUP_PARENT: "storm.slice"});
    let request = composed(change, Value::Null, reserve(140), &launch_document());
    assert_eq!(
        request["ociRuntimeConfig"]["linux"]["cgroupsPath"],
        format!("/storm.slice/6703-{WORKER}")
    );
}

#[test]
fn topology_environment_comes_last_in_its_own_order() {
    let mut document = launch_document();
    let environment = r#"{"Z":"a b'c","A":"","GONE":null,"PATH":"/bin"}"#;
    document.environment = serde_json::from_str(environment).unwrap();
    let request = composed(json!({}), Value::Null, reserve(140), &document);
    let env = request["ociRuntimeConfig"]["process"]["env"].as_array().unwrap().clone();
    assert_eq!(env[8..], [json!("Z=a b'c"), json!("A="), json!("PATH=/bin")]);
}

#[test]
fn what_the_launcher_would_refuse_is_refused_here() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(json!({}));
    let mut document = launch_document();
    document.environment = serde_json::from_str(r#"{"A":"nul \u0000"}"#).unwrap();
    let worker = Worker::parse(&document).unwrap();
    let image = image(directory.path(), Value::Null);
    let error =
        compose(&settings, &worker, &image, &Reservation::default(), Vec::new()).unwrap_err();
    assert!(error.report().starts_with("cannot compose launch request: "), "{}", error.report());
}
