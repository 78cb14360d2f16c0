//! Images in OCI layouts and in skopeo's directories, right and wrong.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod sources;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use storm_oci_convert::Limits;
use storm_oci_convert::source::{SourceError, SourceSettings, open};
use storm_oci_store::{ErrorKind, Platform};
use storm_oci_test_stores::{OciLayout, Packing, Types};

use sources::{LOWER, UPPER, amd64, assert_is, edit, image, layers, refusal, resolve, run};

fn layout(directory: &Path) -> OciLayout {
    OciLayout::create(&directory.join("layout")).unwrap()
}

fn name(layout: &OciLayout, rest: &str) -> String {
    format!("oci:{}{rest}", layout.directory().display())
}

fn settings() -> SourceSettings {
    SourceSettings::default()
}

#[tokio::test]
async fn images_of_all_types_are_read() {
    let directory = tempfile::tempdir().unwrap();
    for (number, (types, packing)) in [
        (Types::Oci, Packing::Gzip),
        (Types::Oci, Packing::Zstd),
        (Types::Oci, Packing::Plain),
        (Types::Docker, Packing::Gzip),
        (Types::Docker, Packing::Zstd),
        (Types::Docker, Packing::Plain),
    ]
    .into_iter()
    .enumerate()
    {
        let layout = layout(&directory.path().join(number.to_string()));
        let made = image(&layout, types, "linux/amd64", packing);
        layout.tag("1.0", &made).unwrap();
        let digest = format!("@{}", made["digest"].as_str().unwrap());
        for rest in ["", ":1.0", &digest] {
            let (source, image) = resolve(&name(&layout, rest), &settings()).await.unwrap();
            assert_is(&image, &layout, &made);
            assert_eq!((image.name, image.index.clone()), (name(&layout, rest), None));
            let (_, again) = resolve(&name(&layout, rest), &settings()).await.unwrap();
            let read = layers(&*source, &again).await;
            assert!(packing != Packing::Plain || read[1] == UPPER, "{read:?}");
        }
    }
}

#[tokio::test]
async fn the_platform_is_chosen() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let windows = image(&layout, Types::Oci, "windows/amd64", Packing::Gzip);
    let amd = image(&layout, Types::Oci, "linux/amd64", Packing::Gzip);
    let arm = image(&layout, Types::Oci, "linux/arm64/v8", Packing::Gzip);
    // As BuildKit adds them: not for any platform.
    let attestation = image(&layout, Types::Oci, "unknown/unknown", Packing::Gzip);
    let all = [windows, attestation, amd.clone(), arm.clone()];
    let index = layout.index(Types::Oci, &all).unwrap();
    let list = layout.index(Types::Docker, &all).unwrap();
    let nested = layout.index(Types::Oci, std::slice::from_ref(&index)).unwrap();
    for (tag, outer) in [("index", &index), ("list", &list), ("nested", &nested)] {
        layout.tag(tag, outer).unwrap();
        let tag = format!(":{tag}");
        for (platform, wanted) in
            [("linux/amd64", &amd), ("linux/arm64", &arm), ("linux/arm64/v8", &arm)]
        {
            let source = open(&name(&layout, &tag), &settings()).unwrap();
            let platform = Platform::parse(platform).unwrap();
            let image = source.resolve(&platform, &Limits::default()).await.unwrap();
            assert_is(&image, &layout, wanted);
            assert_eq!(image.index.unwrap().to_string(), outer["digest"]);
        }
        let source = open(&name(&layout, &tag), &settings()).unwrap();
        let other = Platform::parse("linux/s390x").unwrap();
        let error = source.resolve(&other, &Limits::default()).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{text}");
        let there = "it is not for linux/s390x; it is for \
                     linux/amd64, linux/arm64/v8, windows/amd64; hint";
        assert!(text.contains(there), "{text}");
    }
    // Entries of one name are the image's platforms.
    for platform in &all {
        layout.tag("flat", platform).unwrap();
    }
    let (_, image) = resolve(&name(&layout, ":flat"), &settings()).await.unwrap();
    assert_is(&image, &layout, &amd);
}

#[tokio::test]
async fn what_is_not_there_is_named_with_what_is() {
    let directory = tempfile::tempdir().unwrap();
    let missing = format!("oci:{}", directory.path().join("none").display());
    let (error, text) = refusal(&missing, &settings()).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
    let (error, text) = refusal(&format!("oci:{}", directory.path().display()), &settings()).await;
    assert_eq!(error.kind(), ErrorKind::Malformed, "{text}");
    assert!(text.contains("it has no file oci-layout"), "{text}");

    let layout = layout(directory.path());
    let (error, text) = refusal(&name(&layout, ""), &settings()).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(text.contains("the layout is empty"), "{text}");
    let made = image(&layout, Types::Oci, "linux/amd64", Packing::Gzip);
    layout.tag("1.0", &made).unwrap();
    layout.tag("2.0", &made).unwrap();
    let (error, text) = refusal(&name(&layout, ""), &settings()).await;
    assert!(matches!(error, SourceError::Ambiguous { .. }), "{text}");
    assert!(text.contains("it has 1.0, 2.0; hint") && text.contains("layout:1.0"), "{text}");
    let (error, text) = refusal(&name(&layout, ":3.0"), &settings()).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(text.contains("has no `3.0`; there is 1.0, 2.0"), "{text}");

    // Its parts may be missing too.
    let manifest: Value = serde_json::from_slice(&layout.read(&made).unwrap()).unwrap();
    let (source, resolved) = resolve(&name(&layout, ":1.0"), &settings()).await.unwrap();
    fs::remove_file(layout.path_of(&manifest["layers"][0])).unwrap();
    let error = source.blob(&resolved.layers[0]).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    fs::remove_file(layout.path_of(&manifest["config"])).unwrap();
    let (error, text) = refusal(&name(&layout, ":1.0"), &settings()).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
    fs::remove_file(layout.path_of(&made)).unwrap();
    let (error, text) = refusal(&name(&layout, ":1.0"), &settings()).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
}

#[tokio::test]
async fn what_differs_from_its_digest_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let made = image(&layout, Types::Oci, "linux/amd64", Packing::Gzip);
    layout.tag("1.0", &made).unwrap();
    let manifest: Value = serde_json::from_slice(&layout.read(&made).unwrap()).unwrap();
    let config = layout.path_of(&manifest["config"]);
    let original = fs::read(&config).unwrap();
    let mut other = original.clone();
    let last = other.len() - 1;
    other[last] = b' ';
    fs::write(&config, other).unwrap();
    let (error, text) = refusal(&name(&layout, ""), &settings()).await;
    assert!(matches!(error, SourceError::DigestMismatch { .. }), "{text}");
    fs::write(&config, [&original[..], b" "].concat()).unwrap();
    let (error, text) = refusal(&name(&layout, ""), &settings()).await;
    assert!(matches!(error, SourceError::SizeMismatch { .. }), "{text}");
    fs::write(&config, original).unwrap();
    edit(&layout.path_of(&made), |document| document["annotations"] = json!({"a": "b"}));
    let (error, text) = refusal(&name(&layout, ""), &settings()).await;
    assert!(matches!(error, SourceError::DigestMismatch { .. }), "{text}");
    assert_eq!(error.kind(), ErrorKind::Mismatch);
}

/// Each change to a good image, and what the refusal says of it.
#[tokio::test]
async fn what_is_no_image_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    type Change = fn(&mut Value);
    let manifests: &[(&str, Change, &str)] = &[
        ("schema 1", |m| *m = json!({"schemaVersion": 1, "fsLayers": []}), "first schema"),
        (
            "signed schema 1",
            |m| m["mediaType"] = json!("application/vnd.docker.distribution.manifest.v1+prettyjws"),
            "first schema",
        ),
        ("no version", |m| m["schemaVersion"] = Value::Null, "schemaVersion is missing"),
        ("version 3", |m| m["schemaVersion"] = json!(3), "schemaVersion is 3"),
        ("a text", |m| *m = json!("manifest"), "not a JSON object"),
        ("a list", |m| *m = json!([2]), "not a JSON object"),
        ("both", |m| m["manifests"] = json!([]), "both layers and manifests"),
        ("neither", |m| *m = json!({"schemaVersion": 2}), "missing field"),
        ("other type", |m| m["mediaType"] = json!("application/json"), "not that of an image"),
        ("no layers", |m| m["layers"] = json!([]), "no layers"),
        (
            "artifact",
            |m| m["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json"),
            "an artifact: its config is of type `application/vnd.cncf.helm",
        ),
        (
            "typed artifact",
            |m| {
                m["artifactType"] = json!("application/spdx+json");
                m["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
            },
            "an artifact of type `application/spdx+json`",
        ),
        (
            "encrypted",
            |m| {
                let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
                m["layers"][1]["mediaType"] = json!(encrypted);
            },
            "it is encrypted",
        ),
        (
            "foreign",
            |m| {
                let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
                m["layers"][0]["mediaType"] = json!(foreign);
                m["layers"][0]["urls"] = json!(["https://example.org/layer"]);
            },
            "it is foreign",
        ),
        (
            "nondistributable",
            |m| {
                let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
                m["layers"][0]["mediaType"] = json!(foreign);
                m["layers"][0]["urls"] = json!(["https://example.org/layer"]);
            },
            "it is foreign",
        ),
        (
            "squashfs",
            |m| m["layers"][0]["mediaType"] = json!("application/vnd.squashfs"),
            "media type `application/vnd.squashfs` is not one of",
        ),
        (
            "attestation",
            |m| m["layers"][0]["mediaType"] = json!("application/vnd.in-toto+json"),
            "is not one of",
        ),
        (
            "sha512",
            |m| m["layers"][0]["digest"] = json!(format!("sha512:{}", "0".repeat(128))),
            "not sha256",
        ),
        ("a path", |m| m["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd"), ""),
        ("negative", |m| m["layers"][0]["size"] = json!(-1), "invalid value"),
        ("layer missing", |m| drop(m["layers"].as_array_mut().unwrap().pop()), "is for 2 layers"),
        (
            "layer too many",
            |m| {
                let layer = m["layers"][0].clone();
                m["layers"].as_array_mut().unwrap().push(layer);
            },
            "it is for 2 layers, and the manifest has 3",
        ),
        (
            "too many layers",
            |m| m["layers"] = vec![m["layers"][0].clone(); 128].into(),
            "the number of layers is 128, more than the 127 allowed; hint",
        ),
        (
            "too large",
            |m| m["layers"][0]["size"] = json!(11_u64 << 30),
            "the size of all layers in bytes is",
        ),
        (
            "huge sum",
            |m| {
                m["layers"][0]["size"] = json!(u64::MAX);
                m["layers"][1]["size"] = json!(u64::MAX);
            },
            "",
        ),
    ];
    for (number, (what, change, said)) in manifests.iter().enumerate() {
        let layout = layout(&directory.path().join(number.to_string()));
        let made = image(&layout, Types::Oci, "linux/amd64", Packing::Gzip);
        let mut document = serde_json::from_slice(&layout.read(&made).unwrap()).unwrap();
        change(&mut document);
        let changed = layout.document(Types::Oci.manifest(), &document).unwrap();
        layout.tag("1.0", &changed).unwrap();
        let (error, text) = refusal(&name(&layout, ""), &settings()).await;
        assert!(text.contains(said), "{what}: {text}");
        let kinds = [ErrorKind::Malformed, ErrorKind::Unsupported];
        assert!(kinds.contains(&error.kind()), "{what}: {text}");
    }
}

#[tokio::test]
async fn a_config_must_be_that_of_the_image() {
    let directory = tempfile::tempdir().unwrap();
    type Change = fn(&mut Value);
    let configs: &[(Change, &str)] = &[
        (|c| *c = json!({}), "no rootfs.diff_ids"),
        (|c| *c = json!([]), "not a JSON object"),
        (|c| c["rootfs"]["diff_ids"][0] = json!("sha256:00"), "diff id `sha256:00`"),
        (|c| drop(c["rootfs"]["diff_ids"].as_array_mut().unwrap().pop()), "it is for 1 layers"),
        (|c| c["os"] = json!("windows"), "it is for windows/amd64"),
        (|c| c["architecture"] = json!("arm64"), "it is for linux/arm64"),
        (|c| c["variant"] = json!("v3"), "it is for linux/amd64/v3"),
    ];
    let good: &[Change] = &[
        |c| c["variant"] = json!("v1"),
        |c| drop(c.as_object_mut().unwrap().remove("os")),
        |c| drop(c.as_object_mut().unwrap().remove("architecture")),
    ];
    let changed = |number: &str, change: Change| {
        let layout = layout(&directory.path().join(number));
        let made = image(&layout, Types::Oci, "linux/amd64", Packing::Gzip);
        let mut manifest: Value = serde_json::from_slice(&layout.read(&made).unwrap()).unwrap();
        let mut config =
            serde_json::from_slice(&layout.read(&manifest["config"]).unwrap()).unwrap();
        change(&mut config);
        manifest["config"] = layout.document(Types::Oci.config(), &config).unwrap();
        let made = layout.document(Types::Oci.manifest(), &manifest).unwrap();
        layout.tag("1.0", &made).unwrap();
        layout
    };
    for (number, (change, said)) in configs.iter().enumerate() {
        let layout = changed(&format!("bad-{number}"), *change);
        let (_, text) = refusal(&name(&layout, ""), &settings()).await;
        assert!(text.contains(said), "{text}");
    }
    for (number, change) in good.iter().enumerate() {
        let layout = changed(&format!("good-{number}"), *change);
        resolve(&name(&layout, ""), &settings()).await.unwrap();
    }
}

#[tokio::test]
async fn limits_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let made = image(&layout, Types::Oci, "linux/amd64", Packing::Gzip);
    layout.tag("1.0", &made).unwrap();
    let sizes: u64 =
        serde_json::from_slice::<Value>(&layout.read(&made).unwrap()).unwrap()["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["size"].as_u64().unwrap())
            .sum();
    let manifest = made["size"].as_u64().unwrap();
    let defaults = Limits::default;
    let source = open(&name(&layout, ""), &settings()).unwrap();
    let exact = Limits { layers: 2, image_bytes: sizes, ..defaults() };
    source.resolve(&amd64(), &exact).await.unwrap();
    for limits in [
        Limits { layers: 1, ..defaults() },
        Limits { image_bytes: sizes - 1, ..defaults() },
        Limits { document_bytes: manifest - 1, ..defaults() },
        Limits { document_bytes: 10, ..defaults() },
    ] {
        let error = source.resolve(&amd64(), &limits).await.unwrap_err();
        assert!(matches!(error, SourceError::OverLimit { .. }), "{error}");
    }
    // An index of indexes of indexes does not keep anybody busy.
    let mut outer = layout.index(Types::Oci, &[]).unwrap();
    for _ in 0..40 {
        outer = layout.index(Types::Oci, &[outer]).unwrap();
    }
    layout.tag("deep", &outer).unwrap();
    let (error, text) = refusal(&name(&layout, ":deep"), &settings()).await;
    assert!(matches!(error, SourceError::OverLimit { .. }), "{text}");
}

#[tokio::test]
async fn files_that_are_none_keep_nobody_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let made = image(&layout, Types::Oci, "linux/amd64", Packing::Gzip);
    layout.tag("1.0", &made).unwrap();
    fs::remove_file(layout.path_of(&made)).unwrap();
    run("mkfifo", &[layout.path_of(&made).to_str().unwrap()]);
    let (error, text) = refusal(&name(&layout, ""), &settings()).await;
    assert!(matches!(error, SourceError::InvalidFile { .. }), "{text}");
}

#[tokio::test]
async fn skopeo_and_umoci_write_what_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (built, copy) = (path("built"), path("copy"));
    run("umoci", &["init", "--layout", &built]);
    run("umoci", &["new", "--image", &format!("{built}:1.0")]);
    let file = path("file");
    fs::write(&file, "content").unwrap();
    for target in ["/one", "/two"] {
        let image = format!("{built}:1.0");
        run("umoci", &["insert", "--rootless", "--image", &image, &file, target]);
    }
    let (source, image) = resolve(&format!("oci:{built}:1.0"), &settings()).await.unwrap();
    assert_eq!(layers(&*source, &image).await.len(), 2);

    // Skopeo rewrites the manifest when it changes the types.
    for format in ["oci", "v2s2"] {
        let target = format!("dir:{copy}-{format}");
        let from = format!("oci:{built}:1.0");
        run("skopeo", &["copy", "--insecure-policy", "--format", format, &from, &target]);
        let (source, copied) = resolve(&target, &settings()).await.unwrap();
        assert_eq!(copied.config.digest, image.config.digest);
        assert_eq!(copied.manifest, run("skopeo", &["inspect", "--raw", &target]));
        assert_eq!(layers(&*source, &copied).await, layers(&*source, &image).await);
    }
}

#[tokio::test]
async fn skopeos_directories_have_all_platforms() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let amd = image(&layout, Types::Oci, "linux/amd64", Packing::Gzip);
    let arm = layout.image(Types::Oci, "linux/arm64", &[(LOWER, Packing::Gzip)]).unwrap();
    let list = layout.index(Types::Oci, &[arm.clone(), amd.clone()]).unwrap();
    layout.tag("1.0", &list).unwrap();
    let target = format!("dir:{}", directory.path().join("copy").display());
    let from = name(&layout, ":1.0");
    run("skopeo", &["copy", "--insecure-policy", "--all", "--preserve-digests", &from, &target]);
    let (source, image) = resolve(&target, &settings()).await.unwrap();
    assert_is(&image, &layout, &amd);
    assert_eq!(image.index.clone().unwrap().to_string(), list["digest"]);
    assert_eq!(layers(&*source, &image).await.len(), 2);
    let blob = directory.path().join("copy").join(image.config.digest.as_hex());
    fs::write(blob, "{}").unwrap();
    let (error, text) = refusal(&target, &settings()).await;
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{text}");
}
