//! What layers become: entries in, a tree out.
//!
//! A tree is shown as a line for each name, `path sort mode uid:gid mtime`, with what is special to
//! the sort behind it. Names of one node have the first one's path behind `=`.

use std::collections::BTreeMap;

use super::{EntryError, Parents, WarningKind, Warnings};
use crate::archive::{Entry, archive};
use crate::layer::finish::Normalised;
use crate::layer::normaliser::Normaliser;
use crate::limits::Limits;
use crate::tar::TarReader;
use crate::tree::{ContentId, NodeId, NodeKind, Tree};

fn normalised(
    entries: &[Entry],
    parents: &mut Parents,
    limits: &Limits,
    strict: bool,
) -> Result<Normalised, EntryError> {
    let bytes = archive(entries);
    let mut reader = TarReader::new(bytes.as_slice(), 64 << 20, 1 << 20);
    let mut normaliser = Normaliser::new(limits, strict);
    // A file's content is called after its place in the archive.
    let mut number = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        normaliser.add(entry, ContentId(number))?;
        number += 1;
    }
    normaliser.finish(parents)
}

fn layer(entries: &[Entry], parents: &mut Parents) -> Result<Vec<String>, EntryError> {
    normalised(entries, parents, &Limits::default(), false).map(|layer| lines(&layer.tree))
}

/// All but the root, above a layer that has some directories.
fn alone(entries: &[Entry]) -> Vec<String> {
    let mut parents = Parents::default();
    let plain = |name: &&str| Entry::directory(name).mtime(0);
    layer(&["./", "a", "c", "d"].iter().map(plain).collect::<Vec<_>>(), &mut parents).unwrap();
    let mut lines = layer(entries, &mut parents).unwrap();
    lines.remove(0);
    lines
}

fn refused(entries: &[Entry]) -> EntryError {
    layer(entries, &mut Parents::default()).unwrap_err()
}

fn lines(tree: &Tree) -> Vec<String> {
    fn add(
        tree: &Tree,
        node: NodeId,
        path: &str,
        seen: &mut BTreeMap<NodeId, String>,
        lines: &mut Vec<String>,
    ) {
        if let Some(first) = seen.get(&node) {
            lines.push(format!("{path} = {first}"));
            return;
        }
        seen.insert(node, path.to_owned());
        let node = tree.node(node);
        let metadata = &node.metadata;
        let sort = match &node.kind {
            NodeKind::Directory(_) => "d".to_owned(),
            NodeKind::File(content) => format!("f#{}", content.0),
            NodeKind::Symlink(target) => format!("l>{}", target.escape_ascii()),
            NodeKind::CharacterDevice(device) => format!("c{}:{}", device.major, device.minor),
            NodeKind::BlockDevice(device) => format!("b{}:{}", device.major, device.minor),
            NodeKind::Fifo => "p".to_owned(),
            NodeKind::Socket => "s".to_owned(),
        };
        let mut line = format!(
            "{path} {sort} {:o} {}:{} {}",
            metadata.mode, metadata.uid, metadata.gid, metadata.mtime
        );
        for xattr in &metadata.xattrs {
            line += &format!(" {}={}", xattr.name.escape_ascii(), xattr.value.escape_ascii());
        }
        lines.push(line);
        if let NodeKind::Directory(children) = &node.kind {
            for (name, child) in children {
                let name = name.escape_ascii();
                let path = if path == "/" { format!("/{name}") } else { format!("{path}/{name}") };
                add(tree, *child, &path, seen, lines);
            }
        }
    }
    let mut lines = Vec::new();
    add(tree, Tree::ROOT, "/", &mut BTreeMap::new(), &mut lines);
    lines
}

/// Every order of the entries; the numbers of contents go with them.
fn orders(entries: &[Entry]) -> Vec<Vec<Entry>> {
    if entries.len() < 2 {
        return vec![entries.to_vec()];
    }
    let mut all = Vec::new();
    for first in 0..entries.len() {
        let mut rest = entries.to_vec();
        let entry = rest.remove(first);
        all.extend(orders(&rest).into_iter().map(|rest| [vec![entry.clone()], rest].concat()));
    }
    all
}

const T: &str = "1700000000";

#[test]
fn names_are_relative_to_the_layer() {
    let rows: &[(&str, &[&str])] = &[
        ("./a", &["/a f#0 644 0:0 1700000000"]),
        ("/a", &["/a f#0 644 0:0 1700000000"]),
        ("a//./b", &["/a d 755 0:0 0", "/a/b f#0 644 0:0 1700000000"]),
        ("...", &["/... f#0 644 0:0 1700000000"]),
        ("caf\u{e9}", &["/caf\\xc3\\xa9 f#0 644 0:0 1700000000"]),
    ];
    for (name, expected) in rows {
        assert_eq!(alone(&[Entry::file(name, "")]), *expected, "{name}");
    }
    let long = "n".repeat(256);
    let deep = "d/".repeat(2049);
    for bad in ["..", "../evil", "a/../b", "a/..", "/..", &long, &deep] {
        let error = refused(&[Entry::file(bad, ""), Entry::directory("x")]);
        assert!(matches!(error, EntryError::InvalidPath { .. }), "{bad}: {error}");
        let error = refused(&[Entry::hard_link("x", bad)]);
        assert!(matches!(error, EntryError::InvalidPath { .. }), "{bad}: {error}");
    }
    assert_eq!(alone(&[Entry::file("n".repeat(255), "")]).len(), 1);
    let error = refused(&[Entry::file("./", "").record("path", ".")]);
    assert!(matches!(error, EntryError::RootNotDirectory { .. }), "{error}");
}

#[test]
fn metadata_are_kept_and_clamped() {
    let rows = [
        (
            Entry::file("a", "").mode(0o104_755).owner(3_000_000, 7),
            "/a f#0 4755 3000000:7 1700000000",
        ),
        (Entry::file("a", "").mtime(-5), "/a f#0 644 0:0 0"),
        (Entry::file("a", "").mtime(1 << 32), "/a f#0 644 0:0 4294967295"),
        (Entry::directory("a/").mode(0o1777), "/a d 1777 0:0 1700000000"),
        (Entry::symlink("a", "/usr/../b"), "/a l>/usr/../b 777 0:0 1700000000"),
        (Entry::device(b'3', "a", 4095, 1_048_575), "/a c4095:1048575 644 0:0 1700000000"),
        (Entry::device(b'4', "a", 259, 300), "/a b259:300 644 0:0 1700000000"),
        (Entry::of(b'6', "a"), "/a p 644 0:0 1700000000"),
    ];
    for (entry, expected) in rows {
        assert_eq!(alone(&[entry]), [expected]);
    }
    for (major, minor) in [(4096, 0), (0, 1 << 20)] {
        let error = refused(&[Entry::device(b'4', "a", major, minor)]);
        assert!(matches!(error, EntryError::DeviceOutOfRange { .. }), "{error}");
    }
    for target in ["", &"t".repeat(4096)] {
        let error = refused(&[Entry::symlink("a", target)]);
        assert!(matches!(error, EntryError::InvalidSymlink { .. }), "{error}");
    }
}

#[test]
fn the_last_of_one_name_counts() {
    let file = Entry::file;
    let rows: &[(&[Entry], &[&str])] = &[
        (&[file("a", ""), file("./a", "").mode(0o600)], &["/a f#1 600 0:0 1700000000"]),
        (
            &[Entry::directory("d"), file("d/x", ""), Entry::directory("d/").mode(0o700)],
            &["/d d 700 0:0 1700000000", "/d/x f#1 644 0:0 1700000000"],
        ),
        (&[file("d/x", ""), file("d", "")], &["/d f#1 644 0:0 1700000000"]),
        (&[file("d", ""), Entry::directory("d")], &["/d d 755 0:0 1700000000"]),
        (&[Entry::symlink("d", "e"), Entry::directory("d")], &["/d d 755 0:0 1700000000"]),
        // A whiteout in a directory that is gone.
        (&[file("d/.wh.x", ""), file("d", "")], &["/d f#1 644 0:0 1700000000"]),
        // An earlier hard link keeps what it was made of.
        (
            &[file("a", ""), Entry::hard_link("b", "a"), file("a", "")],
            &["/a f#2 644 0:0 1700000000", "/b f#0 644 0:0 1700000000"],
        ),
    ];
    for (entries, expected) in rows {
        assert_eq!(alone(entries), *expected);
    }
    let error = refused(&[file("a", ""), file("a/b", "")]);
    assert!(matches!(error, EntryError::NotADirectory { .. }), "{error}");
}

#[test]
fn hard_links_are_names_of_one_file() {
    let file = |name: &str| Entry::file(name, "").owner(1, 1);
    let link = |name: &str, target: &str| Entry::hard_link(name, target);
    let a = "/a f#N 644 1:1 1700000000";
    let cases: [(Vec<Entry>, Vec<&str>); 3] = [
        (vec![file("a"), link("b", "./a")], vec![a, "/b = /a"]),
        (vec![file("a"), link("b", "a"), link("c", "/b")], vec![a, "/b = /a", "/c = /a"]),
        (
            vec![Entry::symlink("a", "nowhere").owner(1, 1), link("b", "a")],
            vec!["/a l>nowhere 777 1:1 1700000000", "/b = /a"],
        ),
    ];
    for (entries, expected) in cases {
        for entries in orders(&entries) {
            let lines = alone(&entries).iter().map(|line| unnumbered(line)).collect::<Vec<_>>();
            assert_eq!(lines, expected, "{entries:?}");
        }
    }
    // A name that another entry takes later.
    assert_eq!(alone(&[link("a", "missing"), Entry::of(b'6', "a")]), [format!("/a p 644 0:0 {T}")]);
    assert_eq!(alone(&[file("a"), link("a", "a")]).len(), 1);
    for entries in orders(&[Entry::directory("d"), link("a", "d")]) {
        let error = refused(&entries);
        assert!(matches!(error, EntryError::LinkToDirectory { .. }), "{error}");
    }
    for missing in ["b", "d/b", "a/b"] {
        let error = refused(&[link("a", missing), Entry::directory("d")]);
        assert!(matches!(error, EntryError::MissingLinkTarget { .. }), "{error}");
    }
    for entries in orders(&[link("a", "b"), link("b", "c"), link("c", "a")]) {
        let error = refused(&entries);
        assert!(matches!(error, EntryError::LinkLoop { .. }), "{error}");
    }
    assert!(matches!(refused(&[link("a", "a")]), EntryError::LinkLoop { .. }));
    assert!(matches!(refused(&[link("a", "/")]), EntryError::LinkToDirectory { .. }));
}

fn unnumbered(line: &str) -> String {
    match line.split_once('#') {
        Some((start, rest)) => {
            format!("{start}#N{}", rest.trim_start_matches(|digit: char| digit.is_ascii_digit()))
        }
        None => line.to_owned(),
    }
}

#[test]
fn whiteouts_mean_the_same_in_any_order() {
    let hidden = |name: &str| Entry::file(name, "").mode(0);
    let rows: Vec<(Vec<Entry>, Vec<String>)> = vec![
        (vec![hidden(".wh.a")], vec!["/a c0:0 0 0:0 0".into()]),
        (
            vec![hidden("d/.wh.foo.wh.bar")],
            vec!["/d d 755 0:0 0".into(), "/d/foo.wh.bar c0:0 0 0:0 0".into()],
        ),
        (
            vec![hidden(".wh..wh.a"), hidden(".wh..wh.plnk/1"), hidden("d/.wh..wh.orph/a")],
            vec!["/d d 755 0:0 0".into()],
        ),
        (vec![hidden(".wh.")], vec![format!("/.wh. f#N 0 0:0 {T}")]),
        (vec![hidden(".wh.a"), Entry::file("a", "")], vec![format!("/a f#N 644 0:0 {T}")]),
        (vec![hidden(".wh.a"), Entry::symlink("a", "b")], vec![format!("/a l>b 777 0:0 {T}")]),
        (
            vec![hidden(".wh.a"), Entry::directory("a"), Entry::file("a/b", "")],
            vec![
                format!("/a d 755 0:0 {T} trusted.overlay.opaque=y"),
                format!("/a/b f#N 644 0:0 {T}"),
            ],
        ),
        (
            vec![hidden(".wh.a"), Entry::file("a/b", "")],
            vec!["/a d 755 0:0 0 trusted.overlay.opaque=y".into(), format!("/a/b f#N 644 0:0 {T}")],
        ),
        (vec![hidden("a/.wh..wh..opq")], vec!["/a d 755 0:0 0 trusted.overlay.opaque=y".into()]),
        (
            vec![
                hidden("a/.wh..wh..opq"),
                Entry::directory("a").xattr("user.z", "1"),
                hidden("a/.wh.b"),
            ],
            vec![format!("/a d 755 0:0 {T} trusted.overlay.opaque=y user.z=1")],
        ),
        // Everything below is new.
        (
            vec![hidden("a/.wh..wh..opq"), hidden("a/b/.wh.c"), hidden("a/d/.wh..wh..opq")],
            vec![
                "/a d 755 0:0 0 trusted.overlay.opaque=y".into(),
                "/a/b d 755 0:0 0".into(),
                "/a/d d 755 0:0 0".into(),
            ],
        ),
    ];
    for (entries, expected) in rows {
        for entries in orders(&entries) {
            let lines = alone(&entries).iter().map(|line| unnumbered(line)).collect::<Vec<_>>();
            assert_eq!(lines, expected, "{entries:?}");
        }
    }
    // overlayfs would list a whiteout with nothing below.
    let entries = [Entry::directory("new"), hidden("new/.wh.a")];
    assert_eq!(alone(&entries), [format!("/new d 755 0:0 {T}")]);
    let lowest = normalised(&[hidden(".wh.a")], &mut Parents::default(), &Limits::default(), false);
    let lowest = lowest.unwrap();
    assert_eq!((lines(&lowest.tree).len(), lowest.implicit_parents), (1, 2));
    for bad in [".wh..", ".wh...", "d/.wh.../", ".wh.a/b"] {
        let error = refused(&[hidden(bad)]);
        assert!(matches!(error, EntryError::InvalidPath { .. }), "{bad}: {error}");
    }
    // Files of AUFS may be what others are links to.
    let entries = [Entry::file(".wh..wh.plnk/7", ""), Entry::hard_link("a", ".wh..wh.plnk/7")];
    assert_eq!(alone(&entries), [format!("/a f#0 644 0:0 {T}")]);
}

#[test]
fn paths_follow_symbolic_links_inside_the_layer() {
    let file = |name: &str| Entry::file(name, "");
    let link = |name: &str, target: &str| Entry::symlink(name, target);
    let rows: &[(&[Entry], &[&str])] = &[
        (&[link("a", "/etc"), file("a/x")], &["/etc/x f#1"]),
        (&[link("a", "../../../etc"), file("a/x")], &["/etc/x f#1"]),
        (&[link("d/a", "../e/./f"), file("d/a/x")], &["/e/f/x f#1"]),
        (&[link("a", "b"), link("b", "c"), file("a/x")], &["/c/x f#2"]),
        (&[link("a", "c"), file("c/x"), file("a/x")], &["/c/x f#2"]),
        (&[file("c/x"), link("a", "c"), Entry::hard_link("y", "a/x")], &["/c/x f#0", "/y = /c/x"]),
        (&[link("a", "c"), file("a/.wh.x")], &["/c/x c0:0"]),
    ];
    for (entries, expected) in rows {
        let lines = alone(entries);
        for expected in *expected {
            assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}: {lines:?}");
        }
    }
    for target in ["a", "b", "/a/b"] {
        let error = refused(&[link("a", target), link("b", "a"), file("a/x")]);
        assert!(matches!(error, EntryError::TooManySymlinks { .. }), "{error}");
    }
    let error = refused(&[file("f"), link("a", "f"), file("a/x")]);
    assert!(matches!(error, EntryError::NotADirectory { .. }), "{error}");
    let error = refused(&[link("a", &"n".repeat(256)), file("a/x")]);
    assert!(matches!(error, EntryError::InvalidPath { .. }), "{error}");
    // Links make no path longer than one may be.
    let deep = "d/".repeat(1500);
    let error = refused(&[
        link("a", &deep),
        link(&format!("{deep}a"), &deep),
        file("a/a/x"),
        Entry::directory("e"),
    ]);
    assert!(matches!(error, EntryError::InvalidPath { .. }), "{error}");
}

#[test]
fn directories_without_an_entry_are_as_below() {
    let mut parents = Parents::default();
    let private = |name: &str| Entry::directory(name).mode(0o700).owner(5, 6).xattr("user.k", "v");
    let kept = "700 5:6 1700000000 user.k=v";
    let new = "755 0:0 0";
    let of = |parents: &mut Parents, entries: &[Entry]| {
        let lines = layer(entries, parents).unwrap();
        lines.into_iter().filter(|line| line.split(' ').nth(1) == Some("d")).collect::<Vec<_>>()
    };
    let base = ["./", "a", "a/b", "a/b/c", "t", "t/u"].map(private);
    assert_eq!(of(&mut parents, &base).len(), 6);
    let lines = of(&mut parents, &[Entry::file("a/b/x", ""), Entry::file("n/x", "")]);
    let expected = [
        format!("/ d {kept}"),
        format!("/a d {kept}"),
        format!("/a/b d {kept}"),
        format!("/n d {new}"),
    ];
    assert_eq!(lines, expected);
    // New metadata are what the next layer gets; what is hidden is gone.
    let lines = of(
        &mut parents,
        &[
            Entry::directory("a").mode(0o711),
            Entry::file("a/b/.wh..wh..opq", ""),
            Entry::file("a/b/c/x", ""),
        ],
    );
    assert_eq!(
        lines[1..],
        [
            format!("/a d 711 0:0 {T}"),
            format!("/a/b d 700 5:6 {T} trusted.overlay.opaque=y user.k=v"),
            format!("/a/b/c d {new}")
        ]
    );
    let lines = of(&mut parents, &[Entry::file("a/b/c/x", ""), Entry::file(".wh.t", "")]);
    assert_eq!(
        lines[1..],
        [format!("/a d 711 0:0 {T}"), format!("/a/b d {kept}"), format!("/a/b/c d {new}")]
    );
    let lines = of(&mut parents, &[Entry::file("t/u/x", ""), Entry::file("a/b", "")]);
    assert_eq!(
        lines[1..],
        [format!("/a d 711 0:0 {T}"), format!("/t d {new}"), format!("/t/u d {new}")]
    );
    let lines = of(&mut parents, &[Entry::file("a/b/c/x", "")]);
    assert_eq!(lines[2..], [format!("/a/b d {new}"), format!("/a/b/c d {new}")]);
}

/// overlayfs has no opaque roots.
#[test]
fn an_opaque_root_hides_everything_by_name() {
    let mut parents = Parents::default();
    layer(&[Entry::file("a", ""), Entry::directory("d"), Entry::file("e/f", "")], &mut parents)
        .unwrap();
    layer(&[Entry::file(".wh.a", ""), Entry::symlink("l", "a")], &mut parents).unwrap();
    let entries = [Entry::file(".wh..wh..opq", ""), Entry::directory("d"), Entry::file("n", "")];
    let lines = layer(&entries, &mut parents).unwrap();
    let expected = [
        "/ d 755 0:0 0".to_owned(),
        format!("/d d 755 0:0 {T} trusted.overlay.opaque=y"),
        "/e c0:0 0 0:0 0".to_owned(),
        "/l c0:0 0 0:0 0".to_owned(),
        format!("/n f#2 644 0:0 {T}"),
    ];
    assert_eq!(lines, expected);
    let lines = layer(&[Entry::file(".wh..wh..opq", "")], &mut parents).unwrap();
    assert_eq!(lines[1..], ["/d c0:0 0 0:0 0", "/n c0:0 0 0:0 0"]);
}

#[test]
fn attributes_that_are_not_kept_are_counted() {
    let entries = [
        Entry::file("f", "")
            .xattr("security.capability", "c")
            .xattr("user.a", "")
            .xattr("trusted.x", "1"),
        Entry::file("g", "")
            .xattr("user.overlay.opaque", "y")
            .xattr("trusted.overlay.redirect", "/"),
        Entry::directory("d").xattr("system.posix_acl_default", "x").xattr("security.selinux", "x"),
        Entry::symlink("s", "t").xattr("user.a", "1"),
        Entry::device(b'3', "w", 0, 0),
    ];
    let converted =
        normalised(&entries, &mut Parents::default(), &Limits::default(), false).unwrap();
    let lines = lines(&converted.tree);
    assert!(
        lines.contains(&format!("/f f#0 644 0:0 {T} security.capability=c user.a=")),
        "{lines:?}"
    );
    assert_eq!(lines.iter().filter(|line| line.contains('=')).count(), 1, "{lines:?}");
    let counted = |warnings: &Warnings| -> Vec<(WarningKind, u64, String)> {
        let all = warnings.iter();
        all.map(|warning| (warning.kind, warning.count, warning.first.clone())).collect()
    };
    let expected = [
        (WarningKind::TrustedAttribute, 2, "f"),
        (WarningKind::OverlayAttribute, 1, "g"),
        (WarningKind::SelinuxLabel, 1, "d"),
        (WarningKind::AccessControlList, 1, "d"),
        (WarningKind::UserAttributeOnSpecialFile, 1, "s"),
        (WarningKind::WhiteoutDevice, 1, "w"),
    ];
    assert_eq!(
        counted(&converted.warnings),
        expected.map(|(kind, count, first)| (kind, count, first.to_owned()))
    );
    for entry in &entries {
        let error = normalised(
            std::slice::from_ref(entry),
            &mut Parents::default(),
            &Limits::default(),
            true,
        );
        assert!(matches!(error, Err(EntryError::Strict { .. })), "{entry:?}");
    }
    for bad in [
        Entry::file("f", "").xattr("user.a", vec![0; 65537]),
        Entry::file("f", "").xattr(&format!("user.{}", "a".repeat(251)), ""),
    ] {
        assert!(matches!(refused(&[bad]), EntryError::InvalidAttribute { .. }));
    }
}

#[test]
fn a_layer_has_limits() {
    let limits = Limits { layer_entries: 4, layer_metadata_bytes: 100, ..Limits::default() };
    let refused = |entries: &[Entry]| {
        normalised(entries, &mut Parents::default(), &limits, false).unwrap_err()
    };
    let again = vec![Entry::directory("d"); 5];
    let hidden: Vec<_> = (0..5).map(|number| Entry::file(format!(".wh.{number}"), "")).collect();
    for entries in [&again[..], &hidden, &[Entry::file("a/b/c/d/e", "")]] {
        let error = refused(entries);
        assert!(matches!(error, EntryError::TooManyEntries { limit: 4, .. }), "{error}");
    }
    for entries in [
        vec![Entry::file("a".repeat(101), "")],
        vec![Entry::symlink("a", "a".repeat(101))],
        vec![Entry::hard_link("a", "a".repeat(101))],
        vec![Entry::file("a", "").xattr("user.a", "a".repeat(100))],
        vec![Entry::file(format!(".wh.{}", "a".repeat(101)), "")],
        vec![Entry::file("a", "").xattr("user.a", "a".repeat(60)); 2],
    ] {
        let error = refused(&entries);
        assert!(matches!(error, EntryError::TooMuchMetadata { limit: 100, .. }), "{error}");
    }
}
