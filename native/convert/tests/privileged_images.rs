//! Images as others built them, whole, beside what `umoci` unpacks of them. Needs root, and fails
//! without.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod filesystem;
mod overlay;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use filesystem::{Listing, Mounted, assert_same, is_inside, list};
use overlay::{comparable, overlaid};
use storm_oci_convert::ConvertError;
use storm_oci_convert::image::{self, Event, Observer, PublishOptions, PublishedImage};
use storm_oci_convert::layer::{LayerError, LayerOptions};
use storm_oci_convert::publish::{PublishSettings, Publisher};
use storm_oci_convert::source::{self, SourceSettings};
use storm_oci_store::{LayerFormat, Location, Platform, Reference, RemoteSettings};
use storm_oci_test_stores::{Kept, RealImage, misordered_image, real_images};

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn told(&self, _: Event<'_>) {}
}

/// An empty store in a directory.
async fn store(scratch: &Path) -> Arc<Publisher> {
    let top = Location::parse(scratch.join("store").to_str().unwrap()).unwrap();
    let settings =
        PublishSettings::new(top.clone(), top.join("image-tag-to-hash"), RemoteSettings::default());
    let publisher = Arc::new(Publisher::open(settings).unwrap());
    publisher.init().await.unwrap();
    publisher
}

async fn publish(
    image: &RealImage,
    publisher: &Arc<Publisher>,
    scratch: &Path,
) -> Result<PublishedImage, ConvertError> {
    let source = source::open(&image.reference(), &SourceSettings::default()).unwrap();
    let options = PublishOptions {
        platform: Platform::parse(image.platform).unwrap(),
        layers: LayerOptions::default(),
        format: LayerFormat::Squashfs,
        force: false,
        working_dir: scratch.to_owned(),
    };
    let tags = [Reference::parse("real/image:1").unwrap()];
    let (source, publisher) = (Arc::from(source), Arc::clone(publisher));
    image::publish(source, publisher, &tags, &options, Arc::new(Nobody)).await
}

/// What a container of a published image sees.
async fn seen(image: &RealImage, scratch: &Path) -> Listing {
    let publisher = store(scratch).await;
    let published = publish(image, &publisher, scratch).await;
    let published = published.unwrap_or_else(|error| panic!("{}: {error}", image.name));
    let verified = publisher.verify(&[]).await.unwrap();
    assert!(verified.iter().all(|image| image.problems.is_empty()), "{verified:?}");
    let layers: Vec<_> = published
        .layers
        .iter()
        .map(|layer| {
            Mounted::new(&scratch.join("store/layers").join(layer.file.to_string()), "squashfs")
        })
        .collect();
    overlaid(&layers, scratch)
}

/// Lets `umoci` unpack an image. It gives directories that no layer describes the present time, and
/// we none.
fn unpacked(image: &RealImage, scratch: &Path) -> Listing {
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let copy = match image.kept {
        // skopeo of Debian 12 mistakes compressed archives.
        Kept::DockerArchive => {
            "zcat -f \"$0\" >archive && skopeo copy -q docker-archive:archive oci:layout:x"
        }
        Kept::OciLayout => "skopeo copy -q --override-arch=$1 oci:\"$0\" oci:layout:x",
    };
    let (_, architecture) = image.platform.split_once('/').unwrap();
    let script = format!("{copy} && umoci unpack --image layout:x bundle");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).arg(&image.without_zstd).arg(architecture).current_dir(scratch);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", image.name);
    let mut listing = comparable(list(&scratch.join("bundle/rootfs")));
    for entry in listing.values_mut().filter(|entry| entry.mtime >= i64::try_from(start).unwrap()) {
        entry.mtime = 0;
    }
    listing
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_what_umoci_unpacks() {
    if !is_inside("images_are_what_umoci_unpacks") {
        return;
    }
    for image in real_images().unwrap() {
        let scratch = tempfile::tempdir().unwrap();
        let found = seen(&image, scratch.path()).await;
        assert_same(&unpacked(&image, scratch.path()), &found, image.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_in_another_order_than_the_configs_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let publisher = store(scratch.path()).await;
    let refused = publish(&misordered_image().unwrap(), &publisher, scratch.path()).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, ConvertError::Layer(LayerError::DiffIdMismatch { .. })),
        "{refused:?}"
    );
    assert_eq!(publisher.list().await.unwrap(), []);
}
