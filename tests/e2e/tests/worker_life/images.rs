//! An image that is replaced under its tag.

use serde_json::json;
use storm_oci_e2e::commanded;
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::verdicts::{Verdicts, holds, same};
use storm_oci_e2e::{E2eError, Testbed, files, image, topology};

use crate::measured;
use crate::timing::{Comeback, successor};

/// The tag.
pub(crate) const TAG: &str = "storm/replaced:1";
const NAME: &str = "image-replaced";
/// A file that only the second image has.
const ADDED: &str = "/etc/second-image";

/// The next launch takes the new image, and no new one before.
pub(crate) fn run(
    testbed: &mut Testbed,
    _: &Settings,
    verdicts: &mut Verdicts,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    let layers = testbed.layers.clone();
    testbed.store.replace_image(TAG, &layers)?;
    commanded::submit(&layout, &user, &[(NAME, json!({ "topology.oci.image": TAG }))])?;
    verdicts.check("a_replaced_image_is_the_next_workers", replaced(testbed));
    topology::kill(&layout, &user, &[NAME])
}

fn replaced(testbed: &mut Testbed) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let worker = commanded::works(&layout, NAME, None)?;
    let container = commanded::container(&layout, NAME, &worker)?;

    let tree = layout.scratch("second");
    files::make_dir(&tree.join("etc"))?;
    files::write(&tree.join(ADDED.trim_start_matches('/')), "second\n")?;
    let file = layout.scratch("second.sqsh");
    image::squash(&tree, &file, &layout.log("image"))?;
    let mut layers = testbed.layers.clone();
    layers.push(testbed.store.add_layer(&file)?);
    testbed.store.replace_image(TAG, &layers)?;

    let unchanged = !container.inside(ADDED).exists();
    holds("a running worker keeps its image", unchanged, container.inside(ADDED).display())?;
    worker.tell("exit 7")?;
    let note = worker.end(&layout)?;
    let (_, next) = successor(&layout, NAME, &worker)?;
    let added = files::read(&next.inside(ADDED))?;
    same("the next worker has the new image", added.as_str(), "second\n")?;
    same("it has a layer more", next.record.layers.len(), container.record.layers.len() + 1)?;
    measured(NAME, Comeback::of(&note, &next));
    Ok(())
}
