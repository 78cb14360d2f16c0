//! The commands of Storm's script, on layouts and directories.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod command;

use serde_json::Value;

use command::{Outcome, Place};

/// A layout with two images, `one` and `two`, that share a layer.
struct Scene {
    place: Place,
    one: Value,
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        let one = place.two_images();
        Self { place, one }
    }

    fn run_at(&self, root: &str, arguments: &[&str]) -> Outcome {
        let root = format!("file://{}", self.place.text(root));
        let set = ["docker-to-squash", "--hdfs-root", &root, "--pull-format", "oci"];
        self.place.run(&[&set[..], arguments].concat())
    }

    fn done(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run_at("store", arguments);
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
        outcome
    }

    fn refused(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run_at("store", arguments);
        assert_eq!(outcome.code, Some(1), "{arguments:?}: {outcome:?}");
        assert!(outcome.err.contains("error: "), "{outcome:?}");
        outcome
    }

    /// The lines of the tag map that are no comments, without their own comments.
    fn map(&self) -> Vec<String> {
        let printed = self.done(&["list-tags"]).out;
        let lines = printed.lines().filter_map(|line| line.split('#').next());
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    fn count(&self, directory: &str) -> usize {
        let files = self.place.files("store");
        let ends = |name: &&String| name.starts_with(directory) && !name.ends_with(".json");
        files.keys().filter(ends).count()
    }
}

#[test]
fn images_are_published_tagged_and_removed() {
    let scene = Scene::new();
    scene.refused(&["pull-build-push-update", &scene.place.image("one", "storm/one:1")]);
    scene.done(&["bootstrap"]);
    scene.done(&["bootstrap"]);
    assert_eq!(scene.map(), [""; 0]);
    // Options before and after the command mean the same.
    let (one, two) = (
        scene.place.image("one", "storm/one:1,storm/one:2"),
        scene.place.image("two", "storm/two:1"),
    );
    scene.done(&["--replication", "1", "pull-build-push-update", &one, &two, "--log", "DEBUG"]);
    let map = scene.map();
    assert_eq!(map.len(), 2, "{map:?}");
    assert_eq!((scene.count("manifests/"), scene.count("layers/")), (2, 2));
    let one = map.iter().find(|line| line.starts_with("storm/one:1,storm/one:2:")).unwrap();
    let digest = one.rsplit(':').next().unwrap();
    // Storm can read it as it is.
    assert_eq!(scene.one["digest"], format!("sha256:{digest}"));
    let paths = scene.done(&["query-tag", "storm/one:2"]);
    let paths = format!("{}{}", paths.out, paths.err);
    assert!(paths.contains(&format!("manifests/{digest}")), "{paths}");
    assert!(paths.contains("layers/") && paths.contains("config/"), "{paths}");

    scene.done(&["add-tag", "storm/one:1,storm/one:3"]);
    scene.done(&["add-tag", &format!("{digest},storm/one:4")]);
    scene.refused(&["add-tag", &format!("{},storm/x:1", "0".repeat(64))]);
    scene.done(&["remove-tag", "storm/one:1,storm/one:2"]);
    assert!(
        scene.map().contains(&format!("storm/one:3,storm/one:4:{digest}")),
        "{:?}",
        scene.map()
    );
    let refused =
        scene.refused(&["pull-build-push-update", &scene.place.image("none", "storm/x:1")]);
    assert!(refused.err.contains("there is one, two"), "{refused:?}");

    // The layer that both need stays.
    scene.done(&["remove-image", "storm/two:1"]);
    assert_eq!((scene.count("manifests/"), scene.count("layers/")), (1, 1));
    scene.done(&["remove-image", digest]);
    assert_eq!((scene.count("manifests/"), scene.count("layers/")), (0, 0));
    assert_eq!(scene.map(), [""; 0]);
}

#[test]
fn building_and_pushing_may_be_two_steps() {
    let scene = Scene::new();
    let (one, two) =
        (scene.place.image("one", "storm/one:1"), scene.place.image("two", "storm/two:1"));
    scene.done(&["pull-build", &one, &two, "--working-dir", "work"]);
    assert!(!scene.place.path("store").exists());
    scene.done(&["push-update", &one, &two, "--working-dir", "work", "--bootstrap"]);
    assert_eq!(scene.map().len(), 2);
    assert_eq!((scene.count("manifests/"), scene.count("layers/")), (2, 2));
}

#[test]
fn images_are_copied_to_another_store() {
    let scene = Scene::new();
    scene.done(&[
        "--bootstrap",
        "pull-build-push-update",
        &scene.place.image("two", "storm/two:1"),
    ]);
    let root = |name: &str| format!("file://{}", scene.place.text(name));
    let (from, to) = (root("store"), root("other"));
    let copy = ["copy-update", &from, &to, "storm/two:1,storm/copy:1"];
    scene.done(&[&copy[..], &["--bootstrap"]].concat());
    let (store, other) = (scene.place.files("store"), scene.place.files("other"));
    for (name, content) in store.iter().filter(|(name, _)| name.contains('/')) {
        assert!(other.get(name) == Some(content), "{name}");
    }
    let listed = scene.run_at("other", &["list-tags"]);
    assert!(listed.out.contains("storm/copy:1:"), "{listed:?}");
}

#[test]
fn cleanup_takes_two_steps() {
    let scene = Scene::new();
    scene.done(&[
        "--bootstrap",
        "pull-build-push-update",
        &scene.place.image("one", "storm/one:1"),
    ]);
    scene.done(&["remove-tag", "storm/one:1"]);
    let cleanup = ["cleanup", "--untagged-transition-sec", "0"];
    // A step is never the one of the same moment.
    for _ in 0..6 {
        scene.done(&cleanup);
    }
    assert_eq!(scene.count("manifests/"), 0, "{:?}", scene.place.files("store").keys());
    assert_eq!(scene.count("layers/"), 0);
}

#[test]
fn only_images_with_the_magic_file_are_taken() {
    let scene = Scene::new();
    let image = scene.place.image("two", "storm/two:1");
    scene.done(&["bootstrap"]);
    let checked =
        |file| ["pull-build-push-update", &image, "--check-magic-file", "--magic-file", file];
    let refused = scene.refused(&checked("etc/dockerfile-version"));
    assert!(refused.err.contains("`etc/dockerfile-version`"), "{refused:?}");
    assert_eq!(scene.map(), [""; 0]);
    // Of the lower layer.
    scene.done(&checked("lower"));
    assert_eq!(scene.map().len(), 1);
}
