//! What can be said of a file without a kernel that reads it.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::time::Duration;
use std::{fs, thread};

use storm_oci_store::ErrorKind;

use super::{
    Compression, SquashfsError, SquashfsFile, SquashfsOptions, SquashfsWriter, Unstorable,
};
use crate::tree::{Device, Metadata, Node, NodeId, NodeKind, Tree, Xattr};

const BLOCK: usize = 128 << 10;

fn options(threads: usize) -> SquashfsOptions {
    SquashfsOptions { threads: NonZeroUsize::new(threads).unwrap(), ..Default::default() }
}

/// A file without a name.
fn scratch() -> File {
    tempfile::tempfile().unwrap()
}

fn add(tree: &mut Tree, name: &[u8], kind: NodeKind) -> NodeId {
    let id = tree.add(Node { metadata: Metadata::default(), kind }).unwrap();
    name_it(tree, name, id);
    id
}

fn name_it(tree: &mut Tree, name: &[u8], id: NodeId) {
    let NodeKind::Directory(entries) = &mut tree.node_mut(Tree::ROOT).kind else { unreachable!() };
    entries.insert(name.into(), id);
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Writes files with these contents.
fn write(contents: &[Vec<u8>], options: SquashfsOptions) -> (File, SquashfsFile) {
    let file = scratch();
    let mut writer = SquashfsWriter::create(file.try_clone().unwrap(), options).unwrap();
    let mut tree = Tree::new(Metadata::default());
    for (number, content) in contents.iter().enumerate() {
        writer.begin_content().unwrap();
        content.chunks(50_000).for_each(|part| writer.write(part).unwrap());
        let id = writer.end_content().unwrap();
        add(&mut tree, number.to_string().as_bytes(), NodeKind::File(id));
    }
    (file, writer.finish(&tree).unwrap())
}

fn size(contents: &[Vec<u8>]) -> u64 {
    write(contents, options(2)).1.size
}

/// Why a tree with one more node cannot be written.
fn refused(name: &[u8], metadata: Metadata, kind: NodeKind) -> (String, Unstorable) {
    let mut tree = Tree::new(Metadata::default());
    let id = add(&mut tree, name, kind);
    tree.node_mut(id).metadata = metadata;
    match SquashfsWriter::create(scratch(), options(1)).unwrap().finish(&tree) {
        Err(SquashfsError::Node { path, cause }) => (path, cause),
        other => panic!("{other:?}"),
    }
}

fn refused_xattr(name: &[u8], length: usize) -> Unstorable {
    let xattr = Xattr { name: name.into(), value: vec![b'v'; length].into() };
    let metadata = Metadata { xattrs: vec![xattr], ..Metadata::default() };
    refused(b"file", metadata, NodeKind::Fifo).1
}

#[test]
fn the_digest_and_the_size_are_the_files() {
    use sha2::{Digest, Sha256};

    let (file, written) = write(&[noise(1, 3 * BLOCK + 17)], options(2));
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes.len() % 4096, 0);
    assert_eq!(written.size, u64::try_from(bytes.len()).unwrap());
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    assert_eq!(written.sha256, digest);
}

#[test]
fn contents_that_are_the_same_are_stored_once() {
    for length in [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
        let one = noise(7, length);
        let other = noise(8, length);
        let once = size(&[one.clone(), other.clone()]);
        let thrice = size(&[one.clone(), one.clone(), other.clone(), one.clone()]);
        assert!(thrice <= once + 4096, "{length}: {thrice} {once}");
        assert!(
            size(std::slice::from_ref(&one)) + u64::try_from(length).unwrap() / 2 < once + 4096
        );
    }
}

#[test]
fn a_content_that_differs_in_its_end_alone_is_no_duplicate() {
    let one = noise(7, BLOCK + 100);
    let mut other = one.clone();
    *other.last_mut().unwrap() ^= 1;
    let (mine, _) = write(&[one.clone(), other.clone()], options(2));
    let (twice, _) = write(&[one.clone(), one], options(2));
    let read = |file: &File| {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    assert_ne!(read(&mine), read(&twice));
}

#[test]
fn holes_are_as_zeros_and_take_no_room() {
    let hole = |length: u64| {
        let mut writer = SquashfsWriter::create(scratch(), options(2)).unwrap();
        writer.begin_content().unwrap();
        writer.write(b"before").unwrap();
        writer.write_hole(length).unwrap();
        writer.write(b"after").unwrap();
        let id = writer.end_content().unwrap();
        let mut tree = Tree::new(Metadata::default());
        add(&mut tree, b"sparse", NodeKind::File(id));
        writer.finish(&tree).unwrap()
    };
    for length in [0, 5, BLOCK - 11, BLOCK - 6, BLOCK, 5 * BLOCK + 3] {
        let zeros = [b"before".as_slice(), &vec![0; length], b"after"].concat();
        let mut writer = SquashfsWriter::create(scratch(), options(2)).unwrap();
        writer.begin_content().unwrap();
        writer.write(&zeros).unwrap();
        let id = writer.end_content().unwrap();
        let mut tree = Tree::new(Metadata::default());
        add(&mut tree, b"sparse", NodeKind::File(id));
        assert_eq!(writer.finish(&tree).unwrap(), hole(u64::try_from(length).unwrap()));
    }
    // A terabyte is eight million blocks of which only the sizes, all zero, are told.
    assert!(hole(1 << 40).size < 200_000);
}

#[test]
fn threads_change_nothing() {
    let contents: Vec<_> = (0_usize..60)
        .map(|number| {
            let length = [0, 1, 70_000, BLOCK, BLOCK + 1, 400_000][number % 6];
            let mut content = noise(u64::try_from(number % 11).unwrap(), length);
            // Every second one compresses.
            content.iter_mut().skip(number % 2 * length).for_each(|byte| *byte &= 7);
            content
        })
        .collect();
    for compression in [Compression::Gzip { level: 6 }, Compression::Zstd { level: 3 }] {
        let with =
            |threads| write(&contents, SquashfsOptions { compression, ..options(threads) }).1;
        let one = with(1);
        for threads in [2, 3, 8] {
            assert_eq!(with(threads), one, "{threads} threads, {compression:?}");
        }
    }
}

#[test]
fn a_full_disk_is_an_error_of_its_kind_and_ends_all_calls() {
    let full = fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    // Nothing is written before a block is: the level is the one that goes without saying.
    let compression = Compression::Gzip { level: 9 };
    let options = SquashfsOptions { compression, ..options(2) };
    let mut writer = SquashfsWriter::create(full, options).unwrap();
    writer.begin_content().unwrap();
    let block = noise(1, BLOCK);
    let error = (0..100).find_map(|_| writer.write(&block).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().starts_with("cannot write the squashfs file: "), "{error}");
    assert!(matches!(writer.write(b"more"), Err(SquashfsError::Order { .. })));
    assert!(matches!(writer.end_content(), Err(SquashfsError::Order { .. })));
    let tree = Tree::new(Metadata::default());
    assert!(matches!(writer.finish(&tree), Err(SquashfsError::Order { .. })));
}

#[test]
fn calls_out_of_order_are_errors() {
    let new = || SquashfsWriter::create(scratch(), options(1)).unwrap();
    assert!(matches!(new().write(b"x"), Err(SquashfsError::Order { .. })));
    assert!(matches!(new().write_hole(1), Err(SquashfsError::Order { .. })));
    assert!(matches!(new().end_content(), Err(SquashfsError::Order { .. })));
    let mut twice = new();
    twice.begin_content().unwrap();
    assert!(matches!(twice.begin_content(), Err(SquashfsError::Order { .. })));
    let tree = Tree::new(Metadata::default());
    assert!(matches!(twice.finish(&tree), Err(SquashfsError::Order { .. })));
}

#[test]
fn a_dropped_writer_leaves_no_thread() {
    let mut writer = SquashfsWriter::create(scratch(), options(3)).unwrap();
    writer.begin_content().unwrap();
    writer.write(&noise(1, 20 * BLOCK)).unwrap();
    let (sender, dropped) = std::sync::mpsc::channel();
    thread::spawn(move || {
        drop(writer);
        sender.send(()).unwrap();
    });
    dropped.recv_timeout(Duration::from_secs(60)).unwrap();
}

#[test]
fn options_that_the_format_has_not_are_refused() {
    let create = |options| SquashfsWriter::create(scratch(), options).unwrap_err();
    for size in [0, 2048, 100_000, 2 << 20] {
        let error = create(SquashfsOptions { block_size: size, ..options(1) });
        assert!(matches!(error, SquashfsError::BlockSize { .. }));
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
    }
    for compression in [
        Compression::Gzip { level: 0 },
        Compression::Gzip { level: 10 },
        Compression::Zstd { level: 0 },
        Compression::Zstd { level: 23 },
    ] {
        let error = create(SquashfsOptions { compression, ..options(1) });
        assert!(matches!(error, SquashfsError::Level { .. }));
    }
}

#[test]
fn what_squashfs_cannot_hold_is_named() {
    let plain = Metadata::default;
    for name in [&[b'n'; 256], b"a/b".as_slice(), b"", b".", b"..", b"nul\0"] {
        assert_eq!(refused(name, plain(), NodeKind::Fifo).1, Unstorable::Name);
    }
    for length in [0, 4096] {
        let (path, cause) = refused(b"link", plain(), NodeKind::Symlink(vec![b't'; length].into()));
        assert_eq!(
            (path.as_str(), cause),
            ("/link", Unstorable::SymlinkLength { length, limit: 4095 })
        );
    }
    for (major, minor) in [(4096, 0), (0, 1 << 20)] {
        let kind = NodeKind::CharacterDevice(Device { major, minor });
        assert_eq!(refused(b"device", plain(), kind).1, Unstorable::Device { major, minor });
    }
    for name in [
        b"system.posix_acl_access".as_slice(),
        b"user.",
        b"user",
        &[b"user.".as_slice(), &[b'x'; 251]].concat(),
    ] {
        assert!(matches!(refused_xattr(name, 1), Unstorable::XattrName { .. }));
    }
    assert!(matches!(refused_xattr(b"user.x", 65_537), Unstorable::XattrTooLong { .. }));
    let kind = NodeKind::File(crate::tree::ContentId(0));
    assert_eq!(refused(b"file", plain(), kind).1, Unstorable::UnknownContent);
}

#[test]
fn a_file_beyond_the_formats_limit_is_refused() {
    let mut writer = SquashfsWriter::create(scratch(), options(1)).unwrap();
    writer.begin_content().unwrap();
    let error = writer.write_hole((2 << 40) + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "cannot store a file of more than 2199023255552 bytes in squashfs"
    );
}

#[test]
fn the_65536th_owner_is_refused() {
    let mut tree = Tree::new(Metadata::default());
    for id in 0..65_536_u32 {
        let node = add(&mut tree, id.to_string().as_bytes(), NodeKind::Fifo);
        tree.node_mut(node).metadata.uid = id;
    }
    let error = SquashfsWriter::create(scratch(), options(1)).unwrap().finish(&tree).unwrap_err();
    let SquashfsError::Node { cause, .. } = error else { panic!("{error}") };
    assert_eq!(cause, Unstorable::TooManyIds { limit: 65_535 });
}

#[test]
fn a_directory_has_one_name() {
    let mut tree = Tree::new(Metadata::default());
    let directory = add(&mut tree, b"one", NodeKind::Directory([].into()));
    name_it(&mut tree, b"other", directory);
    let error = SquashfsWriter::create(scratch(), options(1)).unwrap().finish(&tree).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"cannot store "/other" in squashfs: it is a directory with more than one name"#
    );
    let mut within_itself = Tree::new(Metadata::default());
    name_it(&mut within_itself, b"loop", Tree::ROOT);
    SquashfsWriter::create(scratch(), options(1)).unwrap().finish(&within_itself).unwrap_err();
}

#[test]
fn trees_may_be_deeper_than_stacks() {
    let mut tree = Tree::new(Metadata::default());
    let mut parent = Tree::ROOT;
    for _ in 0..20_000 {
        let kind = NodeKind::Directory([].into());
        let child = tree.add(Node { metadata: Metadata::default(), kind }).unwrap();
        let NodeKind::Directory(entries) = &mut tree.node_mut(parent).kind else { unreachable!() };
        entries.insert(b"d".as_slice().into(), child);
        parent = child;
    }
    SquashfsWriter::create(scratch(), options(1)).unwrap().finish(&tree).unwrap();
}
