//! Image indexes, from a tag to the layers of one platform.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fs;

use fixture::{Fixture, MANIFEST, TAG, names, tag};
use serde_json::{Value, json};
use storm_oci_store::{Digest, ErrorKind, ImageStore, LayerDescriptor, Platform, StoreError};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A store with an image of two platforms behind one tag.
struct Images {
    fixture: Fixture,
    layers: [LayerDescriptor; 2],
    manifests: [Digest; 2],
    index: Digest,
}

impl Images {
    fn new() -> Self {
        let fixture = Fixture::new();
        let layers = [fixture.layer(b"for amd64"), fixture.layer(b"for arm64")];
        let manifest =
            |layer: &LayerDescriptor| fixture.image("unused", std::slice::from_ref(layer));
        let manifests = layers.each_ref().map(manifest);
        let index = fixture.document(TAG, &index(&manifests));
        Self { fixture, layers, manifests, index }
    }

    fn store(&self, platform: &str) -> ImageStore {
        let mut settings = self.fixture.settings();
        settings.platform = Platform::parse(platform).unwrap();
        ImageStore::open(settings).unwrap()
    }
}

fn index(manifests: &[Digest; 2]) -> Value {
    let entry = |digest: &Digest, architecture: &str| {
        json!({
            "mediaType": MANIFEST,
            "size": 1,
            "digest": digest.to_string(),
            "platform": {"os": "linux", "architecture": architecture},
        })
    };
    json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [entry(&manifests[0], "amd64"), entry(&manifests[1], "arm64")],
    })
}

#[tokio::test]
async fn a_tag_of_an_index_leads_to_the_platforms_manifest() {
    let images = Images::new();
    for (number, platform) in ["linux/amd64", "linux/arm64"].into_iter().enumerate() {
        let store = images.store(platform);
        let digest = store.resolve(&tag(TAG)).await.unwrap();
        assert_eq!(digest, images.index, "the index is what the tag names");
        let manifest = store.manifest(&digest).await.unwrap();
        assert_eq!(manifest.digest, images.manifests[number]);
        assert_eq!(manifest.layers, images.layers[number..=number]);
    }
    // The cache has them all, and they do without the store.
    fs::remove_dir_all(images.fixture.top().join("manifests")).unwrap();
    let store = images.store("linux/arm64");
    assert_eq!(store.manifest(&images.index).await.unwrap().digest, images.manifests[1]);
    assert_eq!(names(&images.fixture.local().join("manifests")).len(), 3);
}

#[tokio::test]
async fn a_platform_that_is_not_there_is_named() {
    let images = Images::new();
    let error = images.store("linux/s390x").manifest(&images.index).await.unwrap_err();
    assert!(matches!(error, StoreError::NoManifestForPlatform { .. }), "{error}");
    let part = "no manifest is for linux/s390x; it has linux/amd64, linux/arm64; hint: ";
    assert!(error.to_string().contains(part), "{error}");
}

#[tokio::test]
async fn the_chosen_manifest_is_what_the_index_names() {
    let images = Images::new();
    let manifests = images.fixture.top().join("manifests");
    let [amd64, arm64] = images.manifests.each_ref().map(|digest| manifests.join(digest.as_hex()));
    fs::copy(amd64, arm64).unwrap();
    let error = images.store("linux/arm64").manifest(&images.index).await.unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");

    // An index that is said to be a manifest is not followed.
    let nested = images.fixture.document("nested", &index(&images.manifests));
    let outer = images.fixture.document("outer", &index(&[nested.clone(), nested]));
    let error = images.store("linux/amd64").manifest(&outer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains(INDEX), "{error}");
}
