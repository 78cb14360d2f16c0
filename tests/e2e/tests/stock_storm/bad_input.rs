//! Images that cannot run, and what the supervisor says about each.

use serde_json::json;
use storm_oci_e2e::image_store::Layer;
use storm_oci_e2e::{E2eError, Layout, Testbed, files, image};

/// A bad image and the words its refusal must have.
#[derive(Debug)]
pub(crate) struct BadImage {
    /// The topology's name, and the test's.
    pub(crate) name: &'static str,
    /// The image's tag.
    pub(crate) tag: String,
    /// Words of one line of the supervisor's log.
    pub(crate) said: Vec<String>,
}

/// The bad images of the store, and the layer that a repair needs.
#[derive(Debug)]
pub(crate) struct BadImages {
    pub(crate) all: Vec<BadImage>,
    /// The truncated layer, whole.
    pub(crate) whole: Vec<u8>,
    /// The digest it lies under.
    pub(crate) truncated: String,
}

/// The topology whose image is repaired.
pub(crate) const TRUNCATED: &str = "truncated-layer";
/// A tag that is in the map, but that the supervisor does not allow.
pub(crate) const NOT_ALLOWED: &str = "storm/not-allowed:1";

impl BadImages {
    /// Puts them into the store.
    pub(crate) fn create(testbed: &mut Testbed) -> Result<Self, E2eError> {
        let good = testbed.layers.clone();
        let with = |layer: &Layer| [good.clone(), vec![layer.clone()]].concat();
        let store = &mut testbed.store;
        let mut all = Vec::new();
        let mut bad = |name: &'static str, said: &[&str]| {
            let tag = format!("storm/{name}:1");
            let mut said: Vec<String> = said.iter().map(|&word| word.to_owned()).collect();
            said.extend(["cannot launch worker".to_owned(), format!("topology {name}-")]);
            all.push(BadImage { name, tag: tag.clone(), said });
            tag
        };

        bad("unknown-tag", &["storm/unknown-tag:1"]);

        let tag = bad("not-allowed", &[NOT_ALLOWED, "storm.oci.allowed.images"]);
        store.add_image(&[&tag], &good)?;

        let tag = bad("malformed-line", &["storm/malformed-line:1", "malformed"]);
        store.add_tag_line(&format!("{tag}:not-a-digest"))?;

        let artifact = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
            "blobs": [],
        });
        let digest = store.add_manifest(&["storm/manifest-type:1"], &artifact)?;
        bad("manifest-type", &[&digest, "media type"]);

        let absent = Layer::squashfs(files::digest_of("no such layer"), 4096);
        let tag = bad("missing-layer", &[&absent.digest, "not found"]);
        store.add_image(&[&tag], &with(&absent))?;

        let scratch = testbed.layout.scratch("bad-layers");
        let content = |name: &str| -> Result<Vec<u8>, E2eError> {
            small_layer(&testbed.layout, &scratch.join(name))
        };
        let other = files::digest_of("another layer");
        let wrong = store.put_layer(&other, &content("wrong")?, Some(&other))?;
        let tag = bad("wrong-digest", &[&other, "digest"]);
        store.add_image(&[&tag], &with(&wrong))?;

        let whole = content("truncated")?;
        let truncated = files::digest_of(&whole);
        let half = whole.get(..whole.len() / 2).unwrap_or_default();
        store.put_layer(&truncated, half, Some(&files::digest_of(half)))?;
        let size = u64::try_from(whole.len()).unwrap_or(u64::MAX);
        let tag = bad(TRUNCATED, &[&truncated]);
        store.add_image(&[&tag], &with(&Layer::squashfs(truncated.clone(), size)))?;

        let tag = bad("no-bash", &["bash"]);
        store.add_image(&[&tag], good.get(2..).unwrap_or_default())?;

        Ok(Self { all, whole, truncated })
    }
}

/// A layer of one file that does not compress, so that half of it is no squashfs.
fn small_layer(layout: &Layout, tree: &std::path::Path) -> Result<Vec<u8>, E2eError> {
    files::make_dir(tree)?;
    let text: String = (0..4096).map(|number| files::digest_of(number.to_string())).collect();
    files::write(&tree.join("content"), format!("{}\n{text}", tree.display()))?;
    let file = tree.with_extension("sqsh");
    image::squash(tree, &file, &layout.log("bad-layers"))?;
    std::fs::read(&file).map_err(|source| E2eError::File { verb: "read", path: file, source })
}
