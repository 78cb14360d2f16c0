//! The inodes' numbers.

use super::{SquashfsError, Unstorable};
use crate::tree::{NodeId, NodeKind, Tree};

/// The number of each node that has a name, and how many names it has.
pub(super) struct Numbers {
    /// By node; 0 without a name.
    numbers: Vec<u32>,
    links: Vec<u32>,
    count: u32,
}

impl Numbers {
    /// Numbers a tree from 1 on. What is in one directory has successive numbers, so that its
    /// listing has few headers.
    pub(super) fn of(tree: &Tree) -> Result<Self, SquashfsError> {
        let mut numbers =
            Self { numbers: vec![0; tree.len()], links: vec![0; tree.len()], count: 0 };
        numbers.add(Tree::ROOT);
        let mut directories = vec![(Tree::ROOT, None)];
        // The way to each directory, as (name, index of the parent's way).
        let mut ways: Vec<(&[u8], Option<usize>)> = Vec::new();
        while let Some((directory, way)) = directories.pop() {
            let NodeKind::Directory(entries) = &tree.node(directory).kind else { continue };
            for (name, id) in entries {
                let first = numbers.add(*id);
                if !matches!(tree.node(*id).kind, NodeKind::Directory(_)) {
                    continue;
                }
                ways.push((name, way));
                if !first {
                    let path = path(&ways, ways.len() - 1);
                    return Err(SquashfsError::Node { path, cause: Unstorable::DirectoryLinks });
                }
                directories.push((*id, Some(ways.len() - 1)));
            }
        }
        Ok(numbers)
    }

    /// Counts a name. `true` for a node's first.
    fn add(&mut self, id: NodeId) -> bool {
        // A tree has fewer than 2³² nodes and a directory fewer names.
        if let Some(links) = self.links.get_mut(id.index()) {
            *links = links.saturating_add(1);
        }
        match self.numbers.get_mut(id.index()) {
            Some(number) if *number == 0 => {
                self.count = self.count.saturating_add(1);
                *number = self.count;
                true
            }
            _ => false,
        }
    }

    pub(super) fn number(&self, id: NodeId) -> u32 {
        self.numbers.get(id.index()).copied().unwrap_or(0)
    }

    pub(super) fn links(&self, id: NodeId) -> u32 {
        self.links.get(id.index()).copied().unwrap_or(0)
    }

    /// How many nodes have a name.
    pub(super) fn count(&self) -> u32 {
        self.count
    }
}

fn path(ways: &[(&[u8], Option<usize>)], last: usize) -> String {
    let mut names = Vec::new();
    let mut way = ways.get(last);
    while let Some((name, parent)) = way {
        names.push(String::from_utf8_lossy(name));
        way = parent.and_then(|parent| ways.get(parent));
    }
    names.iter().rev().fold(String::new(), |path, name| path + "/" + name)
}
