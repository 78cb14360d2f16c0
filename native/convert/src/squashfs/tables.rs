//! From a tree to the tables that follow the contents.

use std::collections::btree_map;

use super::contents::{Content, Fragment};
use super::directory::{self, Entry};
use super::ids::Ids;
use super::inode::{self, Common};
use super::metadata::{self, Place, Table};
use super::numbers::Numbers;
use super::output::Output;
use super::superblock::{self, Superblock};
use super::xattrs::Xattrs;
use super::{SquashfsError, SquashfsOptions, Unstorable, codec};
use crate::tree::{ContentId, NodeId, NodeKind, Tree};

/// A directory whose own directories are being written.
struct Step<'a> {
    id: NodeId,
    name: &'a [u8],
    entries: btree_map::Iter<'a, Box<[u8]>, NodeId>,
}

/// The tables while they grow.
struct Tables<'a> {
    tree: &'a Tree,
    contents: &'a [Content],
    numbers: Numbers,
    inodes: Table,
    directories: Table,
    ids: Ids,
    xattrs: Xattrs<'a>,
    /// By node, once written.
    places: Vec<Option<Place>>,
    /// New numbers of the fragments that a file has a part of, by the old ones.
    fragments: Vec<Option<u32>>,
    used: Vec<u32>,
}

/// Writes the tables of a tree. Returns the superblock, which goes to the beginning of the file.
pub(super) fn write(
    tree: &Tree,
    contents: &[Content],
    fragments: &[Fragment],
    options: &SquashfsOptions,
    output: &mut Output,
) -> Result<Superblock, SquashfsError> {
    let compression = options.compression;
    let mut tables = Tables {
        tree,
        contents,
        numbers: Numbers::of(tree)?,
        inodes: Table::new("inode", compression)?,
        directories: Table::new("directory", compression)?,
        ids: Ids::default(),
        xattrs: Xattrs::new(compression)?,
        places: vec![None; tree.len()],
        fragments: vec![None; fragments.len()],
        used: Vec::new(),
    };
    let root = tables.walk()?;
    let export_list = tables.export_list();
    let fragment_list = tables.fragment_list(fragments);
    let used = u32::try_from(tables.used.len()).unwrap_or(u32::MAX);

    let inode_table = tables.inodes.finish(output)?;
    let directory_table = tables.directories.finish(output)?;
    let fragment_table = if used == 0 {
        superblock::ABSENT
    } else {
        metadata::write_listed(compression, &fragment_list, &[], output)?
    };
    let export_table = metadata::write_listed(compression, &export_list, &[], output)?;
    let id_table = metadata::write_listed(compression, &tables.ids.encode(), &[], output)?;
    let xattr_table = tables.xattrs.finish(output)?;

    let flag = |set: bool, flag: u16| if set { flag } else { 0 };
    Ok(Superblock {
        inodes: tables.numbers.count(),
        block_size: options.block_size,
        fragments: used,
        compression: codec::number(compression),
        flags: superblock::DUPLICATES
            | superblock::EXPORTABLE
            | superblock::ALWAYS_FRAGMENTS
            | flag(used == 0, superblock::NO_FRAGMENTS)
            | flag(xattr_table == superblock::ABSENT, superblock::NO_XATTRS)
            | flag(!codec::options(compression).is_empty(), superblock::COMPRESSION_OPTIONS),
        ids: tables.ids.count(),
        root: root.reference(),
        bytes_used: output.position(),
        id_table,
        xattr_table,
        inode_table,
        directory_table,
        fragment_table,
        export_table,
    })
}

impl<'a> Tables<'a> {
    /// Writes all inodes and listings, each after those that it refers to. Trees are deeper than
    /// stacks, so this is a loop.
    fn walk(&mut self) -> Result<Place, SquashfsError> {
        let mut steps: Vec<Step<'a>> = Vec::new();
        let mut next = Some((Tree::ROOT, [].as_slice()));
        loop {
            if let Some((id, name)) = next.take()
                && let NodeKind::Directory(entries) = &self.tree.node(id).kind
            {
                steps.push(Step { id, name, entries: entries.iter() });
            }
            let Some(step) = steps.last_mut() else { break };
            next = step
                .entries
                .by_ref()
                .map(|(name, id)| (*id, &**name))
                .find(|(id, _)| matches!(self.tree.node(*id).kind, NodeKind::Directory(_)));
            if next.is_none() {
                self.directory(&steps)?;
                steps.pop();
            }
        }
        Ok(self.place(Tree::ROOT))
    }

    fn place(&self, id: NodeId) -> Place {
        let place = self.places.get(id.index()).copied().flatten();
        place.unwrap_or(Place { block: 0, offset: 0 })
    }

    fn set_place(&mut self, id: NodeId, place: Place) {
        if let Some(known) = self.places.get_mut(id.index()) {
            *known = Some(place);
        }
    }

    /// Writes what is in the last step's directory and is none itself, its listing, and its inode.
    fn directory(&mut self, steps: &[Step<'a>]) -> Result<(), SquashfsError> {
        let Some((Step { id: directory, .. }, parents)) = steps.split_last() else { return Ok(()) };
        let node = self.tree.node(*directory);
        let NodeKind::Directory(names) = &node.kind else { return Ok(()) };
        let failed =
            |name: Option<&[u8]>, cause| SquashfsError::Node { path: path(steps, name), cause };
        let mut entries = Vec::with_capacity(names.len());
        let mut links = 2_u32;
        for (name, id) in names {
            check_name(name).map_err(|cause| failed(Some(name), cause))?;
            let kind = kind(&self.tree.node(*id).kind);
            if kind == inode::DIRECTORY {
                links = links.saturating_add(1);
            } else if self.places.get(id.index()).is_some_and(Option::is_none) {
                let place = self.node(*id)?.map_err(|cause| failed(Some(name), cause))?;
                self.set_place(*id, place);
            }
            let (inode, place) = (self.numbers.number(*id), self.place(*id));
            entries.push(Entry { name, inode, place, kind });
        }
        if directory::bound(names.keys().map(|name| &**name)) > u64::from(directory::LONGEST) {
            let cause = Unstorable::DirectoryTooLong { limit: directory::LONGEST };
            return Err(failed(None, cause));
        }
        let listing = directory::write(&entries, &mut self.directories)?;
        let common = self.common(*directory)?.map_err(|cause| failed(None, cause))?;
        // The root's parent is a number that no inode has.
        let parent = parents.last().map_or(self.numbers.count().saturating_add(1), |parent| {
            self.numbers.number(parent.id)
        });
        let place = Common { links, ..common }.directory(&listing, parent, &mut self.inodes)?;
        self.set_place(*directory, place);
        Ok(())
    }

    /// Writes the inode of what is no directory.
    fn node(&mut self, id: NodeId) -> Result<Result<Place, Unstorable>, SquashfsError> {
        let common = match self.common(id)? {
            Ok(common) => common,
            Err(unstorable) => return Ok(Err(unstorable)),
        };
        let tree = self.tree;
        let checked = match &tree.node(id).kind {
            NodeKind::Symlink(target) => inode::check_target(target),
            NodeKind::CharacterDevice(device) | NodeKind::BlockDevice(device) => {
                inode::check_device(*device)
            }
            _ => Ok(()),
        };
        if let Err(unstorable) = checked {
            return Ok(Err(unstorable));
        }
        let table = &mut self.inodes;
        match &tree.node(id).kind {
            NodeKind::Directory(_) => Ok(self.place(id)),
            NodeKind::File(ContentId(content)) => {
                let index = usize::try_from(*content).unwrap_or(usize::MAX);
                let Some(content) = self.contents.get(index) else {
                    return Ok(Err(Unstorable::UnknownContent));
                };
                let fragment = content.tail.and_then(|tail| self.fragment(tail.fragment));
                common.file(content, fragment, &mut self.inodes)
            }
            NodeKind::Symlink(target) => common.symlink(target, table),
            NodeKind::CharacterDevice(device) => {
                common.device(inode::CHARACTER_DEVICE, *device, table)
            }
            NodeKind::BlockDevice(device) => common.device(inode::BLOCK_DEVICE, *device, table),
            NodeKind::Fifo => common.special(inode::FIFO, table),
            NodeKind::Socket => common.special(inode::SOCKET, table),
        }
        .map(Ok)
    }

    fn common(&mut self, id: NodeId) -> Result<Result<Common, Unstorable>, SquashfsError> {
        let metadata = &self.tree.node(id).metadata;
        let xattrs = match self.xattrs.index(&metadata.xattrs)? {
            Ok(index) => index,
            Err(unstorable) => return Ok(Err(unstorable)),
        };
        let (uid, gid) = match (self.ids.index(metadata.uid), self.ids.index(metadata.gid)) {
            (Ok(uid), Ok(gid)) => (uid, gid),
            (Err(unstorable), _) | (_, Err(unstorable)) => return Ok(Err(unstorable)),
        };
        Ok(Ok(Common {
            mode: metadata.mode,
            uid,
            gid,
            mtime: metadata.mtime,
            number: self.numbers.number(id),
            links: self.numbers.links(id),
            xattrs,
        }))
    }

    /// The number that a fragment has in the table. What only contents without a file have parts
    /// of is left out: readers expect no more fragments than files.
    fn fragment(&mut self, fragment: u32) -> Option<u32> {
        let known = self.fragments.get_mut(usize::try_from(fragment).ok()?)?;
        if known.is_none() {
            *known = Some(u32::try_from(self.used.len()).ok()?);
            self.used.push(fragment);
        }
        *known
    }

    fn fragment_list(&self, fragments: &[Fragment]) -> Vec<u8> {
        let used =
            self.used.iter().filter_map(|index| fragments.get(usize::try_from(*index).ok()?));
        used.flat_map(|fragment| {
            [fragment.start.to_le_bytes(), u64::from(fragment.size).to_le_bytes()].concat()
        })
        .collect()
    }

    /// The places of the inodes, by their numbers.
    fn export_list(&self) -> Vec<u8> {
        let count = usize::try_from(self.numbers.count()).unwrap_or(usize::MAX);
        let mut places = vec![0; count];
        for id in self.tree.ids() {
            let index = usize::try_from(self.numbers.number(id)).unwrap_or(0);
            if let Some(place) = index.checked_sub(1).and_then(|index| places.get_mut(index)) {
                *place = self.place(id).reference();
            }
        }
        places.into_iter().flat_map(u64::to_le_bytes).collect()
    }
}

fn kind(kind: &NodeKind) -> u16 {
    match kind {
        NodeKind::Directory(_) => inode::DIRECTORY,
        NodeKind::File(_) => inode::FILE,
        NodeKind::Symlink(_) => inode::SYMLINK,
        NodeKind::BlockDevice(_) => inode::BLOCK_DEVICE,
        NodeKind::CharacterDevice(_) => inode::CHARACTER_DEVICE,
        NodeKind::Fifo => inode::FIFO,
        NodeKind::Socket => inode::SOCKET,
    }
}

fn check_name(name: &[u8]) -> Result<(), Unstorable> {
    let is_sound = (1..=255).contains(&name.len())
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    if is_sound { Ok(()) } else { Err(Unstorable::Name) }
}

fn path(steps: &[Step<'_>], name: Option<&[u8]>) -> String {
    let names = steps.iter().skip(1).map(|step| step.name).chain(name);
    let path = names.fold(String::new(), |path, name| path + "/" + &String::from_utf8_lossy(name));
    if path.is_empty() { "/".to_owned() } else { path }
}
