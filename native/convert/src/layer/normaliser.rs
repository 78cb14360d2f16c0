//! From entries as they come to a layer's tree.
//!
//! What an entry means follows GNU tar and the container runtimes, whose rules agree for every
//! archive that one of them writes:
//!
//! - Of two entries of one name the last counts. A directory that comes again keeps what is in it
//!   and takes the new metadata; anything else removes what was there, a whole directory included.
//! - A path through a symbolic link of the same layer leads to where the link does, as seen from
//!   the layer's root. Through any other file than a directory it is an error.
//! - A hard link is a second name of what its target is at that time, or, if there is nothing of
//!   that name yet, at the archive's end. Its own metadata do not count.
//! - `.wh.NAME` hides `NAME` of lower layers and `.wh..wh..opq` all of them in its directory,
//!   wherever in the archive they are; both are dealt with at the end.
//!
//! # References
//!
//! OCI image spec, `layer.md`; `Documentation/filesystems/overlayfs.rst`.

use std::collections::{BTreeMap, BTreeSet};

use super::entry_error::EntryError;
use super::path::{LayerPath, PATH_LIMIT, names};
use super::warnings::{WarningKind, Warnings};
use super::xattrs::{Fate, fate};
use crate::limits::Limits;
use crate::tar::{Entry, EntryKind, shown};
use crate::tree::{ContentId, Device, Metadata, Node, NodeId, NodeKind, Tree, Xattr};

/// What a whiteout's name begins with.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// What the names of AUFS' own files begin with. They are no part of an image.
pub(super) const AUFS: &[u8] = b".wh..wh.";
/// Makes its directory opaque.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// As many symbolic links as Linux follows in one path.
const SYMLINKS: usize = 40;
/// `XATTR_NAME_MAX` and `XATTR_SIZE_MAX` of Linux.
const XATTR_LIMITS: (usize, usize) = (255, 65536);

/// What is known of a directory beside its node.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// The archive has an entry for it.
    pub(super) is_explicit: bool,
    /// It hides what lower layers have in it.
    pub(super) is_opaque: bool,
    /// The names that are whiteouts in it.
    pub(super) whiteouts: BTreeSet<Box<[u8]>>,
}

/// A hard link whose target did not exist when it came.
#[derive(Debug)]
pub(super) struct LaterLink {
    pub(super) directory: NodeId,
    pub(super) name: Box<[u8]>,
    pub(super) path: Vec<u8>,
    pub(super) target: Vec<u8>,
}

/// Takes entries in the archive's order.
#[derive(Debug)]
pub(crate) struct Normaliser {
    pub(super) tree: Tree,
    pub(super) directories: BTreeMap<NodeId, Directory>,
    /// By the node that keeps the link's place.
    pub(super) later: BTreeMap<NodeId, LaterLink>,
    pub(super) warnings: Warnings,
    limits: Limits,
    strict: bool,
    entries: u64,
    metadata_bytes: u64,
}

/// Where a walk is: the directories from the root on, with the length of their paths.
pub(super) struct Trail {
    at: Vec<(NodeId, usize)>,
    symlinks: usize,
}

impl Trail {
    pub(super) fn new() -> Self {
        Self { at: Vec::new(), symlinks: 0 }
    }

    fn here(&self) -> NodeId {
        self.at.last().map_or(Tree::ROOT, |(directory, _)| *directory)
    }

    fn length(&self) -> usize {
        self.at.last().map_or(0, |(_, length)| *length)
    }
}

impl Normaliser {
    /// With `strict`, what would be a warning is an error.
    pub(crate) fn new(limits: &Limits, strict: bool) -> Self {
        Self {
            tree: Tree::new(Metadata { mode: 0o755, ..Metadata::default() }),
            directories: BTreeMap::from([(Tree::ROOT, Directory::default())]),
            later: BTreeMap::new(),
            warnings: Warnings::default(),
            limits: limits.clone(),
            strict,
            entries: 0,
            metadata_bytes: 0,
        }
    }

    /// Takes an entry; `content` is that of a regular file.
    ///
    /// # Errors
    ///
    /// [`EntryError`]; the tree is of no use afterwards.
    pub(crate) fn add(&mut self, entry: Entry, content: ContentId) -> Result<(), EntryError> {
        self.entries += 1;
        self.check_entries(&entry.path)?;
        let path = parsed(&entry.path, &entry.path)?;
        let Some((directory, name)) = path.split() else { return self.add_root(entry) };
        let directory = self.directory(directory, &entry.path)?;
        if name == OPAQUE {
            self.state(directory).is_opaque = true;
            return Ok(());
        }
        if let Some(hidden) = hidden_by(name) {
            if hidden == b"." || hidden == b".." {
                let problem = "it is the whiteout of no possible name";
                return Err(EntryError::InvalidPath { path: shown(&entry.path), problem });
            }
            self.charge(hidden.len(), &entry.path)?;
            self.state(directory).whiteouts.insert(hidden.into());
            return Ok(());
        }
        let there = self.child(directory, name);
        let kind = match entry.kind {
            EntryKind::Directory => match there {
                Some(there) if self.is_directory(there) => {
                    self.tree.node_mut(there).metadata = self.metadata(&entry)?;
                    self.state(there).is_explicit = true;
                    return Ok(());
                }
                _ => NodeKind::Directory(BTreeMap::new()),
            },
            EntryKind::HardLink(ref target) => {
                return self.add_link(directory, name, &entry.path, target);
            }
            EntryKind::File { .. } => NodeKind::File(content),
            EntryKind::Symlink(ref target) => self.symlink(&entry.path, target)?,
            EntryKind::CharacterDevice(major, minor) => {
                if (major, minor) == (0, 0) {
                    self.warn(WarningKind::WhiteoutDevice, &entry.path)?;
                }
                NodeKind::CharacterDevice(device(&entry.path, major, minor)?)
            }
            EntryKind::BlockDevice(major, minor) => {
                NodeKind::BlockDevice(device(&entry.path, major, minor)?)
            }
            EntryKind::Fifo => NodeKind::Fifo,
        };
        let is_directory = matches!(kind, NodeKind::Directory(_));
        let metadata = self.metadata(&entry)?;
        let node = self.add_node(Node { metadata, kind }, &entry.path)?;
        if is_directory {
            self.directories.insert(node, Directory { is_explicit: true, ..Directory::default() });
        }
        self.place(directory, name, node, &entry.path)
    }

    fn add_root(&mut self, entry: Entry) -> Result<(), EntryError> {
        if entry.kind != EntryKind::Directory {
            return Err(EntryError::RootNotDirectory { path: shown(&entry.path) });
        }
        self.tree.node_mut(Tree::ROOT).metadata = self.metadata(&entry)?;
        self.state(Tree::ROOT).is_explicit = true;
        Ok(())
    }

    fn add_link(
        &mut self,
        directory: NodeId,
        name: &[u8],
        path: &[u8],
        target: &[u8],
    ) -> Result<(), EntryError> {
        let found = self.find(target, path)?;
        if let Some(found) = found.filter(|found| !self.later.contains_key(found)) {
            if self.is_directory(found) {
                let (path, target) = (shown(path), shown(target));
                return Err(EntryError::LinkToDirectory { path, target });
            }
            return self.place(directory, name, found, path);
        }
        // Something keeps the place, so that a later entry of this name replaces the link.
        let node = Node { metadata: Metadata::default(), kind: NodeKind::Fifo };
        let node = self.add_node(node, path)?;
        self.charge(path.len() + target.len(), path)?;
        let (name, target) = (Box::from(name), target.to_vec());
        let link = LaterLink { directory, name, path: path.to_vec(), target };
        self.place(directory, &link.name, node, path)?;
        self.later.insert(node, link);
        Ok(())
    }

    /// What has this name now, if anything.
    pub(super) fn find(
        &mut self,
        target: &[u8],
        path: &[u8],
    ) -> Result<Option<NodeId>, EntryError> {
        let target = parsed(target, path)?;
        let Some((directory, name)) = target.split() else { return Ok(Some(Tree::ROOT)) };
        let mut trail = Trail::new();
        let is_there = self.walk(&mut trail, directory, path, false)?;
        Ok(is_there.then(|| self.child(trail.here(), name)).flatten())
    }

    /// The directory of this path; those that are missing are implied.
    fn directory(&mut self, directory: &[u8], path: &[u8]) -> Result<NodeId, EntryError> {
        let mut trail = Trail::new();
        self.walk(&mut trail, directory, path, true)?;
        Ok(trail.here())
    }

    /// Goes on along the path; `true` when it leads to a directory.
    fn walk(
        &mut self,
        trail: &mut Trail,
        way: &[u8],
        path: &[u8],
        implies: bool,
    ) -> Result<bool, EntryError> {
        for name in names(way) {
            if name == b".." {
                // Of a symbolic link; above the root is the root.
                trail.at.pop();
                continue;
            }
            let next = match self.child(trail.here(), name) {
                Some(next) => next,
                None if !implies => return Ok(false),
                None => self.implied(trail, name, path)?,
            };
            match &self.tree.node(next).kind {
                NodeKind::Directory(_) => {
                    let length = trail.length() + name.len() + 1;
                    if length > PATH_LIMIT + 1 {
                        let problem = "symbolic links in it lead to a path of more than 4095 bytes";
                        return Err(EntryError::InvalidPath { path: shown(path), problem });
                    }
                    trail.at.push((next, length));
                }
                NodeKind::Symlink(target) => {
                    let target = target.clone();
                    trail.symlinks += 1;
                    if trail.symlinks > SYMLINKS {
                        return Err(EntryError::TooManySymlinks { path: shown(path) });
                    }
                    if target.starts_with(b"/") {
                        trail.at.clear();
                    }
                    if !self.walk(trail, &target, path, implies)? {
                        return Ok(false);
                    }
                }
                _ if !implies => return Ok(false),
                _ => {
                    let (path, ancestor) = (shown(path), shown(name));
                    return Err(EntryError::NotADirectory { path, ancestor });
                }
            }
        }
        Ok(true)
    }

    /// A directory that no entry was seen of.
    fn implied(&mut self, trail: &Trail, name: &[u8], path: &[u8]) -> Result<NodeId, EntryError> {
        let problem = if hidden_by(name).is_some() {
            Some("a whiteout has no entries")
        } else if name.len() > super::path::NAME_LIMIT {
            Some("a symbolic link in it leads to a name of more than 255 bytes")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(EntryError::InvalidPath { path: shown(path), problem });
        }
        let metadata = Metadata { mode: 0o755, ..Metadata::default() };
        let node = Node { metadata, kind: NodeKind::Directory(BTreeMap::new()) };
        let node = self.add_node(node, path)?;
        self.directories.insert(node, Directory::default());
        self.place(trail.here(), name, node, path)?;
        Ok(node)
    }

    fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<NodeKind, EntryError> {
        let problem = match target.len() {
            0 => "its target is empty",
            1..=PATH_LIMIT => {
                self.charge(target.len(), path)?;
                return Ok(NodeKind::Symlink(target.into()));
            }
            _ => "its target has more than 4095 bytes",
        };
        Err(EntryError::InvalidSymlink { path: shown(path), problem })
    }

    fn metadata(&mut self, entry: &Entry) -> Result<Metadata, EntryError> {
        let is_plain = matches!(entry.kind, EntryKind::File { .. } | EntryKind::Directory);
        let mut xattrs = BTreeMap::new();
        for (name, value) in &entry.xattrs {
            match fate(name, is_plain) {
                Fate::Dropped(kind) => self.warn(kind, &entry.path)?,
                Fate::Kept => {
                    let problem = if name.len() > XATTR_LIMITS.0 {
                        "its name has more than 255 bytes"
                    } else if value.len() > XATTR_LIMITS.1 {
                        "its value has more than 65536 bytes"
                    } else {
                        xattrs.insert(name, value);
                        continue;
                    };
                    let (path, name) = (shown(&entry.path), shown(name));
                    return Err(EntryError::InvalidAttribute { path, name, problem });
                }
            }
        }
        let bytes = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.charge(bytes, &entry.path)?;
        let xattr = |(name, value): (&Vec<u8>, &Vec<u8>)| Xattr {
            name: name.as_slice().into(),
            value: value.as_slice().into(),
        };
        Ok(Metadata {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: u32::try_from(entry.mtime.max(0)).unwrap_or(u32::MAX),
            xattrs: xattrs.into_iter().map(xattr).collect(),
        })
    }

    pub(super) fn state(&mut self, directory: NodeId) -> &mut Directory {
        self.directories.entry(directory).or_default()
    }

    pub(super) fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.tree.node(directory).kind {
            NodeKind::Directory(children) => children.get(name).copied(),
            _ => None,
        }
    }

    pub(super) fn is_directory(&self, node: NodeId) -> bool {
        matches!(self.tree.node(node).kind, NodeKind::Directory(_))
    }

    /// Gives a node a name; what had it before has it no more.
    fn place(
        &mut self,
        directory: NodeId,
        name: &[u8],
        node: NodeId,
        path: &[u8],
    ) -> Result<(), EntryError> {
        self.charge(name.len(), path)?;
        if let NodeKind::Directory(children) = &mut self.tree.node_mut(directory).kind {
            children.insert(name.into(), node);
        }
        Ok(())
    }

    pub(super) fn add_node(&mut self, node: Node, path: &[u8]) -> Result<NodeId, EntryError> {
        let limit = self.limits.layer_entries;
        let node = self.tree.add(node);
        let node = node.ok_or_else(|| EntryError::TooManyEntries { path: shown(path), limit })?;
        self.check_entries(path)?;
        Ok(node)
    }

    fn check_entries(&self, path: &[u8]) -> Result<(), EntryError> {
        let limit = self.limits.layer_entries;
        let nodes = u64::try_from(self.tree.len() - 1).unwrap_or(u64::MAX);
        if self.entries.max(nodes) > limit {
            return Err(EntryError::TooManyEntries { path: shown(path), limit });
        }
        Ok(())
    }

    /// Counts memory that the entry takes.
    fn charge(&mut self, bytes: usize, path: &[u8]) -> Result<(), EntryError> {
        let limit = self.limits.layer_metadata_bytes;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.metadata_bytes = self.metadata_bytes.saturating_add(bytes);
        if self.metadata_bytes > limit {
            return Err(EntryError::TooMuchMetadata { path: shown(path), limit });
        }
        Ok(())
    }

    fn warn(&mut self, kind: WarningKind, path: &[u8]) -> Result<(), EntryError> {
        if self.strict {
            return Err(EntryError::Strict { path: shown(path), kind });
        }
        self.warnings.add(kind, || shown(path));
        Ok(())
    }
}

/// The path `named` as a layer has it, for the entry `path`.
fn parsed(named: &[u8], path: &[u8]) -> Result<LayerPath, EntryError> {
    LayerPath::parse(named)
        .map_err(|problem| EntryError::InvalidPath { path: shown(path), problem })
}

/// What a whiteout of this name hides. `None` for the names of other files.
fn hidden_by(name: &[u8]) -> Option<&[u8]> {
    let hidden = name.strip_prefix(WHITEOUT)?;
    (!hidden.is_empty() && !name.starts_with(AUFS)).then_some(hidden)
}

fn device(path: &[u8], major: u32, minor: u32) -> Result<Device, EntryError> {
    if major < 1 << 12 && minor < 1 << 20 {
        Ok(Device { major, minor })
    } else {
        Err(EntryError::DeviceOutOfRange { path: shown(path), major, minor })
    }
}
