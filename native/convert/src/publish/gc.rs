//! Removing what no tag leads to.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant, UNIX_EPOCH};

use storm_oci_store::remote::Listed;
use storm_oci_store::{Digest, Location};

use super::error::PublishError;
use super::inventory::{Document, Inventory};
use super::lock::Lock;
use super::problem::Problem;
use super::publisher::Publisher;
use super::tag_file::TagFile;

/// How often the lock is looked at while many things are removed.
const GUARD_EVERY: Duration = Duration::from_secs(1);

/// What may be removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GcOptions {
    /// How old a thing must be, by the store's clock: what is being published has no tag yet.
    pub grace: Duration,
    /// Whether the plan is only made. Nothing is written then, not even a lock.
    pub dry_run: bool,
    /// Whether manifests that cannot be read are removed too, and what may belong to them.
    pub force: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { grace: Duration::from_secs(24 * 3600), dry_run: false, force: false }
    }
}

/// What is to be removed, or was, in this order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// Each object with its reason.
    pub remove: Vec<Removal>,
    /// What could not be understood. It and all that it may need was kept.
    pub problems: Vec<Problem>,
}

impl Plan {
    /// How much there is to remove, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.remove.iter().map(|removal| removal.size).sum()
    }
}

/// An object that nobody needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Removal {
    /// The object.
    pub location: Location,
    /// Its size in bytes.
    pub size: u64,
    /// Why it may go.
    pub why: Why,
}

/// Why an object may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// A manifest that no tag leads to.
    Untagged,
    /// A manifest or a tag's image that was asked to be removed.
    Asked,
    /// A config or layer that no manifest needs.
    Unreferenced,
    /// A side file whose layer is not there.
    Orphaned,
    /// What a dead writer left.
    Temporary,
    /// A note about a manifest that is gone, or has a tag.
    Obsolete,
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Untagged => "no tag leads to it",
            Self::Asked => "its removal was asked for",
            Self::Unreferenced => "no manifest needs it",
            Self::Orphaned => "its layer is not there",
            Self::Temporary => "its writer is gone",
            Self::Obsolete => "what it notes is over",
        })
    }
}

/// Since when a thing must not have been written to be removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(i64);

impl Deadline {
    pub(super) fn new(now_millis: i64, grace: Duration) -> Self {
        let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        Self(now_millis.saturating_sub(grace))
    }

    pub(super) fn allows(self, listed: &Listed) -> bool {
        listed.modified_millis <= self.0
    }
}

impl Publisher {
    /// Removes what no tag leads to and what is left of dead writers, if it is old enough. Knows
    /// the tags of one tag map only: a store that others tag too is not to be swept so.
    ///
    /// # Errors
    ///
    /// [`PublishError::LockHeld`], [`PublishError::LockLost`], [`PublishError::InvalidTagMap`],
    /// [`PublishError::Store`]. What was removed until then was nobody's.
    pub async fn gc(&self, options: &GcOptions) -> Result<Plan, PublishError> {
        if options.dry_run {
            return self.plan_gc(options, now_millis()).await;
        }
        self.locked(async |lock| {
            let plan = self.plan_gc(options, lock.began_millis).await?;
            self.carry_out(lock, &plan).await?;
            Ok(plan)
        })
        .await
    }

    async fn plan_gc(&self, options: &GcOptions, now_millis: i64) -> Result<Plan, PublishError> {
        let tags = self.read_tags().await?.file;
        let inventory = self.inventory().await?;
        let deadline = Deadline::new(now_millis, options.grace);
        let odd = |document: &Document| {
            matches!(document, Document::Odd(..) | Document::Unreadable(_)) && !options.force
        };
        let kept = inventory
            .manifests
            .iter()
            .filter(|(_, found)| !deadline.allows(&found.listed) || odd(&found.document));
        let kept: Vec<_> = kept.map(|(digest, _)| digest.clone()).collect();
        let live = inventory.reached(tags.digests().into_iter().chain(kept));
        let dead = inventory.manifests.keys().filter(|digest| !live.contains(digest));
        let dead = dead.map(|digest| (digest.clone(), Why::Untagged)).collect();
        Ok(self.plan(&inventory, &tags, dead, deadline, options.force))
    }

    /// The plan that removes these manifests and all that only they need.
    pub(super) fn plan(
        &self,
        inventory: &Inventory,
        tags: &TagFile,
        dead: Vec<(Digest, Why)>,
        deadline: Deadline,
        force: bool,
    ) -> Plan {
        let mut plan = Plan { remove: Vec::new(), problems: self.odd_manifests(inventory) };
        let mut add = |location: Location, listed: &Listed, why: Why| {
            plan.remove.push(Removal { location, size: listed.size, why });
        };
        let gone: BTreeSet<_> = dead.iter().map(|(digest, _)| digest.clone()).collect();
        for (digest, why) in &dead {
            if let Some(found) = inventory.manifests.get(digest) {
                add(self.manifest_location(digest), &found.listed, *why);
            }
        }
        let tagged = inventory.reached(tags.digests());
        for (digest, listed) in &inventory.markers {
            let needed = inventory.manifests.contains_key(digest)
                && !gone.contains(digest)
                && !tagged.contains(digest);
            if !needed {
                add(self.marker_location(digest), listed, Why::Obsolete);
            }
        }
        let stay: Vec<_> =
            inventory.manifests.iter().filter(|(digest, _)| !gone.contains(*digest)).collect();
        // Who cannot tell what a manifest needs must not take anything from it.
        let unknown =
            stay.iter().any(|(_, found)| matches!(found.document, Document::Unreadable(_)));
        if !unknown || force {
            let references = inventory.references(stay.iter().map(|(digest, _)| *digest));
            for (digest, listed) in &inventory.configs {
                if !references.has_config(digest) && deadline.allows(listed) {
                    add(self.config_location(digest), listed, Why::Unreferenced);
                }
            }
            for (file, listed) in &inventory.layers {
                if !references.has_layer(file) && deadline.allows(listed) {
                    add(self.layer_location(file), listed, Why::Unreferenced);
                    if let Some(listed) = inventory.side_files.get(file) {
                        add(self.side_file_location(file), listed, Why::Unreferenced);
                    }
                }
            }
        }
        for (file, listed) in &inventory.side_files {
            if !inventory.layers.contains_key(file) && deadline.allows(listed) {
                add(self.side_file_location(file), listed, Why::Orphaned);
            }
        }
        for (location, listed) in &inventory.temporaries {
            if deadline.allows(listed) {
                add(location.clone(), listed, Why::Temporary);
            }
        }
        plan
    }

    /// Removes what a plan names. Manifests go first, so that what is left of a plan that ends
    /// early is what the next one finds.
    pub(super) async fn carry_out(&self, lock: &Lock, plan: &Plan) -> Result<(), PublishError> {
        let mut guarded: Option<Instant> = None;
        // What this lock stands on looks like a dead one's, and goes with the lock.
        for removal in plan.remove.iter().filter(|removal| !lock.stands_on(&removal.location)) {
            if guarded.is_none_or(|at| at.elapsed() > GUARD_EVERY) {
                lock.guard().await?;
                guarded = Some(Instant::now());
            }
            // What belongs to the tag map may be in another store.
            let beside_tag_map = removal.location.parent() == self.settings.tag_map.parent();
            let store = if beside_tag_map { &self.tag_store } else { &self.store };
            store.delete(&removal.location).await?;
            tracing::info!(object = %removal.location, "removed: {}", removal.why);
        }
        Ok(())
    }
}

/// This host's time, for what does not write.
pub(super) fn now_millis() -> i64 {
    let elapsed = UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_millis());
    i64::try_from(elapsed).unwrap_or(i64::MAX)
}
