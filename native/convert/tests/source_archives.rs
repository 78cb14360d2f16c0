//! Archives of `docker save`, as its versions and other tools write them, right and wrong.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod sources;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use storm_oci_convert::Limits;
use storm_oci_convert::source::{SourceError, SourceSettings, open};
use storm_oci_store::{Digest, ErrorKind};
use storm_oci_test_stores::{OciLayout, Packing, Types};

use sources::{LOWER, UPPER, amd64, layers, refusal, resolve, run};

fn settings() -> SourceSettings {
    SourceSettings::default()
}

/// A directory that becomes an archive.
struct Saved {
    scratch: tempfile::TempDir,
}

impl Saved {
    fn new() -> Self {
        let saved = Self { scratch: tempfile::tempdir().unwrap() };
        fs::create_dir(saved.path("content")).unwrap();
        saved
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path("content").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Adds a config of these layers; gives its name, as Docker gives it.
    fn config(&self, archives: &[&[u8]]) -> String {
        let diff_ids: Vec<_> =
            archives.iter().map(|archive| Digest::of(archive).to_string()).collect();
        let config = json!({
            "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string();
        let name = format!("{}.json", Digest::of(config.as_bytes()).as_hex());
        self.write(&name, config.as_bytes());
        name
    }

    fn manifest(&self, manifest: &Value) {
        self.write("manifest.json", manifest.to_string().as_bytes());
    }

    /// The archive, packed by `tar` with these options.
    fn pack(&self, options: &[&str]) -> PathBuf {
        let (archive, content) = (self.path("image.tar"), self.path("content"));
        let (archive_text, content) = (archive.to_str().unwrap(), content.to_str().unwrap());
        run("tar", &[options, &["-cf", archive_text, "-C", content, "."]].concat());
        archive
    }
}

fn name(archive: &Path, rest: &str) -> String {
    format!("docker-archive:{}{rest}", archive.display())
}

/// As versions before 25 save it: each layer in a directory, a layer that occurs twice as a link.
fn saved_by_old_docker() -> Saved {
    let saved = Saved::new();
    let config = saved.config(&[LOWER, UPPER, LOWER]);
    saved.write("a/layer.tar", LOWER);
    saved.write("b/layer.tar", UPPER);
    fs::create_dir(saved.path("content/c")).unwrap();
    symlink("../a/layer.tar", saved.path("content/c/layer.tar")).unwrap();
    saved.manifest(&json!([{
        "Config": config, "RepoTags": ["storm/worker:1.0"],
        "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"],
    }]));
    saved
}

#[tokio::test]
async fn archives_of_old_docker_are_read_compressed_or_not() {
    let saved = saved_by_old_docker();
    let plain = saved.pack(&[]);
    let (_, image) = resolve(&name(&plain, ""), &settings()).await.unwrap();
    let digest = image.digest.clone();
    for options in [&[][..], &["--gzip"], &["--zstd"], &["--format=posix"], &["--format=gnu"]] {
        let archive = saved.pack(options);
        for rest in ["", ":storm/worker:1.0", ":docker.io/storm/worker:1.0", ":@0"] {
            let (source, image) = resolve(&name(&archive, rest), &settings()).await.unwrap();
            assert_eq!(image.digest, digest, "{options:?}{rest}");
            assert_eq!(Digest::of(&image.manifest), digest);
            assert_eq!(image.index, None);
            let read = layers(&*source, &image).await;
            assert_eq!(read, [LOWER, UPPER, LOWER], "{options:?}");
            assert!(image.layers.iter().all(|layer| layer.digest == layer.diff_id));
        }
    }
}

/// As Docker 25 and later save it, and others: blobs of an OCI layout, layers compressed or not.
#[tokio::test]
async fn archives_that_are_layouts_too_are_read() {
    let saved = Saved::new();
    let layout = OciLayout::create(&saved.path("content")).unwrap();
    let packed = [(LOWER, Packing::Gzip), (UPPER, Packing::Plain), (b"third", Packing::Zstd)];
    let made = layout.image(Types::Oci, "linux/amd64", &packed).unwrap();
    layout.tag("1.0", &made).unwrap();
    let manifest: Value = serde_json::from_slice(&layout.read(&made).unwrap()).unwrap();
    let blob = |descriptor: &Value| {
        descriptor["digest"].as_str().map(|digest| format!("blobs/{}", digest.replace(':', "/")))
    };
    let blobs: Vec<_> = manifest["layers"].as_array().unwrap().iter().map(blob).collect();
    saved.manifest(&json!([{
        "Config": blob(&manifest["config"]), "RepoTags": ["worker:latest"], "Layers": blobs,
    }]));
    let archive = saved.pack(&[]);
    for rest in ["", ":worker", ":worker:latest"] {
        let (source, image) = resolve(&name(&archive, rest), &settings()).await.unwrap();
        assert_eq!(layers(&*source, &image).await, [LOWER, UPPER, b"third"]);
        assert_eq!(image.config_json, layout.read(&manifest["config"]).unwrap());
    }
}

#[tokio::test]
async fn skopeo_makes_the_same_manifest() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let built = path("built");
    run("umoci", &["init", "--layout", &built]);
    run("umoci", &["new", "--image", &format!("{built}:1.0")]);
    let file = path("file");
    fs::write(&file, "content").unwrap();
    for target in ["/one", "/two"] {
        let image = format!("{built}:1.0");
        run("umoci", &["insert", "--rootless", "--image", &image, &file, target]);
    }
    let archive = format!("docker-archive:{}:storm/worker:1.0", path("image.tar"));
    let from = format!("oci:{built}:1.0");
    run("skopeo", &["copy", "--insecure-policy", &from, &archive]);
    let (source, image) = resolve(&archive, &settings()).await.unwrap();
    assert_eq!(image.manifest, run("skopeo", &["inspect", "--raw", &archive]));
    let read = layers(&*source, &image).await;
    // What it was before it was saved.
    let (source, original) = resolve(&from, &settings()).await.unwrap();
    for (number, blob) in layers(&*source, &original).await.into_iter().enumerate() {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*blob), &mut plain).unwrap();
        assert_eq!(plain, read[number]);
    }
}

#[tokio::test]
async fn one_of_several_images_is_chosen() {
    let saved = Saved::new();
    saved.write("lower.tar", LOWER);
    saved.write("upper.tar", UPPER);
    let item = |archive: &[u8], layer: &str, tags: Value| json!({"Config": saved.config(&[archive]), "RepoTags": tags, "Layers": [layer]});
    saved.manifest(&json!([
        item(LOWER, "lower.tar", json!(["storm/worker:1.0", "storm/worker:latest"])),
        item(UPPER, "upper.tar", Value::Null),
    ]));
    let archive = saved.pack(&[]);
    for (rest, wanted) in
        [(":storm/worker:1.0", LOWER), (":storm/worker", LOWER), (":@0", LOWER), (":@1", UPPER)]
    {
        let (source, image) = resolve(&name(&archive, rest), &settings()).await.unwrap();
        assert_eq!(layers(&*source, &image).await, [wanted], "{rest}");
    }
    let (error, text) = refusal(&name(&archive, ""), &settings()).await;
    assert!(matches!(error, SourceError::Ambiguous { .. }), "{text}");
    assert!(text.contains("it has storm/worker:1.0, storm/worker:latest, @1; hint"), "{text}");
    let (error, text) = refusal(&name(&archive, ":storm/worker:2.0"), &settings()).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
    assert!(text.contains("no `storm/worker:2.0`; there is storm/worker:1.0"), "{text}");
}

#[tokio::test]
async fn what_is_no_archive_of_an_image_is_refused() {
    type Build = fn(&Saved);
    let builds: &[(&str, Build, &str)] = &[
        ("nothing", |_| (), "it has no manifest.json: it is not an archive of `docker save`"),
        (
            "a layout",
            |saved| drop(OciLayout::create(&saved.path("content")).unwrap()),
            "it is an OCI layout; hint: unpack it, and write oci:DIRECTORY",
        ),
        ("no JSON", |saved| saved.write("manifest.json", b"no"), "manifest.json cannot be read"),
        ("empty", |saved| saved.manifest(&json!([])), "the archive is empty"),
        (
            "no config",
            |saved| saved.manifest(&json!([{"Config": "../../etc/passwd", "Layers": []}])),
            "names a config `../../etc/passwd`, which is not in it",
        ),
        (
            "no layer",
            |saved| {
                let config = saved.config(&[LOWER]);
                saved.manifest(&json!([{"Config": config, "Layers": ["/etc/passwd"]}]));
            },
            "names a layer `/etc/passwd`, which is not in it",
        ),
        (
            "layers missing",
            |saved| {
                let config = saved.config(&[LOWER, UPPER]);
                saved.write("layer.tar", LOWER);
                saved.manifest(&json!([{"Config": config, "Layers": ["layer.tar"]}]));
            },
            "it is for 2 layers, and the manifest has 1",
        ),
        (
            "links in a circle",
            |saved| {
                let config = saved.config(&[LOWER]);
                symlink("two", saved.path("content/one")).unwrap();
                symlink("one", saved.path("content/two")).unwrap();
                saved.manifest(&json!([{"Config": config, "Layers": ["one"]}]));
            },
            "names a layer `one`, which is not in it",
        ),
        (
            "a link out",
            |saved| {
                let config = saved.config(&[LOWER]);
                symlink("../../../../etc/passwd", saved.path("content/one")).unwrap();
                saved.manifest(&json!([{"Config": config, "Layers": ["one"]}]));
            },
            "names a layer `one`, which is not in it",
        ),
        (
            "another config",
            |saved| {
                let config = saved.config(&[LOWER]);
                saved.write(&config, b"{\"rootfs\": {\"diff_ids\": []}}");
                saved.manifest(&json!([{"Config": config, "Layers": []}]));
            },
            "digest is",
        ),
        (
            "no layers",
            |saved| {
                let config = saved.config(&[]);
                saved.manifest(&json!([{"Config": config, "Layers": null}]));
            },
            "it has no layers",
        ),
    ];
    for (what, build, said) in builds {
        let saved = Saved::new();
        build(&saved);
        let (_, text) = refusal(&name(&saved.pack(&[]), ""), &settings()).await;
        assert!(text.contains(said), "{what}: {text}");
    }
    let saved = Saved::new();
    let (error, text) = refusal(&name(&saved.path("none.tar"), ""), &settings()).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
    let (error, text) = refusal(&name(saved.scratch.path(), ""), &settings()).await;
    assert_eq!(error.kind(), ErrorKind::Malformed, "{text}");
    fs::write(saved.path("text"), "no archive".repeat(100)).unwrap();
    let (error, text) = refusal(&name(&saved.path("text"), ""), &settings()).await;
    assert_eq!(error.kind(), ErrorKind::Malformed, "{text}");
}

#[tokio::test]
async fn truncated_and_changed_archives_are_refused() {
    let saved = saved_by_old_docker();
    for options in [&[][..], &["--gzip"], &["--zstd"]] {
        let archive = saved.pack(options);
        let whole = fs::read(&archive).unwrap();
        let cut = saved.path("cut.tar");
        fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        assert!(resolve(&name(&cut, ""), &settings()).await.is_err(), "{options:?}");
    }
    // The digests of layers are looked at by who reads them.
    let saved = saved_by_old_docker();
    saved.write("a/layer.tar", UPPER);
    let (source, image) = resolve(&name(&saved.pack(&[]), ""), &settings()).await.unwrap();
    let chunks: Vec<_> =
        futures_util::TryStreamExt::try_collect(source.blob(&image.layers[0]).await.unwrap())
            .await
            .unwrap();
    assert_ne!(Digest::of(&chunks.concat()), image.layers[0].digest);
}

#[tokio::test]
async fn limits_are_kept() {
    let saved = Saved::new();
    let zeros = vec![0; 8 << 20];
    let config = saved.config(&[&zeros]);
    saved.write("plain.tar", &zeros);
    run("gzip", &[saved.path("content/plain.tar").to_str().unwrap()]);
    saved.manifest(&json!([{"Config": config, "Layers": ["plain.tar.gz"]}]));
    let source = open(&name(&saved.pack(&[]), ""), &settings()).unwrap();
    source.resolve(&amd64(), &Limits::default()).await.unwrap();
    for limits in [
        Limits { layer_bytes: 1 << 20, ..Limits::default() },
        Limits { image_bytes: 1 << 20, ..Limits::default() },
        Limits { document_bytes: 20, ..Limits::default() },
        Limits { layer_entries: 2, ..Limits::default() },
    ] {
        let error = source.resolve(&amd64(), &limits).await.unwrap_err();
        assert!(matches!(error, SourceError::OverLimit { .. }), "{limits:?}: {error}");
    }
}
