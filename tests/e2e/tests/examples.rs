//! The example files of `conf/` load, and say something about every key.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use storm_oci_e2e::Layout;
use storm_oci_e2e::storm_conf::{Ports, Settings, storm_yaml};
use yaml_rust2::{Yaml, YamlLoader};

/// The keys of the specification's table of settings.
const SPECIFIED: [&str; 21] = [
    "storm.resource.isolation.plugin.enable",
    "storm.resource.isolation.plugin",
    "storm.oci.allowed.images",
    "storm.oci.image",
    "topology.oci.image",
    "storm.oci.cgroup.root",
    "storm.oci.cgroup.parent",
    "storm.oci.readonly.bindmounts",
    "storm.oci.readwrite.bindmounts",
    "storm.oci.nscd.dir",
    "storm.oci.seccomp.profile",
    "supervisor.worker.launcher",
    "storm.oci.image.hdfs.toplevel.dir",
    "storm.oci.image.tag.to.manifest.plugin",
    "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file",
    "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.local.hash.file",
    "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.cache.refresh.interval.secs",
    "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.num.manifests.to.cache",
    "storm.oci.manifest.to.resources.plugin",
    "storm.oci.resources.localizer",
    "storm.oci.resources.local.dir",
];

/// Keys of the launcher's configuration, with their defaults.
const LAUNCHER: [(&str, &str); 12] = [
    ("storm.worker-launcher.group", "storm"),
    ("min.user.id", "1000"),
    ("banned.users", "bin"),
    ("worker.launcher.oci.run-root", "/run/worker-launcher"),
    ("worker.launcher.oci.runc", "/usr/bin/runc"),
    ("worker.launcher.oci.runc-timeout-secs", "60"),
    ("worker.launcher.oci.init", ""),
    ("worker.launcher.oci.cgroup-parent", "/storm"),
    ("worker.launcher.host-commands", "true"),
    ("worker.profiler.script.path", ""),
    ("nsenter.binary", "/usr/bin/nsenter"),
    ("docker.binary", "/usr/bin/docker"),
];

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The keys of a YAML mapping; a key that is there twice is an error of the reader.
fn yaml(text: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(text).expect("the example is YAML");
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// The example with the lines that only show a key taken as settings too.
fn with_shown_keys(text: &str) -> String {
    let is_shown = |rest: &str| {
        ["storm.", "topology.", "supervisor.", "  \""].iter().any(|start| rest.starts_with(start))
            && rest.contains(": ")
            || ["supervisor.numa.meta:", "worker.metrics:"].contains(&rest)
    };
    text.lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_shown(rest) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn storm_yaml_has_every_key_of_the_specification() {
    let text = example("storm.yaml.example");
    assert!(yaml(&text).as_hash().is_some());
    let all = yaml(&with_shown_keys(&text));
    let keys: BTreeSet<&str> = all.as_hash().unwrap().keys().filter_map(Yaml::as_str).collect();
    for key in SPECIFIED {
        assert!(keys.contains(key), "{key} is missing");
    }
    for key in keys {
        assert!(explained(&text, key), "{key} has no line of explanation");
    }
}

#[test]
fn the_workers_metrics_are_those_there_are() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../java/metrics/src/main/java/org/apache/storm/oci/metrics");
    let all = yaml(&with_shown_keys(&example("storm.yaml.example")));
    let named: BTreeSet<String> = all["worker.metrics"]
        .as_hash()
        .unwrap()
        .values()
        .filter_map(|class| class.as_str()?.strip_prefix("org.apache.storm.oci.metrics."))
        .map(|class| format!("{class}.java"))
        .collect();
    let there = fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().file_name());
    let there = there.filter_map(|name| name.into_string().ok());
    let classes = there.filter(|name| name.starts_with("CGroup")).collect();
    assert_eq!(named, classes);
}

/// A comment right above the key, and in it the word `default`.
fn explained(text: &str, key: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.trim_start_matches("# ").starts_with(&format!("{key}:")))
        .unwrap_or_else(|| panic!("{key} has no line of its own"));
    let comment: Vec<&str> =
        lines.iter().take(at).rev().take_while(|line| line.starts_with("# ")).copied().collect();
    comment.iter().any(|line| line.to_lowercase().contains("default"))
}

#[test]
fn storm_yaml_has_every_key_the_tests_use() {
    let text = example("storm.yaml.example");
    let ports = Ports { zookeeper: 1, nimbus: 2, supervisor: 3, slots: vec![4] };
    let layout = Layout::new("x");
    let used = storm_yaml(&layout, &ports, &Settings::new(&layout));
    for key in used.as_object().into_iter().flat_map(|keys| keys.keys()) {
        if key.starts_with("storm.oci.") || key.starts_with("storm.resource.") {
            assert!(explained(&text, key), "{key} has no line of explanation");
        }
    }
}

#[test]
fn storm_yaml_has_the_defaults_it_names() {
    let text = example("storm.yaml.example");
    let conf = yaml(&text);
    let value = |key: &str| &conf[key];
    assert_eq!(value("storm.oci.cgroup.root").as_str(), Some("/sys/fs/cgroup"));
    assert_eq!(value("storm.oci.cgroup.parent").as_str(), Some("/storm"));
    assert_eq!(value("storm.oci.nscd.dir").as_str(), Some("/var/run/nscd"));
    assert_eq!(value("storm.oci.layer.mounts.to.keep").as_i64(), Some(100));
    assert_eq!(value("storm.oci.relaunch.backoff.max.secs").as_i64(), Some(60));
    let plugin = "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin";
    assert_eq!(value(&format!("{plugin}.cache.refresh.interval.secs")).as_i64(), Some(60));
    assert_eq!(value(&format!("{plugin}.num.manifests.to.cache")).as_i64(), Some(10));
    assert_eq!(value("storm.oci.store.fetch.timeout.secs").as_i64(), Some(600));
    assert_eq!(value("storm.oci.store.request.timeout.secs").as_i64(), Some(30));
    assert_eq!(value("storm.oci.store.connections").as_i64(), Some(8));
    assert_eq!(value("storm.oci.resources.cache.min.free.bytes").as_i64(), Some(0));
    assert_eq!(value("storm.oci.layer.verification").as_str(), Some("when-available"));
    let allowed = value("storm.oci.allowed.images").as_vec().unwrap();
    assert!(allowed.contains(value("storm.oci.image")), "the default image is not allowed");
}

#[test]
fn every_key_of_the_image_store_is_in_its_page() {
    let page = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations/image-store.md"),
    )
    .unwrap();
    let all = yaml(&with_shown_keys(&example("storm.yaml.example")));
    let of_the_store = [
        "storm.oci.image.hdfs.",
        "storm.oci.image.platform",
        "storm.oci.layer.verification",
        "storm.oci.resources.cache.",
        "storm.oci.resources.local.dir",
        "storm.oci.store.",
        "storm.oci.hadoop.",
        "storm.hdfs.",
    ];
    let mut found = 0;
    for key in all.as_hash().unwrap().keys().filter_map(Yaml::as_str) {
        if of_the_store.iter().any(|start| key.starts_with(start)) {
            assert!(page.contains(&format!("`{key}`")), "{key} is not in the page");
            found += 1;
        }
    }
    assert_eq!(found, 16);
}

#[test]
fn the_launchers_example_has_every_key_with_its_default() {
    let text = example("worker-launcher.cfg.example");
    let mut comment = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') || line.is_empty() {
            comment = !line.is_empty();
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line} is no setting"));
        assert!(comment, "{key} has no line of explanation");
        comment = false;
        found.push((key, value));
    }
    assert_eq!(found, LAUNCHER);
}

#[test]
fn the_unit_does_not_disarm_a_setuid_program() {
    let unit = example("storm-supervisor.service");
    let settings: BTreeSet<&str> = unit
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert!(settings.contains("ExecStart"));
    assert!(unit.lines().any(|line| line == "KillMode=process"));
    let disarming = [
        "NoNewPrivileges",
        "ProtectSystem",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "PrivateMounts",
        "PrivateUsers",
        "RestrictSUIDSGID",
        "RestrictNamespaces",
        "SystemCallFilter",
        "CapabilityBoundingSet",
        "DynamicUser",
        "ProtectControlGroups",
        "ProtectKernelTunables",
        "MemoryDenyWriteExecute",
    ];
    for option in disarming {
        assert!(!settings.contains(option), "{option} would disarm the launcher");
        assert!(
            unit.contains(&format!("{option}=")),
            "the unit does not say why {option} is not there"
        );
    }
}
