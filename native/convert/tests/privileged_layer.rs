//! Layers as the kernel finds them, beside what GNU tar and `tar2sqfs` make of the same archives.
//! Needs root, and fails without.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod archive;
mod filesystem;
mod image;
mod overlay;
mod random;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use archive::{Entry, archive};
use filesystem::{Listing, Mounted, assert_same, is_inside, list, run};
use image::Image;
use overlay::overlaid;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use storm_oci_convert::layer::{ExpectedBlob, LayerOptions, Parents, convert};
use storm_oci_e2e::{Layout, image as e2e_image};
use storm_oci_store::Digest;

/// Makes a layer's file of an archive.
fn converted(tar: &Path, file: &Path, parents: &mut Parents) {
    let mut blob = File::open(tar).unwrap();
    let digest = run(Command::new("sha256sum").arg(tar));
    let digest = Digest::parse_hex(digest.split(' ').next().unwrap()).unwrap();
    let expected = ExpectedBlob { digest, size: None, diff_id: None };
    let file = File::options().read(true).write(true).create(true).truncate(true).open(file);
    convert(&mut blob, &expected, parents, file.unwrap(), &LayerOptions::default()).unwrap();
}

/// What the kernel finds in a layer's file. Where blocks are is the file system's own.
fn mounted(file: &Path) -> Listing {
    comparable(list(Mounted::new(file, "squashfs").path()))
}

fn comparable(mut listing: Listing) -> Listing {
    listing.values_mut().for_each(|entry| entry.blocks = None);
    listing
}

/// Lets GNU tar unpack an archive as well as it can.
fn unpacked(tar: &Path, target: &Path) -> Listing {
    fs::create_dir(target).unwrap();
    let mut command = Command::new("tar");
    command.args(["--numeric-owner", "--xattrs", "--xattrs-include=*"]);
    // Names are all relative. Without the first, symbolic links to above come last, and GNU tar then
    // mistakes hard links to them whose name another entry took.
    command.args(["--absolute-names", "--delay-directory-restore", "--warning=no-timestamp"]);
    run(command.arg("-C").arg(target).arg("-xpf").arg(tar));
    comparable(list(target))
}

fn packed(tree: &Path, tar: &Path, arguments: &[&str]) {
    let mut command = Command::new("tar");
    command.arg("--numeric-owner").args(arguments).arg("-C").arg(tree);
    run(command.arg("-cf").arg(tar).arg("."));
}

/// Without the marks of overlayfs, which layers do not keep.
const XATTRS: [&str; 3] = ["--format=pax", "--xattrs-include=*", "--xattrs-exclude=trusted.*"];

#[test]
fn random_archives_become_what_gnu_tar_unpacks() {
    if !is_inside("random_archives_become_what_gnu_tar_unpacks") {
        return;
    }
    let config = Config { cases: 30, failure_persistence: None, ..Config::default() };
    // The same ones each time: what GNU tar does with odder ones is its own affair.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let checked = TestRunner::new_with_rng(config, rng).run(
        &(random::steps(), any::<u64>()),
        |(steps, seed)| {
            let scratch = tempfile::tempdir().unwrap();
            let path = |name: &str| scratch.path().join(name);
            let (tar, file, tree) = (path("tar"), path("file"), path("tree"));
            let entries = random::entries(&steps);
            fs::write(&tar, archive(&entries)).unwrap();
            let expected = unpacked(&tar, &tree);
            converted(&tar, &file, &mut Parents::default());
            assert_same(&expected, &mounted(&file), "the archive built here");
            // GNU tar's own archives, with its sparse files of each sort.
            for form in [
                &["--format=gnu", "--sparse"][..],
                &["--sparse"],
                &["--sparse", "--sparse-version=0.0"],
                &["--sparse", "--sparse-version=0.1"],
                &["--format=pax"],
            ] {
                let arguments = if form[0] != "--format=gnu" {
                    [&XATTRS[..], form].concat()
                } else {
                    form.to_vec()
                };
                let (again, other) = (path("again"), tempfile::tempdir().unwrap());
                packed(&tree, &again, &arguments);
                converted(&again, &file, &mut Parents::default());
                let expected = unpacked(&again, &other.path().join("tree"));
                assert_same(&expected, &mounted(&file), &form.join(" "));
            }
            // The last of them has a second opinion.
            assert_second_opinion(&path("again"), &file);
            // Without a name twice, the order does not matter.
            let shuffled = random::shuffled(random::last_of_each(&entries), seed);
            fs::write(path("again"), archive(&shuffled)).unwrap();
            converted(&path("again"), &file, &mut Parents::default());
            let once = random::last_of_each(&entries);
            fs::write(&tar, archive(&once)).unwrap();
            converted(&tar, &path("other"), &mut Parents::default());
            assert_same(&mounted(&path("other")), &mounted(&file), "in another order");
            Ok(())
        },
    );
    checked.unwrap();
}

/// Compares a file with what `tar2sqfs` makes of the same archive. It counts other names of
/// directories than file systems do.
fn assert_second_opinion(tar: &Path, file: &Path) {
    let second = tempfile::NamedTempFile::new().unwrap();
    let shell = "tar2sqfs -q -f -s -c gzip -X level=1 \"$1\" < \"$0\" 2>&1";
    run(Command::new("sh").args(["-c", shell]).arg(tar).arg(second.path()));
    let [ours, theirs] = [file, second.path()].map(|file| {
        let mut listing = mounted(file);
        let directories = listing.values_mut().filter(|entry| entry.mode & 0o170_000 == 0o040_000);
        directories.for_each(|entry| entry.links = 0);
        listing
    });
    assert_same(&theirs, &ours, "tar2sqfs");
}

/// A base system and a JDK, from Debian's packages.
#[test]
fn distributions_become_what_gnu_tar_unpacks() {
    if !is_inside("distributions_become_what_gnu_tar_unpacks") {
        return;
    }
    let layers = e2e_image::debian(&Layout::new("convert")).unwrap();
    for layer in layers {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        // What its whiteouts hide is another test's business.
        let mut unpack = Command::new("tar");
        unpack.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=.wh.*"]);
        fs::create_dir(path("original")).unwrap();
        run(unpack.arg("-C").arg(path("original")).arg("-xpzf").arg(layer.path()));
        packed(&path("original"), &path("tar"), &XATTRS);
        fs::remove_dir_all(path("original")).unwrap();
        let expected = unpacked(&path("tar"), &path("tree"));
        fs::remove_dir_all(path("tree")).unwrap();
        assert!(expected.len() > 300, "{layer:?} has {} files", expected.len());
        converted(&path("tar"), &path("file"), &mut Parents::default());
        assert_same(&expected, &mounted(&path("file")), &layer.path().display().to_string());
        assert_second_opinion(&path("tar"), &path("file"));
    }
}

#[test]
fn images_are_what_dockers_rules_say() {
    if !is_inside("images_are_what_dockers_rules_say") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut image = Image::new(scratch.path());
    let mut parents = Parents::default();
    let mut files: Vec<PathBuf> = Vec::new();
    for (number, layer) in image::layers().iter().enumerate() {
        image.apply(layer);
        let (tar, file) =
            (scratch.path().join("tar"), scratch.path().join(format!("{number}.sqsh")));
        fs::write(&tar, archive(layer)).unwrap();
        converted(&tar, &file, &mut parents);
        files.push(file);
        let mounts: Vec<Mounted> =
            files.iter().map(|file| Mounted::new(file, "squashfs")).collect();
        let found = overlaid(&mounts, scratch.path());
        assert_same(&image.listing(), &found, &format!("with layer {number}"));
    }
}

/// Sizes and offsets that 32 bits cannot hold; most of it is a hole.
#[test]
fn a_file_of_more_than_4_gib_can_be_read() {
    if !is_inside("a_file_of_more_than_4_gib_can_be_read") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    fs::create_dir(path("tree")).unwrap();
    let large = File::create(path("tree/large")).unwrap();
    large.set_len((9 << 29) + 5).unwrap();
    for (content, offset) in [("begin", 0), ("middle", (1 << 32) - 3), ("end", (9 << 29) + 2)] {
        large.write_all_at(content.as_bytes(), offset).unwrap();
    }
    packed(&path("tree"), &path("tar"), &["--format=pax", "--sparse"]);
    converted(&path("tar"), &path("file"), &mut Parents::default());
    assert!(fs::metadata(path("file")).unwrap().len() < 1 << 20);
    let mount = Mounted::new(&path("file"), "squashfs");
    run(Command::new("cmp").arg(path("tree/large")).arg(mount.path().join("large")));
}

/// As deep as paths can be, and a name as long as one can be.
#[test]
fn the_deepest_tree_can_be_read() {
    if !is_inside("the_deepest_tree_can_be_read") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (tar, file) = (scratch.path().join("tar"), scratch.path().join("file"));
    let deep = "d/".repeat(2047);
    fs::write(&tar, archive(&[Entry::file(format!("{deep}f"), "deep")])).unwrap();
    converted(&tar, &file, &mut Parents::default());
    let mount = Mounted::new(&file, "squashfs");
    let read = |path: &Path| {
        run(Command::new("sh")
            .arg("-c")
            .arg("cd \"$0\" && cat \"$1\"")
            .arg(path)
            .arg(format!("{}f", "d/".repeat(1047))))
    };
    assert_eq!(read(&mount.path().join("d/".repeat(1000))), "deep");
    let described = run(Command::new("unsquashfs").arg("-stat").arg(&file));
    assert!(described.contains("Number of inodes 2049\n"), "{described}");
}
