//! The principals in a keytab file.

/// A principal as keytabs have it: its components, and its realm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Principal {
    pub(super) components: Vec<Vec<u8>>,
    /// Empty when a text names none: then it is the host's default realm.
    pub(super) realm: Vec<u8>,
}

impl Principal {
    /// Parses `name/instance@REALM`, where a backslash takes the next character's meaning.
    pub(super) fn parse(text: &str) -> Self {
        let mut components = vec![Vec::new()];
        let mut realm = Vec::new();
        let mut in_realm = false;
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let (byte, special) = match byte {
                b'\\' => (bytes.next().unwrap_or(b'\\'), false),
                byte => (byte, true),
            };
            match byte {
                b'@' if special && !in_realm => in_realm = true,
                b'/' if special && !in_realm => components.push(Vec::new()),
                byte if in_realm => realm.push(byte),
                byte => components.last_mut().into_iter().for_each(|last| last.push(byte)),
            }
        }
        Self { components, realm }
    }

    /// Whether a keytab's principal is the one meant here.
    pub(super) fn means(&self, entry: &Self) -> bool {
        self.components == entry.components && (self.realm.is_empty() || self.realm == entry.realm)
    }
}

/// The principals of all keys in a keytab, or `None` for a file that is not one.
///
/// The format is MIT's: version 0x0502, then entries of a signed length, where a negative one is
/// a hole; all numbers are big-endian.
pub(super) fn principals(file: &[u8]) -> Option<Vec<Principal>> {
    let mut rest = file.strip_prefix(&[5, 2])?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = i32::from_be_bytes(take(&mut rest)?);
        if length == 0 {
            // What is left of a file that was cut in place.
            break;
        }
        let size = usize::try_from(length.unsigned_abs()).ok()?;
        let (entry, after) = rest.split_at_checked(size)?;
        rest = after;
        if length > 0 {
            found.push(principal(entry)?);
        }
    }
    Some(found)
}

fn principal(mut entry: &[u8]) -> Option<Principal> {
    let count = u16::from_be_bytes(take(&mut entry)?);
    let realm = counted(&mut entry)?;
    let components = (0..count).map(|_| counted(&mut entry)).collect::<Option<_>>()?;
    Some(Principal { components, realm })
}

fn counted(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let size = usize::from(u16::from_be_bytes(take(rest)?));
    let (bytes, after) = rest.split_at_checked(size)?;
    *rest = after;
    Some(bytes.to_vec())
}

fn take<const SIZE: usize>(rest: &mut &[u8]) -> Option<[u8; SIZE]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(components: &[&str], realm: &str) -> Vec<u8> {
        let counted = |text: &str| {
            [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
        };
        let mut body = u16::try_from(components.len()).unwrap().to_be_bytes().to_vec();
        body.extend(counted(realm));
        components.iter().for_each(|name| body.extend(counted(name)));
        // Name type, time, version, and a key of no bytes.
        body.extend([0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 18, 0, 0]);
        body
    }

    fn sized(size: i32, body: &[u8]) -> Vec<u8> {
        [&size.to_be_bytes()[..], body].concat()
    }

    fn file(entries: &[Vec<u8>]) -> Vec<u8> {
        let entries = entries.iter().map(|body| sized(i32::try_from(body.len()).unwrap(), body));
        [5, 2].into_iter().chain(entries.flatten()).collect()
    }

    #[test]
    fn the_principals_of_a_keytab_are_found() {
        let mut bytes = file(&[entry(&["storm", "host"], "R")]);
        bytes.extend(sized(-3, &[9; 3]));
        bytes.extend(file(&[entry(&["a"], "S")]).split_off(2));
        let found = principals(&bytes).unwrap();
        assert_eq!(found, [Principal::parse("storm/host@R"), Principal::parse("a@S")]);
        assert!(Principal::parse("storm/host").means(&found[0]));
        for other in ["storm@R", "storm/other@R", "storm/host@S", "a@R"] {
            let other = Principal::parse(other);
            assert!(!found.iter().any(|entry| other.means(entry)), "{other:?}");
        }
        assert_eq!(principals(&[5, 2]), Some(vec![]));
    }

    #[test]
    fn what_is_not_a_keytab_is_seen() {
        let whole = file(&[entry(&["storm", "host"], "R")]);
        for end in [0, 1, 3, 5, 6, 9, 12, whole.len() - 1] {
            assert_eq!(principals(&whole[..end]), None, "{end}");
        }
        assert_eq!(principals(b"-----BEGIN"), None);
        assert_eq!(principals(&[5, 1, 0, 0, 0, 0]), None);
    }

    #[test]
    fn escapes_in_principals_are_taken() {
        let principal = Principal::parse(r"a\/b\@c/d@R/S");
        assert_eq!(principal.components, [b"a/b@c".to_vec(), b"d".to_vec()]);
        assert_eq!(principal.realm, b"R/S");
    }
}
