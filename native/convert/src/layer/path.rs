//! Names of entries, once they are inside the layer.

/// The longest name of one file, in bytes: `NAME_MAX` of Linux and squashfs' limit.
pub(super) const NAME_LIMIT: usize = 255;
/// The longest path and the longest symbolic link's target, in bytes: below `PATH_MAX`.
pub(super) const PATH_LIMIT: usize = 4095;

/// A path of names: relative to the layer's root, none of them empty, `.` or `..`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct LayerPath(Vec<u8>);

impl LayerPath {
    /// Takes `/` from the front and the end, and `.` from anywhere.
    ///
    /// # Errors
    ///
    /// The rule it breaks.
    pub(super) fn parse(path: &[u8]) -> Result<Self, &'static str> {
        let mut parsed = Vec::with_capacity(path.len());
        for name in names(path) {
            if name == b".." {
                return Err("it has `..`");
            }
            if name.contains(&0) {
                return Err("it has a NUL");
            }
            if name.len() > NAME_LIMIT {
                return Err("a name in it has more than 255 bytes");
            }
            if !parsed.is_empty() {
                parsed.push(b'/');
            }
            parsed.extend_from_slice(name);
        }
        if parsed.len() > PATH_LIMIT {
            return Err("it has more than 4095 bytes");
        }
        Ok(Self(parsed))
    }

    /// The path of the directory and the name in it. `None` for the root.
    pub(super) fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        let slash = self.0.iter().rposition(|byte| *byte == b'/');
        Some(match slash {
            None => (&[], &self.0),
            Some(slash) => {
                let (directory, name) = self.0.split_at(slash);
                (directory, name.get(1..).unwrap_or_default())
            }
        })
    }
}

/// The names of a path, without those that lead nowhere.
pub(super) fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}

/// The path of a file in a directory of this path.
pub(super) fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        type Row = (&'static [u8], Option<(&'static [u8], &'static [u8])>);
        let rows: [Row; 7] = [
            (b"", None),
            (b"/", None),
            (b"./", None),
            (b"a", Some((b"", b"a"))),
            (b"./a/", Some((b"", b"a"))),
            (b"//a/.//b", Some((b"a", b"b"))),
            (b"a/b/...", Some((b"a/b", b"..."))),
        ];
        for (path, expected) in rows {
            let parsed = LayerPath::parse(path).unwrap();
            assert_eq!(parsed.split(), expected, "{}", path.escape_ascii());
        }
        let long = [&vec![b'a'; 255][..], b"/"].concat();
        assert!(LayerPath::parse(&long.repeat(15)).is_ok());
        for bad in [&b".."[..], b"a/../b", b"/..", b"a\0b", &[b'a'; 256], &long.repeat(17)] {
            assert!(LayerPath::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
