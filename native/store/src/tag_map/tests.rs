use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> String {
    Digest::of(text.as_bytes()).as_hex().to_owned()
}

fn find(map: &TagMap, tag: &str) -> Option<String> {
    map.digest(&Reference::parse(tag).unwrap()).map(|digest| digest.as_hex().to_owned())
}

fn malformed(map: &TagMap) -> Vec<usize> {
    map.malformed.iter().map(|line| line.number).collect()
}

#[test]
fn a_whole_file() {
    let (a, b, c) = (hex("a"), hex("b"), hex("c"));
    let text = format!(
        "# a comment\n\
         storm/test:1:{a}\n\
         \n\
         \t \r\n\
         foo/bar:current, fizz/gig:latest ,plain:{b}#built yesterday\r\n\
         registry.example.org:5000/x/y:2 : {c} # ten: past # nine\n\
         #this/line:wont,be:parsed:{a}\n\
         storm/test:2:{b}\n\
         storm/test:2:{c}"
    );
    let map = TagMap::parse(text.as_bytes());
    assert_eq!(malformed(&map), [0_usize; 0]);
    assert_eq!(map.len(), 6);
    for (tag, wanted) in [
        ("storm/test:1", Some(a)),
        ("foo/bar:current", Some(b.clone())),
        ("fizz/gig:latest", Some(b.clone())),
        ("plain", Some(b)),
        ("registry.example.org:5000/x/y:2", Some(c.clone())),
        ("storm/test:2", Some(c)),
        ("storm/test", None),
        ("this/line:wont", None),
        ("be:parsed", None),
    ] {
        assert_eq!(find(&map, tag), wanted, "{tag}");
    }
}

#[test]
fn a_malformed_line_costs_its_own_tags_only() {
    let (a, b) = (hex("a"), hex("b"));
    for (line, tags_kept) in [
        ("no-colon".to_owned(), 0),
        ("x:".to_owned(), 0),
        (format!(":{b}"), 0),
        (format!(" , :{b}"), 0),
        (format!("x:{}", &b[1..]), 0),
        (format!("x:{b}0"), 0),
        (format!("x:{}", b.to_uppercase()), 0),
        (format!("x:sha256:{}", &b[2..]), 0),
        (format!("x:{}", "../".repeat(21) + "x"), 0),
        (format!("x:{b} trailing"), 0),
        (format!("../../etc/x:{b}"), 0),
        (format!("x y:{b}"), 0),
        (format!("{a}:{b}"), 0),
        (format!("../x,good:{b}"), 1),
        (format!("good,../x:{b}"), 1),
    ] {
        let text = format!("first:{a}\n{line}\nlast:{a}\n");
        let map = TagMap::parse(text.as_bytes());
        assert_eq!(malformed(&map), [2], "{line}");
        assert_eq!(find(&map, "first"), Some(a.clone()), "{line}");
        assert_eq!(find(&map, "last"), Some(a.clone()), "{line}");
        assert_eq!(map.len(), 2 + tags_kept, "{line}");
    }
}

#[test]
fn editors_leave_harmless_traces() {
    let a = hex("a");
    assert_eq!(find(&TagMap::parse(format!("\u{feff}x:{a}").as_bytes()), "x"), Some(a.clone()));
    assert_eq!(malformed(&TagMap::parse(format!("x,:{a}\n,y:{a}\n").as_bytes())), [0_usize; 0]);
    assert_eq!(TagMap::parse(b""), TagMap::default());
    assert_eq!(TagMap::parse(b" \r\n\n"), TagMap::default());
    let mut bytes = b"\xff\xfe:".to_vec();
    bytes.extend_from_slice(format!("{a}\nx:{a}\n").as_bytes());
    let map = TagMap::parse(&bytes);
    assert_eq!((malformed(&map), map.len()), (vec![1], 1));
}

/// Maps as people and programs write them.
fn written() -> impl Strategy<Value = BTreeMap<String, String>> {
    let tag = "[a-z][a-z0-9./_-]{0,8}[a-z0-9](:[a-zA-Z0-9_.-]{1,6})?";
    let tags = prop::collection::btree_map(tag, any::<u64>(), 1..12);
    let parsed = tags.prop_map(|tags| {
        let digest = |number: u64| hex(&number.to_string());
        tags.into_iter()
            .filter(|(tag, _)| Reference::parse(tag).is_ok())
            .map(|(tag, number)| (tag, digest(number)))
            .collect()
    });
    // A file without any tag and comment is one that may be torn.
    parsed.prop_filter("not one of them is a tag", |tags: &BTreeMap<_, _>| !tags.is_empty())
}

/// The text of a map; `styles` chooses how each line is laid out.
fn text(tags: &BTreeMap<String, String>, styles: &[u8]) -> String {
    tags.iter()
        .zip(styles.iter().cycle())
        .map(|((tag, hex), style)| match style % 5 {
            0 => format!("{tag}:{hex}\n"),
            1 => format!("  {tag} :\t{hex} # built:{hex}\n"),
            2 => format!("# a comment\n,{tag},:{hex}\r\n"),
            3 => format!("\n{tag}:{hex}#x\n"),
            _ => format!("{tag},{tag}:{hex}\n"),
        })
        .collect()
}

fn read(text: &str) -> TagMap {
    TagMap::parse(text.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read(tags in written(), styles in any::<[u8; 7]>()) {
        let map = read(&text(&tags, &styles));
        prop_assert_eq!(&map.malformed, &[]);
        let found: BTreeMap<String, String> = map
            .digests
            .iter()
            .map(|(tag, digest)| (tag.to_string(), digest.as_hex().to_owned()))
            .collect();
        prop_assert_eq!(found, tags);
    }

    #[test]
    fn any_bytes_are_a_map_and_every_line_counts_once(
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\n'), Just(b':'), Just(b','), Just(b'a')], 0..400)
    ) {
        let map = TagMap::parse(&bytes);
        let lines = String::from_utf8_lossy(&bytes).lines().count();
        let numbers = malformed(&map);
        prop_assert!(numbers.is_sorted_by(|one, other| one < other));
        prop_assert!(numbers.iter().all(|number| (1..=lines).contains(number)));
    }

    #[test]
    fn a_torn_update_loses_nothing_and_changes_only_what_it_says(
        old in written(),
        new in written(),
        styles in any::<[u8; 7]>(),
        at in any::<prop::sample::Index>(),
    ) {
        let whole = text(&new, &styles);
        let cut: String = whole.chars().take(at.index(whole.len() + 1)).collect();
        let (old, torn, new) = (read(&text(&old, &styles)), read(&cut), read(&whole));
        // An entry that is there in part is never taken for another one.
        prop_assert!(torn.digests.iter().all(|(tag, digest)| new.digest(tag) == Some(digest)));
        let (map, kept) = old.updated(torn.clone());
        prop_assert!(torn.digests.iter().all(|(tag, digest)| map.digest(tag) == Some(digest)));
        if torn.malformed.is_empty() && torn.has_content {
            // Cut between two lines: the same as a file from which the others were deleted.
            prop_assert_eq!((&map, kept), (&torn, 0));
        } else {
            prop_assert!(old.tags().all(|tag| map.digest(tag).is_some()));
            prop_assert_eq!(map.len(), torn.len() + kept);
        }
        // The whole file then is what counts.
        prop_assert_eq!(map.updated(new.clone()), (new, 0));
    }
}

#[test]
fn updates_that_may_be_torn_keep_what_they_do_not_name() {
    let (a, b, c) = (hex("a"), hex("b"), hex("c"));
    let old = read(&format!("first:{a}\nsecond:{a}\n"));
    for (update, first, second, third, kept) in [
        (format!("first:{b}\nthird:{c}\n"), Some(&b), None, Some(&c), 0),
        (format!("first:{b}"), Some(&b), None, None, 0),
        (format!("first:{b}\nthird:{}", &c[..63]), Some(&b), Some(&a), None, 1),
        (format!("first:{b}\nsecond:oops\nthird:{c}\n"), Some(&b), Some(&a), Some(&c), 1),
        (String::new(), Some(&a), Some(&a), None, 2),
        ("\0\0\0\0".to_owned(), Some(&a), Some(&a), None, 2),
        ("# no image may run\n".to_owned(), None, None, None, 0),
    ] {
        let (map, found) = old.updated(read(&update));
        assert_eq!(found, kept, "{update}");
        for (tag, digest) in [("first", first), ("second", second), ("third", third)] {
            assert_eq!(find(&map, tag).as_ref(), digest, "{tag} of {update}");
        }
    }
}
