//! Trees to be written, with what must be found of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use storm_oci_convert::squashfs::{SquashfsFile, SquashfsOptions, SquashfsWriter};
use storm_oci_convert::tree::{Device, Metadata, Node, NodeId, NodeKind, Tree, Xattr};

use crate::filesystem::{Entry, Listing};

/// A part of a file.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Bytes that do not compress, by a number.
    Noise(u8, usize),
    /// Bytes that do.
    Text(u8, usize),
    /// Zeros among the bytes.
    Zeros(usize),
    /// Zeros that are said to be a hole.
    Hole(usize),
}

impl Part {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match *self {
            Self::Noise(seed, length) => {
                let mut state = u64::from(seed) * 2 + 1;
                let mut next = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                    state.to_be_bytes()[0]
                };
                (0..length).map(|_| next()).collect()
            }
            Self::Text(seed, length) => {
                format!("some text {seed}\n").bytes().cycle().take(length).collect()
            }
            Self::Zeros(length) | Self::Hole(length) => vec![0; length],
        }
    }
}

/// What a node is to be.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Directory,
    File(Vec<Part>),
    Symlink(usize),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

/// A tree, the writer that has its contents, and what a kernel must say of it.
pub(crate) struct Scene {
    file: File,
    writer: SquashfsWriter,
    tree: Tree,
    paths: BTreeMap<NodeId, Vec<PathBuf>>,
    contents: BTreeMap<NodeId, Vec<u8>>,
    /// The root among them.
    pub(crate) directories: Vec<NodeId>,
    /// What can have more names.
    pub(crate) others: Vec<NodeId>,
    block_size: usize,
}

impl Scene {
    /// In a new file.
    pub(crate) fn new(path: &Path, options: SquashfsOptions, root: Metadata) -> Self {
        let block_size = usize::try_from(options.block_size).unwrap();
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        Self {
            writer: SquashfsWriter::create(file.try_clone().unwrap(), options).unwrap(),
            file,
            tree: Tree::new(root),
            paths: BTreeMap::from([(Tree::ROOT, vec![PathBuf::new()])]),
            contents: BTreeMap::new(),
            directories: vec![Tree::ROOT],
            others: Vec::new(),
            block_size,
        }
    }

    /// Adds a node, unless the name is taken.
    pub(crate) fn add(
        &mut self,
        parent: NodeId,
        name: &[u8],
        metadata: Metadata,
        kind: &Kind,
    ) -> Option<NodeId> {
        if self.has(parent, name) {
            return None;
        }
        let device = |major: &u32, minor: &u32| Device { major: *major, minor: *minor };
        let kind = match kind {
            Kind::Directory => NodeKind::Directory(BTreeMap::new()),
            Kind::File(parts) => {
                self.writer.begin_content().unwrap();
                for part in parts {
                    match part {
                        Part::Hole(length) => {
                            self.writer.write_hole(u64::try_from(*length).unwrap()).unwrap();
                        }
                        // In pieces that are no part of a block.
                        other => other
                            .bytes()
                            .chunks(33_333)
                            .for_each(|piece| self.writer.write(piece).unwrap()),
                    }
                }
                NodeKind::File(self.writer.end_content().unwrap())
            }
            Kind::Symlink(length) => NodeKind::Symlink(vec![b'l'; *length].into()),
            Kind::Character(major, minor) => NodeKind::CharacterDevice(device(major, minor)),
            Kind::Block(major, minor) => NodeKind::BlockDevice(device(major, minor)),
            Kind::Fifo => NodeKind::Fifo,
            Kind::Socket => NodeKind::Socket,
        };
        let is_directory = matches!(kind, NodeKind::Directory(_));
        let id = self.tree.add(Node { metadata, kind }).unwrap();
        let group = if is_directory { &mut self.directories } else { &mut self.others };
        group.push(id);
        self.link(parent, name, id);
        Some(id)
    }

    /// Adds a file with this content.
    pub(crate) fn file(
        &mut self,
        parent: NodeId,
        name: &[u8],
        metadata: Metadata,
        parts: &[Part],
    ) -> Option<NodeId> {
        let id = self.add(parent, name, metadata, &Kind::File(parts.to_vec()))?;
        self.contents.insert(id, parts.iter().flat_map(Part::bytes).collect());
        Some(id)
    }

    /// Writes a content that no node has.
    pub(crate) fn unnamed(&mut self, parts: &[Part]) {
        self.writer.begin_content().unwrap();
        parts.iter().for_each(|part| self.writer.write(&part.bytes()).unwrap());
        self.writer.end_content().unwrap();
    }

    /// Gives a node a name, or one more, unless it is taken.
    pub(crate) fn link(&mut self, parent: NodeId, name: &[u8], id: NodeId) {
        if self.has(parent, name) {
            return;
        }
        let path = self.paths[&parent][0].join(OsStr::from_bytes(name));
        self.paths.entry(id).or_default().push(path);
        let NodeKind::Directory(entries) = &mut self.tree.node_mut(parent).kind else {
            unreachable!()
        };
        entries.insert(name.into(), id);
    }

    fn has(&self, parent: NodeId, name: &[u8]) -> bool {
        let NodeKind::Directory(entries) = &self.tree.node(parent).kind else { unreachable!() };
        entries.contains_key(name)
    }

    /// What must be found.
    pub(crate) fn expected(&self) -> Listing {
        let mut listing = Listing::new();
        for (id, paths) in &self.paths {
            let first_name = paths.iter().min().unwrap();
            for path in paths {
                listing.insert(path.clone(), self.entry(*id, paths.len(), first_name));
            }
        }
        listing
    }

    fn entry(&self, id: NodeId, names: usize, first_name: &Path) -> Entry {
        let Node { metadata, kind } = self.tree.node(id);
        let is_directory =
            |id: &&NodeId| matches!(self.tree.node(**id).kind, NodeKind::Directory(_));
        let (kind, links, device, content) = match kind {
            NodeKind::Directory(entries) => {
                (0o040_000, 2 + entries.values().filter(is_directory).count(), None, Vec::new())
            }
            NodeKind::File(_) => (0o100_000, names, None, self.contents[&id].clone()),
            NodeKind::Symlink(target) => (0o120_000, names, None, target.to_vec()),
            NodeKind::CharacterDevice(device) => (0o020_000, names, Some(device), Vec::new()),
            NodeKind::BlockDevice(device) => (0o060_000, names, Some(device), Vec::new()),
            NodeKind::Fifo => (0o010_000, names, None, Vec::new()),
            NodeKind::Socket => (0o140_000, names, None, Vec::new()),
        };
        let stored: usize = content
            .chunks(self.block_size)
            .filter(|block| block.iter().any(|byte| *byte != 0))
            .map(<[u8]>::len)
            .sum();
        Entry {
            mode: kind | u32::from(metadata.mode),
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: metadata.mtime.into(),
            links: u64::try_from(links).unwrap(),
            device: device.map_or(0, |device| rustix::fs::makedev(device.major, device.minor)),
            content,
            xattrs: metadata
                .xattrs
                .iter()
                .map(|xattr| (xattr.name.to_vec(), xattr.value.to_vec()))
                .collect(),
            first_name: first_name.to_owned(),
            blocks: (kind == 0o100_000 && metadata.xattrs.is_empty())
                .then(|| u64::try_from(stored.div_ceil(512)).unwrap()),
        }
    }

    /// Ends the file.
    pub(crate) fn finish(self) -> SquashfsFile {
        let written = self.writer.finish(&self.tree).unwrap();
        assert_eq!(self.file.metadata().unwrap().len(), written.size);
        written
    }
}

/// Options with so many threads.
pub(crate) fn options(threads: usize) -> SquashfsOptions {
    SquashfsOptions { threads: NonZeroUsize::new(threads).unwrap(), ..Default::default() }
}

/// A directory's or a file's everyday metadata.
pub(crate) fn metadata(mode: u16) -> Metadata {
    Metadata { mode, uid: 1000, gid: 100, mtime: 1_700_000_000, xattrs: Vec::new() }
}

/// Attributes, sorted by name.
pub(crate) fn xattrs(of: &[(&str, &[u8])]) -> Vec<Xattr> {
    let mut xattrs: Vec<Xattr> = of
        .iter()
        .map(|(name, value)| Xattr { name: name.as_bytes().into(), value: (*value).into() })
        .collect();
    xattrs.sort();
    xattrs.dedup_by(|one, other| one.name == other.name);
    xattrs
}
