//! What there is of containers on the host, counted: so that growth is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use storm_oci_request::WorkerId;

use crate::{E2eError, Layout, cgroups, container, files, traces};

/// How many of each kind there are.
pub type Census = BTreeMap<&'static str, usize>;

/// Counts what this run's containers have on the host.
///
/// # Errors
///
/// [`E2eError::File`] or [`E2eError::Document`].
pub fn take(layout: &Layout) -> Result<Census, E2eError> {
    let names = |path: &Path| files::list(path).map(|entries| entries.len());
    let mut census = Census::from([
        ("records", container::records(layout)?.len()),
        ("files of records", names(&layout.run_root.join("records"))?),
        ("directories of the run root", names(&layout.run_root)?),
        ("layer mounts", container::mounted_layers(layout)?.len()),
        ("mounts", traces::mounts(layout)?.len()),
        ("loop devices", traces::loop_devices(layout)?.len()),
        ("monitors", cgroups::processes(&layout.monitors_cgroup())?.len()),
        ("runc's states", traces::runc_states(layout)?.len()),
        ("worker directories", names(&layout.workers())?),
        ("requested ends", names(&layout.scratch("local/supervisor/oci-ending"))?),
    ]);
    let mut containers = 0;
    for directory in cgroups::directories(&layout.cgroup_parent())? {
        containers += files::list(&directory)?.iter().filter(|entry| entry.is_dir()).count();
    }
    census.insert("cgroups", containers);
    Ok(census)
}

/// Counts what Storm keeps of workers. A stock supervisor that is killed within a cleanup leaves
/// one of each: it removes the worker's directory first, by which alone it would find them.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn of_storm(layout: &Layout) -> Result<Census, E2eError> {
    Ok(Census::from([
        ("workers' users", files::list(&layout.scratch("local/workers-users"))?.len()),
        ("approved workers", approved_workers(layout)?.len()),
    ]))
}

/// The workers that Storm's supervisor remembers over a restart.
fn approved_workers(layout: &Layout) -> Result<BTreeSet<String>, E2eError> {
    let mut versions = files::list(&layout.scratch("local/supervisor/localstate"))?;
    versions.retain(|path| path.extension().is_none());
    let Some(newest) = versions.into_iter().max() else {
        return Ok(BTreeSet::new());
    };
    let state = files::read(&newest)?;
    // The only ids of this form in there, but for the supervisor's own, which an address follows.
    Ok(ids(&state).filter(|(_, rest)| !rest.starts_with('-')).map(|(id, _)| id).collect())
}

/// The worker ids in a text, each with what follows it.
fn ids(text: &str) -> impl Iterator<Item = (String, &str)> {
    const LENGTH: usize = 36;
    text.char_indices().filter_map(|(at, _)| {
        let id = text.get(at..at + LENGTH)?;
        WorkerId::parse(id).ok()?;
        Some((id.to_owned(), text.get(at + LENGTH..).unwrap_or_default()))
    })
}

/// What differs between two counts, in words; empty when nothing does.
#[must_use]
pub fn differences(before: &Census, after: &Census) -> String {
    let changed = before.iter().filter(|(kind, count)| after.get(*kind) != Some(*count));
    let words = changed.map(|(kind, count)| {
        format!("{kind}: {count} before, {} after", after.get(kind).copied().unwrap_or_default())
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_the_middle_of_bytes() {
        let id = "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";
        let text = format!("\u{b}$\u{fffd}{id}\u{0}x{id}-127.0.0.1");
        let found: Vec<(String, &str)> = ids(&text).collect();
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|(found, _)| found == id));
        assert!(found[1].1.starts_with("-127"));
    }

    #[test]
    fn only_what_changed_is_told() {
        let before = Census::from([("mounts", 3), ("records", 1)]);
        let after = Census::from([("mounts", 3), ("records", 2)]);
        assert_eq!(differences(&before, &before), "");
        assert_eq!(differences(&before, &after), "records: 1 before, 2 after");
    }
}
