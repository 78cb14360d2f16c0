//! Images of bytes that no compression makes smaller, the same in every run.

use std::fs;
use std::path::Path;

use serde_json::json;
use storm_oci_store::Digest;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// More layers no image may have; there are several images then.
const MOST_LAYERS: usize = 100;

/// The layers of a store, all of them in one image if it can have as many.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The directory of the store below the one that holds all.
    pub(crate) store: &'static str,
    /// The tags of its images.
    pub(crate) tags: Vec<String>,
    /// File name, digest and size of each layer's squashfs file.
    pub(crate) files: Vec<(String, Digest, u64)>,
}

impl Layers {
    /// Writes a store below `parent` that holds images with layers of these sizes, in Storm's
    /// layout, with the side files that make our library check each byte.
    pub(crate) fn write(parent: &Path, store: &'static str, sizes: &[u64]) -> Self {
        let top = parent.join(store);
        for name in ["layers", "config", "manifests"] {
            fs::create_dir_all(top.join(name)).unwrap();
        }
        let mut files = Vec::new();
        let mut descriptors = Vec::new();
        for (seed, size) in (1..).zip(sizes) {
            let bytes = noise(seed, *size);
            let own = Digest::of(&bytes);
            // The manifest names the archive that the layer was made from.
            let archive = Digest::of(own.as_hex().as_bytes());
            let file = format!("{}.sqsh", archive.as_hex());
            let path = top.join("layers").join(&file);
            fs::write(&path, bytes).unwrap();
            let side = json!({"sha256": own.as_hex(), "size": size});
            fs::write(path.with_extension("sqsh.json"), side.to_string()).unwrap();
            descriptors.push(json!({"mediaType": LAYER, "size": 1, "digest": archive.to_string()}));
            files.push((file, own, *size));
        }
        let config = json!({"config": {"Entrypoint": ["/bin/true"]}}).to_string();
        let config_digest = Digest::of(config.as_bytes());
        fs::write(top.join("config").join(config_digest.as_hex()), &config).unwrap();
        let config = json!({
            "mediaType": CONFIG,
            "size": config.len(),
            "digest": config_digest.to_string(),
        });
        let mut tags = Vec::new();
        let mut map = String::new();
        for layers in descriptors.chunks(MOST_LAYERS) {
            let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
                                  "layers": layers});
            let manifest = manifest.to_string();
            let digest = Digest::of(manifest.as_bytes());
            fs::write(top.join("manifests").join(digest.as_hex()), manifest).unwrap();
            let tag = format!("{store}:{}", tags.len());
            map.push_str(&format!("{tag}:{}\n", digest.as_hex()));
            tags.push(tag);
        }
        fs::write(top.join("tags"), map).unwrap();
        Self { store, tags, files }
    }

    /// Bytes of all layers.
    pub(crate) fn size(&self) -> u64 {
        self.files.iter().map(|(_, _, size)| size).sum()
    }

    /// Fails unless the directory holds every layer as it was written. Digests are compared only
    /// if `thoroughly`.
    pub(crate) fn check(&self, directory: &Path, thoroughly: bool) {
        for (file, digest, size) in &self.files {
            let path = directory.join(file);
            assert_eq!(fs::metadata(&path).unwrap().len(), *size, "{}", path.display());
            if thoroughly {
                assert_eq!(Digest::of(&fs::read(&path).unwrap()), *digest, "{}", path.display());
            }
        }
    }
}

/// SplitMix64: fast, and as good as noise to a compressor.
fn noise(seed: u64, size: u64) -> Vec<u8> {
    let size = usize::try_from(size).unwrap();
    let mut bytes = Vec::with_capacity(size + 8);
    let mut state = seed;
    while bytes.len() < size {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
