//! What publishing must do in each kind of store.

use std::sync::Arc;
use std::time::Duration;

use storm_oci_convert::publish::{Fault, LayerState, PublishError, Publisher, Tagged, Written};
use storm_oci_store::{Content, ErrorKind};

use super::watched::{Hook, Point};
use super::{Sample, Site, bytes_of, file_of, layer_file, reference, references};

/// An image goes in once, and comes out as it was.
pub(crate) async fn an_image_is_published_once(site: &Site) {
    // More than a part of an upload, more than a block, and nothing at all.
    let layers = [bytes_of(1, (19 << 20) + 3), b"hsqs".to_vec(), Vec::new()];
    let sample = Sample::new("first", &layers);
    let publisher = site.publisher();
    assert_eq!(sample.put(&publisher).await.unwrap(), [Written::New; 3]);
    assert_eq!(site.tag_map_text().await.lines().count(), 1, "only a comment");
    let tag = async || publisher.tag(&sample.digest(), &references(&["a:1", "a:2"]), None).await;
    assert_eq!(tag().await.unwrap(), Tagged::Changed);
    site.must_run("a:1", &sample).await;
    site.must_run("a:2", &sample).await;

    assert_eq!(sample.put(&publisher).await.unwrap(), [Written::Present; 3]);
    assert_eq!(tag().await.unwrap(), Tagged::Unchanged);
    let mut names = site.names("layers").await;
    names.retain(|name| !name.ends_with(".json"));
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(site.names("manifests").await, [sample.hex()]);
    let beside: Vec<_> = site.names("").await;
    assert_eq!(beside, ["image-tag-to-hash"], "no lock and nothing temporary stays");

    let images = publisher.list().await.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].tags, references(&["a:1", "a:2"]));
    assert_eq!((images[0].layers, images[0].problems.as_slice()), (3, [].as_slice()));
    let shown = publisher.show(&reference("a:2")).await.unwrap();
    assert_eq!(shown.image.digest, sample.digest());
    assert_eq!(shown.layers[1].size, Some(4));
    let verified = publisher.verify(&[]).await.unwrap();
    assert_eq!((verified.len(), verified[0].problems.as_slice()), (1, [].as_slice()));
    let missing = publisher.show(&reference("b:1")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    assert!(matches!(missing, PublishError::NotFound { .. }), "{missing}");
}

/// What is wrong is found, and made right by publishing again.
pub(crate) async fn what_is_broken_is_repaired(site: &Site) {
    let sample = Sample::small("broken");
    let publisher = site.publisher();
    sample.publish(&publisher, &["broken:1"]).await.unwrap();
    let (layer, side) = (sample.layer_name(1), format!("{}.json", sample.layer_name(1)));
    let manifest = format!("manifests/{}", sample.hex());
    let config = format!("config/{}", sample.config_digest().as_hex());
    let other = vec![b'x'; sample.layers[1].len()];
    let verify = async || publisher.verify(&[reference("broken:1")]).await.unwrap().remove(0);
    for (name, bytes) in [
        (&layer, Some(&b"truncated"[..])),
        (&layer, Some(&other)),
        (&layer, None),
        (&side, None),
        (&side, Some(b"{")),
        (&manifest, Some(b"{}")),
        (&manifest, None),
        (&config, Some(b"{}")),
        (&config, None),
    ] {
        match bytes {
            Some(bytes) => site.damage(name, bytes).await,
            None => assert!(site.store().delete(&site.top.join(name)).await.unwrap()),
        }
        let found = verify().await;
        assert_eq!(found.problems.len(), 1, "{name}: {:?}", found.problems);
        let same_size = bytes.is_some_and(|bytes| bytes == other);
        if !same_size {
            // Seen before it is tagged, too.
            let error = publisher.tag(&sample.digest(), &references(&["x:1"]), None).await;
            let Err(PublishError::Incomplete { problems, .. }) = error else {
                panic!("{name}: {error:?}");
            };
            assert_eq!(problems.len(), 1, "{name}");
        }
        let mut settings = site.settings();
        settings.verify_existing = same_size;
        let careful = Publisher::open(settings).unwrap();
        sample.publish(&careful, &["broken:1"]).await.unwrap();
        assert_eq!(verify().await.problems, [], "{name}");
    }
    site.must_run("broken:1", &sample).await;
    // The right file that lacks its side file is not written again.
    assert!(site.store().delete(&site.top.join(&side)).await.unwrap());
    let before = site.store().stat(&site.top.join(&layer)).await.unwrap();
    sample.publish(&publisher, &["broken:1"]).await.unwrap();
    assert_eq!(site.store().stat(&site.top.join(&layer)).await.unwrap(), before);
    site.must_run("broken:1", &sample).await;
}

/// A layer is written again only for one who insists, and looking changes nothing.
pub(crate) async fn a_good_layer_is_written_again_if_asked(site: &Site) {
    let publisher = site.publisher();
    let error = publisher.must_exist().await.unwrap_err();
    assert!(matches!(error, PublishError::NoStore { .. }), "{error}");
    assert!(error.to_string().contains("; hint: "), "{error}");
    let file = layer_file(b"hsqs");
    assert_eq!(publisher.inspect(&file).await.unwrap(), LayerState::Absent);
    publisher.init().await.unwrap();
    publisher.must_exist().await.unwrap();
    let put = async |publisher: &Publisher, bytes: &[u8]| {
        publisher.publish_layer(&file, file_of(bytes), &Content::of(bytes)).await.unwrap()
    };
    let (one, other) = (Content::of(b"hsqs"), Content::of(b"HSQS"));
    assert_eq!(put(&publisher, b"hsqs").await, (one.clone(), Written::New));
    // Made by another program, perhaps: as good as this one.
    assert_eq!(put(&publisher, b"HSQS").await, (one.clone(), Written::Present));
    let mut settings = site.settings();
    settings.force = true;
    let insisting = Publisher::open(settings).unwrap();
    assert_eq!(put(&insisting, b"HSQS").await, (other.clone(), Written::Repaired));
    assert_eq!(put(&insisting, b"HSQS").await, (other.clone(), Written::Present));
    assert_eq!(publisher.inspect(&file).await.unwrap(), LayerState::Present(other.clone()));
    // Not even bytes of the right length are believed then.
    let name = format!("layers/{file}");
    site.damage(&name, b"XSQS").await;
    assert_eq!(put(&insisting, b"HSQS").await, (other, Written::Repaired));
    assert_eq!(site.read(&name).await, b"HSQS");
    let tag_map = publisher.read_tag_map().await.unwrap();
    assert_eq!(tag_map, site.tag_map_text().await);
}

/// What an upload must never do is end as if it had succeeded.
pub(crate) async fn an_upload_of_other_bytes_leaves_nothing(site: &Site) {
    let publisher = site.publisher();
    publisher.init().await.unwrap();
    let before = site.names("layers").await;
    for size in [5, 9 << 20] {
        let file = layer_file(&bytes_of(7, size));
        let promised = Content::of(&bytes_of(8, size));
        let error = publisher.publish_layer(&file, file_of(&bytes_of(7, size)), &promised).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Mismatch);
        let short = Content { size: promised.size + 1, ..promised };
        let error = publisher.publish_layer(&file, file_of(&bytes_of(7, size)), &short).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Mismatch);
    }
    assert_eq!(site.names("layers").await, before);
}

/// Those who publish at once lose nothing.
pub(crate) async fn publishers_at_once_lose_nothing(site: &Site, publishers: usize) {
    let tasks: Vec<_> = (0..publishers)
        .map(|index| {
            let publisher = site.publisher();
            tokio::spawn(async move {
                let sample = Sample::small(&format!("image {index}"));
                let tag = format!("own:{index}");
                sample.publish(&publisher, &[&tag, "shared:latest"]).await.unwrap();
                // The tag of all moves, the own one stays.
                let same = Sample::small("the same for all");
                same.publish(&publisher, &[&format!("same:{index}")]).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let publisher = site.publisher();
    let tags = publisher.tags().await.unwrap();
    assert_eq!(tags.malformed(), []);
    for index in 0..publishers {
        let sample = Sample::small(&format!("image {index}"));
        assert_eq!(tags.digest(&reference(&format!("own:{index}"))), Some(&sample.digest()));
        let same = Sample::small("the same for all").digest();
        assert_eq!(tags.digest(&reference(&format!("same:{index}"))), Some(&same));
    }
    assert_eq!(site.tag_map_text().await.matches("shared:latest").count(), 1);
    let verified = publisher.verify(&[]).await.unwrap();
    assert!(verified.iter().all(|image| image.problems.is_empty()), "{verified:?}");
    assert_eq!(site.names("").await, ["image-tag-to-hash"]);
}

/// A dead holder's lock is waited for, and then passed on to one after another.
pub(crate) async fn a_dead_holders_lock_is_taken_over(site: &Site) {
    let sample = Sample::small("locked");
    sample.put(&site.publisher()).await.unwrap();
    let lock = site.tag_map().with_suffix(".lock");
    let dead = r#"{"holder":"me@gone pid 1","since":0,"token":"00000000000000000000000000000001"}"#;
    site.store().publish_new(&lock, dead.into()).await.unwrap();

    let mut settings = site.settings();
    settings.lock_patience = Duration::from_millis(300);
    let hasty = Publisher::open(settings).unwrap();
    let error = hasty.untag(&references(&["a:1"])).await.unwrap_err();
    assert!(matches!(error, PublishError::LockHeld { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(" me@gone pid 1 holds it since ") && text.contains("; hint: "), "{text}");

    let site = Arc::new(Site { top: site.top.clone(), remote: site.remote.clone() });
    let tasks: Vec<_> = (0..5)
        .map(|index| {
            let mut settings = site.settings();
            // S3 has whole seconds.
            settings.stale_lock = Duration::from_secs(5);
            let publisher = Publisher::open(settings).unwrap();
            let sample = sample.clone();
            tokio::spawn(async move {
                let tag = format!("after:{index}");
                sample.publish_despite_losses(&publisher, &[&tag]).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let tags = site.publisher().tags().await.unwrap();
    assert_eq!(tags.tags(&sample.digest()).len(), 5, "{tags}");
    let left = site.names("").await;
    assert!(!left.contains(&"image-tag-to-hash.lock".to_owned()), "{left:?}");
}

/// One whose lock was taken over changes nothing any more, and leaves the other's lock alone.
pub(crate) async fn who_lost_the_lock_changes_nothing(site: &Site) {
    let sample = Sample::small("lost");
    let publisher = site.publisher();
    sample.publish(&publisher, &["lost:1"]).await.unwrap();
    let before = site.tag_map_text().await;
    let other = Sample::small("other");
    other.put(&publisher).await.unwrap();
    let lock = site.tag_map().with_suffix(".lock");
    let record = r#"{"holder":"b@c pid 2","since":0,"token":"00000000000000000000000000000002"}"#;
    let hook: Hook = {
        let (store, lock) = (site.store(), lock.clone());
        Arc::new(move |write, point| {
            let (store, lock) = (Arc::clone(&store), lock.clone());
            Box::pin(async move {
                // After the lock was taken and the marker removed, before the tag map is written.
                if (write, point) == (1, Point::After) {
                    store.replace(&lock, record.into()).await.unwrap();
                }
            })
        })
    };
    let publisher = site.watched(hook);
    let error = publisher.tag(&other.digest(), &references(&["lost:1"]), None).await.unwrap_err();
    assert!(matches!(error, PublishError::LockLost { .. }), "{error}");
    assert_eq!(site.tag_map_text().await, before);
    assert_eq!(site.read("image-tag-to-hash.lock").await, record.as_bytes());
    assert!(site.store().delete(&lock).await.unwrap());
    publisher.tag(&other.digest(), &references(&["lost:1"]), None).await.unwrap();
    assert_ne!(site.tag_map_text().await, before);
}

/// One who edits the tag map by hand, without a lock, is noticed.
pub(crate) async fn a_tag_map_that_changes_meanwhile_is_not_written_over(site: &Site) {
    let sample = Sample::small("by hand");
    let publisher = site.publisher();
    sample.put(&publisher).await.unwrap();
    let text = format!("mine:1:{}\n", sample.hex());
    let hook: Hook = {
        let (store, tag_map, text) = (site.store(), site.tag_map(), text.clone());
        Arc::new(move |write, point| {
            let (store, tag_map, text) = (Arc::clone(&store), tag_map.clone(), text.clone());
            Box::pin(async move {
                if (write, point) == (2, Point::Before) {
                    store.replace(&tag_map, text.into()).await.unwrap();
                }
            })
        })
    };
    let watched = site.watched(hook);
    let error = watched.tag(&sample.digest(), &references(&["ours:1"]), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
    assert_eq!(site.tag_map_text().await, text);
    assert_eq!(site.names("").await, ["image-tag-to-hash"], "the lock is given back");
    publisher.tag(&sample.digest(), &references(&["ours:1"]), None).await.unwrap();
    assert_eq!(site.tag_map_text().await, format!("mine:1,ours:1:{}\n", sample.hex()));
}

/// A command that is broken off leaves a lock, which its program gives back.
pub(crate) async fn a_dropped_future_gives_its_lock_back_when_asked(site: &Site) {
    let sample = Sample::small("dropped");
    sample.put(&site.publisher()).await.unwrap();
    let begun = Arc::new(tokio::sync::Notify::new());
    let hook: Hook = {
        let begun = Arc::clone(&begun);
        Arc::new(move |write, point| {
            let begun = Arc::clone(&begun);
            Box::pin(async move {
                if (write, point) == (1, Point::Before) {
                    begun.notify_one();
                    std::future::pending::<()>().await;
                }
            })
        })
    };
    let publisher = site.watched(hook);
    let (digest, tags) = (sample.digest(), references(&["dropped:1"]));
    tokio::select! {
        outcome = publisher.tag(&digest, &tags, None) => panic!("{outcome:?}"),
        () = begun.notified() => {}
    }
    assert!(site.names("").await.contains(&"image-tag-to-hash.lock".to_owned()));
    publisher.release_locks().await;
    assert_eq!(site.names("").await, ["image-tag-to-hash"]);
}

/// A tag map that is none is left alone.
pub(crate) async fn a_malformed_tag_map_is_left_alone(site: &Site) {
    let sample = Sample::small("malformed");
    let publisher = site.publisher();
    sample.put(&publisher).await.unwrap();
    for bytes in [&b"\xff\xfe"[..], b"a\0b"] {
        site.damage("image-tag-to-hash", bytes).await;
        let error = publisher.tag(&sample.digest(), &references(&["a:1"]), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        let start = format!("cannot edit tag map {}: ", site.tag_map());
        assert!(error.to_string().starts_with(&start), "{error}");
        assert_eq!(site.read("image-tag-to-hash").await, bytes);
        assert_eq!(site.names("").await, ["image-tag-to-hash"], "the lock is given back");
    }
    // Lines that nobody understands stay.
    let text = "# ours\n\nbroken line\nold:1:xyz\n";
    site.damage("image-tag-to-hash", text.as_bytes()).await;
    publisher.tag(&sample.digest(), &references(&["a:1"]), Some("from, here")).await.unwrap();
    let expected = format!("{text}a:1:{}#from here\n", sample.hex());
    assert_eq!(site.tag_map_text().await, expected);
    let removed = publisher.untag(&references(&["a:1", "b:1"])).await.unwrap();
    assert_eq!(removed, [(reference("a:1"), sample.digest())]);
    assert_eq!(site.tag_map_text().await, text);
    let error = publisher.tag(&sample.digest(), &references(&[&sample.hex()]), None).await;
    assert!(matches!(error, Err(PublishError::DigestAsTag { .. })), "{error:?}");
}

/// A layer that a sweep takes after a publisher saw it is noticed before the tag is set.
pub(crate) async fn a_layer_that_goes_meanwhile_is_noticed(site: &Site) {
    let sample = Sample::small("raced");
    let publisher = site.publisher();
    sample.put(&publisher).await.unwrap();
    let options =
        storm_oci_convert::publish::GcOptions { grace: Duration::ZERO, ..Default::default() };
    // Whole seconds, and what was written in this one.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    site.publisher().gc(&options).await.unwrap();
    let error = publisher.tag(&sample.digest(), &references(&["raced:1"]), None).await.unwrap_err();
    let PublishError::Incomplete { problems, .. } = &error else { panic!("{error}") };
    assert_eq!(problems[0].fault, Fault::Missing);
    assert_eq!(publisher.tags().await.unwrap().all_tags(), []);
    sample.publish(&publisher, &["raced:1"]).await.unwrap();
    site.must_run("raced:1", &sample).await;
}
