//! What the layers below say of directories.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::Metadata;

/// The directories of the layers converted so far, as a container would see them: what an archive
/// that names a file and not the directories above it takes for these.
///
/// Begin with an empty one, and convert an image's layers with it from the lowest on.
#[derive(Clone, Debug, Default)]
pub struct Parents {
    /// By path from the root, which is the empty path.
    directories: BTreeMap<Vec<u8>, Metadata>,
    /// The names of everything in the root directory, for a layer that hides all of them.
    root: BTreeSet<Box<[u8]>>,
}

impl Parents {
    pub(super) fn get(&self, path: &[u8]) -> Option<&Metadata> {
        self.directories.get(path)
    }

    /// There is such a directory now.
    pub(super) fn insert(&mut self, path: Vec<u8>, metadata: Metadata) {
        self.directories.insert(path, metadata);
    }

    /// There is no such directory any more, nor anything in it.
    pub(super) fn remove(&mut self, path: &[u8]) {
        if self.directories.remove(path).is_some() {
            self.clear(path);
        }
    }

    /// There is nothing in the directory any more.
    pub(super) fn clear(&mut self, path: &[u8]) {
        if path.is_empty() {
            self.directories.retain(|path, _| path.is_empty());
            self.root.clear();
            return;
        }
        // All that begins with the path and a slash, which `0` comes next to.
        let inside = [path, b"/"].concat()..[path, b"0"].concat();
        let paths: Vec<_> = self.directories.range(inside).map(|(path, _)| path.clone()).collect();
        for path in paths {
            self.directories.remove(&path);
        }
    }

    /// The names in the root directory.
    pub(super) fn root_names(&self) -> Vec<Box<[u8]>> {
        self.root.iter().cloned().collect()
    }

    pub(super) fn insert_root_name(&mut self, name: &[u8]) {
        self.root.insert(name.into());
    }

    pub(super) fn remove_root_name(&mut self, name: &[u8]) {
        self.root.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_takes_what_is_in_it() {
        let mut parents = Parents::default();
        let paths = ["", "a", "a-b", "a/b", "a/b/c", "a0", "ab"].map(str::as_bytes);
        for path in paths {
            parents.insert(path.to_vec(), Metadata::default());
        }
        parents.clear(b"a/b");
        assert!(parents.get(b"a/b").is_some() && parents.get(b"a/b/c").is_none());
        parents.remove(b"a");
        let rest: Vec<_> = parents.directories.keys().map(Vec::as_slice).collect();
        assert_eq!(rest, ["", "a-b", "a0", "ab"].map(str::as_bytes));
        parents.clear(b"");
        assert_eq!(parents.directories.len(), 1);
    }
}
