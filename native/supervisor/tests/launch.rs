//! Launches with a recorder in the place of the launcher: what is asked of it, and what becomes of
//! its answers.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod node;

use std::fs;

use node::{CONTAINER, Node, TAG, WORKER};
use serde_json::{Value, json};

#[test]
fn the_launcher_gets_arguments_and_nothing_else() {
    let node = Node::new();
    node.let_launch_succeed(WORKER);
    let supervisor = node.prepare();
    let outcome = supervisor.launch(&node.launch_document(WORKER));
    assert_eq!(outcome["started"], true, "{outcome}");
    let directory = node.text(&format!("local/workers/{WORKER}"));
    let calls = node.calls("run-oci-container");
    assert_eq!(calls.len(), 1);
    assert_eq!(
        calls[0].arguments,
        [
            "stormtest",
            "run-oci-container",
            &directory,
            &format!("{directory}/oci-config.json"),
            &format!("{directory}/artifacts"),
        ]
    );
    assert_eq!(calls[0].environment, "");
    assert_eq!(calls[0].directory, directory);
}

#[test]
fn a_launch_leaves_request_outcome_note_and_exit() {
    let node = Node::new();
    node.let_launch_succeed(WORKER);
    let supervisor = node.prepare();
    let outcome = supervisor.launch(&node.launch_document(WORKER));
    assert_eq!(outcome["containerId"], CONTAINER);
    assert_eq!(outcome["pid"], node::GONE.0);
    let phases: Vec<&str> = outcome["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase["name"].as_str().unwrap())
        .collect();
    assert_eq!(phases, ["resolve", "localize", "request", "launcher", "launcher.layers"]);

    let directory = format!("local/workers/{WORKER}");
    let request = fs::read(node.path(&format!("{directory}/oci-config.json"))).unwrap();
    let request: Value = serde_json::from_slice(&request).unwrap();
    assert_eq!(request["reapLayerKeepCount"], 7);
    assert_eq!(request["ociRuntimeConfig"]["process"]["env"], json!(["A=image", "B=topology"]));
    assert_eq!(node.mode(&format!("{directory}/oci-config.json")), 0o600);
    let contents: Vec<String> = request["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| fs::read_to_string(layer["path"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(contents, ["squashfs of base", "squashfs of java"]);
    let note = node.path(&format!("{directory}/artifacts/runc-{CONTAINER}.yaml"));
    let note = fs::read_to_string(note).unwrap();
    assert!(note.starts_with(&format!("imageName: {TAG}\nmanifest: ")), "{note}");

    // Its pid 1 is not there (any more), so it has ended.
    let event = supervisor.event();
    assert_eq!(event["type"], "exit");
    assert_eq!(event["containerId"], CONTAINER);
    assert_eq!((&event["exitCode"], &event["shellCode"]), (&json!(7), &json!(7)));
    assert_eq!(event["launchFailed"], false);
    assert!(supervisor.is_quiet());
}

/// Launches a changed document, and expects the failure in outcome and event.
fn fails(node: &Node, change: impl FnOnce(&mut Value), code: &str, message: &str) {
    let supervisor = node.prepare();
    let mut document = node.launch_document(WORKER);
    change(&mut document);
    let outcome = supervisor.launch(&document);
    assert_eq!(outcome["started"], false);
    let found = outcome["message"].as_str().unwrap();
    assert!(found.contains(message), "{found}");
    assert_eq!(outcome["code"], code, "{found}");
    let event = supervisor.event();
    assert_eq!(event["type"], "exit");
    assert_eq!(event["workerId"], document["workerId"]);
    assert_eq!(event["launchFailed"], true);
    assert_eq!(event["message"], found);
    assert_eq!(event["shellCode"], -1);
    assert!(supervisor.is_quiet());
}

#[test]
fn a_bad_image_costs_one_worker() {
    let node = Node::new();
    let tag = |tag: &'static str| move |document: &mut Value| document["image"]["tag"] = tag.into();
    fails(&node, tag("storm/none:9"), "IMAGE", "tag not found");
    fails(&node, tag("../../etc/passwd"), "IMAGE", "component");
    fails(&node, tag("bad\ntag"), "IMAGE", "visible ASCII");
    fs::remove_file(node.layer("java")).unwrap();
    fails(&node, |_| (), "IMAGE", "not found in the store");
    assert!(node.calls("run-oci-container").is_empty());
}

#[test]
fn bad_names_cost_one_worker() {
    let node = Node::new();
    let set = |key: &'static str, value: Value| move |document: &mut Value| document[key] = value;
    fails(&node, set("user", json!("a b")), "USER", "account name");
    fails(&node, set("workerId", json!("../x")), "ARGUMENT", "worker id");
    fails(&node, set("port", json!(0)), "ARGUMENT", "port 0");
    fails(&node, set("workerTmp", json!("tmp")), "ARGUMENT", "temporary directory");
    fails(&node, set("environment", json!({"A": "\u{0}"})), "LAUNCH", "NUL");
    fails(&node, set("workerDir", json!("/no/such")), "MOUNT", "/no/such");
}

#[test]
fn a_missing_mount_source_of_the_operators_is_refused() {
    let node = Node::new();
    let mut document = node.prepare_document();
    document["conf"]["storm.oci.readonly.bindmounts"] = json!(["/no/such/file"]);
    let supervisor = node::Supervisor::start(&document).unwrap();
    let outcome = supervisor.launch(&node.launch_document(WORKER));
    assert_eq!(outcome["code"], "MOUNT");
    assert_eq!(
        outcome["message"],
        "cannot mount `/no/such/file`: it does not exist, but `storm.oci.readonly.bindmounts` \
         names it"
    );
}

#[test]
fn refusals_of_the_launcher_are_told_apart_by_its_exit_code() {
    let node = Node::new();
    node.answer(
        "run-oci-container",
        "err",
        "worker-launcher: cannot do it: because\nhint: do otherwise\n",
    );
    for (exit_code, code) in [
        ("255", "USER"),
        ("24", "INSTALLATION"),
        ("50", "IMAGE"),
        ("52", "MOUNT"),
        ("53", "IMAGE"),
        ("44", "LAUNCH"),
    ] {
        node.answer("run-oci-container", "code", exit_code);
        fails(&node, |_| (), code, "cannot do it: because");
    }
    let supervisor = node.prepare();
    let outcome = supervisor.launch(&node.launch_document(WORKER));
    assert_eq!(outcome["hint"], "do otherwise");
}

/// Has the launcher refuse the image once, saying `line`, repairs both layers in the store,
/// launches again and tells what the local layers then hold.
fn after_refusal(node: &Node, line: &str) -> [String; 2] {
    node.let_launch_succeed(WORKER);
    let supervisor = node.prepare();
    node.answer("run-oci-container", "code", "50");
    node.answer("run-oci-container", "err", line);
    supervisor.launch(&node.launch_document(WORKER));
    for layer in ["base", "java"] {
        fs::write(node.layer(layer), format!("repaired {layer}")).unwrap();
    }
    node.stop_answering("run-oci-container", "code");
    let outcome = supervisor.launch(&node.launch_document(WORKER));
    assert_eq!(outcome["started"], true, "{outcome}");
    ["base", "java"].map(|layer| fs::read_to_string(local_layer(node, layer)).unwrap())
}

fn local_layer(node: &Node, layer: &str) -> String {
    let name = format!("{}.sqsh", node::hex(layer));
    node.text(&format!("local/supervisor/oci-resources/layers/{name}"))
}

#[test]
fn a_refused_layer_is_fetched_anew_at_the_next_try() {
    let node = Node::new();
    let line = format!("layer: {}\n", local_layer(&node, "java"));
    let found = after_refusal(&node, &line);
    assert_eq!(found, ["squashfs of base", "repaired java"]);
}

#[test]
fn a_refused_layer_without_a_name_is_any_that_no_container_runs_on() {
    let node = Node::new();
    let found = after_refusal(&node, "worker-launcher: cannot use a layer\n");
    assert_eq!(found, ["repaired base", "repaired java"]);

    let node = Node::new();
    let other = "2a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";
    let mut record = node.launch_record(other, node::GONE);
    record["layers"][0]["path"] = json!(local_layer(&node, "base"));
    let path = node.path(&format!("run/records/6700-{other}.json"));
    fs::write(path, record.to_string()).unwrap();
    let found = after_refusal(&node, "worker-launcher: cannot use a layer\n");
    assert_eq!(found, ["squashfs of base", "repaired java"]);
}

#[test]
fn a_launcher_that_leaves_no_record_is_not_believed() {
    let node = Node::new();
    fs::write(node.path(&format!("records-to-be/{CONTAINER}.exit.json")), "").unwrap();
    fails(&node, |_| (), "RECORD", "left no record");
}

#[test]
fn custom_plugins_hand_over_paths() {
    let node = Node::new();
    node.let_launch_succeed(WORKER);
    let mut document = node.prepare_document();
    document["plugins"]["localizer"] = json!("custom");
    let conf = document["conf"].as_object_mut().unwrap();
    conf.retain(|key, _| !key.contains("hdfs"));
    let supervisor = node::Supervisor::start(&document).unwrap();
    let mut launch = node.launch_document(WORKER);
    let outcome = supervisor.launch(&launch);
    assert_eq!(outcome["code"], "IMAGE", "{outcome}");
    fs::write(node.path("config"), r#"{"config":{"Env":["A=custom"]}}"#).unwrap();
    launch["image"]["configPath"] = json!(node.text("config"));
    launch["image"]["layers"] = json!(["/some/layer.sqsh"]);
    let outcome = supervisor.launch(&launch);
    assert_eq!(outcome["started"], true, "{outcome}");
    let request = node.path(&format!("local/workers/{WORKER}/oci-config.json"));
    let request: Value = serde_json::from_slice(&fs::read(request).unwrap()).unwrap();
    assert_eq!(request["layers"][0]["path"], "/some/layer.sqsh");
    assert_eq!(request["ociRuntimeConfig"]["process"]["env"][0], "A=custom");
}

#[test]
fn many_workers_at_once() {
    let node = Node::new();
    // All on one port, as no slot has them, so that each but the first would wait to be told.
    let mut document = node.prepare_document();
    document["conf"]["storm.oci.relaunch.backoff.max.secs"] = json!(0);
    let supervisor = node::Supervisor::start(&document).unwrap();
    let workers: Vec<String> =
        (0..8).map(|number| format!("{number}a23ca4b-6062-4d08-8ac3-b09e7d35e7cb")).collect();
    for worker in &workers {
        node.add_worker(worker);
        node.let_launch_succeed(worker);
    }
    std::thread::scope(|scope| {
        for worker in &workers {
            scope.spawn(|| {
                let outcome = supervisor.launch(&node.launch_document(worker));
                assert_eq!(outcome["started"], true, "{outcome}");
            });
        }
    });
    let mut ended: Vec<String> = workers
        .iter()
        .map(|_| supervisor.event()["workerId"].as_str().unwrap().to_owned())
        .collect();
    ended.sort();
    assert_eq!(ended, workers);
}

#[test]
fn a_document_that_is_none_is_the_callers_fault() {
    let node = Node::new();
    let supervisor = node.prepare();
    for document in ["", "[]", "{}", r#"{"user":1}"#] {
        let error = supervisor.containers.launch(document).unwrap_err();
        assert_eq!(error.code().as_str(), "ARGUMENT");
    }
}
