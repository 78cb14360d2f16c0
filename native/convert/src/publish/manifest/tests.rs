use serde_json::{Value, json};
use storm_oci_store::ErrorKind;

use super::*;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn config() -> Descriptor {
    Descriptor { media_type: OCI_CONFIG.to_owned(), digest: Digest::of(b"config"), size: 6 }
}

fn layer(name: &str, format: LayerFormat) -> PublishedLayer {
    let (blob, content) =
        (Digest::of(name.as_bytes()), Content::of(&[name, " file"].concat().into_bytes()));
    let digest = match format {
        LayerFormat::Squashfs => blob.clone(),
        LayerFormat::Erofs => content.sha256.clone(),
    };
    PublishedLayer { blob, blob_size: 9, file: LayerFile { digest, format }, content }
}

fn layers() -> [PublishedLayer; 2] {
    ["one", "two"].map(|name| layer(name, LayerFormat::Squashfs))
}

fn source() -> Value {
    let blob = |name: &str| json!({"mediaType": LAYER, "size": 9, "digest": Digest::of(name.as_bytes()).to_string()});
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": 6, "digest": Digest::of(b"config").to_string()},
        "layers": [blob("one"), blob("two")],
    })
}

fn publish(source: &[u8], layers: &[PublishedLayer]) -> (Bytes, Digest) {
    let digest = Digest::of(source);
    let index = Digest::of(b"index");
    publishable_manifest(source, &digest, Some(&index), &config(), layers).unwrap()
}

#[test]
fn what_storm_reads_stays_as_it_is() {
    let mut annotated = source();
    annotated["annotations"] = json!({"a": "b"});
    annotated["layers"][0]["annotations"] = json!({"c": "d"});
    annotated["layers"][1]["urls"] = json!([]);
    let mut bare = source();
    bare.as_object_mut().unwrap().remove("mediaType");
    for source in [source(), annotated, bare] {
        for bytes in [source.to_string(), format!("{source:#}\n")] {
            let (published, digest) = publish(bytes.as_bytes(), &layers());
            assert_eq!(published, bytes);
            assert_eq!(digest, Digest::of(bytes.as_bytes()));
        }
    }
}

#[test]
fn what_storm_does_not_read_becomes_what_it_reads() {
    let changes: [fn(&mut Value); 11] = [
        |source| source["mediaType"] = json!(OCI),
        |source| source["config"]["mediaType"] = json!(OCI_CONFIG),
        |source| {
            source["layers"][1]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip")
        },
        |source| {
            source["layers"][0]["mediaType"] =
                json!("application/vnd.docker.image.rootfs.diff.tar.zstd")
        },
        |source| source["subject"] = json!({"digest": "x"}),
        |source| source["artifactType"] = json!("x"),
        |source| source["config"]["data"] = json!("e30="),
        |source| source["layers"][0]["platform"] = json!({}),
        |source| source["annotations"] = json!({"a": 1}),
        |source| source["schemaVersion"] = json!("2"),
        |source| source["layers"] = json!([]),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut source = source();
        change(&mut source);
        let bytes = source.to_string();
        let (published, digest) = publish(bytes.as_bytes(), &layers());
        if number == 0 {
            // Storm does not look at the type of the whole.
            assert_eq!(published, bytes);
            continue;
        }
        assert_eq!(digest, Digest::of(&published));
        let manifest = Manifest::parse(&published).unwrap();
        assert_eq!(manifest.config.digest, Digest::of(b"config"));
        let named: Vec<_> = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
        assert_eq!(named, [Digest::of(b"one"), Digest::of(b"two")]);
        let document: Value = serde_json::from_slice(&published).unwrap();
        assert_eq!(document["mediaType"], MANIFEST);
        assert_eq!(
            document["config"],
            json!({"mediaType": CONFIG, "size": 6, "digest": Digest::of(b"config").to_string()})
        );
        assert_eq!(
            document["annotations"][SOURCE_MANIFEST],
            Digest::of(bytes.as_bytes()).to_string()
        );
        assert_eq!(document["annotations"][SOURCE_INDEX], Digest::of(b"index").to_string());
        let layer = &document["layers"][0];
        assert_eq!((&layer["mediaType"], &layer["size"]), (&json!(LAYER), &json!(9)));
        let content = Content::of(b"one file");
        assert_eq!(layer["annotations"][SQUASHFS_SHA256], content.sha256.as_hex());
        assert_eq!(layer["annotations"][SQUASHFS_SIZE], "8");
        // It is one of those that stay as they are.
        assert_eq!(publish(&published, &layers()), (published, digest));
    }
}

#[test]
fn an_erofs_layer_is_named_by_its_file() {
    let erofs = [layer("one", LayerFormat::Erofs), layer("two", LayerFormat::Squashfs)];
    let (published, _) = publish(source().to_string().as_bytes(), &erofs);
    let manifest = Manifest::parse(&published).unwrap();
    assert_eq!(manifest.layers[0].file(), erofs[0].file);
    assert_eq!(manifest.layers[0].size, erofs[0].content.size);
    assert_eq!(manifest.layers[1].file(), erofs[1].file);
    let document: Value = serde_json::from_slice(&published).unwrap();
    assert_eq!(document["layers"][0]["annotations"][SOURCE_LAYER], erofs[0].blob.to_string());
}

#[test]
fn files_of_other_layers_are_refused() {
    let mut wrong = layers();
    wrong[1].file.digest = Digest::of(b"three");
    let source = source().to_string();
    for layers in [&wrong[..], &[]] {
        let error =
            publishable_manifest(source.as_bytes(), &Digest::of(b"m"), None, &config(), layers);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Malformed);
    }
    // Layers of another image.
    let other = [layer("two", LayerFormat::Squashfs)];
    let (published, _) = publish(source.as_bytes(), &other);
    assert_ne!(published, source);
}
