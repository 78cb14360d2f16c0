//! From tag to manifest to image config, on a real directory.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fmt::Write;
use std::fs::{self, OpenOptions};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fixture::{CONFIG, Fixture, LAYER, MANIFEST, TAG, Watch, names, tag};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use storm_oci_store::{Digest, ErrorKind, ImageStore, Location, Object, ResourceKind, StoreError};
use tracing::field::{Field, Visit};

#[tokio::test]
async fn a_tag_leads_to_files() {
    let fixture = Fixture::new();
    let layers = [fixture.layer(b"base"), fixture.layer(b"jdk"), fixture.layer(b"base")];
    let digest = fixture.image(TAG, &layers);
    let store = fixture.store();
    assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), digest);

    let manifest = store.manifest(&digest).await.unwrap();
    assert_eq!(manifest.layers, layers);
    let config = store.config(&manifest).await.unwrap();
    assert_eq!(
        (config.env, config.entrypoint),
        (vec!["PATH=/bin".into()], vec!["/bin/tini".into()])
    );
    assert_eq!(config.path, fixture.local().join("config").join(config.digest.as_hex()));
    assert_eq!(Digest::of(&fs::read(&config.path).unwrap()), config.digest);
    let mut fetched = Vec::new();
    for layer in &manifest.layers {
        fetched.push(store.localize_layer(layer).await.unwrap().fetched);
    }
    assert_eq!(fetched, [true, true, false]);
}

#[tokio::test]
async fn an_unknown_tag_is_not_found_and_never_a_digest() {
    let fixture = Fixture::new();
    let digest = fixture.image(TAG, &[fixture.layer(b"base")]);
    fixture.add_line("broken line");
    let store = fixture.store();
    let map = fixture.tag_map().display().to_string();
    let cut = &digest.as_hex()[1..];
    let upper = digest.as_hex().to_uppercase();
    let prefixed = digest.to_string();
    for (unknown, close) in [
        ("none:9", ""),
        ("storm/test", "; close to it: `storm/test:1`"),
        ("strom/test:1", "; close to it: `storm/test:1`"),
        ("storm/test:1:1", "; close to it: `storm/test:1`"),
        ("a..b/c", ""),
        (cut, ""),
        (&upper, ""),
        (&prefixed, ""),
    ] {
        let error = store.resolve(&tag(unknown)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            format!(
                "cannot resolve image tag `{unknown}`: tag not found in file://{map}{close}; \
                 malformed and skipped: line 2 of file://{map}"
            )
        );
    }
    // As with Storm, and without any map's saying so.
    assert_eq!(store.resolve(&tag(digest.as_hex())).await.unwrap(), digest);
    fs::remove_file(fixture.tag_map()).unwrap();
    assert_eq!(fixture.store().resolve(&tag(digest.as_hex())).await.unwrap(), digest);
}

#[tokio::test]
async fn the_local_tag_map_comes_first_and_may_be_missing() {
    let fixture = Fixture::new();
    let remote = fixture.image(TAG, &[fixture.layer(b"base")]);
    let mut settings = fixture.settings();
    settings.local_tag_map = Some(fixture.local_tag_map());
    let store = ImageStore::open(settings).unwrap();
    assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), remote);

    let local = Digest::of(b"local");
    fs::write(fixture.local_tag_map(), format!("{TAG}:{}\nbroken\n", local.as_hex())).unwrap();
    assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), local);
    let error = store.resolve(&tag("none")).await.unwrap_err().to_string();
    assert!(error.contains("local-tags and file://"), "{error}");
    assert!(error.contains("; malformed and skipped: line 2 of file:///"), "{error}");

    fs::remove_file(fixture.local_tag_map()).unwrap();
    assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), remote);
}

#[tokio::test]
async fn a_tag_map_is_read_again_only_when_it_changed() {
    let fixture = Fixture::new();
    let first = fixture.image(TAG, &[fixture.layer(b"base")]);
    let store = fixture.store();
    let watch = Watch::on(&fixture.tag_map());
    assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), first);
    assert!(watch.uses().reads > 0);
    assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), first);
    let uses = watch.uses();
    assert_eq!((uses.opens, uses.reads), (1, 0), "looked at, not read");

    let second = fixture.image(TAG, &[fixture.layer(b"other")]);
    assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), second);
    assert!(watch.uses().reads > 0);
}

#[tokio::test]
async fn a_tag_map_is_left_alone_within_the_interval() {
    let fixture = Fixture::new();
    let first = fixture.image(TAG, &[fixture.layer(b"base")]);
    let mut settings = fixture.settings();
    settings.refresh_interval = Duration::from_secs(3600);
    let store = ImageStore::open(settings.clone()).unwrap();
    settings.refresh_interval = Duration::from_millis(1);
    let eager = ImageStore::open(settings).unwrap();
    for store in [&store, &eager] {
        assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), first);
    }
    let watch = Watch::on(&fixture.tag_map());
    let second = fixture.image(TAG, &[fixture.layer(b"other")]);
    watch.uses();
    assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), first);
    assert_eq!(watch.uses().opens, 0);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(eager.resolve(&tag(TAG)).await.unwrap(), second);
}

#[tokio::test]
async fn a_lost_tag_map_is_used_as_it_was() {
    let fixture = Fixture::new();
    let digest = fixture.image(TAG, &[fixture.layer(b"base")]);
    let store = fixture.store();
    assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), digest);
    fs::remove_file(fixture.tag_map()).unwrap();
    assert_eq!(store.resolve(&tag(TAG)).await.unwrap(), digest);

    let mut settings = fixture.settings();
    settings.refresh_interval = Duration::from_secs(60);
    let fresh = ImageStore::open(settings).unwrap();
    let error = fresh.resolve(&tag(TAG)).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { object: Object::TagMap, .. }), "{error}");
    // The next try does not wait for the interval.
    fixture.image(TAG, &[fixture.layer(b"base")]);
    assert_eq!(fresh.resolve(&tag(TAG)).await.unwrap(), digest);
}

#[tokio::test]
async fn a_torn_update_keeps_what_was_known() {
    let fixture = Fixture::new();
    let first = fixture.image("storm/first:1", &[fixture.layer(b"first")]);
    let second = fixture.image("storm/second:1", &[fixture.layer(b"second")]);
    let store = fixture.store();
    assert_eq!(store.resolve(&tag("storm/second:1")).await.unwrap(), second);
    let whole = fs::read_to_string(fixture.tag_map()).unwrap();
    for torn in ["", &whole[..20], &whole[..whole.len() - 2]] {
        fs::write(fixture.tag_map(), torn).unwrap();
        assert_eq!(store.resolve(&tag("storm/first:1")).await.unwrap(), first, "{torn}");
        assert_eq!(store.resolve(&tag("storm/second:1")).await.unwrap(), second, "{torn}");
    }
    // What such a file does say counts at once.
    fs::write(fixture.tag_map(), format!("storm/first:1:{}\nstorm/sec", second.as_hex())).unwrap();
    assert_eq!(store.resolve(&tag("storm/first:1")).await.unwrap(), second);
    assert_eq!(store.resolve(&tag("storm/second:1")).await.unwrap(), second);
    // And a tag goes with the first whole file that does not name it.
    fs::write(fixture.tag_map(), format!("storm/first:1:{}\n", first.as_hex())).unwrap();
    assert_eq!(store.resolve(&tag("storm/first:1")).await.unwrap(), first);
    let error = store.resolve(&tag("storm/second:1")).await.unwrap_err();
    assert!(matches!(error, StoreError::TagNotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_the_look_to_the_next() {
    let fixture = Fixture::new();
    let digest = fixture.image(TAG, &[fixture.layer(b"base")]);
    let mut settings = fixture.settings();
    settings.refresh_interval = Duration::from_secs(60);
    let store = ImageStore::open(settings).unwrap();
    let wanted = tag(TAG);

    // A store that does not answer: a pipe cannot be opened until somebody writes to it.
    let (map, aside) = (fixture.tag_map(), fixture.top().join("aside"));
    fs::rename(&map, &aside).unwrap();
    mknodat(CWD, &map, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let limit = Duration::from_millis(50);
    let given_up = tokio::time::timeout(limit, store.resolve(&wanted)).await;
    assert!(given_up.is_err(), "it did not ask the store");
    // Held until nobody can open the pipe any more: who did must not wait for ever.
    let writer = OpenOptions::new().read(true).write(true).open(&map).unwrap();
    fs::rename(&aside, &map).unwrap();
    drop(writer);
    assert_eq!(store.resolve(&wanted).await.unwrap(), digest);
}

#[tokio::test]
async fn settings_without_a_tag_map_are_refused() {
    let fixture = Fixture::new();
    let mut settings = fixture.settings();
    settings.remote_tag_map = None;
    let error = ImageStore::open(settings.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    settings.local_tag_map = Some("relative/tags".into());
    let error = ImageStore::open(settings).unwrap_err();
    assert!(matches!(error, StoreError::InvalidLocation { .. }), "{error}");
}

#[tokio::test]
async fn documents_are_kept_and_checked() {
    let fixture = Fixture::new();
    let digest = fixture.image(TAG, &[fixture.layer(b"base")]);
    let watch = Watch::on(&fixture.top().join("manifests").join(digest.as_hex()));
    let first = fixture.store().manifest(&digest).await.unwrap();
    let config = fixture.store().config(&first).await.unwrap();
    assert_eq!(watch.uses().opens, 2);
    // A new supervisor finds the local copies.
    let store = fixture.store();
    assert_eq!(store.manifest(&digest).await.unwrap(), first);
    assert_eq!(watch.uses().opens, 0);
    // A damaged copy is not believed, one in memory is.
    let copy = fixture.local().join("manifests").join(digest.as_hex());
    for path in [&copy, &config.path] {
        fs::write(path, "{}").unwrap();
    }
    assert_eq!(store.manifest(&digest).await.unwrap(), first);
    assert_eq!(watch.uses().opens, 0);
    assert_eq!(fixture.store().manifest(&digest).await.unwrap(), first);
    assert_eq!(watch.uses().opens, 2);
    assert_eq!(store.config(&first).await.unwrap(), config);
    assert_eq!(Digest::of(&fs::read(&copy).unwrap()), digest);
    assert_eq!(names(&fixture.local().join("partial")), [""; 0]);
}

#[tokio::test]
async fn only_so_many_manifests_stay_in_memory() {
    let fixture = Fixture::new();
    let digests: Vec<_> = [&b"1"[..], b"2", b"3"]
        .map(|content| fixture.image(TAG, &[fixture.layer(content)]))
        .to_vec();
    let store = fixture.store();
    for digest in &digests {
        store.manifest(digest).await.unwrap();
    }
    let copies = fixture.local().join("manifests");
    let last_used = Watch::on(&copies.join(digests[2].as_hex()));
    let second_used = Watch::on(&copies.join(digests[1].as_hex()));
    let first_used = Watch::on(&copies.join(digests[0].as_hex()));
    for digest in [&digests[2], &digests[1], &digests[0], &digests[1]] {
        store.manifest(digest).await.unwrap();
    }
    let opens = [&first_used, &second_used, &last_used].map(|watch| watch.uses().opens);
    assert_eq!(opens, [1, 0, 0]);
    store.manifest(&digests[2]).await.unwrap();
    assert_eq!(last_used.uses().opens, 1);
}

#[tokio::test]
async fn documents_of_another_digest_are_refused_and_the_repaired_store_works() {
    let fixture = Fixture::new();
    let digest = fixture.image(TAG, &[fixture.layer(b"base")]);
    let path = fixture.top().join("manifests").join(digest.as_hex());
    let good = fs::read(&path).unwrap();
    let store = fixture.store();

    fs::write(&path, "{}").unwrap();
    let error = store.manifest(&digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    for part in [digest.to_string(), Digest::of(b"{}").to_string(), "my store".to_owned()] {
        assert!(error.to_string().contains(&part), "{error}");
    }
    fs::write(&path, vec![b' '; (4 << 20) + 1]).unwrap();
    let error = store.manifest(&digest).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    fs::remove_file(&path).unwrap();
    let error = store.manifest(&digest).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { object: Object::Manifest, .. }), "{error}");
    assert_eq!(names(&fixture.local().join("manifests")), [""; 0]);

    fs::write(&path, good).unwrap();
    let manifest = store.manifest(&digest).await.unwrap();
    let config = fixture.top().join("config").join(manifest.config.digest.as_hex());
    let good = fs::read(&config).unwrap();
    fs::write(&config, "{}").unwrap();
    let error = store.config(&manifest).await.unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { object: Object::Config, .. }), "{error}");
    fs::write(&config, good).unwrap();
    store.config(&manifest).await.unwrap();
}

#[tokio::test]
async fn resources_are_what_storms_own_plugins_make() {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"base");
    let digest = fixture.image(TAG, std::slice::from_ref(&layer));
    let store = fixture.store();
    let manifest = store.manifest(&digest).await.unwrap();
    let layers = store.layer_resources(&manifest).await.unwrap();
    assert_eq!(layers.len(), 1);
    let remote = fixture.layer_path(&layer.digest);
    assert_eq!(layers[0].uri.to_string(), format!("file://{}", remote.display()));
    assert_eq!(layers[0].file_name, format!("{}.sqsh", layer.digest.as_hex()));
    assert_eq!((layers[0].size, layers[0].kind), (layer.size, ResourceKind::Layer));
    let modified = fs::metadata(&remote).unwrap().modified().unwrap();
    let millis = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert_eq!(u128::try_from(layers[0].modified_millis).unwrap(), millis);

    let config = store.config_resource(&manifest).await.unwrap();
    let local = fixture.local();
    assert_eq!(
        store.localize_resource(&config).await.unwrap(),
        local.join("config").join(manifest.config.digest.as_hex())
    );
    // Another plugin may have found it elsewhere, and name it as Hadoop does.
    let elsewhere = fixture.top().join("elsewhere");
    fs::rename(&remote, &elsewhere).unwrap();
    let mut moved = layers[0].clone();
    moved.uri = Location::parse(&format!("file:{}", elsewhere.display())).unwrap();
    let path = store.localize_resource(&moved).await.unwrap();
    assert_eq!(path, local.join("layers").join(&moved.file_name));
    assert_eq!(fs::read(path).unwrap(), b"base");

    let error = store.layer_resources(&manifest).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { object: Object::Layer, .. }), "{error}");
    moved.file_name = "../../etc/passwd".into();
    let error = store.localize_resource(&moved).await.unwrap_err();
    assert!(matches!(error, StoreError::InvalidResourceName { .. }), "{error}");
}

/// Collects warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn malformed_lines_are_reported_once_with_file_and_number() {
    let fixture = Fixture::new();
    fixture.add_line("# fine");
    fixture.add_line("no digest");
    fixture.image(TAG, &[fixture.layer(b"base")]);
    fixture.add_line("../../x:zz");
    let store = fixture.store();
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    for _ in 0..3 {
        store.resolve(&tag(TAG)).await.unwrap();
    }
    let lines = warnings.0.lock().unwrap().clone();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, number) in lines.iter().zip([2, 4]) {
        assert!(line.contains(&format!("file=file://{}", fixture.tag_map().display())), "{line}");
        assert!(line.contains(&format!("line={number} ")), "{line}");
    }
}

#[tokio::test]
async fn a_layer_type_that_cannot_be_run_is_named() {
    let fixture = Fixture::new();
    let digest = fixture.document(
        TAG,
        &json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": 1, "digest": Digest::of(b"c").to_string()},
            "layers": [
                {"mediaType": LAYER, "size": 1, "digest": Digest::of(b"0").to_string()},
                {"mediaType": "text/plain", "size": 1, "digest": Digest::of(b"1").to_string()},
            ],
        }),
    );
    let error = fixture.store().manifest(&digest).await.unwrap_err().to_string();
    let wanted = format!("cannot use layer {}: media type `text/plain`", Digest::of(b"1"));
    assert!(error.starts_with(&wanted), "{error}");
}
