//! Squashfs files as the kernel and `unsquashfs` read them. Needs root, and fails without.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod filesystem;
mod squashfs;

use std::fs;
use std::path::Path;
use std::process::Command;

use filesystem::{Listing, Mounted, assert_same, is_inside, list, run};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use squashfs::{Kind, Part, Scene, metadata, options, xattrs};
use storm_oci_convert::squashfs::{Compression, SquashfsOptions};
use storm_oci_convert::tree::{Metadata, Tree};

/// `cap_net_raw+ep`, as the kernel keeps it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What is done to a tree: one more node, or one more name, in one of its directories.
#[derive(Clone, Debug)]
struct Step {
    parent: Index,
    name: Vec<u8>,
    metadata: Metadata,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Node(Kind),
    /// A directory of so many names.
    Crowd(u16),
    /// One more name for a node that is there.
    Link(Index),
}

fn lengths(block: usize) -> impl Strategy<Value = usize> {
    let around = [0, 1, 2, 3].map(|blocks| blocks * block);
    (select(around.to_vec()), -1_isize..=1, prop::bool::weighted(0.3), 0..block).prop_map(
        |(near, off, anywhere, extra)| {
            if anywhere { extra } else { near.saturating_add_signed(off) }
        },
    )
}

fn parts(block: usize) -> impl Strategy<Value = Vec<Part>> {
    // Few seeds, so that whole files and their ends are the same now and then.
    let part = (0..4, 0..3_u8, lengths(block)).prop_map(|(sort, seed, length)| match sort {
        0 => Part::Noise(seed, length),
        1 => Part::Text(seed, length),
        2 => Part::Zeros(length),
        _ => Part::Hole(length),
    });
    prop::collection::vec(part, 0..4)
}

fn what(block: usize) -> impl Strategy<Value = What> {
    prop_oneof![
        4 => Just(What::Node(Kind::Directory)),
        8 => parts(block).prop_map(|parts| What::Node(Kind::File(parts))),
        2 => select(vec![1_usize, 59, 60, 61, 255, 4095]).prop_map(|length| What::Node(Kind::Symlink(length))),
        1 => (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| What::Node(Kind::Character(major, minor))),
        1 => Just(What::Node(Kind::Character(0, 0))),
        1 => (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| What::Node(Kind::Block(major, minor))),
        1 => Just(What::Node(Kind::Fifo)),
        1 => Just(What::Node(Kind::Socket)),
        3 => any::<Index>().prop_map(What::Link),
        1 => select(vec![1_u16, 255, 256, 257, 600, 3000]).prop_map(What::Crowd),
    ]
}

fn any_metadata() -> impl Strategy<Value = Metadata> {
    let id = || prop_oneof![Just(0), Just(1000), 0..u32::MAX - 1];
    let xattrs = (0..8_u8, prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(sort, value)| {
        let large = vec![b'x'; 3000];
        match sort {
            0 => xattrs(&[("trusted.short", value.as_slice()), ("security.storm", b"")]),
            1 => xattrs(&[("trusted.large", large.as_slice())]),
            2 => xattrs(&[
                ("trusted.a", large.as_slice()),
                ("trusted.b", large.as_slice()),
                ("trusted.c", value.as_slice()),
            ]),
            3 => xattrs(&[("trusted.huge", vec![b'y'; 60_000].as_slice())]),
            _ => Vec::new(),
        }
    });
    let times = prop_oneof![Just(0), Just(u32::MAX), any::<u32>()];
    (0..0o10000_u16, id(), id(), times, xattrs)
        .prop_map(|(mode, uid, gid, mtime, xattrs)| Metadata { mode, uid, gid, mtime, xattrs })
}

fn step(block: usize) -> impl Strategy<Value = Step> {
    let name = prop_oneof![
        8 => "[a-c]{1,3}".prop_map(String::into_bytes),
        1 => Just(vec![b'n'; 255]),
        // No text, and bytes that sort differently with a sign.
        1 => prop::collection::vec(0x80..=0xff_u8, 1..4),
    ];
    (any::<Index>(), name, any_metadata(), what(block))
        .prop_map(|(parent, name, metadata, what)| Step { parent, name, metadata, what })
}

fn take(scene: &mut Scene, step: &Step) {
    let Step { parent, name, metadata, what } = step;
    let parent = *parent.get(&scene.directories);
    match what {
        What::Node(Kind::File(parts)) => {
            let mut metadata = metadata.clone();
            if metadata.mode % 5 == 0 {
                metadata.xattrs =
                    xattrs(&[("security.capability", CAPABILITY), ("user.note", b"of a file")]);
            }
            scene.file(parent, name, metadata, parts);
        }
        What::Node(kind) => {
            let mut metadata = metadata.clone();
            if matches!(kind, Kind::Symlink(_)) {
                // Others are not to be had outside of squashfs.
                metadata.mode = 0o777;
            }
            scene.add(parent, name, metadata, kind);
        }
        What::Crowd(count) => {
            if let Some(crowd) = scene.add(parent, name, metadata.clone(), &Kind::Directory) {
                for number in 0..*count {
                    let name = format!("one of many names, this being number {number}");
                    scene.add(crowd, name.as_bytes(), squashfs::metadata(0o600), &Kind::Fifo);
                }
            }
        }
        What::Link(to) => {
            if !scene.others.is_empty() {
                let to = *to.get(&scene.others);
                scene.link(parent, name, to);
            }
        }
    }
}

/// Writes the scene and looks at it through the kernel.
fn assert_mounts(file: &Path, expected: &Listing) {
    let mounted = Mounted::new(file, "squashfs");
    assert_same(expected, &list(mounted.path()), "mounted");
}

/// Lets `unsquashfs` unpack the file, and looks at that.
fn assert_unpacks(file: &Path, expected: &Listing) {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("unpacked");
    run(Command::new("unsquashfs").args(["-no-progress", "-quiet", "-d"]).arg(&target).arg(file));
    let mut expected = expected.clone();
    let mut found = list(&target);
    // What a file takes on another file system is that one's.
    for listing in [&mut expected, &mut found] {
        listing.values_mut().for_each(|entry| entry.blocks = None);
    }
    assert_same(&expected, &found, "unsquashfs");
}

#[test]
fn random_trees_are_found_as_they_were() {
    if !is_inside("random_trees_are_found_as_they_were") {
        return;
    }
    let strategy = select(vec![4096_u32, 131_072]).prop_flat_map(|block| {
        let steps = prop::collection::vec(step(usize::try_from(block).unwrap()), 1..60);
        (Just(block), select(vec![1_usize, 2, 5]), any_metadata(), steps)
    });
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let compressions = [Compression::default(), Compression::Zstd { level: 3 }];
    let checked = TestRunner::new(config).run(&strategy, |(block_size, threads, root, steps)| {
        let scratch = tempfile::tempdir().unwrap();
        for compression in compressions {
            let write = |name: &str, threads| {
                let path = scratch.path().join(name);
                let options = SquashfsOptions { compression, block_size, ..options(threads) };
                let mut scene = Scene::new(&path, options, root.clone());
                steps.iter().for_each(|step| take(&mut scene, step));
                let expected = scene.expected();
                let written = scene.finish();
                (path, expected, written)
            };
            let (path, expected, written) = write("one", threads);
            assert_mounts(&path, &expected);
            assert_unpacks(&path, &expected);
            let (again, _, same) = write("other", 3);
            assert_eq!(written, same, "{threads} threads and 3");
            [path, again].iter().for_each(|path| fs::remove_file(path).unwrap());
        }
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn names_in_a_large_directory_are_found_through_its_index() {
    if !is_inside("names_in_a_large_directory_are_found_through_its_index") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("large");
    let mut scene = Scene::new(&path, options(2), metadata(0o755));
    let large = scene.add(Tree::ROOT, b"large", metadata(0o755), &Kind::Directory).unwrap();
    let name =
        |number: u32| format!("{number:05}-{}", "x".repeat(usize::try_from(number % 150).unwrap()));
    // Every second number, so that there is always a name between two that is not there.
    let numbers = || (0..24_000).step_by(2);
    for number in numbers() {
        let kind = if number % 100 == 0 { Kind::Directory } else { Kind::Fifo };
        scene.add(large, name(number).as_bytes(), metadata(0o644), &kind).unwrap();
    }
    // Numbers too far from each other for one header, and in other blocks of the table.
    for part in 0..34 {
        let name = format!("part {part}");
        let part = scene.add(Tree::ROOT, name.as_bytes(), metadata(0o755), &Kind::Directory);
        for number in 0..1000 {
            let name = number.to_string();
            scene.add(part.unwrap(), name.as_bytes(), metadata(0o644), &Kind::Fifo).unwrap();
        }
    }
    let links = scene.add(Tree::ROOT, b"links", metadata(0o755), &Kind::Directory).unwrap();
    let nodes = scene.others.clone();
    for (number, node) in nodes.iter().enumerate().step_by(1111) {
        let other = nodes[nodes.len() - 1 - number];
        scene.link(links, format!("{number}-a").as_bytes(), *node);
        scene.link(links, format!("{number}-b").as_bytes(), other);
    }
    let expected = scene.expected();
    scene.finish();
    assert_mounts(&path, &expected);
    let mounted = Mounted::new(&path, "squashfs");
    // By name alone: what was listed is in the kernel's cache, and this mount is another.
    for number in numbers().rev().step_by(5) {
        let found = mounted.path().join("large").join(name(number));
        assert!(fs::symlink_metadata(&found).is_ok(), "{found:?}");
        fs::symlink_metadata(mounted.path().join("large").join(name(number + 1))).unwrap_err();
    }
    assert_unpacks(&path, &expected);
}

#[test]
fn ends_of_files_without_a_node_leave_no_fragment_behind() {
    if !is_inside("ends_of_files_without_a_node_leave_no_fragment_behind") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("dead");
    let mut scene = Scene::new(&path, options(2), metadata(0o755));
    // Later entries of an archive replace earlier ones: more fragments than files.
    for seed in 0..50 {
        scene.unnamed(&[Part::Noise(seed, 100_000)]);
    }
    scene.file(Tree::ROOT, b"last", metadata(0o644), &[Part::Noise(60, 100_000)]).unwrap();
    let expected = scene.expected();
    scene.finish();
    assert_mounts(&path, &expected);
    assert_unpacks(&path, &expected);
    let described = run(Command::new("unsquashfs").arg("-stat").arg(&path));
    assert!(described.contains("Number of fragments 1\n"), "{described}");
}

#[test]
fn the_superblock_tells_what_is_there() {
    if !is_inside("the_superblock_tells_what_is_there") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let stat = |name: &str, compression, with_xattrs: bool| {
        let path = scratch.path().join(name);
        let options = SquashfsOptions { compression, ..options(2) };
        let mut scene = Scene::new(&path, options, metadata(0o755));
        let mut metadata = metadata(0o644);
        if with_xattrs {
            metadata.xattrs = xattrs(&[("user.note", b"value")]);
        }
        scene.file(Tree::ROOT, b"file", metadata, &[Part::Text(1, 200_000)]).unwrap();
        let expected = scene.expected();
        scene.finish();
        assert_mounts(&path, &expected);
        run(Command::new("unsquashfs").arg("-stat").arg(&path))
    };
    let gzip = stat("gzip", Compression::Gzip { level: 6 }, true);
    for said in [
        "SQUASHFS 4:0 superblock",
        "Compression gzip\n\tcompression-level 6\n\twindow-size 15\n",
        "Block size 131072\n",
        "Filesystem is exportable via NFS",
        "Always-use-fragments option is specified",
        "Xattrs are compressed",
        "Duplicates are removed",
        "Number of fragments 1\n",
        "Number of inodes 2\n",
        "Number of ids 2\n",
        "Number of xattr ids 1\n",
    ] {
        assert!(gzip.contains(said), "{said}: {gzip}");
    }
    // The format's own level is not told.
    let usual = stat("usual", Compression::Gzip { level: 9 }, false);
    assert!(usual.contains("Compression gzip\nBlock size"), "{usual}");
    assert!(usual.contains("Xattrs are not stored"), "{usual}");
    let zstd = stat("zstd", Compression::Zstd { level: 3 }, false);
    assert!(zstd.contains("Compression zstd\n\tcompression-level 3\n"), "{zstd}");
}
