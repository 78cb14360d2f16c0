//! Archives of every sort, and what is read from them.

use super::{Entry, EntryKind, Piece, TarError, TarReader};
use crate::archive::{Entry as Built, archive, put, record, seal};

const LIMIT: u64 = 64 << 20;
const HEADER_LIMIT: u64 = 64 << 10;

/// Entries with their contents, where a hole is zeros.
type Contents = Vec<(Entry, Vec<u8>)>;

/// All entries, and the number of bytes that were holes.
fn read(bytes: &[u8]) -> Result<(Contents, u64), TarError> {
    let mut reader = TarReader::new(bytes, LIMIT, HEADER_LIMIT);
    let mut entries = Vec::new();
    let mut holes = 0;
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        while let Some(piece) = reader.next_piece()? {
            match piece {
                Piece::Data(data) => content.extend_from_slice(data),
                Piece::Hole(length) => {
                    holes += length;
                    content.resize(content.len() + usize::try_from(length).unwrap(), 0);
                }
            }
        }
        entries.push((entry, content));
    }
    assert!(reader.next_entry()?.is_none());
    Ok((entries, holes))
}

fn only(entry: &Built) -> Entry {
    let (mut entries, _) = read(&archive([entry])).unwrap();
    assert_eq!(entries.len(), 1);
    entries.remove(0).0
}

#[test]
fn every_type_is_read() {
    let file = |size| EntryKind::File { size };
    let rows = [
        (Built::file("a", "four"), file(4)),
        (Built::of(0, "a"), file(0)),
        (Built::of(b'7', "a").content("x"), file(1)),
        (Built::of(0, "a/"), EntryKind::Directory),
        (Built::of(b'0', "a/"), EntryKind::Directory),
        (Built::directory("a"), EntryKind::Directory),
        (Built::symlink("a", "../../b"), EntryKind::Symlink(b"../../b".to_vec())),
        (Built::hard_link("a", "b"), EntryKind::HardLink(b"b".to_vec())),
        (Built::device(b'3', "a", 5, 1), EntryKind::CharacterDevice(5, 1)),
        (Built::device(b'4', "a", 259, 300), EntryKind::BlockDevice(259, 300)),
        (Built::of(b'6', "a"), EntryKind::Fifo),
    ];
    for (entry, expected) in rows {
        assert_eq!(only(&entry).kind, expected, "{entry:?}");
    }
    for typeflag in *b"8DMNVXAz" {
        let error = read(&archive([&Built::of(typeflag, "a")])).unwrap_err();
        assert!(matches!(error, TarError::UnsupportedType { .. }), "{error}");
    }
    assert!(read(&archive([&Built::file("a/", "content")])).is_err());
}

#[test]
fn long_names_come_in_three_forms() {
    let long = "d/".repeat(150) + "name";
    let target = "../".repeat(90) + "target";
    for is_gnu in [false, true] {
        let entry = Built::symlink(&long, &target);
        let entry = only(&if is_gnu { entry.gnu() } else { entry });
        assert_eq!(entry.path, long.as_bytes());
        assert_eq!(entry.kind, EntryKind::Symlink(target.clone().into_bytes()));
    }
    // 100 bytes take the whole field.
    let full = "n".repeat(100);
    assert_eq!(only(&Built::file(&full, "")).path, full.as_bytes());
    let mut ustar = archive([&Built::file(&full, "")]);
    put(&mut ustar, 345, b"prefix/of");
    seal(&mut ustar);
    let path = read(&ustar).unwrap().0[0].0.path.clone();
    assert_eq!(path, format!("prefix/of/{full}").into_bytes());
    // GNU keeps times there.
    let mut gnu = archive([&Built::file("a", "").gnu()]);
    put(&mut gnu, 345, b"14524343441");
    seal(&mut gnu);
    assert_eq!(read(&gnu).unwrap().0[0].0.path, b"a");
}

#[test]
fn pax_records_win() {
    let entry = only(
        &Built::file("a", "")
            .owner(1, 2)
            .record("uid", "3000000")
            .record("gid", "4294967294")
            .record("mtime", "-1.5")
            .record("path", "b/\u{e9}")
            .record("comment", "a\nb=c")
            .xattr("user.a", "1\n\0")
            .record("LIBARCHIVE.xattr.user.b", "Mg"),
    );
    assert_eq!((entry.uid, entry.gid, entry.mtime), (3_000_000, 4_294_967_294, -2));
    assert_eq!(entry.path, "b/\u{e9}".as_bytes());
    let xattrs = [("user.a", "1\n\0"), ("user.b", "2")];
    assert_eq!(entry.xattrs, xattrs.map(|(name, value)| (name.into(), value.into())).into());
    // An empty one takes an earlier one back.
    assert_eq!(only(&Built::file("a", "").record("path", "b").record("path", "")).path, b"a");

    let global = record(b"mtime", b"7");
    let bytes = archive([
        &Built::of(b'g', "g").content(global),
        &Built::file("a", ""),
        &Built::file("b", "").record("mtime", "8"),
        &Built::file("c", ""),
    ]);
    let times: Vec<i64> = read(&bytes).unwrap().0.iter().map(|(entry, _)| entry.mtime).collect();
    assert_eq!(times, [7, 8, 7]);
}

#[test]
fn a_size_may_be_in_a_record_alone() {
    let mut bytes = Built::file("a", "x".repeat(600)).record("size", "600").bytes();
    put(&mut bytes, 1024 + 124, b"00000000000\0");
    seal(&mut bytes[1024..]);
    bytes.resize(bytes.len() + 1024, 0);
    assert_eq!(read(&bytes).unwrap().0[0].1, "x".repeat(600).as_bytes());
}

#[test]
fn numbers_out_of_octal_and_out_of_range() {
    let entry = only(&Built::file("a", "").owner(3_000_000, 4_000_000_000).mtime(-123));
    assert_eq!((entry.uid, entry.gid, entry.mtime), (3_000_000, 4_000_000_000, -123));
    let entry = only(&Built::file("a", "").mtime(1 << 40));
    assert_eq!(entry.mtime, 1 << 40);
    for bad in [
        Built::file("a", "").owner(u64::from(u32::MAX), 0),
        Built::file("a", "").owner(1 << 32, 0),
        Built::file("a", "").record("uid", "-1"),
        Built::file("a", "").record("gid", "4294967295"),
        Built::file("a", "").record("size", "x"),
        Built::file("a", "").record("mtime", "yesterday"),
        Built::file("a", "").record("path", "a\0b"),
        Built::symlink("a", "b").record("linkpath", "a\0b"),
    ] {
        let error = read(&archive([&bad])).unwrap_err();
        assert!(matches!(error, TarError::InvalidField { .. }), "{error}");
    }
}

/// Checksums of signed bytes, as some old writers made them.
#[test]
fn checksums_are_of_signed_or_unsigned_bytes() {
    let mut bytes = archive([&Built::file(b"caf\xe9", "")]);
    assert_eq!(read(&bytes).unwrap().0[0].0.path, b"caf\xe9");
    let signed: i32 = bytes[..512].iter().map(|byte| i32::from(byte.cast_signed())).sum();
    let field: i32 = bytes[148..156].iter().copied().map(i32::from).sum();
    put(&mut bytes, 148, format!("{:06o}\0 ", signed - field + 8 * 32).as_bytes());
    assert_eq!(read(&bytes).unwrap().0[0].0.path, b"caf\xe9");
    bytes[0] ^= 1;
    assert!(matches!(read(&bytes).unwrap_err(), TarError::WrongChecksum { offset: 0 }));
}

#[test]
fn archives_end_with_zeros() {
    let entry = Built::file("a", "content").bytes();
    let zeros = |count: usize| vec![0; count];
    for good in [0, 512, 1024, 10240, 1 << 20, 1500] {
        let bytes = [entry.clone(), zeros(good)].concat();
        match read(&bytes) {
            Ok((entries, _)) => assert_eq!(entries.len(), 1, "{good} zeros"),
            Err(error) => panic!("{good} zeros: {error}"),
        }
    }
    assert!(read(b"").unwrap().0.is_empty());
    for end in [512, 1024, 300_000] {
        let bytes = [entry.clone(), zeros(end), b"x".to_vec(), zeros(600)].concat();
        let error = read(&bytes).unwrap_err();
        let garbage = u64::try_from(1024 + end).unwrap();
        assert!(
            matches!(error, TarError::TrailingGarbage { offset } if offset == garbage),
            "{error}"
        );
    }
    for length in [1, 511, 513, 600, 1023] {
        let error = read(&entry[..length]).unwrap_err();
        let end = u64::try_from(length).unwrap();
        assert!(
            matches!(error, TarError::Truncated { offset } if offset == end),
            "{length}: {error}"
        );
    }
    let alone = Built::of(b'x', "x").content(record(b"path", b"b"));
    let error = read(&archive([&alone])).unwrap_err();
    assert!(matches!(error, TarError::HeaderWithoutEntry { offset: 0 }), "{error}");
}

/// As BuildKit makes them; GNU tar and Docker pass over it too.
#[test]
fn the_table_of_contents_of_estargz_may_follow_the_end() {
    let entry = Built::file("a", "content").bytes();
    let table = |name: &str| archive([&Built::file(name, "x".repeat(700)).mode(0)]);
    let after = |more: &[u8]| [&entry[..], &[0; 1024], more].concat();
    let (entries, _) = read(&after(&table("stargz.index.json"))).unwrap();
    assert_eq!(entries.len(), 1);
    let mut damaged = table("stargz.index.json");
    damaged[100] ^= 1;
    for bad in [table("other"), damaged, [table("stargz.index.json"), table("b")].concat()] {
        let error = read(&after(&bad)).unwrap_err();
        assert!(matches!(error, TarError::TrailingGarbage { .. }), "{error}");
    }
    let error = read(&after(&table("stargz.index.json")[..1000])).unwrap_err();
    assert!(matches!(error, TarError::Truncated { .. }), "{error}");
}

#[test]
fn headers_and_archives_have_limits() {
    let long = vec![b'a'; usize::try_from(HEADER_LIMIT).unwrap()];
    let global = |number: usize| {
        let key = format!("SCHILY.xattr.user.{number}");
        Built::of(b'g', "g").content(record(key.as_bytes(), &long[..30_000]))
    };
    let many: Vec<Built> = (0..3).map(global).chain([Built::file("a", "")]).collect();
    let attributes = (0..3).fold(Built::file("a", ""), |entry, number| {
        entry.xattr(&format!("user.{number}"), &long[..30_000])
    });
    for too_large in [
        archive([&Built::file("a", "").record("comment", &long)]),
        archive([&Built::file(&long, "").gnu()]),
        archive([&attributes]),
        archive(&many),
        // Only the header is there: nothing is allocated for what it promises.
        [Built::of(b'x', "x").content(&long).bytes()[..512].to_vec(), vec![0; 512]].concat(),
    ] {
        let error = read(&too_large).unwrap_err();
        assert!(matches!(error, TarError::HeaderTooLarge { limit: HEADER_LIMIT, .. }), "{error}");
    }
    let bytes = archive([&Built::file("a", "x".repeat(5000))]);
    let mut reader = TarReader::new(bytes.as_slice(), 4096, HEADER_LIMIT);
    assert!(reader.next_entry().unwrap().is_some());
    let error = reader.next_entry().unwrap_err();
    assert!(matches!(error, TarError::TooLong { limit: 4096 }), "{error}");
}

/// `ab`, 1000 zeros, `c`, and 5 zeros at the end.
fn sparse_content() -> Vec<u8> {
    [&b"ab"[..], &[0; 1000], b"c", &[0; 5]].concat()
}

#[test]
fn sparse_files_come_in_four_forms() {
    let expected = sparse_content();
    let pax = |entry: Built| entry.record("GNU.sparse.name", "s").record("GNU.sparse.size", "1008");
    let forms = [
        pax(Built::file("x", "abc"))
            .record("GNU.sparse.numblocks", "2")
            .record("GNU.sparse.offset", "0")
            .record("GNU.sparse.numbytes", "2")
            .record("GNU.sparse.offset", "1002")
            .record("GNU.sparse.numbytes", "1"),
        pax(Built::file("x", "abc")).record("GNU.sparse.map", "0,2,1002,1,1008,0"),
        Built::file("x", [b"2\n0\n2\n1002\n1\n".as_slice(), &[0; 499], b"abc"].concat())
            .record("GNU.sparse.major", "1")
            .record("GNU.sparse.minor", "0")
            .record("GNU.sparse.name", "s")
            .record("GNU.sparse.realsize", "1008"),
    ];
    for form in forms {
        let (entries, holes) = read(&archive([&form, &Built::file("next", "n")])).unwrap();
        assert_eq!((entries[0].0.path.as_slice(), &entries[0].1), (&b"s"[..], &expected));
        assert_eq!(
            (entries[1].0.path.as_slice(), entries[1].1.as_slice()),
            (&b"next"[..], &b"n"[..])
        );
        assert_eq!(holes, 1005);
    }
    // Six extents: four in the header, two in the block after it.
    let mut header = Built::of(b'S', "s").gnu().content("abcdef").bytes();
    let content = header.split_off(512);
    let mut block = vec![0; 512];
    for (number, place) in [386, 410, 434, 458].into_iter().enumerate() {
        put(&mut header, place, format!("{:011o}\0{:011o}\0", number * 100, 1).as_bytes());
    }
    put(&mut header, 482, &[1]);
    put(&mut header, 483, format!("{:011o}\0", 600).as_bytes());
    seal(&mut header);
    put(&mut block, 0, format!("{:011o}\0{:011o}\0", 400, 1).as_bytes());
    put(&mut block, 24, format!("{:011o}\0{:011o}\0", 500, 1).as_bytes());
    let bytes = [header, block, content, vec![0; 1024]].concat();
    let (entries, holes) = read(&bytes).unwrap();
    let mut expected = vec![0; 600];
    for (number, byte) in b"abcdef".iter().enumerate() {
        expected[number * 100] = *byte;
    }
    assert_eq!((&entries[0].1, holes), (&expected, 594));
}

#[test]
fn sparse_maps_are_checked() {
    let mapped = |map: &str| {
        let entry = Built::file("x", "abc").record("GNU.sparse.size", "1008");
        archive([&entry.record("GNU.sparse.map", map)])
    };
    let version = |major: &str, content: &[u8]| {
        let entry = Built::file("x", content).record("GNU.sparse.realsize", "1008");
        archive([&entry.record("GNU.sparse.major", major).record("GNU.sparse.minor", "0")])
    };
    for bad in [
        mapped("0,2,1,1"),
        mapped("0,2,1002,2"),
        mapped("0,2"),
        mapped("0,2,1008,1"),
        mapped("0,2,5"),
        mapped("0,2,x,1"),
        mapped("18446744073709551615,3"),
        version("2", b"abc"),
        version("1", b"abc"),
        version("1", &[b'1'; 512]),
        version("1", &[b"2\n0\n2\n".as_slice(), &[0; 506]].concat()),
        version("1", &[b"\n".as_slice(), &[0; 511]].concat()),
        archive([&Built::file("x", "abc").record("GNU.sparse.map", "0,3")]),
        archive([&Built::file("x", "abc").record("GNU.sparse.numblocks", "1")]),
    ] {
        let error = read(&bad).unwrap_err();
        assert!(matches!(error, TarError::InvalidSparse { .. }), "{error}");
    }
}
