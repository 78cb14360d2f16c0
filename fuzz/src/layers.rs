//! A layer's archive, from the bytes to the tree.

use std::collections::BTreeSet;
use std::io::{self, Read};

use crate::layer::{Normaliser, Parents};
use crate::limits::Limits;
use crate::tar::{Entry, EntryKind, Piece, TarError, TarReader};
use crate::tree::{ContentId, NodeId, NodeKind, Tree};

const BLOCK: usize = 512;
/// Small, so that they are reached.
const ARCHIVE_LIMIT: u64 = 1 << 20;
const HEADER_LIMIT: u64 = 16 << 10;
const ENTRIES: u64 = 500;
const METADATA: u64 = 64 << 10;

/// An archive.
///
/// # Panics
///
/// When a promise of `fuzz_targets/layer.rs` is broken.
pub fn layer(input: &[u8]) {
    let archive = sealed(input);
    let read = entries(archive.as_slice());
    let (slow, cut) = (entries(Slow(&archive)), |error: &String| error.chars().count());
    assert_eq!(read, slow, "another size of pieces");
    let (entries, end) = read;
    assert!(end.as_ref().err().is_none_or(|error| cut(error) < 2048), "{end:?}");
    for strict in [false, true] {
        let one = tree(&entries, strict);
        assert_eq!(one, tree(&entries, strict), "the same entries");
        if let Some(tree) = one {
            check(&tree);
        }
    }
}

/// A PAX header's records, before an entry.
///
/// # Panics
///
/// When a promise of `fuzz_targets/pax.rs` is broken.
pub fn pax(input: &[u8]) {
    let mut archive = header(b'x', input.len());
    archive.extend_from_slice(input);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    archive.extend(header(b'0', 0));
    archive.resize(archive.len() + 2 * BLOCK, 0);
    let (entries, end) = entries(archive.as_slice());
    let lengths = lengths(input);
    let Some(entry) = entries.first() else {
        assert!(end.is_err());
        return;
    };
    let keys = lengths.expect("what is no row of records was accepted");
    assert!(!entry.path.contains(&0) && entry.uid != u32::MAX && entry.gid != u32::MAX);
    for name in entry.xattrs.keys() {
        assert!(!name.is_empty() && !name.contains(&0));
    }
    let attributes = keys
        .iter()
        .filter(|key| key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr."));
    assert!(entry.xattrs.len() <= attributes.count());
    if !keys.contains(&&b"path"[..]) && !keys.contains(&&b"GNU.sparse.name"[..]) {
        assert_eq!(entry.path, b"name");
    }
}

/// The keywords, when the lengths of the records are exactly those of the input.
fn lengths(mut rest: &[u8]) -> Option<Vec<&[u8]>> {
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let record = rest.get(space + 1..length)?;
        if record.last() != Some(&b'\n') {
            return None;
        }
        keys.push(record.split(|byte| *byte == b'=').next()?);
        rest = &rest[length..];
    }
    Some(keys)
}

fn told(error: &TarError) -> String {
    error.to_string()
}

/// All entries, and how it ended. Contents are as long as they should be.
fn entries(archive: impl Read) -> (Vec<Entry>, Result<(), String>) {
    let mut reader = TarReader::new(archive, ARCHIVE_LIMIT, HEADER_LIMIT);
    let mut entries = Vec::new();
    let end = loop {
        match reader.next_entry() {
            Err(error) => break Err(told(&error)),
            Ok(None) => break Ok(()),
            Ok(Some(entry)) => {
                let mut length = 0;
                let content = loop {
                    match reader.next_piece() {
                        Err(error) => break Err(told(&error)),
                        Ok(None) => break Ok(()),
                        Ok(Some(Piece::Data(data))) => {
                            assert!(!data.is_empty());
                            length += data.len() as u64;
                        }
                        Ok(Some(Piece::Hole(hole))) => {
                            assert!(hole > 0);
                            length += hole;
                        }
                    }
                };
                if let Err(error) = content {
                    break Err(error);
                }
                let expected = match entry.kind {
                    EntryKind::File { size } => size,
                    _ => 0,
                };
                assert_eq!(length, expected);
                entries.push(entry);
            }
        }
        assert!(reader.offset() <= ARCHIVE_LIMIT);
    };
    (entries, end)
}

fn tree(entries: &[Entry], strict: bool) -> Option<Tree> {
    let limits = Limits {
        layer_entries: ENTRIES,
        layer_metadata_bytes: METADATA,
        header_bytes: HEADER_LIMIT,
        ..Limits::default()
    };
    let mut parents = Parents::default();
    let mut last = None;
    // The second time with what the first one told.
    for _ in 0..2 {
        let mut normaliser = Normaliser::new(&limits, strict);
        for (number, entry) in entries.iter().enumerate() {
            normaliser.add(entry.clone(), ContentId(number as u32)).ok()?;
        }
        last = Some(normaliser.finish(&mut parents).ok()?.tree);
    }
    last
}

/// Whether the tree is one that can be written.
fn check(tree: &Tree) {
    // Whiteouts for what was in the root come on top.
    assert!(tree.len() as u64 <= 2 * ENTRIES + 1);
    let mut directories = BTreeSet::new();
    let mut rest = vec![(Tree::ROOT, 0)];
    let mut bytes = 0;
    while let Some((node, length)) = rest.pop() {
        assert!(directories.insert(node), "a directory of two names");
        assert!(length <= 4096 + 256);
        let NodeKind::Directory(children) = &tree.node(node).kind else { unreachable!() };
        check_metadata(tree, node);
        for (name, child) in children {
            assert!(!name.is_empty() && name.len() <= 255 && !matches!(&**name, b"." | b".."));
            assert!(!name.contains(&b'/') && !name.contains(&0));
            assert!(!name.starts_with(b".wh.") || name.len() == 4, "{}", name.escape_ascii());
            bytes += name.len() as u64;
            match &tree.node(*child).kind {
                NodeKind::Directory(_) => rest.push((*child, length + name.len() + 1)),
                NodeKind::Symlink(target) => {
                    assert!((1..4096).contains(&target.len()) && !target.contains(&0));
                }
                NodeKind::CharacterDevice(device) | NodeKind::BlockDevice(device) => {
                    assert!(device.major < 1 << 12 && device.minor < 1 << 20);
                }
                NodeKind::File(_) | NodeKind::Fifo | NodeKind::Socket => {}
            }
            check_metadata(tree, *child);
        }
    }
    assert!(bytes <= 2 * METADATA);
}

fn check_metadata(tree: &Tree, node: NodeId) {
    let node = tree.node(node);
    let is_directory = matches!(node.kind, NodeKind::Directory(_));
    let is_plain = is_directory || matches!(node.kind, NodeKind::File(_));
    assert!(node.metadata.mode <= 0o7777);
    assert!(node.metadata.xattrs.is_sorted_by(|one, other| one.name < other.name));
    for xattr in &node.metadata.xattrs {
        let is_user = xattr.name.starts_with(b"user.") && !xattr.name.starts_with(b"user.overlay.");
        let is_opaque = &*xattr.name == b"trusted.overlay.opaque" && &*xattr.value == b"y";
        assert!(
            &*xattr.name == b"security.capability"
                || is_user && is_plain
                || is_opaque && is_directory
        );
    }
}

/// With the right checksum in whatever looks like a header: guessing it is not what is tested.
fn sealed(input: &[u8]) -> Vec<u8> {
    let mut archive = input.to_vec();
    for block in archive.chunks_exact_mut(BLOCK) {
        if &block[257..262] == b"ustar" {
            seal(block);
        }
    }
    archive
}

fn header(typeflag: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..4].copy_from_slice(b"name");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = typeflag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Gives few bytes at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1 + self.0.len() % 700);
        self.0.read(&mut buffer[..most])
    }
}
