//! Preparing, adopting, killing and cleaning up, with a recorder in the place of the launcher.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod node;

use std::fs;
use std::process::{Child, Command};

use node::{CONTAINER, Node, WORKER};
use serde_json::json;

/// A process that stands for a container's pid 1.
struct Init(Child);

impl Init {
    fn start() -> Self {
        Self(Command::new("/bin/sleep").arg("1000").spawn().unwrap())
    }

    fn identity(&self) -> (u32, u64) {
        let pid = self.0.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        (pid, fields.split(' ').nth(19).unwrap().parse().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn write_record(node: &Node, init: (u32, u64)) {
    let record = node.launch_record(WORKER, init).to_string();
    fs::write(node.path(&format!("run/records/{CONTAINER}.json")), record).unwrap();
}

#[test]
fn prepare_sweeps_its_own_workers() {
    let node = Node::new();
    let _supervisor = node.prepare();
    let calls = node.calls("sweep-oci-containers");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].arguments[1..], ["sweep-oci-containers", &node.text("local/workers")]);
    assert_eq!(calls[0].environment, "");
}

#[test]
fn prepare_lists_every_problem() {
    let node = Node::new();
    let mut document = node.prepare_document();
    document["conf"]["storm.oci.allowed.images"] = json!(["storm/other:1"]);
    document["conf"]["storm.oci.cgroup.root"] = json!("/no/cgroups");
    node.answer("--checksetup", "code", "22");
    node.answer(
        "--checksetup",
        "err",
        "worker-launcher: cannot use `/x`: not setuid: chmod 6550\nrunc is missing: install it\n",
    );
    let problems = |document: &serde_json::Value| {
        let error = node::Supervisor::start(document).err().unwrap();
        (error.code().as_str(), error.report())
    };
    assert_eq!(
        problems(&document),
        (
            "INSTALLATION",
            "cannot prepare containers: 3 problems\n\
             cannot use setting `storm.oci.image` = `storm/test:1`: `storm.oci.allowed.images` is \
             storm/other:1\n\
             cannot use `/x`: not setuid: chmod 6550\n\
             runc is missing: install it"
                .to_owned()
        )
    );
    node.stop_answering("--checksetup", "code");
    document["conf"]["storm.oci.allowed.images"] = json!(["*"]);
    document["conf"]["storm.oci.cgroup.parent"] = json!("elsewhere");
    assert_eq!(
        problems(&document),
        (
            "CONFIG",
            "cannot prepare containers: 2 problems\n\
             cannot use setting `storm.oci.cgroup.parent` = `/elsewhere`: \
             `worker.launcher.oci.cgroup-parent` is `/storm` in `worker-launcher.cfg`\n\
             cannot use `storm.oci.cgroup.root` = `/no/cgroups`: no cgroup file system is mounted \
             there or below"
                .to_owned()
        )
    );
    fs::remove_file(node.path("launcher")).unwrap();
    let (code, report) = problems(&node.prepare_document());
    assert_eq!(code, "INSTALLATION");
    assert!(report.contains("cannot run launcher `"), "{report}");
    assert!(node.calls("sweep-oci-containers").is_empty());
}

#[test]
fn what_ended_while_nobody_watched_is_told_at_prepare() {
    let node = Node::new();
    write_record(&node, node::GONE);
    node.let_launch_succeed(WORKER);
    fs::copy(
        node.path(&format!("records-to-be/{CONTAINER}.exit.json")),
        node.path(&format!("run/records/{CONTAINER}.exit.json")),
    )
    .unwrap();
    let event = node.prepare().event();
    assert_eq!(event["workerId"], WORKER);
    assert_eq!(event["exitCode"], 7);
}

/// As after a restart of the host, which takes containers and records.
#[test]
fn a_worker_without_container_is_told_at_prepare() {
    let node = Node::new();
    assert!(node.prepare().is_quiet(), "it has not told that it works");
    let heartbeats = node.path(&format!("local/workers/{WORKER}/heartbeats"));
    fs::create_dir(&heartbeats).unwrap();
    fs::write(heartbeats.join("7.version"), "").unwrap();
    let supervisor = node.prepare();
    let event = supervisor.event();
    assert_eq!((&event["workerId"], &event["adopted"]), (&json!(WORKER), &json!(true)));
    assert_eq!((&event["containerId"], &event["shellCode"]), (&json!(null), &json!(-1)));
    assert!(supervisor.is_quiet());
    write_record(&node, node::GONE);
    let supervisor = node.prepare();
    assert_eq!(supervisor.event()["containerId"], CONTAINER);
    assert!(supervisor.is_quiet());
}

#[test]
fn kill_signals_the_recorded_process() {
    let node = Node::new();
    let mut init = Init::start();
    write_record(&node, init.identity());
    let supervisor = node.prepare();
    supervisor.containers.kill("stormtest", WORKER, false).unwrap();
    supervisor.containers.kill("stormtest", WORKER, true).unwrap();
    let pid = init.0.id().to_string();
    let calls = node.calls("signal");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].arguments, ["stormtest", "signal", &pid, "15"]);
    assert_eq!(calls[1].arguments, ["stormtest", "signal", &pid, "9"]);
    init.kill();
    while !supervisor.containers.all_processes_dead("stormtest", WORKER).unwrap() {
        std::thread::yield_now();
    }
    // Neither the dead, nor the unknown, nor an account that is none.
    supervisor.containers.kill("stormtest", WORKER, false).unwrap();
    let unknown = "00000000-6062-4d08-8ac3-b09e7d35e7cb";
    for (user, worker) in [("stormtest", unknown), ("stormtest", "x"), ("-u", WORKER)] {
        supervisor.containers.kill(user, worker, true).unwrap();
    }
    assert_eq!(node.calls("signal").len(), 2);
}

#[test]
fn an_end_that_an_earlier_process_asked_for_is_known_as_such() {
    let node = Node::new();
    let init = Init::start();
    write_record(&node, init.identity());
    // Not in the record's cgroup, it counts as ended for whoever would watch it.
    let requested = |supervisor: &node::Supervisor| supervisor.event()["requested"].clone();
    let asking = node.prepare();
    assert_eq!(requested(&asking), false);
    asking.containers.kill("stormtest", WORKER, false).unwrap();
    assert_eq!(requested(&node.prepare()), true);
    asking.containers.cleanup("stormtest", WORKER, -1).unwrap();
    assert_eq!(requested(&node.prepare()), false);
}

#[test]
fn a_signal_that_fails_is_no_error() {
    let node = Node::new();
    let init = Init::start();
    write_record(&node, init.identity());
    let supervisor = node.prepare();
    for code in ["9", "8", "22"] {
        node.answer("signal", "code", code);
        supervisor.containers.kill("stormtest", WORKER, false).unwrap();
    }
}

#[test]
fn dead_or_alive() {
    let node = Node::new();
    let supervisor = node.prepare();
    let dead =
        |worker: &str| supervisor.containers.all_processes_dead("stormtest", worker).unwrap();
    assert!(dead(WORKER));
    assert!(dead("not-a-worker"));
    let mut init = Init::start();
    write_record(&node, init.identity());
    assert!(!dead(WORKER));
    let (pid, start_time) = init.identity();
    write_record(&node, (pid, start_time - 1));
    assert!(dead(WORKER), "its pid is another one's now");
    write_record(&node, (pid, start_time));
    init.kill();
    // A zombie, as nobody has waited for it.
    while !dead(WORKER) {
        std::thread::yield_now();
    }
}

#[test]
fn cleanup_reaps_by_port_or_by_record() {
    let node = Node::new();
    let supervisor = node.prepare();
    let cleanup = |port| supervisor.containers.cleanup("stormtest", WORKER, port).unwrap();
    let reaped = || {
        let calls = node.calls("reap-oci-container");
        calls.last().map(|call| (calls.len(), call.arguments.clone()))
    };
    cleanup(-1);
    assert_eq!(reaped(), None);
    let arguments = ["stormtest", "reap-oci-container", CONTAINER, "7"].map(str::to_owned).to_vec();
    cleanup(6700);
    assert_eq!(reaped(), Some((1, arguments.clone())));
    write_record(&node, node::GONE);
    cleanup(-1);
    assert_eq!(reaped(), Some((2, arguments.clone())));
    node.answer("reap-oci-container", "code", "45");
    cleanup(6700);
    assert_eq!(reaped(), Some((3, arguments)));
    supervisor.containers.cleanup("-u", WORKER, 6700).unwrap();
    supervisor.containers.cleanup("stormtest", "x", 6700).unwrap();
    assert_eq!(reaped().unwrap().0, 3);
}

#[test]
fn reservations_are_for_the_next_launch_of_their_worker() {
    let node = Node::new();
    node.let_launch_succeed(WORKER);
    let supervisor = node.prepare();
    let quota = || {
        supervisor.launch(&node.launch_document(WORKER));
        let request = node.path(&format!("local/workers/{WORKER}/oci-config.json"));
        let request: serde_json::Value =
            serde_json::from_slice(&fs::read(request).unwrap()).unwrap();
        request["ociRuntimeConfig"]["linux"]["resources"]["cpu"]["quota"].clone()
    };
    assert_eq!(quota(), json!(null));
    let reserve = json!({"workerId": WORKER, "memoryMb": 512, "cpu": 50, "numaId": null});
    supervisor.containers.reserve(&reserve.to_string()).unwrap();
    assert_eq!(quota(), 50_000);
    supervisor.containers.release(WORKER);
    assert_eq!(quota(), json!(null));
    supervisor.containers.reserve(&reserve.to_string()).unwrap();
    supervisor.containers.cleanup("stormtest", WORKER, -1).unwrap();
    assert_eq!(quota(), json!(null));
    assert!(supervisor.containers.reserve("{}").is_err());
}

#[test]
fn memory_figures_of_this_host() {
    let node = Node::new();
    let supervisor = node.prepare();
    assert_eq!(supervisor.containers.memory_usage("stormtest", WORKER).unwrap(), 0);
    assert!(supervisor.containers.system_free_memory_mb().unwrap() > 0);
}

#[test]
fn profiling_hands_the_launcher_storms_line() {
    let node = Node::new();
    let init = Init::start();
    write_record(&node, init.identity());
    let supervisor = node.prepare();
    let artifacts = node.text(&format!("local/workers/{WORKER}/artifacts"));
    let file = format!("{artifacts}/profile.sh");
    let profile = || {
        let command = ["", "17", "jstack", &artifacts];
        let request = json!({
            "user": "stormtest", "workerId": WORKER, "targetDir": artifacts,
            "command": command, "environment": {"K": "v"},
        });
        supervisor.containers.profile(&request.to_string()).unwrap()
    };
    assert!(profile());
    let pid = init.0.id().to_string();
    let calls = node.calls("profile-oci-container");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].arguments, ["stormtest", "profile-oci-container", &pid, &file]);
    assert_eq!(calls[0].environment, "");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!(" 17 jstack {artifacts}"));
    assert_eq!(node.mode(&format!("local/workers/{WORKER}/artifacts/profile.sh")), 0o644);
    // Whatever the user made of it is replaced, and nothing behind it is touched.
    let secret = node.path("secret");
    fs::write(&secret, "kept").unwrap();
    for name in ["profile.sh", "profile.sh.new"] {
        let planted = node.path(&format!("local/workers/{WORKER}/artifacts/{name}"));
        let _none = fs::remove_file(&planted);
        std::os::unix::fs::symlink(&secret, planted).unwrap();
    }
    assert!(profile());
    assert_eq!(fs::read_to_string(&secret).unwrap(), "kept");
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
    // What would fail again is dealt with; what may pass is tried again.
    for (code, answer) in [("57", true), ("24", true), ("1", true), ("56", false), ("0", true)] {
        node.answer("profile-oci-container", "code", code);
        assert_eq!(profile(), answer, "{code}");
    }
}

#[test]
fn profiling_what_does_not_run_is_answered_once() {
    let node = Node::new();
    let supervisor = node.prepare();
    write_record(&node, node::GONE);
    for (user, worker, target) in [
        ("stormtest", WORKER, "/tmp"),
        ("stormtest", "x", "/tmp"),
        ("-u", WORKER, "/tmp"),
        ("stormtest", WORKER, "not/absolute"),
    ] {
        let request = json!({
            "user": user, "workerId": worker, "targetDir": target, "command": ["", "1", "kill"],
        });
        assert!(supervisor.containers.profile(&request.to_string()).unwrap());
    }
    assert!(node.calls("profile-oci-container").is_empty());
    assert!(supervisor.containers.profile("{}").is_err());
}

#[test]
fn closing_wakes_the_reader_and_leaves_the_rest() {
    let node = Node::new();
    let supervisor = node.prepare();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(supervisor.containers.next_event(), None));
        supervisor.containers.close();
    });
    assert!(supervisor.containers.all_processes_dead("stormtest", WORKER).unwrap());
}
