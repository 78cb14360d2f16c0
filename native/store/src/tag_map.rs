//! The tag map: lines of `tag[,tag]:digest[#comment]`.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::reference::Reference;

/// A parsed tag map file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct TagMap {
    digests: HashMap<Reference, Digest>,
    /// What could not be used, in the order of the file.
    pub(crate) malformed: Vec<MalformedLine>,
}

/// A line of which at least one tag could not be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MalformedLine {
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) problem: &'static str,
}

impl TagMap {
    /// Reads a tag map. A malformed line costs its own tags only.
    ///
    /// Blank lines and comments are skipped; blanks around tags and digests are not part of them.
    /// A tag that occurs twice means its last digest. Bytes that are not UTF-8 make their line
    /// malformed.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut map = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            if let Err(problem) = map.add(line) {
                map.malformed.push(MalformedLine { number, problem });
            }
        }
        map
    }

    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        let entry = line.split_once('#').map_or(line, |(entry, _)| entry).trim();
        if entry.is_empty() {
            return Ok(());
        }
        // Tags have colons of their own; digests have none.
        let (tags, hex) = entry.rsplit_once(':').ok_or("it has no `:` before the digest")?;
        let digest = Digest::parse_hex(hex.trim())
            .map_err(|_| "the digest is not 64 lower-case hex digits")?;
        let (mut used, mut refused) = (0_usize, 0_usize);
        for tag in tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            match Reference::parse(tag) {
                Ok(tag) => {
                    self.digests.insert(tag, digest.clone());
                    used += 1;
                }
                Err(_) => refused += 1,
            }
        }
        match (used, refused) {
            (0, 0) => Err("it has no tag"),
            (_, 0) => Ok(()),
            _ => Err("it has a malformed tag"),
        }
    }

    pub(crate) fn digest(&self, tag: &Reference) -> Option<&Digest> {
        self.digests.get(tag)
    }

    /// How many tags it has.
    pub(crate) fn len(&self) -> usize {
        self.digests.len()
    }
}

#[cfg(test)]
mod tests {
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
        let mut bytes = b"\xff\xfe:".to_vec();
        bytes.extend_from_slice(format!("{a}\nx:{a}\n").as_bytes());
        let map = TagMap::parse(&bytes);
        assert_eq!((malformed(&map), map.len()), (vec![1], 1));
    }
}
