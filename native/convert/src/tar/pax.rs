//! PAX extended headers.
//!
//! # References
//!
//! POSIX.1-2017, `pax`, "pax Extended Header"; `tar(5)` for `LIBARCHIVE.xattr`; `star(5)` for
//! `SCHILY.xattr`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

use super::number;

/// The value as it is.
const SCHILY_XATTR: &[u8] = b"SCHILY.xattr.";
/// The name with escapes, the value in base64.
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";

/// `libarchive` leaves the padding out, others write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Keywords and values in the archive's order. The last of a keyword counts.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    /// Adds the records of one header.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(super) fn parse(&mut self, mut rest: &[u8]) -> Result<(), &'static str> {
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').ok_or("no length")?;
            let (digits, _) = rest.split_at(space);
            let length = number::decimal(digits).ok_or("a length is no number")?;
            let length = usize::try_from(length).map_err(|_| "a length is too large")?;
            let (record, next) = rest.split_at_checked(length).ok_or("a record is cut off")?;
            let record = record.get(space + 1..).ok_or("a length is too small")?;
            let record = record.strip_suffix(b"\n").ok_or("a record has no end of line")?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or("a record has no =")?;
            let (key, value) = record.split_at(equals);
            if key.is_empty() || key.contains(&0) {
                return Err("a keyword is empty or has a NUL");
            }
            self.0.push((key.to_vec(), value.get(1..).unwrap_or_default().to_vec()));
            rest = next;
        }
        Ok(())
    }

    /// The last value of the keyword; empty where a record takes an earlier one back.
    pub(super) fn value(&self, keyword: &str) -> Option<&[u8]> {
        let is_it = |(key, _): &&(Vec<u8>, Vec<u8>)| key == keyword.as_bytes();
        self.0.iter().rev().find(is_it).map(|(_, value)| value.as_slice())
    }

    /// Keywords and values in the archive's order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Extended attributes; of one name the last counts.
    ///
    /// # Errors
    ///
    /// What is wrong with one.
    pub(super) fn xattrs(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, &'static str> {
        let mut xattrs = BTreeMap::new();
        for (key, value) in self.iter() {
            if let Some(name) = key.strip_prefix(SCHILY_XATTR) {
                xattrs.insert(name.to_vec(), value.to_vec());
            } else if let Some(name) = key.strip_prefix(LIBARCHIVE_XATTR) {
                let value = BASE64.decode(value).map_err(|_| "an attribute is not base64")?;
                xattrs.insert(unescaped(name), value);
            }
        }
        if xattrs.keys().any(|name| name.is_empty() || name.contains(&0)) {
            return Err("an attribute's name is empty or has a NUL");
        }
        Ok(xattrs)
    }

    /// The bytes that the records hold.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `%41` is `A`; what is no escape stands for itself.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, next)) = rest.split_first() {
        let escape = match next {
            [high, low, ..] if *first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        if let Some((high, low)) = escape {
            plain.push(high << 4 | low);
            rest = next.get(2..).unwrap_or_default();
        } else {
            plain.push(*first);
            rest = next;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &[u8]) -> Result<Records, &'static str> {
        let mut records = Records::default();
        records.parse(text).map(|()| records)
    }

    /// A record; the length counts its own digits.
    fn record(text: &[u8]) -> Vec<u8> {
        let rest = text.len() + 2;
        let length = (1..).find(|length: &usize| *length == rest + length.to_string().len());
        [length.unwrap().to_string().as_bytes(), b" ", text, b"\n"].concat()
    }

    #[test]
    fn the_last_record_of_a_keyword_counts() {
        let text = [&b"uid=1"[..], b"path=a\n", b"uid=2", b"mtime="].map(record).concat();
        let records = parsed(&text).unwrap();
        assert_eq!(records.value("uid"), Some(&b"2"[..]));
        assert_eq!(records.value("path"), Some(&b"a\n"[..]));
        assert_eq!(records.value("mtime"), Some(&b""[..]));
        assert_eq!(records.value("gid"), None);
    }

    #[test]
    fn broken_records_are_refused() {
        for bad in [
            &b"x"[..],
            b"9999 path=a\n",
            b"0 a=b\n",
            b"2 a=b\n",
            b"-6 a=b\n",
            b"18446744073709551616 a=b\n",
            b"6 a=bc\n",
            b"6 abc\n",
            b"5 =b\n",
            b"7 a\0=b\n",
            b"7 a=b\n\0\0",
            b" a=b\n",
        ] {
            assert!(parsed(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn attributes_come_in_two_forms() {
        let text = [
            &b"SCHILY.xattr.user.a="[..],
            b"SCHILY.xattr.user.b=\0",
            b"LIBARCHIVE.xattr.user.c=AAE=",
            b"LIBARCHIVE.xattr.user.d=AAE",
            b"LIBARCHIVE.xattr.user.%C3%A9%=aGVq",
        ];
        let records = parsed(&text.map(record).concat());
        let expected: [(&[u8], &[u8]); 5] = [
            (b"user.a", b""),
            (b"user.b", b"\0"),
            (b"user.c", b"\0\x01"),
            (b"user.d", b"\0\x01"),
            (b"user.\xc3\xa9%", b"hej"),
        ];
        let expected: BTreeMap<_, _> =
            expected.map(|(name, value)| (name.to_vec(), value.to_vec())).into();
        assert_eq!(records.unwrap().xattrs().unwrap(), expected);
        for bad in [&b"LIBARCHIVE.xattr.user.a=!!"[..], b"SCHILY.xattr.="] {
            assert!(parsed(&record(bad)).unwrap().xattrs().is_err());
        }
    }
}
