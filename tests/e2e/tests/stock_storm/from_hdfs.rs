//! The same image from a real HDFS, which neither the supervisor nor its host has any jar of.

use storm_oci_e2e::container::Container;
use storm_oci_e2e::storm_conf::{Images, Settings};
use storm_oci_e2e::supervisor_log::{self, said};
use storm_oci_e2e::testbed::Testbed;
use storm_oci_e2e::{E2eError, files, topology};
use storm_oci_test_stores::{Hdfs, HdfsSpec, TestbedError};

const NAME: &str = "count-from-hdfs";
const LOCAL_DIR: &str = "layers-from-hdfs";
const TOP_LEVEL: &str = "/containers/runc";

/// Points the supervisor to an HDFS that has the image, and runs a topology. The supervisor stays
/// there: what runs already needs no store.
pub(crate) fn runs(testbed: &mut Testbed, settings: &Settings) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let hdfs = Hdfs::start(HdfsSpec::default()).map_err(refused)?;
    hdfs.shell(&["-mkdir", "-p", "/containers"]).map_err(refused)?;
    hdfs.put(&layout.scratch("images"), TOP_LEVEL).map_err(refused)?;
    let local_dir = layout.scratch(LOCAL_DIR);
    files::make_dir(&local_dir)?;
    files::give(&local_dir, testbed.daemon.uid, testbed.daemon.gid)?;
    let images = Images { top_level: hdfs.url(TOP_LEVEL), local_dir: LOCAL_DIR };

    let start = supervisor_log::length(&layout)?;
    let cluster = testbed.cluster.as_mut().ok_or(E2eError::Interrupted)?;
    cluster.stop_supervisor();
    cluster.configure(&Settings { images, ..settings.clone() })?;
    cluster.start_supervisor()?;
    topology::submit(&layout, &testbed.user, &[(NAME, "")])?;
    topology::report(&layout, NAME, 1, || testbed.check())?;
    let container = Container::of(&layout, NAME)?;
    let fetched = format!("{} fetched, ", testbed.layers.len());
    said(&layout, start, &[container.id(), fetched])?;
    topology::kill(&layout, &testbed.user, &[NAME])
}

fn refused(error: TestbedError) -> E2eError {
    E2eError::unconfirmed("an HDFS of this host can be used", error.to_string())
}
