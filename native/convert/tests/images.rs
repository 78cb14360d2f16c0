//! Images' whole ways from a layout to a directory store.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use storm_oci_convert::image::{self, Event, Observer, PublishOptions, PublishedImage};
use storm_oci_convert::layer::{LayerOptions, Sight};
use storm_oci_convert::publish::{LayerState, PublishSettings, Publisher};
use storm_oci_convert::source::{self, ImageSource, SourceSettings};
use storm_oci_convert::{ConvertError, Limits};
use storm_oci_store::{LayerFormat, Location, Platform, Reference, RemoteSettings};
use storm_oci_test_stores::{OciLayout, Packing, Types};
use tempfile::TempDir;

/// A layout with an image of a lower layer, and one with an upper layer on it that has a file in a
/// directory of the lower one, and no word about that directory.
struct Scene {
    scratch: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { scratch: TempDir::new().unwrap() };
        let lower = scene.path("lower");
        fs::create_dir_all(lower.join("private")).unwrap();
        fs::write(lower.join("private/old"), "old").unwrap();
        fs::set_permissions(lower.join("private"), fs::Permissions::from_mode(0o700)).unwrap();
        let upper = scene.path("upper");
        fs::create_dir_all(upper.join("private")).unwrap();
        fs::write(upper.join("private/new"), "new").unwrap();
        let lower = archive(&lower, &["."]);
        let upper = archive(&upper, &["private/new"]);
        let layout = OciLayout::create(&scene.path("layout")).unwrap();
        for (tag, layers) in [("lower", &[&lower][..]), ("both", &[&lower, &upper])] {
            let layers: Vec<_> =
                layers.iter().map(|layer| (layer.as_slice(), Packing::Gzip)).collect();
            let image = layout.image(Types::Oci, "linux/amd64", &layers).unwrap();
            layout.tag(tag, &image).unwrap();
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn source(&self, tag: &str) -> Arc<dyn ImageSource> {
        let reference = format!("oci:{}:{tag}", self.path("layout").display());
        Arc::from(source::open(&reference, &SourceSettings::default()).unwrap())
    }

    async fn store(&self, name: &str) -> Arc<Publisher> {
        let top = Location::parse(self.path(name).to_str().unwrap()).unwrap();
        let tag_map = top.join("image-tag-to-hash");
        let publisher =
            Publisher::open(PublishSettings::new(top, tag_map, RemoteSettings::default())).unwrap();
        publisher.init().await.unwrap();
        Arc::new(publisher)
    }

    fn options(&self) -> PublishOptions {
        PublishOptions {
            platform: Platform::parse("linux/amd64").unwrap(),
            layers: LayerOptions::default(),
            format: LayerFormat::Squashfs,
            force: false,
            working_dir: self.scratch.path().to_owned(),
        }
    }

    async fn published(
        &self,
        tag: &str,
        store: &Arc<Publisher>,
        observer: Arc<dyn Observer>,
    ) -> Result<PublishedImage, ConvertError> {
        let tags = [Reference::parse(tag).unwrap()];
        image::publish(self.source(tag), Arc::clone(store), &tags, &self.options(), observer).await
    }
}

fn archive(tree: &Path, names: &[&str]) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--owner=5", "--group=6", "--mtime=@7", "-c", "-C"]).arg(tree);
    let output = tar.args(names).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// All files of a directory and their bytes.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn told(&self, _: Event<'_>) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_the_same_whether_those_below_were_there_or_not() {
    let scene = Scene::new();
    let (one, two) = (scene.store("one").await, scene.store("two").await);
    let whole = scene.published("both", &one, Arc::new(Nobody)).await.unwrap();
    assert_eq!(whole.converted, 2);
    scene.published("lower", &two, Arc::new(Nobody)).await.unwrap();
    let upper = scene.published("both", &two, Arc::new(Nobody)).await.unwrap();
    assert_eq!(upper.converted, 1);
    assert_eq!(upper.layers, whole.layers);
    assert_eq!(upper.digest, whole.digest);

    let file = scene.path("one/layers").join(whole.layers.last().unwrap().file.to_string());
    let listing = Command::new("unsquashfs").arg("-lln").arg(file).output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    let private = listing.lines().find(|line| line.ends_with("/private")).unwrap();
    assert!(private.starts_with("drwx------ 5/6 "), "{listing}");
}

/// Takes a layer away as soon as it is there, once.
#[derive(Debug)]
struct Thief {
    layers: PathBuf,
    done: AtomicBool,
}

impl Observer for Thief {
    fn told(&self, event: Event<'_>) {
        if let Event::Written { layer, .. } = event
            && !self.done.swap(true, Ordering::SeqCst)
        {
            fs::remove_file(self.layers.join(format!("{}.sqsh", layer.as_hex()))).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_removes_meanwhile_is_published_again() {
    let scene = Scene::new();
    let store = scene.store("store").await;
    let thief =
        Arc::new(Thief { layers: scene.path("store/layers"), done: AtomicBool::new(false) });
    let image = scene.published("lower", &store, Arc::<Thief>::clone(&thief)).await.unwrap();
    assert!(thief.done.load(Ordering::SeqCst));
    let verified = store.verify(&[Reference::parse("lower").unwrap()]).await.unwrap();
    assert!(verified.iter().all(|image| image.problems.is_empty()), "{verified:?}");
    assert!(matches!(
        store.layer_state(&image.layers.first().unwrap().file).await.unwrap(),
        LayerState::Present(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing() {
    let scene = Scene::new();
    let store = scene.store("store").await;
    let before = files(&scene.path("store"));
    let source = scene.source("both");
    let plan = image::plan(source.as_ref(), &store, &scene.options(), &Nobody).await.unwrap();
    let states: Vec<_> = plan.layers.into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [LayerState::Absent, LayerState::Absent]);
    assert_eq!(files(&scene.path("store")), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_directory_that_is_not_there_is_named() {
    let scene = Scene::new();
    let store = scene.store("store").await;
    let options = PublishOptions { working_dir: scene.path("nowhere"), ..scene.options() };
    let tags = [Reference::parse("lower").unwrap()];
    let source = scene.source("lower");
    let error = image::publish(source, store, &tags, &options, Arc::new(Nobody)).await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(matches!(error, ConvertError::WorkingDir { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topmost_layer_that_knows_a_file_says_what_it_is() {
    let scene = Scene::new();
    let source = scene.source("both");
    let platform = Platform::parse("linux/amd64").unwrap();
    for (path, expected) in [
        ("private/new", Sight::File { size: 3 }),
        ("private/old", Sight::File { size: 3 }),
        ("private", Sight::Other),
        ("private/none", Sight::Nothing),
    ] {
        let seen = image::look_for(source.as_ref(), path, &platform, &Limits::default()).await;
        assert_eq!(seen.unwrap(), expected, "{path}");
    }
}
