use std::fs;

use serde_json::json;
use storm_oci_store::Digest;

use super::*;
use crate::documents::ImageDocument;
use crate::request;
use crate::reservation::Reservation;

/// A store of one image in a directory, in Storm's layout.
struct Place {
    root: tempfile::TempDir,
    images: Images,
}

const TAG: &str = "storm/test:1";

const ARCHIVE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const EROFS: &str = "application/vnd.erofs.layer.v1";

impl Place {
    fn new() -> Self {
        Self::of([("base", ARCHIVE), ("java", ARCHIVE)])
    }

    /// An image of these layers, each with its media type.
    fn of(layers: [(&str, &str); 2]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("store");
        for directory in ["manifests", "config", "layers"] {
            fs::create_dir_all(store.join(directory)).unwrap();
        }
        let config = json!({"config": {"Env": ["A=1"], "Entrypoint": ["/init"]}}).to_string();
        let descriptor = |kind: &str, bytes: &[u8]| {
            json!({
                "mediaType": kind,
                "size": bytes.len(),
                "digest": Digest::of(bytes).to_string(),
            })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": descriptor("application/vnd.docker.container.image.v1+json", config.as_bytes()),
            "layers": layers.map(|(name, kind)| descriptor(kind, name.as_bytes())),
        })
        .to_string();
        let write = |directory: &str, name: &str, bytes: &str| {
            fs::write(store.join(directory).join(name), bytes).unwrap();
        };
        let hex = |bytes: &str| Digest::of(bytes.as_bytes()).as_hex().to_owned();
        write("config", &hex(&config), &config);
        write("manifests", &hex(&manifest), &manifest);
        for (name, kind) in layers {
            match kind {
                EROFS => write("layers", &format!("{}.erofs", hex(name)), name),
                _ => {
                    write("layers", &format!("{}.sqsh", hex(name)), &format!("squashfs of {name}"))
                }
            }
        }
        write("", "image-tag-to-hash", &format!("{TAG}:{}#comment\n", hex(&manifest)));
        let images = Images::open(&Self::conf(root.path()).to_string()).unwrap();
        Self { root, images }
    }

    fn conf(root: &Path) -> Value {
        let store = root.join("store");
        let store = store.to_str().unwrap();
        json!({
            config::keys::TOP_LEVEL: format!("file://{store}"),
            config::keys::REMOTE_TAG_MAP: format!("{store}/image-tag-to-hash"),
            config::keys::RESOURCES_DIR: root.join("local").to_str().unwrap(),
        })
    }

    fn layer(&self, name: &str) -> PathBuf {
        let hex = Digest::of(name.as_bytes()).as_hex().to_owned();
        self.root.path().join(format!("store/layers/{hex}.sqsh"))
    }

    fn local_image(&self) -> LocalImage {
        let resolved = self.images.resolve(TAG.to_owned()).unwrap();
        self.images.localize(resolved).unwrap()
    }
}

fn contents(image: &LocalImage) -> Vec<String> {
    image.layers.iter().map(|layer| fs::read_to_string(layer.path.as_str()).unwrap()).collect()
}

#[test]
fn a_tag_becomes_local_files() {
    let place = Place::new();
    let image = place.local_image();
    assert_eq!(image.env, ["A=1"]);
    assert_eq!(image.entrypoint, ["/init"]);
    assert_eq!(contents(&image), ["squashfs of base", "squashfs of java"]);
    assert!(image.layers.iter().all(ImageLayer::fetched));
    let store = place.root.path().join("store").to_str().unwrap().to_owned();
    let expected = format!("file://{store}/config/");
    assert!(image.config_path.starts_with(&expected), "{}", image.config_path);
    assert_eq!(image.manifest.as_ref().unwrap().len(), 64);
    assert!(!place.local_image().layers.iter().any(ImageLayer::fetched));
}

#[test]
fn an_erofs_layer_is_named_as_one_to_the_launcher() {
    let place = Place::of([("base", ARCHIVE), ("top", EROFS)]);
    let image = place.local_image();
    assert_eq!(contents(&image), ["squashfs of base", "top"]);
    let (settings, worker) = (config::tests::settings(json!({})), request::tests::worker());
    let request =
        request::compose(&settings, &worker, &image, &Reservation::default(), Vec::new()).unwrap();
    let layers = serde_json::to_value(&request.layers).unwrap();
    assert_eq!(layers[0]["mediaType"], "application/vnd.squashfs");
    assert_eq!(layers[1]["mediaType"], EROFS);
    assert!(layers[1]["path"].as_str().unwrap().ends_with(".erofs"), "{layers}");
}

#[test]
fn storms_plugins_get_the_same_through_documents() {
    let place = Place::new();
    let manifest = place.images.manifest_json(TAG).unwrap();
    let parsed: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(parsed["schemaVersion"], 2);
    let resources: Value =
        serde_json::from_str(&place.images.resources_json(&manifest).unwrap()).unwrap();
    assert_eq!(resources["config"]["type"], "CONFIG");
    assert_eq!(resources["config"]["fileName"].as_str().unwrap().len(), 64);
    assert_eq!(resources["layers"].as_array().unwrap().len(), 2);
    let layer = &resources["layers"][0];
    assert_eq!(layer["type"], "LAYER");
    assert_eq!(layer["size"], 4);
    assert!(layer["modified"].as_i64().unwrap() > 0);
    assert!(layer["uri"].as_str().unwrap().starts_with("file:///"));
    let localized: Value =
        serde_json::from_str(&place.images.localize_json(&layer.to_string()).unwrap()).unwrap();
    let path = localized["path"].as_str().unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "squashfs of base");
}

#[test]
fn what_is_not_there_is_an_error_with_a_code() {
    let place = Place::new();
    let code = |result: Result<String, SupervisorError>| result.unwrap_err().code().as_str();
    assert_eq!(code(place.images.manifest_json("storm/none:9")), "IMAGE");
    assert_eq!(code(place.images.manifest_json("../../etc/passwd")), "IMAGE");
    assert_eq!(code(place.images.resources_json("{}")), "IMAGE");
    assert_eq!(code(place.images.localize_json("[]")), "ARGUMENT");
    fs::remove_file(place.layer("java")).unwrap();
    let resolved = place.images.resolve(TAG.to_owned()).unwrap();
    let error = place.images.localize(resolved).unwrap_err();
    assert_eq!(error.code().as_str(), "IMAGE");
    assert!(error.report().contains(place.layer("java").to_str().unwrap()));
}

#[test]
fn refused_layers_are_fetched_anew() {
    let place = Place::new();
    let image = place.local_image();
    fs::write(place.layer("java"), "repaired").unwrap();
    fs::write(place.layer("base"), "repaired too").unwrap();
    let java = image.layers[1].path.clone();
    let discarded = place.images.discard(&image, |path| *path == java);
    assert_eq!(discarded.unwrap(), 1);
    drop(image);
    let image = place.local_image();
    assert_eq!(contents(&image), ["squashfs of base", "repaired"]);
    assert_eq!(place.images.discard(&image, |_| true).unwrap(), 2);
    drop(image);
    assert_eq!(contents(&place.local_image()), ["repaired too", "repaired"]);
}

#[test]
fn plugins_give_an_image_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    let config = config.to_str().unwrap();
    let from_plugins = |config_path: Option<&str>, layers: Option<&[&str]>| {
        let document = ImageDocument {
            tag: Some(TAG.to_owned()),
            manifest: None,
            config_path: config_path.map(str::to_owned),
            layers: layers.map(|layers| layers.iter().map(ToString::to_string).collect()),
        };
        LocalImage::from_plugins(TAG, &document)
    };
    assert!(from_plugins(None, None).unwrap().is_none());
    assert!(from_plugins(Some(config), None).is_err());
    assert!(from_plugins(None, Some(&["/a"])).is_err());
    assert!(from_plugins(Some(config), Some(&["/a"])).is_err());
    fs::write(config, r#"{"config":{"Env":null}}"#).unwrap();
    let image = from_plugins(Some(config), Some(&["/a", "/b"])).unwrap().unwrap();
    assert!(image.env.is_empty() && image.entrypoint.is_empty());
    assert_eq!(image.layers.len(), 2);
    assert!(!image.layers[0].fetched());
    assert!(from_plugins(Some(config), Some(&["relative"])).is_err());
    fs::write(config, "not json").unwrap();
    let error = from_plugins(Some(config), Some(&["/a"])).unwrap_err();
    assert!(error.report().starts_with("cannot read image config `"), "{}", error.report());
}
