use std::time::Duration;

use serde_json::{Value, json};
use storm_oci_store::{CacheBudget, Platform, Verification};

use super::*;

/// A prepare document with the seed's settings, changed by `change`.
pub(crate) fn document(change: Value) -> PrepareDocument {
    let mut conf = json!({
        keys::ALLOWED_IMAGES: ["storm/rhel7:dev_current", "storm/rhel7:dev_test"],
        keys::IMAGE: "storm/rhel7:dev_current",
        keys::TOP_LEVEL: "file:///containers/",
        keys::REMOTE_TAG_MAP: "file:///containers/image-tag-to-hash",
    });
    for (key, value) in change.as_object().unwrap() {
        conf[key] = value.clone();
    }
    serde_json::from_value(json!({
        "conf": conf,
        "paths": {
            "stormHome": "/home/y/lib64/storm",
            "supervisorLocalDir": "/home/y/var/storm/supervisor",
            "workersRoot": "/home/y/var/storm/workers",
            "launcher": "/home/y/bin/worker-launcher",
        },
        "plugins": {
            "tagToManifest": "native",
            "manifestToResources": "native",
            "localizer": "native",
        },
    }))
    .unwrap()
}

pub(crate) fn settings(change: Value) -> Settings {
    Settings::read(&document(change)).unwrap()
}

fn problems(change: Value) -> Vec<String> {
    Settings::read(&document(change)).unwrap_err().iter().map(SupervisorError::report).collect()
}

#[test]
fn storms_defaults() {
    let settings = settings(json!({}));
    assert_eq!(settings.cgroup_root.as_str(), "/sys/fs/cgroup");
    assert_eq!(settings.cgroup_parent.as_str(), "/storm");
    assert_eq!(settings.nscd_dir.as_str(), "/var/run/nscd");
    assert_eq!(settings.layers_to_keep, 100);
    assert!(settings.readonly_binds.is_empty() && settings.readwrite_binds.is_empty());
    assert!(settings.seccomp.is_none());
    let store = settings.store.unwrap();
    assert_eq!(store.refresh_interval, Duration::from_secs(60));
    assert_eq!(store.manifests_to_cache.get(), 10);
    assert_eq!(store.local_dir, Path::new("/home/y/var/storm/supervisor/oci-resources"));
    assert_eq!(store.local_tag_map, None);
    assert_eq!(store.budget, CacheBudget { max_bytes: None, min_free_bytes: 0 });
    assert_eq!(store.platform, Platform::host());
    assert_eq!(store.verification, Verification::WhenAvailable);
    assert_eq!(store.fetch_timeout, Duration::from_secs(600));
    assert_eq!(store.connections.get(), 8);
    assert_eq!(store.remote.request_timeout, Duration::from_secs(30));
    assert_eq!(store.remote.hadoop.login, None);
}

#[test]
fn every_setting_is_read() {
    let settings = settings(json!({
        keys::CGROUP_ROOT: "/cgroup/",
        keys::CGROUP_PARENT: "storm/workers/",
        keys::NSCD_DIR: "/run/nscd/",
        keys::READONLY_BINDS: ["/etc/krb5.conf", "/usr/share/zoneinfo/"],
        keys::READWRITE_BINDS: "/srv/shared",
        keys::LAYERS_TO_KEEP: "7",
        keys::NUMA_META: {"1": {"numa.cores": [4, 5.0, "6"], "numa.memory.mb": 1, "numa.ports": []}},
        keys::RESOURCES_DIR: "/srv/oci",
        keys::LOCAL_TAG_MAP: "/etc/storm/tags",
        keys::REFRESH_SECS: 2.0,
        keys::MANIFESTS_TO_CACHE: 3,
        keys::CACHE_BYTES: 50_000_000_000_i64,
        keys::FREE_BYTES: "1000",
        keys::PLATFORM: "linux/arm64/v9",
        keys::VERIFICATION: "required",
        keys::FETCH_TIMEOUT: 60,
        keys::CONNECTIONS: "2",
        keys::REQUEST_TIMEOUT: 5,
        keys::STORE_OPTIONS: {"aws_region": "eu-1"},
        keys::HADOOP_OPTIONS: {"dfs.client.socket-timeout": 2000},
        keys::HDFS_KEYTAB: "/etc/storm.keytab",
        keys::HDFS_PRINCIPAL: "storm@REALM",
    }));
    assert_eq!(settings.cgroup_root.as_str(), "/cgroup");
    assert_eq!(settings.cgroup_parent.as_str(), "/storm/workers");
    assert_eq!(settings.nscd_dir.as_str(), "/run/nscd");
    let text = |paths: &[HostPath]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(&settings.readonly_binds), ["/etc/krb5.conf", "/usr/share/zoneinfo"]);
    assert_eq!(text(&settings.readwrite_binds), ["/srv/shared"]);
    assert_eq!(settings.layers_to_keep, 7);
    assert_eq!(settings.numa.cores("1").unwrap().as_str(), "4,5,6");
    assert_eq!(settings.numa.cores("0"), None);
    let store = settings.store.unwrap();
    assert_eq!(store.refresh_interval, Duration::from_secs(2));
    assert_eq!(store.manifests_to_cache.get(), 3);
    assert_eq!(store.local_dir, Path::new("/srv/oci"));
    assert_eq!(store.local_tag_map.as_deref(), Some(Path::new("/etc/storm/tags")));
    let budget = CacheBudget { max_bytes: Some(50_000_000_000), min_free_bytes: 1000 };
    assert_eq!(store.budget, budget);
    assert_eq!(store.platform, Platform::parse("linux/arm64/v9").unwrap());
    assert_eq!(store.verification, Verification::Required);
    assert_eq!(store.fetch_timeout, Duration::from_secs(60));
    assert_eq!(store.connections.get(), 2);
    let remote = store.remote;
    assert_eq!(remote.request_timeout, Duration::from_secs(5));
    assert_eq!(remote.objects.options.0["aws_region"], "eu-1");
    assert_eq!(remote.hadoop.options.0["dfs.client.socket-timeout"], "2000");
    assert_eq!(remote.hadoop.login.unwrap().principal, "storm@REALM");
}

#[test]
fn an_explicit_zero_of_layers_to_keep_is_zero() {
    assert_eq!(settings(json!({keys::LAYERS_TO_KEEP: 0})).layers_to_keep, 0);
}

#[test]
fn every_problem_is_listed() {
    let found = problems(json!({
        keys::ALLOWED_IMAGES: null,
        keys::IMAGE: null,
        keys::CGROUP_ROOT: 7,
        keys::CGROUP_PARENT: "/a/../b",
        keys::NSCD_DIR: "run/nscd",
        keys::READONLY_BINDS: ["/both", "relative"],
        keys::READWRITE_BINDS: ["/both"],
        keys::SECCOMP_PROFILE: "/no/such/profile.json",
        keys::LAYERS_TO_KEEP: -1,
        keys::MEMORY_ENFORCEMENT: "maybe",
        keys::CPU_LIMIT: 0,
        keys::NUMA_META: {"0": {"numa.cores": "0-3"}},
        keys::TOP_LEVEL: "hdfs://user@host:1/containers",
        keys::REMOTE_TAG_MAP: null,
        keys::REFRESH_SECS: "soon",
        keys::MANIFESTS_TO_CACHE: 0,
    }));
    let starts = [
        "cannot do without setting `storm.oci.allowed.images`: ",
        "cannot do without setting `storm.oci.image`: ",
        "cannot use setting `storm.oci.cgroup.root`: found 7, expected a text",
        "cannot use setting `storm.oci.cgroup.parent`: cgroup path",
        "cannot use setting `storm.oci.nscd.dir`: path \"run/nscd\"",
        "cannot use setting `storm.oci.readonly.bindmounts`: path \"relative\"",
        "cannot use setting `storm.oci.readonly.bindmounts` = `/both`: \
         `storm.oci.readwrite.bindmounts` is /both",
        "cannot read `/no/such/profile.json`, which `storm.oci.seccomp.profile` names: ",
        "cannot use setting `storm.oci.layer.mounts.to.keep`: found -1, expected a whole number",
        "cannot use setting `storm.cgroup.memory.enforcement.enable`: found \"maybe\", expected",
        "cannot use setting `storm.worker.cgroup.cpu.limit`: found 0, expected",
        "cannot use setting `supervisor.numa.meta`: found {",
        "cannot use setting `storm.oci.image.hdfs.toplevel.dir`: cannot use store location",
        "cannot use setting `storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.cache.refresh",
        "cannot use setting `storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.num.manifests",
        "cannot do without setting `storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs",
    ];
    assert_starts(&found, &starts);
}

fn assert_starts(found: &[String], starts: &[&str]) {
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}\n{start}");
    }
    assert_eq!(found.len(), starts.len(), "{found:#?}");
}

#[test]
fn every_problem_of_the_store_is_listed() {
    let found = problems(json!({
        keys::CACHE_BYTES: -1,
        keys::FREE_BYTES: "a lot",
        keys::PLATFORM: "amd64",
        keys::VERIFICATION: "never",
        keys::FETCH_TIMEOUT: 0.5,
        keys::CONNECTIONS: 0,
        keys::REQUEST_TIMEOUT: 0,
        keys::HADOOP_CONF_DIR: "etc/hadoop",
        keys::HADOOP_OPTIONS: ["x"],
        keys::HDFS_PRINCIPAL: "storm@REALM",
        keys::STORE_OPTIONS: {"aws_flavour": "x"},
        keys::CREDENTIALS_FILE: "/no/such/credentials",
    }));
    let starts = [
        "cannot use setting `storm.oci.resources.cache.max.bytes`: found -1, expected a whole",
        "cannot use setting `storm.oci.resources.cache.min.free.bytes`: found \"a lot\", expected",
        "cannot use setting `storm.oci.image.platform`: cannot use platform \"amd64\"",
        "cannot use setting `storm.oci.layer.verification`: found \"never\", expected required or",
        "cannot use setting `storm.oci.store.fetch.timeout.secs`: found 0.5, expected a whole",
        "cannot use setting `storm.oci.store.connections`: found 0, expected a whole number",
        "cannot use setting `storm.oci.store.request.timeout.secs`: found 0, expected a whole",
        "cannot use setting `storm.oci.hadoop.conf.dir`: path \"etc/hadoop\"",
        "cannot use setting `storm.oci.hadoop.options`: found \"no map\", expected a map",
        "cannot do without setting `storm.hdfs.login.keytab`: ",
        "cannot use option `aws_flavour` of setting `storm.oci.store.options`: no store",
        "cannot read `/no/such/credentials`, which `storm.oci.store.credentials.file` names",
    ];
    assert_starts(&found, &starts);
}

#[test]
fn the_default_image_must_be_allowed() {
    assert_eq!(
        problems(json!({keys::IMAGE: "storm/other:1"})),
        ["cannot use setting `storm.oci.image` = `storm/other:1`: `storm.oci.allowed.images` is \
          storm/rhel7:dev_current, storm/rhel7:dev_test"]
    );
}

#[test]
fn the_topologys_image_or_the_default_one_if_allowed() {
    let images = settings(json!({})).images;
    assert_eq!(images.choose(None).unwrap(), "storm/rhel7:dev_current");
    assert_eq!(images.choose(Some("storm/rhel7:dev_test")).unwrap(), "storm/rhel7:dev_test");
    let error = images.choose(Some("../../evil\n")).unwrap_err();
    assert_eq!(
        error.report(),
        "cannot use image `../../evil\\u{a}`: not in `storm.oci.allowed.images` \
         (storm/rhel7:dev_current, storm/rhel7:dev_test)"
    );
    let any = settings(json!({keys::ALLOWED_IMAGES: ["*"]})).images;
    assert_eq!(any.choose(Some("some/thing:9")).unwrap(), "some/thing:9");
}

#[test]
fn custom_plugins_need_no_store() {
    let mut document = document(json!({keys::TOP_LEVEL: null, keys::REMOTE_TAG_MAP: null}));
    assert!(Settings::read(&document).is_err());
    document.plugins = serde_json::from_value(json!({"localizer": "custom"})).unwrap();
    assert!(Settings::read(&document).unwrap().store.is_none());
}

#[test]
fn a_system_call_filter_is_read_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seccomp.json");
    let change = json!({keys::SECCOMP_PROFILE: path.to_str().unwrap()});
    fs::write(&path, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
    assert!(settings(change.clone()).seccomp.is_some());
    fs::write(&path, r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#).unwrap();
    let found = problems(change);
    assert!(found[0].starts_with("cannot use system call filter `"), "{found:?}");
}

#[test]
fn the_store_alone_needs_few_settings() {
    let conf = document(json!({})).conf;
    let found = store_settings(&conf).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].report().contains(keys::RESOURCES_DIR), "{found:?}");
    for (key, value, expected) in [
        (keys::LOCAL_DIR, "/srv/storm", "/srv/storm/supervisor/oci-resources"),
        (keys::RESOURCES_DIR, "/srv/oci", "/srv/oci"),
    ] {
        let conf = document(json!({key: value})).conf;
        let store = store_settings(&conf).unwrap();
        assert_eq!(store.local_dir, Path::new(expected));
    }
    // Storm's own default is relative to its home, which only Java knows.
    let conf = document(json!({keys::LOCAL_DIR: "storm-local", keys::RESOURCES_DIR: "/x"})).conf;
    assert!(store_settings(&conf).is_ok());
}
