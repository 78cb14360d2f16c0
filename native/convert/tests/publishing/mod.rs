//! Images to publish, and the stores that they go to.
#![allow(dead_code, reason = "each test file uses its own part of it")]

pub(crate) mod killed;
pub(crate) mod scenarios;
pub(crate) mod tending;
pub(crate) mod watched;

use std::io::{Seek, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use storm_oci_convert::publish::{
    LayerState, PublishError, PublishSettings, PublishedLayer, Publisher, Tagged, Written,
    publishable_manifest,
};
use storm_oci_store::remote::{Remotes, Upload, WritableStore, body_of};
use storm_oci_store::{
    CacheBudget, Content, Descriptor, Digest, ImageStore, LayerFile, LayerFormat, Location, Object,
    Platform, Reference, RemoteSettings, StoreSettings, Verification,
};

pub(crate) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A store that nobody else uses.
pub(crate) struct Site {
    pub(crate) top: Location,
    pub(crate) remote: RemoteSettings,
}

impl Site {
    pub(crate) fn new(top: &str, remote: RemoteSettings) -> Self {
        Self { top: Location::parse(top).unwrap(), remote }
    }

    pub(crate) fn tag_map(&self) -> Location {
        self.top.join("image-tag-to-hash")
    }

    /// Those of one who waits for as long as it takes on a host that is busy.
    pub(crate) fn settings(&self) -> PublishSettings {
        let settings = PublishSettings::new(self.top.clone(), self.tag_map(), self.remote.clone());
        PublishSettings { lock_patience: Duration::from_secs(300), ..settings }
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::open(self.settings()).unwrap()
    }

    /// A publisher whose writes are told to a hook.
    pub(crate) fn watched(&self, hook: watched::Hook) -> Publisher {
        let store: Arc<dyn WritableStore> = Arc::new(watched::Watched::new(self.store(), hook));
        Publisher::over(self.settings(), Arc::clone(&store), store)
    }

    pub(crate) fn store(&self) -> Arc<dyn WritableStore> {
        Remotes::new(self.remote.clone()).open_writable(&self.top).unwrap()
    }

    /// Puts bytes where they do not belong.
    pub(crate) async fn damage(&self, name: &str, bytes: &[u8]) {
        let how = Upload { object: Object::Layer, overwrite: true, replication: None };
        let body = body_of(Bytes::copy_from_slice(bytes));
        let store = self.store();
        store.upload(&self.top.join(name), body, &Content::of(bytes), how).await.unwrap();
    }

    pub(crate) async fn names(&self, directory: &str) -> Vec<String> {
        let directory = match directory {
            "" => self.top.clone(),
            below => self.top.join(below),
        };
        let files = self.store().files(&directory).await.unwrap();
        files.into_iter().map(|listed| listed.name).collect()
    }

    pub(crate) async fn read(&self, name: &str) -> Vec<u8> {
        let (store, location) = (self.store(), self.top.join(name));
        let stat = store.stat(&location).await.unwrap();
        store.read(&location, &stat, 0..stat.size).await.unwrap().to_vec()
    }

    pub(crate) async fn tag_map_text(&self) -> String {
        String::from_utf8(self.read("image-tag-to-hash").await).unwrap()
    }

    /// What a supervisor sees, which refuses layers that it cannot verify.
    pub(crate) fn image_store(&self, local: &Path) -> ImageStore {
        let settings = StoreSettings {
            top_level: self.top.clone(),
            local_tag_map: None,
            remote_tag_map: Some(self.tag_map()),
            refresh_interval: Duration::ZERO,
            manifests_to_cache: NonZeroUsize::MIN,
            local_dir: local.to_owned(),
            budget: CacheBudget::default(),
            platform: Platform::host(),
            verification: Verification::Required,
            fetch_timeout: Duration::from_secs(60),
            connections: NonZeroUsize::new(4).unwrap(),
            remote: self.remote.clone(),
        };
        ImageStore::open(settings).unwrap()
    }

    /// Reads an image as a supervisor does, and compares it with what it was made of.
    pub(crate) async fn must_run(&self, tag: &str, sample: &Sample) {
        let local = tempfile::tempdir().unwrap();
        let images = self.image_store(local.path());
        let digest = images.resolve(&reference(tag)).await.unwrap();
        assert_eq!(digest, sample.digest());
        let manifest = images.manifest(&digest).await.unwrap();
        assert_eq!(images.config(&manifest).await.unwrap().digest, Digest::of(&sample.config));
        let layers = images.localize_layers(&manifest.layers).await.unwrap();
        assert_eq!(layers.len(), sample.layers.len());
        for (layer, content) in layers.iter().zip(&sample.layers) {
            assert!(std::fs::read(&layer.path).unwrap() == *content, "{tag}: other bytes");
        }
    }
}

pub(crate) fn reference(tag: &str) -> Reference {
    Reference::parse(tag).unwrap()
}

pub(crate) fn references(tags: &[&str]) -> Vec<Reference> {
    tags.iter().map(|tag| reference(tag)).collect()
}

/// An image, converted.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) config: Vec<u8>,
    /// The files of its layers.
    pub(crate) layers: Vec<Vec<u8>>,
    /// The source's manifest.
    pub(crate) manifest: Vec<u8>,
}

/// Bytes that are others for each seed.
pub(crate) fn bytes_of(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|at| seed ^ at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect()
}

impl Sample {
    pub(crate) fn new(name: &str, layers: &[Vec<u8>]) -> Self {
        let config = json!({"architecture": "amd64", "config": {"Env": [format!("IMAGE={name}")]}});
        let config = config.to_string().into_bytes();
        let described = layers.iter().map(
            |content| json!({"mediaType": LAYER, "size": 77, "digest": blob(content).to_string()}),
        );
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": CONFIG,
                "size": config.len(),
                "digest": Digest::of(&config).to_string(),
            },
            "layers": described.collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        Self { config, layers: layers.to_vec(), manifest }
    }

    /// One of two layers, the first of which is the same for all.
    pub(crate) fn small(name: &str) -> Self {
        Self::new(name, &[b"hsqs of all".to_vec(), format!("hsqs of {name}").into_bytes()])
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub(crate) fn hex(&self) -> String {
        self.digest().as_hex().to_owned()
    }

    pub(crate) fn config_digest(&self) -> Digest {
        Digest::of(&self.config)
    }

    /// `layers/<hex>.sqsh`
    pub(crate) fn layer_name(&self, index: usize) -> String {
        format!("layers/{}", layer_file(&self.layers[index]))
    }

    /// Everything but the tag; which layers were written, and how.
    pub(crate) async fn put(&self, publisher: &Publisher) -> Result<Vec<Written>, PublishError> {
        self.put_all(publisher).await.map(|(written, _)| written)
    }

    /// Everything but the tag; the digest of the manifest in the store.
    pub(crate) async fn published(&self, publisher: &Publisher) -> Digest {
        self.put_all(publisher).await.unwrap().1
    }

    async fn put_all(&self, publisher: &Publisher) -> Result<(Vec<Written>, Digest), PublishError> {
        publisher.init().await?;
        let (mut layers, mut written) = (Vec::new(), Vec::new());
        for content in &self.layers {
            let file = layer_file(content);
            let (found, how) = match publisher.layer_state(&file).await? {
                LayerState::Present(found) => (found, Written::Present),
                LayerState::Absent | LayerState::Broken(_) => {
                    let source = file_of(content);
                    publisher.publish_layer(&file, source, &Content::of(content)).await?
                }
            };
            layers.push(PublishedLayer {
                blob: blob(content),
                blob_size: 77,
                file,
                content: found,
            });
            written.push(how);
        }
        let config = Descriptor {
            media_type: CONFIG.to_owned(),
            digest: self.config_digest(),
            size: u64::try_from(self.config.len()).unwrap(),
        };
        publisher.publish_config(&config.digest, self.config.clone().into()).await?;
        let (bytes, digest) =
            publishable_manifest(&self.manifest, &self.digest(), None, &config, &layers)?;
        publisher.publish_manifest(&digest, bytes).await?;
        Ok((written, digest))
    }

    pub(crate) async fn publish(
        &self,
        publisher: &Publisher,
        tags: &[&str],
    ) -> Result<Tagged, PublishError> {
        self.put(publisher).await?;
        publisher.tag(&self.digest(), &references(tags), Some("registry/test")).await
    }
}

impl Sample {
    /// As [`Sample::publish`], where a lock is lost so soon that a busy host may lose it.
    pub(crate) async fn publish_despite_losses(&self, publisher: &Publisher, tags: &[&str]) {
        loop {
            match self.publish(publisher, tags).await {
                Err(PublishError::LockLost { .. }) => {}
                outcome => {
                    outcome.unwrap();
                    return;
                }
            }
        }
    }
}

/// The digest of the archive that a layer was made of. Nobody has it.
pub(crate) fn blob(content: &[u8]) -> Digest {
    Digest::of(&[b"archive of ", content].concat())
}

pub(crate) fn layer_file(content: &[u8]) -> LayerFile {
    LayerFile { digest: blob(content), format: LayerFormat::Squashfs }
}

pub(crate) fn file_of(content: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}
