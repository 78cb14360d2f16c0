//! The commands of Storm's script, where people use them: on HDFS, with a root that is a path of
//! the default file system.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod command;

use storm_oci_test_stores::{Hdfs, HdfsSpec};

use command::{Outcome, Place};

/// A layout with two images, `one` and `two`, that share a layer; and a cluster.
struct Scene {
    place: Place,
    hdfs: Hdfs,
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        place.two_images();
        Self { place, hdfs: Hdfs::start(HdfsSpec::default()).unwrap() }
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let set = ["docker-to-squash", "--pull-format", "oci", "--replication", "1"];
        let mut command = self.place.command(&[&set[..], arguments].concat());
        command.env("HADOOP_CONF_DIR", self.hdfs.client_conf()).output().unwrap().into()
    }

    fn done(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
        outcome
    }

    /// What is below a directory with its modes, as Hadoop's own client lists them.
    fn listing(&self, path: &str) -> Vec<(String, String)> {
        let listed = self.hdfs.shell(&["-ls", "-R", path]).unwrap();
        let mut files = Vec::new();
        for line in listed.lines().filter(|line| line.contains(path)) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [mode, .., name] = columns[..] else { panic!("{line}") };
            files.push((name.to_owned(), mode.to_owned()));
        }
        files
    }

    /// The mode of the only file in a directory.
    fn mode_of_only(&self, directory: &str) -> String {
        let mut files = self.listing(directory);
        files.retain(|(name, _)| !name.ends_with(".json"));
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0).1
    }
}

#[test]
fn a_path_is_one_of_the_default_file_system() {
    let scene = Scene::new();
    let image = scene.place.image("one", "storm/one:1");
    assert_eq!(scene.run(&["pull-build-push-update", &image]).code, Some(1));
    scene.done(&["bootstrap"]);
    scene.done(&[
        "pull-build-push-update",
        &image,
        &scene.place.image("two", "storm/two:1,storm/two:2"),
    ]);
    let listing = scene.listing("/runc-root");
    let is_directory = |mode: &str| mode.starts_with('d');
    for (name, mode) in &listing {
        let expected = if is_directory(mode) { "drwxr-xr-x" } else { "-r--r--r--" };
        assert_eq!(mode, expected, "{name}");
    }
    let layers = listing.iter().filter(|(name, _)| name.ends_with(".sqsh"));
    assert_eq!(layers.count(), 2, "{listing:?}");
    let map = scene.hdfs.shell(&["-cat", "/runc-root/image-tag-to-hash"]).unwrap();
    assert!(map.contains("storm/one:1:") && map.contains("storm/two:1,storm/two:2:"), "{map}");
    // Hadoop's client complains of its logger behind it.
    assert!(map.starts_with(&scene.done(&["list-tags"]).out), "{map}");

    scene.done(&["copy-update", "/runc-root", "/other", "storm/one:1,storm/copy:1", "-b"]);
    let copied = scene.hdfs.shell(&["-cat", "/other/image-tag-to-hash"]).unwrap();
    assert!(copied.contains("\nstorm/copy:1:"), "{copied}");
    assert_eq!(scene.mode_of_only("/other/layers"), "-r--r--r--");

    scene.done(&["remove-image", "storm/two:1"]);
    scene.mode_of_only("/runc-root/layers");
    scene.done(&["remove-tag", "storm/one:1"]);
    let cleanup = ["cleanup", "--untagged-transition-sec", "0"];
    scene.done(&cleanup);
    assert_eq!(scene.mode_of_only("/runc-root/manifests"), "-r--r--r--");
    // Unreadable, so that who still uses it finds out; then published again.
    let is_dead = || scene.mode_of_only("/runc-root/manifests") == "-r--------";
    assert!((0..4).any(|_| scene.done(&cleanup).code == Some(0) && is_dead()));
    scene.done(&["pull-build-push-update", &image]);
    assert_eq!(scene.mode_of_only("/runc-root/manifests"), "-r--r--r--");
    assert!(scene.done(&["query-tag", "storm/one:1"]).out.contains("/runc-root/layers/"));
}
