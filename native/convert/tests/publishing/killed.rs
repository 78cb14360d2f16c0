//! A publisher that is killed at each step of its work.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use storm_oci_convert::publish::{GcOptions, Publisher};
use storm_oci_store::{HadoopSettings, RemoteSettings};

use super::tending::a_moment;
use super::watched::{Hook, Point};
use super::{Sample, Site};

/// Set in the process that is to be killed: which of its writes, and when.
const AT: &str = "STORM_OCI_TEST_KILL_AT";
const POINT: &str = "STORM_OCI_TEST_KILL_POINT";
const TOP: &str = "STORM_OCI_TEST_TOP";
const CONF: &str = "STORM_OCI_TEST_CONF";
const NAME: &str = "STORM_OCI_TEST_NAME";

/// Before a write is after the one before it.
const POINTS: [Point; 2] = [Point::Within, Point::After];

/// Publishes an image and dies half-way, if this process was started to do so.
pub(crate) async fn die_if_asked() {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(at) = variable(AT) else { return };
    let hadoop =
        HadoopSettings { conf_dir: variable(CONF).map(Into::into), ..HadoopSettings::default() };
    let remote = RemoteSettings { hadoop, ..RemoteSettings::default() };
    let site = Site::new(&variable(TOP).unwrap(), remote);
    let (at, point) = (at.parse::<usize>().unwrap(), variable(POINT).unwrap());
    let hook: Hook = Arc::new(move |write, moment| {
        if write == at && format!("{moment:?}") == point {
            kill_process(getpid(), Signal::KILL).unwrap();
            // The signal may take a moment.
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(()))
    });
    let publisher = site.watched(hook);
    let name = variable(NAME).unwrap();
    Sample::small(&name).publish(&publisher, &[&name, "newest:1"]).await.unwrap();
}

/// Kills a publisher at each of its writes, in a process that runs the test `child`. Whatever it
/// left, tagged images are whole, and the next publisher makes the image complete.
pub(crate) async fn a_killed_publisher_is_made_up_for(site: &Site, child: &str) {
    let first = Sample::small("first");
    first.publish(&site.publisher(), &["first:1"]).await.unwrap();
    let mut tags = vec![("first:1".to_owned(), first)];
    let mut kills = 0;
    for point in POINTS {
        for at in 0.. {
            let name = format!("{point:?}-{at}:1");
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", child, "--nocapture"]).stdout(Stdio::null());
            command.env(AT, at.to_string()).env(POINT, format!("{point:?}")).env(NAME, &name);
            command.env(TOP, site.top.to_string());
            if let Some(conf) = &site.remote.hadoop.conf_dir {
                command.env(CONF, conf);
            }
            let status = tokio::task::spawn_blocking(move || command.status().unwrap());
            let status = status.await.unwrap();
            let killed = status.signal() == Some(9);
            assert!(killed || status.success(), "{name}: {status}");
            kills += usize::from(killed);

            let mut settings = site.settings();
            settings.stale_lock = Duration::from_secs(2);
            let publisher = Publisher::open(settings).unwrap();
            let tagged = publisher.tags().await.unwrap().all_tags();
            for image in publisher.verify(&tagged).await.unwrap() {
                assert_eq!(image.problems, [], "{name}");
            }
            let sample = Sample::small(&name);
            sample.publish_despite_losses(&publisher, &[&name, "newest:1"]).await;
            site.must_run("newest:1", &sample).await;
            tags.push((name, sample));
            // Not every write is an upload, which alone can be killed within.
            if !killed && at >= 9 {
                break;
            }
        }
    }
    assert!(kills >= 12, "{kills}");
    a_moment().await;
    let publisher = site.publisher();
    let options = GcOptions { grace: Duration::ZERO, ..GcOptions::default() };
    publisher.gc(&options).await.unwrap();
    for (tag, sample) in &tags {
        let digest = publisher.tags().await.unwrap().digest(&super::reference(tag)).cloned();
        assert_eq!(digest, Some(sample.digest()), "{tag}");
    }
    assert_eq!(site.names("").await, ["image-tag-to-hash"]);
    for directory in ["layers", "config", "manifests"] {
        let names = site.names(directory).await;
        assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
    }
}
