//! What can be known of a layer's tree once all entries were seen.

use std::collections::BTreeMap;

use super::entry_error::EntryError;
use super::normaliser::{AUFS, Normaliser};
use super::parents::Parents;
use super::path::joined;
use super::warnings::Warnings;
use crate::tar::shown;
use crate::tree::{Device, Metadata, Node, NodeId, NodeKind, Tree, Xattr};

/// overlayfs' mark of an opaque directory, and its value.
const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");

/// A layer's tree and what is to be told of it.
#[derive(Debug)]
pub(crate) struct Normalised {
    pub(crate) tree: Tree,
    pub(crate) warnings: Warnings,
    /// How often something was looked for in lower layers.
    pub(crate) implicit_parents: u64,
}

/// A directory on the way through the tree.
struct Visit {
    node: NodeId,
    path: Vec<u8>,
    /// Nothing of lower layers is seen here.
    is_hidden: bool,
}

impl Normaliser {
    /// Resolves later links, makes whiteouts and opaque directories, gives implied directories what
    /// `parents` knows of them, and tells it what this layer has.
    ///
    /// # Errors
    ///
    /// [`EntryError`] for a hard link to what is not there; `parents` is as it was then.
    pub(crate) fn finish(mut self, parents: &mut Parents) -> Result<Normalised, EntryError> {
        self.resolve_links()?;
        let mut implicit_parents = u64::from(self.hide_all_of_root(parents));
        let root = Visit { node: Tree::ROOT, path: Vec::new(), is_hidden: false };
        let mut rest = vec![root];
        while let Some(visit) = rest.pop() {
            implicit_parents += self.visit(&visit, parents, &mut rest)?;
        }
        Ok(Normalised { tree: self.tree, warnings: self.warnings, implicit_parents })
    }

    /// How often it had to be known what lower layers have.
    fn visit(
        &mut self,
        visit: &Visit,
        parents: &mut Parents,
        rest: &mut Vec<Visit>,
    ) -> Result<u64, EntryError> {
        let state = self.directories.remove(&visit.node).unwrap_or_default();
        let is_in_lower = parents.get(&visit.path).is_some();
        let is_looked_up = !state.is_explicit && !visit.is_hidden;
        if is_looked_up && let Some(known) = parents.get(&visit.path) {
            self.tree.node_mut(visit.node).metadata = known.clone();
        }
        if state.is_opaque {
            parents.clear(&visit.path);
        }
        let is_hidden = visit.is_hidden || state.is_opaque;
        let mut children = self.take_children(visit.node);
        children.retain(|name, _| !name.starts_with(AUFS));
        let mut redundant = 0;
        for name in state.whiteouts {
            let path = joined(&visit.path, &name);
            parents.remove(&path);
            match children.get(&name) {
                // The directory is a new one: it shows nothing of the lower one, and has nothing of
                // its metadata.
                Some(child) if self.is_directory(*child) => self.state(*child).is_opaque = true,
                Some(_) => {}
                None if is_hidden => {}
                // Where overlayfs has no directories to merge, it lists whiteouts too.
                None if !is_in_lower => redundant += 1,
                None => {
                    let kind = NodeKind::CharacterDevice(Device::default());
                    let node = Node { metadata: Metadata::default(), kind };
                    children.insert(name, self.add_node(node, &path)?);
                }
            }
        }
        for (name, child) in &children {
            let path = joined(&visit.path, name);
            if self.is_directory(*child) {
                rest.push(Visit { node: *child, path, is_hidden });
            } else {
                parents.remove(&path);
            }
            if visit.path.is_empty() {
                match &self.tree.node(*child).kind {
                    NodeKind::CharacterDevice(Device { major: 0, minor: 0 }) => {
                        parents.remove_root_name(name);
                    }
                    _ => parents.insert_root_name(name),
                }
            }
        }
        let node = self.tree.node_mut(visit.node);
        node.kind = NodeKind::Directory(children);
        parents.insert(visit.path.clone(), node.metadata.clone());
        if state.is_opaque && !visit.is_hidden {
            let xattr = Xattr { name: OPAQUE.0.into(), value: OPAQUE.1.into() };
            node.metadata.xattrs.push(xattr);
            node.metadata.xattrs.sort_unstable();
        }
        Ok(u64::from(is_looked_up) + redundant)
    }

    /// overlayfs merges roots even if one is marked opaque, so everything in them is hidden by name.
    /// Whether that was so.
    fn hide_all_of_root(&mut self, parents: &Parents) -> bool {
        let root = self.state(Tree::ROOT);
        if root.is_opaque {
            root.whiteouts.extend(parents.root_names());
        }
        std::mem::take(&mut root.is_opaque)
    }

    fn take_children(&mut self, directory: NodeId) -> BTreeMap<Box<[u8]>, NodeId> {
        match &mut self.tree.node_mut(directory).kind {
            NodeKind::Directory(children) => std::mem::take(children),
            _ => BTreeMap::new(),
        }
    }

    fn resolve_links(&mut self) -> Result<(), EntryError> {
        // Another entry may have taken a link's name.
        let mut placeholders = Vec::new();
        for (placeholder, link) in &self.later {
            if self.child(link.directory, &link.name) == Some(*placeholder) {
                placeholders.push(*placeholder);
            }
        }
        let mut resolved = BTreeMap::new();
        for placeholder in placeholders {
            // A chain of links ends at a file, or goes on for ever.
            let mut chain = vec![placeholder];
            let mut at = placeholder;
            let end = loop {
                let Some(link) = self.later.get(&at) else { break at };
                if let Some(end) = resolved.get(&at) {
                    break *end;
                }
                let (path, target) = (link.path.clone(), link.target.clone());
                let Some(next) = self.find(&target, &path)? else {
                    let (path, target) = (shown(&path), shown(&target));
                    return Err(EntryError::MissingLinkTarget { path, target });
                };
                if self.is_directory(next) {
                    let (path, target) = (shown(&path), shown(&target));
                    return Err(EntryError::LinkToDirectory { path, target });
                }
                if chain.len() > self.later.len() {
                    return Err(EntryError::LinkLoop { path: shown(&path) });
                }
                chain.push(next);
                at = next;
            };
            resolved.extend(chain.into_iter().filter(|link| *link != end).map(|link| (link, end)));
        }
        for (placeholder, link) in std::mem::take(&mut self.later) {
            let Some(end) = resolved.get(&placeholder) else { continue };
            if let NodeKind::Directory(children) = &mut self.tree.node_mut(link.directory).kind {
                children.insert(link.name, *end);
            }
        }
        Ok(())
    }
}
