//! EROFS files beside the squashfs files they were made from. Needs root, and fails without.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod filesystem;
#[expect(dead_code, reason = "other trees have more")]
mod squashfs;

use std::fs;

use filesystem::{Mounted, assert_same, is_inside, list};
use squashfs::{Kind, Part, Scene, metadata, options, xattrs};
use storm_oci_convert::erofs::{self, ErofsError};
use storm_oci_convert::tree::Tree;
use storm_oci_store::ErrorKind;

#[test]
fn an_erofs_file_has_what_the_squashfs_file_has() {
    if !is_inside("an_erofs_file_has_what_the_squashfs_file_has") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("layer.sqsh");
    let mut scene = Scene::new(&source, options(2), metadata(0o755));
    let mut marked = metadata(0o2755);
    marked.xattrs = xattrs(&[("trusted.overlay.opaque", b"y")]);
    let directory = scene.add(Tree::ROOT, b"directory", marked, &Kind::Directory).unwrap();
    let mut program = metadata(0o4755);
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    program.xattrs = xattrs(&[("security.capability", &capability), ("user.note", b"kept")]);
    program.mtime = 1_600_000_001;
    let parts = [Part::Noise(1, 300_000), Part::Zeros(500_000), Part::Text(2, 7)];
    let file = scene.file(directory, b"program", program, &parts).unwrap();
    scene.link(Tree::ROOT, b"other name", file);
    scene.file(directory, b"empty", metadata(0o600), &[]).unwrap();
    for (name, kind) in [
        (b"link".as_slice(), Kind::Symlink(300)),
        (b"whiteout", Kind::Character(0, 0)),
        (b"character", Kind::Character(1, 300)),
        (b"block", Kind::Block(259, 70_000)),
        (b"pipe", Kind::Fifo),
        (b"socket", Kind::Socket),
    ] {
        let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { 0o640 };
        scene.add(directory, name, metadata(mode), &kind).unwrap();
    }
    scene.finish();

    let make = |name: &str| {
        let path = scratch.path().join(name);
        let made = erofs::make(&source, &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), made.size);
        (path, made)
    };
    let (path, made) = make("layer.erofs");
    let [mut expected, mut found] = [(&source, "squashfs"), (&path, "erofs")]
        .map(|(file, kind)| list(Mounted::new(file, kind).path()));
    // EROFS stores zeros.
    for listing in [&mut expected, &mut found] {
        listing.values_mut().for_each(|entry| entry.blocks = None);
    }
    assert_eq!(expected.len(), 11);
    assert_same(&expected, &found, "EROFS");
    assert_eq!(make("again.erofs").1, made, "the same bytes, whenever it is made");
}

#[test]
fn a_layer_without_attributes_is_made_too() {
    if !is_inside("a_layer_without_attributes_is_made_too") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("layer.sqsh");
    let mut scene = Scene::new(&source, options(2), metadata(0o755));
    let directory = scene.add(Tree::ROOT, b"directory", metadata(0o755), &Kind::Directory).unwrap();
    scene.file(directory, b"file", metadata(0o644), &[Part::Text(1, 200_000)]).unwrap();
    scene.add(directory, b"link", metadata(0o777), &Kind::Symlink(30)).unwrap();
    scene.add(directory, b"null", metadata(0o666), &Kind::Character(1, 3)).unwrap();
    scene.finish();
    let path = scratch.path().join("layer.erofs");
    erofs::make(&source, &path).unwrap();
    let [mut expected, mut found] = [(&source, "squashfs"), (&path, "erofs")]
        .map(|(file, kind)| list(Mounted::new(file, kind).path()));
    for listing in [&mut expected, &mut found] {
        listing.values_mut().for_each(|entry| entry.blocks = None);
    }
    assert_same(&expected, &found, "EROFS without attributes");
}

#[test]
fn what_is_no_squashfs_file_is_refused_with_the_reason() {
    if !is_inside("what_is_no_squashfs_file_is_refused_with_the_reason") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("layer.sqsh");
    fs::write(&source, vec![7; 100_000]).unwrap();
    let error = erofs::make(&source, &scratch.path().join("layer.erofs")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    let ErofsError::Ended { said, .. } = &error else { panic!("{error}") };
    assert!(said.contains("mount"), "{error}");
    let left = fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left, 1, "no EROFS file was begun");
}
