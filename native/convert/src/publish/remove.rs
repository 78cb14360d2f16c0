//! Removing images by name.

use std::time::Duration;

use storm_oci_store::Reference;

use super::error::PublishError;
use super::gc::{Deadline, Plan, Why, now_millis};
use super::publisher::Publisher;
use super::tag_file::TagFile;

/// How an image is removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoveOptions {
    /// Whether all tags of the image go with it. Otherwise one that has more than those named is
    /// left alone.
    pub all_tags: bool,
    /// How old its config and layers must be to go too: another publisher may be about to use
    /// them. `gc` removes later what stays.
    pub grace: Duration,
    /// Whether the plan is only made.
    pub dry_run: bool,
}

impl Default for RemoveOptions {
    fn default() -> Self {
        Self { all_tags: false, grace: Duration::from_secs(24 * 3600), dry_run: false }
    }
}

impl Publisher {
    /// Removes images by tag or digest: their tags, then their manifests, then what no other
    /// manifest needs.
    ///
    /// # Errors
    ///
    /// [`PublishError::NotFound`] and [`PublishError::StillTagged`], and then nothing was removed;
    /// those of [`Publisher::gc`].
    pub async fn remove(
        &self,
        names: &[Reference],
        options: &RemoveOptions,
    ) -> Result<Plan, PublishError> {
        if options.dry_run {
            return Ok(self.plan_removal(names, options, now_millis()).await?.0);
        }
        self.locked(async |lock| {
            let (plan, tags) = self.plan_removal(names, options, lock.began_millis).await?;
            self.edit_tags(lock, |file| *file = tags).await?;
            self.carry_out(lock, &plan).await?;
            Ok(plan)
        })
        .await
    }

    async fn plan_removal(
        &self,
        names: &[Reference],
        options: &RemoveOptions,
        now_millis: i64,
    ) -> Result<(Plan, TagFile), PublishError> {
        let mut tags = self.read_tags().await?.file;
        let inventory = self.inventory().await?;
        let mut digests = Vec::new();
        for name in names {
            let digest = tags.digest(name).cloned().or_else(|| name.digest());
            match digest {
                Some(digest)
                    if inventory.manifests.contains_key(&digest)
                        || !tags.tags(&digest).is_empty() =>
                {
                    digests.push(digest);
                }
                _ => return Err(self.not_found(name)),
            }
        }
        digests.sort();
        digests.dedup();
        for digest in &digests {
            let left: Vec<_> =
                tags.tags(digest).into_iter().filter(|tag| !names.contains(tag)).collect();
            if !left.is_empty() && !options.all_tags {
                return Err(PublishError::StillTagged { digest: digest.clone(), tags: left });
            }
        }
        for digest in &digests {
            tags.remove_digest(digest);
        }
        // An index that stays needs its manifests.
        let needed = inventory.reached(tags.digests());
        let dead = digests.into_iter().filter(|digest| !needed.contains(digest));
        let dead = dead.map(|digest| (digest, Why::Asked)).collect();
        let deadline = Deadline::new(now_millis, options.grace);
        Ok((self.plan(&inventory, &tags, dead, deadline, false), tags))
    }

    pub(super) fn not_found(&self, name: &Reference) -> PublishError {
        let top_level = self.settings.top_level.clone();
        PublishError::NotFound { name: name.to_string(), top_level }
    }
}
