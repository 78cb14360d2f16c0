//! The three-step clean-up of Storm's script: an image without a tag is noted, then hidden, then
//! removed, with a pause before each step.

use std::time::Duration;

use bytes::Bytes;
use storm_oci_store::Digest;
use storm_oci_store::remote::{Listed, body_of};
use storm_oci_store::{Content, Location, Object};

use super::error::PublishError;
use super::gc::{Deadline, Plan, Why, now_millis};
use super::inventory::Inventory;
use super::lock::Lock;
use super::publisher::Publisher;

/// What a marker says of a manifest that is hidden, in a store without modes.
const HIDDEN: &[u8] = b"dead\n";

/// How images without a tag are removed in steps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CleanupOptions {
    /// How long each step lasts: `--untagged-transition-sec`.
    pub transition: Duration,
    /// The mode of a hidden manifest: `--dead-perms`.
    pub dead_mode: u16,
    /// Whether the plan is only made.
    pub dry_run: bool,
}

impl Default for CleanupOptions {
    fn default() -> Self {
        Self { transition: Duration::from_secs(604_800), dead_mode: 0o400, dry_run: false }
    }
}

/// What a manifest's next step is.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    /// Note that it has no tag, in `unreferenced/`.
    Mark(Digest),
    /// Hide it from supervisors.
    Hide(Digest),
    /// Remove it.
    Remove(Digest),
}

impl Publisher {
    /// Takes each image without a tag one step further, if its last step was long enough ago:
    /// a marker in `unreferenced/`; then the manifest becomes unreadable (where files have no
    /// modes the marker says so instead); then it goes, with all that only it needs. A tag makes
    /// it an image like others again. Returns what was removed.
    ///
    /// # Errors
    ///
    /// Those of [`Publisher::gc`].
    pub async fn cleanup(&self, options: &CleanupOptions) -> Result<Plan, PublishError> {
        if options.dry_run {
            return Ok(self.plan_cleanup(options, now_millis()).await?.0);
        }
        self.locked(async |lock| {
            let (plan, steps) = self.plan_cleanup(options, lock.began_millis).await?;
            for step in &steps {
                self.take_step(lock, step, options).await?;
            }
            self.carry_out(lock, &plan).await?;
            Ok(plan)
        })
        .await
    }

    async fn plan_cleanup(
        &self,
        options: &CleanupOptions,
        now_millis: i64,
    ) -> Result<(Plan, Vec<Step>), PublishError> {
        let tags = self.read_tags().await?.file;
        let inventory = self.inventory().await?;
        let deadline = Deadline::new(now_millis, options.transition);
        let steps = self.steps(&inventory, &inventory.reached(tags.digests()), options, deadline);
        let (removals, others): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|step| matches!(step, Step::Remove(_)));
        let dead = removals
            .into_iter()
            .filter_map(|step| match step {
                Step::Remove(digest) => Some((digest, Why::Untagged)),
                Step::Mark(_) | Step::Hide(_) => None,
            })
            .collect();
        Ok((self.plan(&inventory, &tags, dead, deadline, false), others))
    }

    fn steps(
        &self,
        inventory: &Inventory,
        tagged: &std::collections::BTreeSet<Digest>,
        options: &CleanupOptions,
        deadline: Deadline,
    ) -> Vec<Step> {
        let untagged = inventory.manifests.iter().filter(|(digest, _)| !tagged.contains(*digest));
        untagged
            .filter_map(|(digest, found)| {
                let digest = digest.clone();
                match inventory.markers.get(&digest) {
                    None => Some(Step::Mark(digest)),
                    Some(marker) if !deadline.allows(marker) => None,
                    Some(marker) if is_hidden(&found.listed, marker, options) => {
                        Some(Step::Remove(digest))
                    }
                    Some(_) => Some(Step::Hide(digest)),
                }
            })
            .collect()
    }

    async fn take_step(
        &self,
        lock: &Lock,
        step: &Step,
        options: &CleanupOptions,
    ) -> Result<(), PublishError> {
        lock.guard().await?;
        match step {
            Step::Mark(digest) => {
                tracing::info!(manifest = %digest, "noted that it has no tag");
                self.write_marker(&self.marker_location(digest), Bytes::new()).await
            }
            Step::Hide(digest) => {
                let manifest = self.manifest_location(digest);
                let hidden = self.store.set_mode(&manifest, options.dead_mode).await?;
                let note = if hidden { Bytes::new() } else { Bytes::from_static(HIDDEN) };
                tracing::info!(manifest = %digest, "hid what has no tag");
                self.write_marker(&self.marker_location(digest), note).await
            }
            Step::Remove(_) => Ok(()),
        }
    }

    /// Writes a marker, from now on the age of its step.
    async fn write_marker(&self, marker: &Location, note: Bytes) -> Result<(), PublishError> {
        let (content, how) = (Content::of(&note), self.how(Object::Manifest, true));
        Ok(self.store.upload(marker, body_of(note), &content, how).await?)
    }
}

fn is_hidden(manifest: &Listed, marker: &Listed, options: &CleanupOptions) -> bool {
    match manifest.mode {
        Some(mode) => mode == options.dead_mode,
        None => marker.size > 0,
    }
}
