//! Fetches that end early: what they leave, and who goes on with it.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fs::{self, OpenOptions};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use fixture::{Fixture, Watch, names};
use serde_json::{Value, json};
use storm_oci_store::remote::Remotes;
use storm_oci_store::{
    Digest, ErrorKind, ImageStore, LayerDescriptor, Location, RemoteSettings, Verification,
};

/// What one transfer brings.
const SEGMENT: u64 = 64 << 20;
/// Two whole parts and a bit.
const SIZE: u64 = 2 * SEGMENT + 4097;

/// A layer of three parts, and what an earlier fetch left of it: the second part.
struct Broken {
    fixture: Fixture,
    layer: LayerDescriptor,
    remote: PathBuf,
    bytes: Vec<u8>,
}

impl Broken {
    async fn new() -> Self {
        let fixture = Fixture::new();
        let bytes: Vec<u8> = (0..SIZE).map(|index| (index % 251).to_le_bytes()[0]).collect();
        let layer = fixture.layer(&bytes);
        fixture.side_file(&layer, &Digest::of(&bytes), SIZE);
        drop(fixture.store());
        let remote = fixture.layer_path(&layer.digest);
        let broken = Self { fixture, layer, remote, bytes };
        let range = usize::try_from(SEGMENT).unwrap()..usize::try_from(2 * SEGMENT).unwrap();
        broken.leave(broken.bytes.get(range).unwrap()).await;
        broken
    }

    fn partial(&self, suffix: &str) -> PathBuf {
        let name = format!("partial/{}.sqsh{suffix}", self.layer.digest.as_hex());
        self.fixture.local().join(name)
    }

    /// Leaves `part` as the file's second part, with a record of it.
    async fn leave(&self, part: &[u8]) {
        let file = OpenOptions::new().write(true).create_new(true).open(self.partial("")).unwrap();
        file.set_len(SIZE).unwrap();
        file.write_all_at(part, SEGMENT).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let remote = Location::parse(self.remote.to_str().unwrap()).unwrap();
        let store = Remotes::new(RemoteSettings::default()).open(&remote).unwrap();
        let stat = store.stat(&remote).await.unwrap();
        let record = json!({
            "location": remote.to_string(),
            "size": stat.size,
            "modifiedMillis": stat.modified_millis,
            "version": stat.version,
            "boot": boot.trim_end(),
            "inode": file.metadata().unwrap().ino(),
            "ranges": [[SEGMENT, 2 * SEGMENT]],
        });
        fs::write(self.partial(".progress"), record.to_string()).unwrap();
    }

    fn change_record(&self, key: &str, value: Value) {
        let path = self.partial(".progress");
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        record.as_object_mut().unwrap().insert(key.to_owned(), value);
        fs::write(path, record.to_string()).unwrap();
    }

    /// With one transfer at a time, of which each can be seen.
    fn store_of_one_transfer(&self) -> ImageStore {
        let mut settings = self.fixture.settings();
        settings.connections = NonZeroUsize::MIN;
        ImageStore::open(settings).unwrap()
    }

    /// How many transfers it takes to complete the layer.
    async fn transfers(&self) -> usize {
        let store = self.store_of_one_transfer();
        let watch = Watch::on(&self.remote);
        let local = store.localize_layer(&self.layer).await.unwrap();
        assert!(local.fetched);
        assert!(fs::read(&local.path).unwrap() == self.bytes);
        assert_eq!(names(&self.fixture.local().join("partial")), [""; 0]);
        // One look at the size comes first.
        watch.uses().opens - 1
    }
}

#[tokio::test]
async fn what_is_there_is_not_fetched_again() {
    let broken = Broken::new().await;
    // Opening sweeps, and keeps this.
    assert_eq!(broken.transfers().await, 2);
}

#[tokio::test]
async fn a_fetch_of_another_version_is_not_gone_on_with() {
    let broken = Broken::new().await;
    broken.change_record("version", json!("1-1-1"));
    assert_eq!(broken.transfers().await, 3);
}

#[tokio::test]
async fn opening_removes_what_cannot_be_gone_on_with() {
    let broken = Broken::new().await;
    drop(broken.fixture.store());
    assert!(broken.partial("").exists());
    broken.change_record("boot", json!("another"));
    drop(broken.fixture.store());
    assert_eq!(names(&broken.fixture.local().join("partial")), [""; 0]);
}

#[tokio::test]
async fn bytes_that_went_bad_meanwhile_are_found_out_and_fetched_anew() {
    let broken = Broken::new().await;
    let file = OpenOptions::new().write(true).open(broken.partial("")).unwrap();
    file.write_all_at(b"bad", SEGMENT + 5).unwrap();
    // Two transfers for what lacks, and then all three, after another look at the size.
    assert_eq!(broken.transfers().await, 2 + 1 + 3);
}

#[tokio::test]
async fn a_fetch_that_is_given_up_is_gone_on_with() {
    let broken = Broken::new().await;
    fs::remove_file(broken.partial(".progress")).unwrap();
    let store = broken.store_of_one_transfer();
    let mut fetch = Box::pin(store.localize_layer(&broken.layer));
    // Given up as soon as something was saved.
    while !broken.partial(".progress").exists() {
        tokio::select! {
            biased;
            local = &mut fetch => {
                panic!("done before anything was saved: {:?}", local.map(|local| local.bytes))
            }
            () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
        }
    }
    drop(fetch);
    let ranges: Value =
        serde_json::from_slice(&fs::read(broken.partial(".progress")).unwrap()).unwrap();
    assert!(!ranges["ranges"].as_array().unwrap().is_empty());
    let local = store.localize_layer(&broken.layer).await.unwrap();
    assert!(local.fetched && fs::read(&local.path).unwrap() == broken.bytes);
}

#[tokio::test]
async fn a_layer_without_digest_is_refused_where_one_is_required() {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"squashfs");
    let mut settings = fixture.settings();
    settings.verification = Verification::Required;
    let strict = || ImageStore::open(settings.clone()).unwrap();
    let error = strict().localize_layer(&layer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unverified);
    assert!(error.to_string().contains("hint: add file://"), "{error}");
    assert_eq!(names(&fixture.local().join("layers")), [""; 0]);

    // A copy that was accepted without one does not count either, until there is one.
    assert!(fixture.store().localize_layer(&layer).await.unwrap().fetched);
    assert_eq!(strict().localize_layer(&layer).await.unwrap_err().kind(), ErrorKind::Unverified);
    fixture.side_file(&layer, &Digest::of(b"squashfs"), 8);
    let watch = Watch::on(&fixture.layer_path(&layer.digest));
    assert!(!strict().localize_layer(&layer).await.unwrap().fetched);
    assert_eq!(watch.uses().reads, 0);
    assert!(!strict().localize_layer(&layer).await.unwrap().fetched);
}

#[tokio::test]
async fn a_time_limit_holds_for_all_layers_together() {
    let fixture = Fixture::new();
    let layers = [fixture.layer(b"one"), fixture.layer(b"two")];
    let mut settings = fixture.settings();
    settings.fetch_timeout = std::time::Duration::ZERO;
    let error = ImageStore::open(settings).unwrap().localize_layers(&layers).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("not complete after 0 seconds"), "{error}");
    let locals = fixture.store().localize_layers(&layers).await.unwrap();
    let contents: Vec<_> = locals.iter().map(|local| fs::read(&local.path).unwrap()).collect();
    assert_eq!(contents, [b"one", b"two"]);
}
