//! runc, or the kernel behind it, does not keep its word: the launcher finds out, ends the
//! container and leaves nothing of it.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;
#[path = "support/unfaithful_runc.rs"]
mod unfaithful_runc;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::container::{NOTHING, Worker, eventually};
use support::image::Image;
use support::{Host, OTHER_USER, Outcome};

struct Scene {
    host: Host,
    worker: Worker,
}

/// A container that asks for everything that can be read back.
fn scene() -> Scene {
    let host = Host::new();
    let mut worker = Worker::new(&host, &Image::busybox(&host), "");
    worker.amend(|request| {
        // What any user can run anywhere: it must not end before it is looked at.
        request["ociRuntimeConfig"]["process"]["args"] = json!(["sleep", "1000"]);
        request["ociRuntimeConfig"]["process"]["cwd"] = json!("/");
        request["ociRuntimeConfig"]["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}],
        });
        request["ociRuntimeConfig"]["linux"]["resources"] = json!({
            "cpu": {"quota": 140_000, "period": 70_000},
            "memory": {"limit": 67_108_864},
        });
    });
    unfaithful_runc::install(&host, 60);
    Scene { host, worker }
}

impl Scene {
    #[track_caller]
    fn launch(&self, change: Option<&Value>) -> Outcome {
        // A launch gives the worker's directory away.
        self.worker.write_request();
        unfaithful_runc::order(change);
        self.worker.launch(&self.host)
    }

    #[track_caller]
    fn betrayed(&self, change: &Value, code: i32, fragment: &str) {
        self.launch(Some(change)).expect_failure(code, fragment);
        self.nothing_is_left();
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        let own = PathBuf::from("/run/runc").join(&self.worker.container);
        assert!(!own.exists());
        eventually("nothing is left", || self.worker.traces(&self.host) == NOTHING);
    }
}

#[test]
fn a_runc_that_keeps_its_word_is_believed() {
    let scene = scene();
    scene.launch(Some(&json!({}))).expect_success();
    scene.worker.kill(&scene.host);
    scene.worker.exit_record(&scene.host);
    scene.worker.reap(&scene.host, 0).expect_success();
    scene.nothing_is_left();
}

#[test]
fn capabilities_that_were_not_asked_for_are_noticed() {
    let net = json!(["CAP_NET_RAW"]);
    let change = json!({"process": {"capabilities": {"bounding": net}}});
    scene().betrayed(&change, 44, "CapBnd is 0000000000002000");
}

#[test]
fn new_privileges_are_noticed() {
    let change = json!({"process": {"noNewPrivileges": false}});
    scene().betrayed(&change, 44, "no_new_privs is not set");
}

#[test]
fn a_missing_seccomp_filter_is_noticed() {
    scene().betrayed(&json!({"linux": {"seccomp": null}}), 44, "seccomp filter is not loaded");
}

#[test]
fn other_ids_are_noticed() {
    let scene = scene();
    let other = OTHER_USER.uid;
    for change in [
        json!({"process": {"user": {"uid": other}}}),
        json!({"process": {"user": {"gid": other}}}),
        json!({"process": {"user": {"additionalGids": [other]}}}),
    ] {
        scene.betrayed(&change, 44, &format!("{other}"));
    }
}

#[test]
fn missing_limits_are_noticed() {
    let scene = scene();
    for (change, fragment) in [
        (json!({"memory": null}), "memory limit is"),
        (json!({"memory": {"limit": 134_217_728}}), "134217728"),
        (json!({"cpu": null}), "processor quota is"),
        (json!({"cpu": {"period": 50_000}}), "processor period is"),
    ] {
        scene.betrayed(&json!({"linux": {"resources": change}}), 55, fragment);
    }
}

#[test]
fn a_runc_that_hangs_is_ended() {
    let scene = scene();
    unfaithful_runc::install(&scene.host, 1);
    scene.launch(None).expect_failure(44, "runc did not end within 1s");
    scene.nothing_is_left();
}
