//! Layers in a real cache: fetched once, checked, replaced when they are not what they were.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::SystemTime;

use fixture::{Fixture, Uses, Watch, names};
use storm_oci_store::{
    Digest, ErrorKind, ImageStore, LayerDescriptor, LayerMediaType, Object, StoreError,
};

/// Several chunks and batches, in one transfer.
const LARGE: usize = (9 << 20) + 17;
/// One look at the size and one transfer.
const LARGE_OPENS: usize = 2;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index * 31 % 251).unwrap()).collect()
}

async fn is_fetched(store: &ImageStore, layer: &LayerDescriptor) -> bool {
    store.localize_layer(layer).await.unwrap().fetched
}

#[tokio::test]
async fn a_layer_is_fetched_once_and_stays() {
    let fixture = Fixture::new();
    let bytes = content(LARGE);
    let layer = fixture.layer(&bytes);
    let watch = Watch::on(&fixture.layer_path(&layer.digest));
    let (path, record) = fixture.cached(&layer);

    let local = fixture.store().localize_layer(&layer).await.unwrap();
    assert!(local.fetched);
    assert_eq!((&local.path, local.bytes), (&path, u64::try_from(LARGE).unwrap()));
    assert!(fs::read(&path).unwrap() == bytes);
    assert_eq!(watch.uses().opens, LARGE_OPENS);

    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o444, 1));
    let record: serde_json::Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    assert_eq!(record["sha256"], Digest::of(&bytes).as_hex());
    assert_eq!(names(&fixture.local().join("partial")), [""; 0]);
    for name in ["layers", "config", "manifests", "leases", "partial"] {
        let mode = fs::metadata(fixture.local().join(name)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o755, "{name}");
    }

    // Also for the next supervisor.
    drop(local);
    let local = fixture.store().localize_layer(&layer).await.unwrap();
    assert!(!local.fetched);
    assert_eq!(local.bytes, u64::try_from(LARGE).unwrap());
    assert_eq!(watch.uses(), Uses::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_tasks_fetch_a_layer_once() {
    let fixture = Fixture::new();
    let layer = fixture.layer(&content(LARGE));
    let watch = Watch::on(&fixture.layer_path(&layer.digest));
    let store = Arc::new(fixture.store());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (store, layer) = (Arc::clone(&store), layer.clone());
            tokio::spawn(async move { is_fetched(&store, &layer).await })
        })
        .collect();
    let mut fetched = 0;
    for task in tasks {
        fetched += usize::from(task.await.unwrap());
    }
    assert_eq!((fetched, watch.uses().opens), (1, LARGE_OPENS));
}

#[tokio::test]
async fn different_layers_do_not_wait_for_each_other() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.layer(b"one"), fixture.layer(b"other"));
    let store = fixture.store();
    let held = store.localize_layer(&one).await.unwrap();
    assert!(is_fetched(&store, &other).await);
    assert!(held.fetched);
    assert_eq!(names(&fixture.local().join("leases")).len(), 2);
}

/// What happens to files on a disk.
type Damage = fn(&std::path::Path, &std::path::Path);

#[tokio::test]
async fn a_changed_copy_is_replaced() {
    let damages: [(&str, Damage); 10] = [
        ("truncated", |layer, _| {
            fs::set_permissions(layer, Permissions::from_mode(0o644)).unwrap();
            OpenOptions::new().write(true).open(layer).unwrap().set_len(3).unwrap();
        }),
        ("flipped", |layer, _| {
            fs::set_permissions(layer, Permissions::from_mode(0o644)).unwrap();
            OpenOptions::new().write(true).open(layer).unwrap().write_all(b"X").unwrap();
        }),
        ("touched", |layer, _| {
            File::open(layer).unwrap().set_modified(SystemTime::now()).unwrap();
        }),
        ("removed", |layer, _| fs::remove_file(layer).unwrap()),
        ("copied over", |layer, _| {
            let bytes = fs::read(layer).unwrap();
            fs::remove_file(layer).unwrap();
            fs::write(layer, bytes).unwrap();
        }),
        ("exchanged for one of the same size and time", |layer, _| {
            let modified = fs::metadata(layer).unwrap().modified().unwrap();
            let other = layer.with_extension("other");
            fs::write(&other, "SQUASHFS").unwrap();
            File::open(&other).unwrap().set_modified(modified).unwrap();
            fs::rename(other, layer).unwrap();
        }),
        ("linked", |layer, _| {
            let elsewhere = layer.with_extension("moved");
            fs::rename(layer, &elsewhere).unwrap();
            std::os::unix::fs::symlink(elsewhere, layer).unwrap();
        }),
        ("without record", |_, record| fs::remove_file(record).unwrap()),
        ("with an empty record", |_, record| fs::write(record, "").unwrap()),
        ("with a foreign record", |_, record| fs::write(record, r#"{"size":1}"#).unwrap()),
    ];
    for (name, damage) in damages {
        let fixture = Fixture::new();
        let layer = fixture.layer(b"squashfs");
        let store = fixture.store();
        assert!(is_fetched(&store, &layer).await);
        let (path, record) = fixture.cached(&layer);
        damage(&path, &record);
        assert!(is_fetched(&store, &layer).await, "{name}");
        assert_eq!(fs::read(&path).unwrap(), b"squashfs", "{name}");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink(), "{name}");
        assert!(!is_fetched(&store, &layer).await, "{name}");
    }
}

#[tokio::test]
async fn what_the_launcher_does_to_a_copy_is_no_change() {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"squashfs");
    let store = fixture.store();
    assert!(is_fetched(&store, &layer).await);
    let (path, _) = fixture.cached(&layer);
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    assert!(!is_fetched(&store, &layer).await);
}

#[tokio::test]
async fn a_side_file_is_believed() {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"squashfs");
    fixture.side_file(&layer, &Digest::of(b"squashfs"), 8);
    assert!(is_fetched(&fixture.store(), &layer).await);
}

#[tokio::test]
async fn a_layer_that_its_side_file_contradicts_is_refused() {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"squashed");
    fixture.side_file(&layer, &Digest::of(b"squashfs"), 8);
    let watch = Watch::on(&fixture.layer_path(&layer.digest));
    let store = fixture.store();

    let error = store.localize_layer(&layer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(matches!(error, StoreError::DigestMismatch { object: Object::Layer, .. }));
    let message = error.to_string();
    for part in [
        Digest::of(b"squashfs").to_string(),
        Digest::of(b"squashed").to_string(),
        layer.digest.as_hex().to_owned(),
    ] {
        assert!(message.contains(&part), "{message}");
    }
    // Two tries, each one look and one range.
    assert_eq!(watch.uses().opens, 4);
    assert_eq!(names(&fixture.local().join("layers")), [""; 0]);
    assert_eq!(names(&fixture.local().join("partial")), [""; 0]);

    // The store is repaired.
    fs::write(fixture.layer_path(&layer.digest), "squashfs").unwrap();
    assert!(is_fetched(&store, &layer).await);
}

#[tokio::test]
async fn a_layer_of_another_size_is_refused_unread() {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"squash");
    fixture.side_file(&layer, &Digest::of(b"squashfs"), 8);
    let watch = Watch::on(&fixture.layer_path(&layer.digest));
    let error = fixture.store().localize_layer(&layer).await.unwrap_err();
    assert!(matches!(error, StoreError::SizeMismatch { expected: 8, found: 6, .. }), "{error}");
    assert_eq!(watch.uses(), Uses { opens: 2, reads: 0 });
}

#[tokio::test]
async fn a_broken_side_file_is_an_error() {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"squashfs");
    let path = fixture.layer_path(&layer.digest).with_extension("sqsh.json");
    for bad in ["", "{}", r#"{"sha256":"","size":8}"#, r#"{"sha256":"../../x","size":8}"#] {
        fs::write(&path, bad).unwrap();
        let error = fixture.store().localize_layer(&layer).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{bad}: {error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_squashfs_descriptor_is_checked_itself() {
    let fixture = Fixture::new();
    let digest = Digest::of(b"squashfs");
    let layer = LayerDescriptor { media_type: LayerMediaType::Squashfs, digest, size: 8 };
    let store = fixture.store();
    fs::write(fixture.layer_path(&layer.digest), "squashed").unwrap();
    let error = store.localize_layer(&layer).await.unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
    // An archive may claim that name and bring other bytes; they do not count as this layer.
    let archive = LayerDescriptor { media_type: LayerMediaType::Archive, ..layer.clone() };
    assert!(is_fetched(&store, &archive).await);
    fs::write(fixture.layer_path(&layer.digest), "squashfs").unwrap();
    assert!(is_fetched(&store, &layer).await);
    assert!(!is_fetched(&store, &layer).await);
}

#[tokio::test]
async fn a_missing_layer_is_named() {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"squashfs");
    let remote = fixture.layer_path(&layer.digest);
    fs::remove_file(&remote).unwrap();
    let store = fixture.store();
    let error = store.localize_layer(&layer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let wanted = format!(
        "cannot read layer file://{}: not found in the store; \
         hint: publish it before the manifest that needs it",
        remote.display()
    );
    assert_eq!(error.to_string(), wanted);
    fs::create_dir(&remote).unwrap();
    let error = store.localize_layer(&layer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_discarded_layer_is_fetched_anew() {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"squashfs");
    let store = fixture.store();
    let (path, record) = fixture.cached(&layer);
    store.discard_layer(&layer.file()).unwrap();

    let leased = store.localize_layer(&layer).await.unwrap();
    store.discard_layer(&layer.file()).unwrap();
    assert!(path.exists() && !record.exists(), "a leased file stays");
    drop(leased);
    assert!(is_fetched(&store, &layer).await);

    store.discard_layer(&layer.file()).unwrap();
    assert!(!path.exists() && !record.exists());
    assert_eq!(names(&fixture.local().join("leases")), [""; 0]);
    assert!(is_fetched(&store, &layer).await);
}

#[tokio::test]
async fn opening_removes_what_the_dead_left() {
    let fixture = Fixture::new();
    drop(fixture.store());
    let digest = Digest::of(b"gone");
    for name in ["partial/x.sqsh", "partial/y.sqsh", "partial/y.sqsh.lock", "partial/z.lock"] {
        fs::write(fixture.local().join(name), "").unwrap();
    }
    fs::write(fixture.local().join("leases").join(digest.as_hex()), "").unwrap();
    fs::set_permissions(fixture.local().join("layers"), Permissions::from_mode(0o775)).unwrap();
    drop(fixture.store());
    assert_eq!(names(&fixture.local().join("partial")), [""; 0]);
    assert_eq!(names(&fixture.local().join("leases")), [""; 0]);
    assert_eq!(fs::metadata(fixture.local().join("layers")).unwrap().mode() & 0o7777, 0o755);
}

#[tokio::test]
async fn a_cache_that_cannot_be_made_is_named() {
    let fixture = Fixture::new();
    let mut settings = fixture.settings();
    settings.local_dir = fixture.top().join("image-tag-to-hash/cache");
    fs::write(fixture.top().join("image-tag-to-hash"), "").unwrap();
    let error = ImageStore::open(settings).unwrap_err();
    assert!(error.to_string().starts_with("cannot create directory "), "{error}");
    drop(fixture.store());
    fs::remove_dir(fixture.local().join("layers")).unwrap();
    fs::write(fixture.local().join("layers"), "").unwrap();
    let error = ImageStore::open(fixture.settings()).unwrap_err();
    assert!(error.to_string().contains("oci-resources/layers"), "{error}");
}
