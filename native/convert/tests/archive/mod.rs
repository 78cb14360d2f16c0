//! Builds tar archives entry by entry, the odd ones too.
#![allow(dead_code, reason = "each test uses a part of it")]

/// An entry, to be changed by the methods below before it is added to an archive.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    name: Vec<u8>,
    typeflag: u8,
    link: Vec<u8>,
    content: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
    mtime: i64,
    device: (u32, u32),
    records: Vec<(Vec<u8>, Vec<u8>)>,
    is_gnu: bool,
}

impl Entry {
    pub(crate) fn of(typeflag: u8, name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            typeflag,
            link: Vec::new(),
            content: Vec::new(),
            mode: 0o644,
            owner: (0, 0),
            mtime: 1_700_000_000,
            device: (0, 0),
            records: Vec::new(),
            is_gnu: false,
        }
    }

    pub(crate) fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self { content: content.as_ref().to_vec(), ..Self::of(b'0', name) }
    }

    pub(crate) fn directory(name: impl AsRef<[u8]>) -> Self {
        Self::of(b'5', name).mode(0o755)
    }

    pub(crate) fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { link: target.as_ref().to_vec(), ..Self::of(b'2', name) }.mode(0o777)
    }

    pub(crate) fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { link: target.as_ref().to_vec(), ..Self::of(b'1', name) }
    }

    pub(crate) fn device(typeflag: u8, name: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self { device: (major, minor), ..Self::of(typeflag, name) }
    }

    pub(crate) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        Self { owner: (uid, gid), ..self }
    }

    pub(crate) fn mtime(self, mtime: i64) -> Self {
        Self { mtime, ..self }
    }

    pub(crate) fn content(self, content: impl AsRef<[u8]>) -> Self {
        Self { content: content.as_ref().to_vec(), ..self }
    }

    /// A PAX record for this entry.
    pub(crate) fn record(mut self, keyword: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.records.push((keyword.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.record(format!("SCHILY.xattr.{name}"), value)
    }

    /// Long names go to GNU's `L` and `K` rather than to PAX records.
    pub(crate) fn gnu(self) -> Self {
        Self { is_gnu: true, ..self }
    }

    pub(crate) fn named(self, name: impl AsRef<[u8]>) -> Self {
        Self { name: name.as_ref().to_vec(), ..self }
    }

    pub(crate) fn name(&self) -> &[u8] {
        self.name.strip_suffix(b"/").unwrap_or(&self.name)
    }

    /// The name of the directory it is in, as far as it has one.
    pub(crate) fn parent(&self) -> Option<&[u8]> {
        let slash = self.name().iter().rposition(|byte| *byte == b'/')?;
        Some(&self.name()[..slash])
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.typeflag == b'5'
    }

    /// What a hard link should be another name of.
    pub(crate) fn target(&self) -> Option<&[u8]> {
        (self.typeflag == b'1').then_some(self.link.as_slice())
    }

    /// The entry with the headers in front of it, and padding behind.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut records = self.records.clone();
        let mut bytes = Vec::new();
        for (text, keyword, typeflag) in
            [(&self.name, "path", b'L'), (&self.link, "linkpath", b'K')]
        {
            if text.len() <= 100 {
                continue;
            } else if self.is_gnu {
                let content = [text.as_slice(), b"\0"].concat();
                bytes.extend(Self::of(typeflag, "././@LongLink").content(content).bytes());
            } else {
                records.push((keyword.into(), text.clone()));
            }
        }
        if !records.is_empty() {
            let records: Vec<u8> =
                records.iter().flat_map(|(key, value)| record(key, value)).collect();
            bytes.extend(Self::of(b'x', "PaxHeaders/0").content(records).bytes());
        }
        bytes.extend(self.header());
        bytes.extend(&self.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn header(&self) -> [u8; 512] {
        let mut header = [0; 512];
        put(&mut header, 0, &self.name[..self.name.len().min(100)]);
        put(&mut header, 100, &number(self.mode.into(), 8));
        put(&mut header, 108, &number(self.owner.0.into(), 8));
        put(&mut header, 116, &number(self.owner.1.into(), 8));
        put(&mut header, 124, &number(self.content.len().try_into().unwrap(), 12));
        put(&mut header, 136, &number(self.mtime.into(), 12));
        header[156] = self.typeflag;
        put(&mut header, 157, &self.link[..self.link.len().min(100)]);
        put(&mut header, 257, if self.is_gnu { b"ustar  \0" } else { b"ustar\x0000" });
        put(&mut header, 329, &number(self.device.0.into(), 8));
        put(&mut header, 337, &number(self.device.1.into(), 8));
        seal(&mut header);
        header
    }
}

/// Puts the right checksum into a header.
pub(crate) fn seal(header: &mut [u8]) {
    put(header, 148, b"        ");
    let sum: u32 = header[..512].iter().copied().map(u32::from).sum();
    put(header, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// The archive of these entries.
pub(crate) fn archive<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.into_iter().flat_map(Entry::bytes).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A PAX record; its length counts its own digits.
pub(crate) fn record(keyword: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = keyword.len() + value.len() + 3;
    let length = (1..).find(|length: &usize| *length == rest + length.to_string().len()).unwrap();
    [length.to_string().as_bytes(), b" ", keyword, b"=", value, b"\n"].concat()
}

/// Octal where it fits, else GNU's base-256.
fn number(value: i128, width: usize) -> Vec<u8> {
    let octal = format!("{value:0width$o}\0", width = width - 1);
    if value >= 0 && octal.len() == width {
        return octal.into_bytes();
    }
    let mut bytes = value.to_be_bytes()[16 - width..].to_vec();
    bytes[0] |= 0x80;
    bytes
}

pub(crate) fn put(header: &mut [u8], place: usize, bytes: &[u8]) {
    header[place..place + bytes.len()].copy_from_slice(bytes);
}
