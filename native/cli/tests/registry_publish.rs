//! `storm-oci image publish` from a real registry into directories and HDFS.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod command;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use storm_oci_test_stores::{
    Authority, Hdfs, HdfsSpec, Login, OciLayout, Packing, Proxy, Registry, RegistrySpec, Throttle,
    Types,
};

use command::{Outcome, Place, archive};

const NAME: &str = "storm/worker:1.0";

/// A registry with an image of two layers, and an empty store.
struct Scene {
    place: Place,
    layout: OciLayout,
    registry: Registry,
    made: Value,
}

impl Scene {
    fn new(spec: RegistrySpec) -> Self {
        let place = Place::new();
        let registry = Registry::start(spec).unwrap();
        let layout = OciLayout::create(&place.path("layout")).unwrap();
        let (lower, upper) = (archive("lower", b"below"), archive("upper", &vec![7; 3 << 20]));
        let layers = [(&*lower, Packing::Gzip), (&*upper, Packing::Plain)];
        let made = layout.image(Types::Docker, "linux/amd64", &layers).unwrap();
        registry.push(&layout, &made, NAME).unwrap();
        place.done(&["store", "init", "--store", &place.text("store")]);
        Self { place, layout, registry, made }
    }

    fn publish(&self, name: &str, more: &[&str]) -> Outcome {
        let store = self.place.text("store");
        let arguments = ["image", "publish", name, "--store", &store, "--platform", "linux/amd64"];
        self.place.run(&[&arguments[..], more].concat())
    }

    fn name(&self) -> String {
        self.registry.name(NAME)
    }

    /// Nothing that could be run is in the store.
    fn assert_nothing_published(&self) {
        let files = self.place.files("store");
        let published: Vec<_> = files
            .keys()
            .filter(|name| name.starts_with("manifests/") || name.starts_with("config/"))
            .collect();
        assert!(published.is_empty(), "{published:?}");
        let map = String::from_utf8_lossy(&files["image-tag-to-hash"]);
        assert!(map.lines().all(|line| line.starts_with('#')), "{map}");
    }

    fn bend(&self, tag: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut manifest = serde_json::from_slice(&self.layout.read(&self.made).unwrap()).unwrap();
        change(&mut manifest);
        let bent = self.layout.document(Types::Docker.manifest(), &manifest).unwrap();
        let name = format!("storm/worker:{tag}");
        self.registry.push(&self.layout, &bent, &name).unwrap();
        self.registry.name(&name)
    }
}

#[test]
fn an_image_comes_into_a_directory_and_a_second_run_changes_nothing() {
    let scene = Scene::new(RegistrySpec::default());
    let tags = ["--plain-http", "--tag", "storm/a:1,storm/a:2", "--format", "json"];
    let before = scene.place.files("store");
    let dry = scene.publish(&scene.name(), &[&tags[..], &["--dry-run"]].concat()).json();
    assert_eq!((&dry[0]["digest"], &dry[0]["converted"]), (&Value::Null, &json!(2)));
    assert_eq!(scene.place.files("store"), before);

    let published = scene.publish(&scene.name(), &tags).json();
    assert_eq!(published[0]["source_digest"], scene.made["digest"]);
    assert_eq!(published[0]["converted"], 2);
    assert_eq!(published[0]["tags_changed"], true);
    let files = scene.place.files("store");
    let digest = published[0]["digest"].as_str().unwrap().trim_start_matches("sha256:");
    assert!(files.contains_key(&format!("manifests/{digest}")), "{:?}", files.keys());
    let map = String::from_utf8(files["image-tag-to-hash"].clone()).unwrap();
    assert!(map.contains(&format!("\nstorm/a:1,storm/a:2:{digest}#")), "{map}");
    let manifest: Value = serde_json::from_slice(&scene.layout.read(&scene.made).unwrap()).unwrap();
    for (layer, file, content) in [(0, "lower", b"below".to_vec()), (1, "upper", vec![7; 3 << 20])]
    {
        let hex = manifest["layers"][layer]["digest"].as_str().unwrap().replace("sha256:", "");
        let path = scene.place.path(&format!("store/layers/{hex}.sqsh"));
        let read = Command::new("unsquashfs").arg("-cat").arg(path).arg(file).output().unwrap();
        assert!(read.stdout == content, "{:?}", String::from_utf8_lossy(&read.stderr));
    }
    let store = scene.place.text("store");
    scene.place.done(&["image", "verify", "--all", "--store", &store]);
    let list = scene.place.run(&["image", "list", "--store", &store, "--format", "json"]).json();
    assert!(list.to_string().contains(digest), "{list}");

    let again = scene.publish(&scene.name(), &tags).json();
    assert_eq!((&again[0]["converted"], &again[0]["tags_changed"]), (&json!(0), &json!(false)));
    assert_eq!(scene.place.files("store"), files);
}

#[test]
fn tls_tokens_and_platforms_go_together() {
    let authority = Authority::new().unwrap();
    let scene = Scene::new(RegistrySpec {
        login: Login::Token { anonymous: false },
        tls: Some(authority.issue("localhost").unwrap()),
    });
    let layers = [(&*archive("arm", b"arm"), Packing::Zstd)];
    let arm = scene.layout.image(Types::Oci, "linux/arm64/v8", &layers).unwrap();
    let windows = scene.layout.image(Types::Oci, "windows/amd64", &layers).unwrap();
    let index = scene.layout.index(Types::Oci, &[windows, scene.made.clone(), arm]).unwrap();
    scene.registry.push(&scene.layout, &index, "storm/worker:all").unwrap();
    let name = scene.registry.name("storm/worker:all");
    let ca = authority.certificate();
    let with_ca = ["--tag", "x:1", "--ca-file", ca.to_str().unwrap()];
    scene.publish(&name, &["--tag", "x:1"]).assert_refused("hint: name the file of its authority");
    scene.publish(&name, &with_ca).assert_refused("refuses anonymous access");

    // As `docker login` writes it, where it writes it.
    let host = format!("localhost:{}", scene.registry.address().port());
    let password = format!("{}:{}", Registry::USERNAME, Registry::PASSWORD);
    let mut base64 = Command::new("base64")
        .arg("--wrap=0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut base64.stdin.take().unwrap(), password.as_bytes()).unwrap();
    let auth = String::from_utf8(base64.wait_with_output().unwrap().stdout).unwrap();
    let entry = json!({"auths": {&host: {"auth": auth}}}).to_string();
    fs::create_dir(scene.place.path(".docker")).unwrap();
    fs::write(scene.place.path(".docker/config.json"), &entry).unwrap();
    let bad = scene.place.text("bad.json");
    fs::write(&bad, json!({"auths": {&host: {"auth": "c3Rvcm06c2VjcmV0"}}}).to_string()).unwrap();
    let outcome = scene.publish(&name, &[&with_ca[..], &["--authfile", &bad]].concat());
    outcome.assert_refused("refuses the credentials");
    assert!(!outcome.err.contains("secret"), "{outcome:?}");
    scene.assert_nothing_published();

    let published = scene.publish(&name, &[&with_ca[..], &["--format", "json"]].concat()).json();
    assert_eq!(published[0]["source_digest"], scene.made["digest"]);
    let store = scene.place.text("store");
    let arguments = ["image", "publish", &name, "--store", &store, "--platform", "linux/arm64"];
    scene.place.done(&[&arguments[..], &with_ca].concat());
    let arguments = ["image", "publish", &name, "--store", &store, "--platform", "linux/s390x"];
    let outcome = scene.place.run(&[&arguments[..], &with_ca].concat());
    outcome.assert_refused("it is for linux/amd64, linux/arm64/v8, windows/amd64");
}

#[test]
fn bad_input_is_refused_and_nothing_is_published() {
    let scene = Scene::new(RegistrySpec::default());
    let manifest: Value = serde_json::from_slice(&scene.layout.read(&scene.made).unwrap()).unwrap();
    let plain = ["--plain-http", "--tag", "x:1"];
    let refused = |name: &str, more: &[&str], said: &str| {
        scene.publish(name, &[&plain[..], more].concat()).assert_refused(said);
        scene.assert_nothing_published();
    };
    refused(&scene.registry.name("storm/worker:2.0"), &[], "has no tag `2.0`; there is 1.0");
    refused(&scene.registry.name("storm/none:1"), &[], "there is no repository");
    refused("Storm/UPPER", &[], "hint: write HOST[:PORT]/REPOSITORY:TAG");
    refused(&scene.name(), &["--max-layers", "1"], "--max-layers");
    refused(&scene.name(), &["--max-size", "1000"], "--max-size");
    refused(&scene.name(), &["--max-layer-size", "1M"], "");
    for (tag, media_type, said) in [
        ("encrypted", "application/vnd.oci.image.layer.v1.tar+encrypted", "it is encrypted"),
        ("odd", "application/vnd.in-toto+json", "is not one of"),
    ] {
        let name =
            scene.bend(tag, |manifest| manifest["layers"][0]["mediaType"] = json!(media_type));
        refused(&name, &[], said);
    }
    let artifact = scene.bend("artifact", |manifest| {
        manifest["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
    });
    refused(&artifact, &[], "artifact");
    let size = scene.bend("size", |manifest| manifest["layers"][1]["size"] = json!(10));
    refused(&size, &[], "");
    let swapped = scene.bend("swapped", |manifest| {
        manifest["layers"].as_array_mut().unwrap().reverse();
    });
    refused(&swapped, &[], "");

    let file = scene.registry.file_of(&manifest["layers"][1]);
    let good = fs::read(&file).unwrap();
    let mut spoilt = good.clone();
    spoilt[1 << 20] ^= 1;
    for bytes in [&spoilt[..], &good[..good.len() / 2], &[&good[..], b"more"].concat(), b""] {
        fs::write(&file, bytes).unwrap();
        refused(&scene.name(), &[], "");
    }
    fs::remove_file(&file).unwrap();
    refused(&scene.name(), &[], "the registry does not have it");
    fs::write(&file, &good).unwrap();

    let missing = scene.place.text("none");
    let arguments = ["image", "publish", &scene.name(), "--plain-http", "--store", &missing];
    scene.place.run(&arguments).assert_refused("store init");
    assert!(!scene.place.path("none").exists());
    // All of it was the input's fault.
    assert_eq!(scene.publish(&scene.name(), &plain).code, Some(0));
}

#[test]
fn an_interrupted_run_leaves_no_lock_and_the_next_completes_it() {
    let scene = Scene::new(RegistrySpec::default());
    let proxy = Proxy::start(scene.registry.address(), Throttle::NONE).unwrap();
    // Within the second layer.
    proxy.stall_after(1 << 20);
    let name = format!("localhost:{}/{NAME}", proxy.address().port());
    let store = scene.place.text("store");
    let arguments = ["image", "publish", &name, "--plain-http", "--tag", "x:1", "--store", &store];
    let child = scene
        .place
        .command(&[&arguments[..], &["--platform", "linux/amd64"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    proxy.wait_received(1 << 20).unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let outcome = Outcome::from(child.wait_with_output().unwrap());
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.err.contains("interrupted"), "{outcome:?}");
    scene.assert_nothing_published();
    proxy.resume();
    let plain = ["--plain-http", "--tag", "x:1", "--lock-wait", "0"];
    assert_eq!(scene.publish(&name, &plain).code, Some(0));
    scene.place.done(&["image", "verify", "--all", "--store", &store]);
}

#[test]
fn an_image_comes_into_hdfs() {
    let scene = Scene::new(RegistrySpec::default());
    let hdfs = Hdfs::start(HdfsSpec::default()).unwrap();
    let conf = hdfs.client_conf().display().to_string();
    let store = hdfs.url("/containers");
    let at = ["--store", &store, "--hadoop-conf-dir", &conf, "--replication", "1"];
    scene.place.done(&[&["store", "init"], &at[..]].concat());
    let name = scene.name();
    let publish = ["image", "publish", &name, "--plain-http", "--platform", "linux/amd64"];
    let tag = ["--tag", "storm/a:1", "--format", "json"];
    let published = scene.place.run(&[&publish[..], &tag, &at].concat()).json();
    assert_eq!(published[0]["converted"], 2);
    let again = scene.place.run(&[&publish[..], &tag, &at].concat()).json();
    assert_eq!(again[0]["converted"], 0);
    scene.place.done(&[&["image", "verify", "--all"], &at[..]].concat());
    let map = scene.place.text("map");
    hdfs.shell(&["-get", "/containers/image-tag-to-hash", &map]).unwrap();
    let map = fs::read_to_string(map).unwrap();
    let digest = published[0]["digest"].as_str().unwrap().trim_start_matches("sha256:");
    assert!(map.contains(&format!("\nstorm/a:1:{digest}#")), "{map}");
}
