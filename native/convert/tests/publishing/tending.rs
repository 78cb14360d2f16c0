//! What is kept of a store, and what is not.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use storm_oci_convert::publish::{
    CleanupOptions, Fault, GcOptions, PublishError, Publisher, RemoveOptions, Tagged, Why,
};
use storm_oci_store::{Digest, ErrorKind};

use super::{CONFIG, MANIFEST, Sample, Site, reference, references};

const NO_GRACE: GcOptions = GcOptions { grace: Duration::ZERO, dry_run: false, force: false };

/// Long enough for what was written before to be old where times are whole seconds.
pub(crate) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

async fn all_names(site: &Site) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for directory in ["", "layers", "config", "manifests", "unreferenced"] {
        for name in site.names(directory).await {
            names.insert(format!("{directory}/{name}"));
        }
    }
    names
}

/// What no tag leads to goes, and nothing else.
pub(crate) async fn a_sweep_takes_what_nobody_needs(site: &Site) {
    let publisher = site.publisher();
    let kept = Sample::small("kept");
    kept.publish(&publisher, &["kept:1"]).await.unwrap();
    let whole = all_names(site).await;
    let gone = Sample::small("gone");
    gone.publish(&publisher, &["gone:1"]).await.unwrap();
    publisher.untag(&references(&["gone:1"])).await.unwrap();
    let orphan = format!("layers/{}.sqsh.json", Digest::of(b"orphan").as_hex());
    site.damage(&orphan, b"{}").await;
    site.damage("layers/.x.sqsh.host.1.2.3.partial", b"torn").await;
    site.damage("layers/README", b"not ours").await;
    site.damage(&format!("unreferenced/{}", kept.hex()), b"").await;
    a_moment().await;

    // Within the grace period nothing goes, but for what has no use at all.
    let plan = publisher.gc(&GcOptions::default()).await.unwrap();
    let reasons: Vec<_> = plan.remove.iter().map(|removal| removal.why).collect();
    assert_eq!(reasons, [Why::Obsolete], "{plan:?}");
    let before = all_names(site).await;
    let dry = publisher.gc(&GcOptions { dry_run: true, ..NO_GRACE }).await.unwrap();
    assert_eq!(all_names(site).await, before);
    let plan = publisher.gc(&NO_GRACE).await.unwrap();
    assert_eq!(plan, dry);
    assert!(plan.bytes() > 0);
    let mut left = all_names(site).await;
    assert!(left.remove("layers/README"));
    assert_eq!(left, whole);
    assert_eq!(publisher.gc(&NO_GRACE).await.unwrap().remove, []);
    site.must_run("kept:1", &kept).await;
    assert!(site.store().delete(&site.top.join("layers/README")).await.unwrap());
}

/// One who follows dead holders sweeps as well as others.
pub(crate) async fn a_sweep_follows_dead_holders(site: &Site) {
    let publisher = site.publisher();
    Sample::small("kept").publish(&publisher, &["kept:1"]).await.unwrap();
    let record = |token: char| {
        let token = String::from(token).repeat(32);
        format!(r#"{{"holder":"me@gone pid 1","since":0,"token":"{token}"}}"#)
    };
    let lock = site.tag_map().with_suffix(".lock");
    let store = site.store();
    store.publish_new(&lock, record('1').into()).await.unwrap();
    let follower = lock.with_suffix(&format!(".{}", "1".repeat(32)));
    store.publish_new(&follower, record('2').into()).await.unwrap();
    // Of a lock that was given back.
    let orphan = lock.with_suffix(&format!(".{}", "3".repeat(32)));
    store.publish_new(&orphan, record('4').into()).await.unwrap();
    let mut settings = site.settings();
    settings.stale_lock = Duration::from_secs(5);
    let patient = Publisher::open(settings).unwrap();
    let plan = loop {
        match patient.gc(&NO_GRACE).await {
            Err(PublishError::LockLost { .. }) => {}
            outcome => break outcome.unwrap(),
        }
    };
    assert!(plan.remove.iter().any(|removal| removal.location == orphan), "{plan:?}");
    assert_eq!(site.names("").await, ["image-tag-to-hash"]);
}

/// A manifest that nobody understands neither breaks a sweep nor loses what it may need.
pub(crate) async fn an_odd_manifest_keeps_what_it_may_need(site: &Site) {
    let publisher = site.publisher();
    let kept = Sample::small("kept");
    kept.publish(&publisher, &["kept:1"]).await.unwrap();
    let needed = Sample::small("needed by an odd one");
    needed.put(&publisher).await.unwrap();
    let unneeded = Sample::small("not needed");
    unneeded.put(&publisher).await.unwrap();
    // Compact JSON of another schema, as one kind of tool leaves it.
    let odd = json!({"schemaVersion": 7, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": needed.config_digest().to_string()},
        "parts": {"a": {"b": super::blob(&needed.layers[1]).to_string()}}})
    .to_string();
    let odd_name = format!("manifests/{}", Digest::of(odd.as_bytes()).as_hex());
    site.damage(&odd_name, odd.as_bytes()).await;
    site.store().delete(&site.top.join(&format!("manifests/{}", needed.hex()))).await.unwrap();
    a_moment().await;
    let plan = publisher.gc(&NO_GRACE).await.unwrap();
    assert_eq!(plan.problems.len(), 1, "{plan:?}");
    let names = all_names(site).await;
    assert!(names.contains(&format!("/{}", needed.layer_name(1)).replacen('/', "", 1)));
    assert!(!names.contains(&unneeded.layer_name(1)));

    // One whose bytes are lost may have needed anything.
    let torn = format!("manifests/{}", Digest::of(b"something else").as_hex());
    site.damage(&torn, b"{\"torn").await;
    unneeded.put(&publisher).await.unwrap();
    a_moment().await;
    let plan = publisher.gc(&NO_GRACE).await.unwrap();
    assert_eq!(plan.problems.len(), 2, "{plan:?}");
    let names = all_names(site).await;
    assert!(
        !names.contains(&format!("manifests/{}", unneeded.hex())),
        "it is a manifest like others"
    );
    assert!(names.contains(&unneeded.layer_name(1)));
    let images = publisher.list().await.unwrap();
    assert_eq!(images.iter().filter(|image| image.problems.is_empty()).count(), 1);

    let plan = publisher.gc(&GcOptions { force: true, ..NO_GRACE }).await.unwrap();
    assert!(plan.remove.iter().any(|removal| removal.location == site.top.join(&torn)));
    let names = all_names(site).await;
    assert!(!names.contains(&odd_name) && !names.contains(&torn));
    assert!(!names.contains(&unneeded.layer_name(1)) && !names.contains(&needed.layer_name(1)));
    site.must_run("kept:1", &kept).await;
}

/// Images that share a config and layers are removed one by one.
pub(crate) async fn removing_an_image_breaks_no_other(site: &Site) {
    let publisher = site.publisher();
    let one = Sample::small("one");
    // The same config and layers, another manifest.
    let mut twin = one.clone();
    twin.manifest.push(b'\n');
    one.publish(&publisher, &["one:1", "one:2"]).await.unwrap();
    twin.publish(&publisher, &["twin:1"]).await.unwrap();
    a_moment().await;
    let options = RemoveOptions { grace: Duration::ZERO, ..RemoveOptions::default() };
    let remove = async |names: &[&str], options: &RemoveOptions| {
        publisher.remove(&references(names), options).await
    };
    let error = remove(&["one:1"], &options).await.unwrap_err();
    let PublishError::StillTagged { tags, .. } = &error else { panic!("{error}") };
    assert_eq!(*tags, references(&["one:2"]));
    let error = remove(&["none:1"], &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let before = all_names(site).await;
    remove(&["one:1", "one:2"], &RemoveOptions { dry_run: true, ..options.clone() }).await.unwrap();
    assert_eq!(all_names(site).await, before);

    let plan = remove(&["one:1", "one:2"], &options).await.unwrap();
    let removed: Vec<_> = plan.remove.iter().map(|removal| &removal.location).collect();
    assert_eq!(removed, [&site.top.join(&format!("manifests/{}", one.hex()))]);
    site.must_run("twin:1", &twin).await;
    let plan = remove(&[&twin.hex()], &RemoveOptions { all_tags: true, ..options }).await.unwrap();
    assert_eq!(plan.remove.len(), 1 + 1 + 2 * 2, "{plan:?}");
    assert_eq!(publisher.list().await.unwrap(), []);
    assert_eq!(site.names("layers").await, [""; 0]);
}

/// An image goes to another store with its tags and comments; the second time nothing does.
pub(crate) async fn an_image_is_copied(from: &Site, to: &Site) {
    let (source, target) = (from.publisher(), to.publisher());
    let sample = Sample::new("copied", &[super::bytes_of(3, 9 << 20), b"hsqs small".to_vec()]);
    sample.publish(&source, &["copied:1"]).await.unwrap();
    let copied = source.copy_to(&target, &reference("copied:1"), &[]).await.unwrap();
    assert_eq!((copied.layers, copied.tagged), (2, Tagged::Changed));
    to.must_run("copied:1", &sample).await;
    assert!(to.tag_map_text().await.contains("#registry/test\n"));
    let again = source.copy_to(&target, &reference("copied:1"), &[]).await.unwrap();
    assert_eq!((again.layers, again.bytes, again.tagged), (0, 0, Tagged::Unchanged));

    let other = Sample::small("copied with all");
    other.publish(&source, &["all:1", "all:2"]).await.unwrap();
    let broken = Sample::small("broken one");
    broken.publish(&source, &["broken:1"]).await.unwrap();
    from.damage(&broken.layer_name(1), b"x").await;
    let outcomes = source.copy_all_to(&target).await.unwrap();
    let failed: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, broken.digest());
    to.must_run("all:2", &other).await;
    assert_eq!(target.tags().await.unwrap().digest(&reference("broken:1")), None);
}

/// The steps of Storm's script: noted, hidden, removed; and a tag brings an image back.
pub(crate) async fn an_untagged_image_goes_in_steps(site: &Site) {
    let publisher = site.publisher();
    let kept = Sample::small("kept");
    kept.publish(&publisher, &["kept:1"]).await.unwrap();
    let gone = Sample::small("gone");
    gone.put(&publisher).await.unwrap();
    let options = CleanupOptions { transition: Duration::ZERO, ..CleanupOptions::default() };
    let marker = format!("unreferenced/{}", gone.hex());
    let step = async || {
        a_moment().await;
        publisher.cleanup(&options).await.unwrap()
    };
    assert_eq!(step().await.remove, []);
    assert_eq!(site.names("unreferenced").await, [gone.hex()]);
    // Within the period nothing happens.
    assert_eq!(publisher.cleanup(&CleanupOptions::default()).await.unwrap().remove, []);
    assert_eq!(step().await.remove, []);
    let manifest = site.top.join(&format!("manifests/{}", gone.hex()));
    match site.store().file(&manifest).await.unwrap().mode {
        Some(mode) => {
            assert_eq!(mode, 0o400);
            let images = publisher.list().await.unwrap();
            let hidden = images.iter().find(|image| image.digest == gone.digest()).unwrap();
            assert_eq!(hidden.problems[0].fault, Fault::Mode(0o400));
        }
        None => assert_eq!(site.read(&marker).await, b"dead\n"),
    }
    // Published again, it is an image like others.
    gone.publish(&publisher, &["gone:1"]).await.unwrap();
    assert_eq!(site.names("unreferenced").await, [""; 0]);
    site.must_run("gone:1", &gone).await;
    publisher.untag(&references(&["gone:1"])).await.unwrap();
    for _ in 0..2 {
        assert_eq!(step().await.remove, []);
    }
    let plan = step().await;
    let reasons: BTreeSet<_> = plan.remove.iter().map(|removal| removal.why.to_string()).collect();
    assert_eq!(plan.remove.len(), 1 + 1 + 1 + 2, "{plan:?}");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    let digests = publisher.list().await.unwrap().into_iter().map(|image| image.digest);
    assert!(digests.eq([kept.digest()]));
    site.must_run("kept:1", &kept).await;
}
