use proptest::prelude::*;

use super::*;

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn tag(name: &str) -> Reference {
    Reference::parse(name).unwrap()
}

fn tags(names: &[&str]) -> Vec<Reference> {
    names.iter().map(|name| tag(name)).collect()
}

fn file(text: &str) -> TagFile {
    TagFile::parse(text.as_bytes()).unwrap()
}

/// A text in which `<x>` stands for a digest.
fn text(template: &str) -> String {
    ["a", "b", "c"].iter().fold(template.to_owned(), |text, name| {
        text.replace(&format!("<{name}>"), digest(name).as_hex())
    })
}

#[test]
fn edits_are_a_table() {
    for (before, names, of, comment, after) in [
        ("", &["x:1"][..], "a", None, "x:1:<a>\n"),
        ("# ours\n\n", &["x:1", "y"], "a", Some("reg/x:1"), "# ours\n\nx:1,y:<a>#reg/x:1\n"),
        // It joins its manifest's line.
        ("x:1:<a>#one\n", &["y"], "a", Some("two"), "x:1,y:<a>#one, two\n"),
        // What is said already is not said again, and nothing is touched.
        (" x:1 : <a> # one,one\n", &["x:1"], "a", Some("one"), " x:1 : <a> # one,one\n"),
        ("x:1:<a>#one, two, one\r\n", &["y"], "a", Some("two"), "x:1,y:<a>#one, two\n"),
        // It leaves the line it was in, and a line without tags goes.
        ("x:1,y:<a>#c\nz:<b>\n", &["y"], "b", None, "x:1:<a>#c\nz,y:<b>\n"),
        ("y:<a>#c\nz:<b>\n", &["y"], "b", None, "z,y:<b>\n"),
        ("y:<a>\n", &["y"], "b", None, "y:<b>\n"),
        // Of two lines the last counts; it is in one alone then.
        ("x:<a>\nx:<b>\n", &["x"], "a", None, "x:<a>\n"),
        ("x:<a>\nx,y:<b>\nz:<a>\n", &["x"], "a", None, "y:<b>\nz,x:<a>\n"),
        // What is not understood stays.
        ("no digest\n:<c>\nx:12\n", &["y"], "a", None, "no digest\n:<c>\nx:12\ny:<a>\n"),
        ("x,a b:<a>\n", &["y"], "a", None, "x,a b,y:<a>\n"),
        ("x,a b:<a>\n", &["x"], "b", None, "a b:<a>\nx:<b>\n"),
        // A last line without its end.
        ("x:<a>", &["y"], "b", None, "x:<a>\ny:<b>\n"),
        ("\u{feff}x:<a>\n", &["y"], "b", None, "\u{feff}x:<a>\ny:<b>\n"),
        // A comment is one part of one line.
        ("", &["x"], "a", Some(" a,b\n#c\td "), "x:<a>#a b #c d\n"),
        ("", &["x", "x"], "a", Some("\n"), "x:<a>\n"),
    ] {
        let mut edited = file(&text(before));
        edited.set(&tags(names), &digest(of), comment);
        assert_eq!(edited.to_string(), text(after), "{before}");
        for name in names {
            assert_eq!(edited.digest(&tag(name)), Some(&digest(of)));
        }
        let once = edited.to_string();
        let mut again = file(&once);
        again.set(&tags(names), &digest(of), comment);
        assert_eq!(again.to_string(), once, "a second edit changes nothing: {before}");
    }
}

#[test]
fn tags_are_taken_away() {
    for (before, name, meant, after) in [
        ("# c\nx,y:<a>#one\n", "x", Some("a"), "# c\ny:<a>#one\n"),
        ("# c\nx:<a>\n", "x", Some("a"), "# c\n"),
        ("x:<a>\ny,x:<b>\n", "x", Some("b"), "y:<b>\n"),
        ("x:<a>\n", "z", None, "x:<a>\n"),
        ("x y\n", "z", None, "x y\n"),
        // An empty file is taken for a torn one.
        ("x:<a>\n", "x", Some("a"), HEADER),
    ] {
        let mut edited = file(&text(before));
        assert_eq!(edited.remove_tag(&tag(name)), meant.map(digest), "{before}");
        assert_eq!(edited.to_string(), text(after));
    }
    let mut edited = file(&text("x:<a>\nz:<b>\ny:<a>#c\n"));
    edited.remove_digest(&digest("a"));
    assert_eq!(edited.to_string(), text("z:<b>\n"));
}

#[test]
fn a_file_says_what_it_has() {
    let file = file(&text("x,y:<a>#one, two\ny:<b>\nz w:<c>\nold\n:<c>\n#k:<c>\nq:<a>#two\n"));
    assert_eq!(file.tags(&digest("a")), tags(&["q", "x"]));
    assert_eq!(file.all_tags(), tags(&["q", "x", "y"]));
    assert_eq!(file.comments(&digest("a")), ["one", "two"]);
    assert_eq!(file.digests(), ["a", "b", "c"].map(digest).into());
    let malformed: Vec<_> = file.malformed().iter().map(|line| line.number).collect();
    assert_eq!(malformed, [3, 4, 5]);
    // Who puts a line into a comment means it to go.
    assert_eq!(TagFile::parse(text("#k:<c>\n").as_bytes()).unwrap().digests(), [].into());
}

#[test]
fn what_is_no_text_is_refused() {
    for bytes in [&b"\xff"[..], b"x:\0", b"\xfe\xff"] {
        TagFile::parse(bytes).unwrap_err();
    }
}

proptest! {
    /// Whatever is in a file, an edit keeps every line that it does not concern.
    #[test]
    fn other_lines_stay(lines in prop::collection::vec("[ -~]{0,30}", 0..8), end in prop::bool::ANY) {
        let mut before = lines.join("\n");
        if end {
            before.push('\n');
        }
        let mut edited = file(&before);
        edited.set(&tags(&["new:1"]), &digest("a"), Some("x"));
        let after = edited.to_string();
        let kept: Vec<_> = before.lines().collect();
        let found: Vec<_> = after.lines().collect();
        // A file of blanks alone has its header first.
        prop_assert!(found.len() == kept.len() + 1, "{after:?}");
        prop_assert_eq!(&found[..kept.len()], &kept[..]);
        let read = file(&after);
        prop_assert_eq!(read.digest(&tag("new:1")), Some(&digest("a")));
        edited.remove_tag(&tag("new:1"));
        prop_assert!(edited.to_string().ends_with('\n') || before.is_empty());
    }
}
