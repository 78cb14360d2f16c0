//! A layer's files: what the normaliser makes of an archive, and what a file system is written from.

use std::collections::BTreeMap;

/// Names one node of a [`Tree`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(u32);

impl NodeId {
    /// The node's place among those of its tree: less than [`Tree::len`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).expect("a usize has 32 bits or more")
    }
}

/// Names the content of one regular file, as the writer that took it calls it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ContentId(pub u32);

/// What every sort of node has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Metadata {
    /// Permissions, set-id bits and the sticky bit: `07777`.
    pub mode: u16,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The modification time, in seconds since the epoch.
    pub mtime: u32,
    /// Extended attributes, sorted by name, no name twice.
    pub xattrs: Vec<Xattr>,
}

/// An extended attribute.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Xattr {
    /// The full name, beginning with `user.`, `trusted.` or `security.`.
    pub name: Box<[u8]>,
    /// The value.
    pub value: Box<[u8]>,
}

/// The number of a device.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Device {
    /// Below 4096.
    pub major: u32,
    /// Below 1 048 576.
    pub minor: u32,
}

/// What a node is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeKind {
    /// A directory and what is in it. Names hold no `/` and no NUL, are neither empty nor `.` nor
    /// `..`, and have at most 255 bytes.
    Directory(BTreeMap<Box<[u8]>, NodeId>),
    /// A regular file.
    File(ContentId),
    /// A symbolic link and where it leads.
    Symlink(Box<[u8]>),
    /// A character device. `0:0` is overlayfs' whiteout.
    CharacterDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A file, with or without names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Mode, owner, time, attributes.
    pub metadata: Metadata,
    /// What it is.
    pub kind: NodeKind,
}

/// Files in directories. Hard links are names of one node; a directory has one name alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// The directory that all others are in.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree of an empty root directory.
    #[must_use]
    pub fn new(root: Metadata) -> Self {
        Self { nodes: vec![Node { metadata: root, kind: NodeKind::Directory(BTreeMap::new()) }] }
    }

    /// Adds a node, which has no name yet. `None` beyond 2³² of them.
    pub fn add(&mut self, node: Node) -> Option<NodeId> {
        let id = NodeId(u32::try_from(self.nodes.len()).ok()?);
        self.nodes.push(node);
        Some(id)
    }

    /// A node of this tree.
    ///
    /// # Panics
    ///
    /// If the id is another tree's.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.index()).expect("the id is of this tree")
    }

    /// As [`Tree::node`], to change it.
    ///
    /// # Panics
    ///
    /// If the id is another tree's.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(id.index()).expect("the id is of this tree")
    }

    /// All nodes, those without a name included.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        // `add` gives out no larger number.
        (0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).map(NodeId)
    }

    /// How many nodes there are, those without a name included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: there is the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}
