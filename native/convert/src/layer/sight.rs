//! What a layer has under one path.

use std::io::Read;

use super::convert::{Contents, ExpectedBlob, Pass};
use super::error::LayerError;
use super::parents::Parents;
use super::path::names;
use crate::limits::Limits;
use crate::squashfs::SquashfsError;
use crate::tar::Piece;
use crate::tree::{ContentId, Device, Node, NodeKind, Tree};

/// What marks a directory that hides those of lower layers.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// What a layer says of a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sight {
    /// Nothing: a lower layer may have it.
    Nothing,
    /// It is not there, whatever lower layers have.
    Hidden,
    /// A regular file of this many bytes.
    File {
        /// With its holes.
        size: u64,
    },
    /// Something else.
    Other,
}

/// Looks for a path in a layer, whose blob is read to its end and checked as
/// [`super::convert`] checks it. Symbolic links are not followed.
///
/// # Errors
///
/// [`LayerError`].
pub fn look_for(
    blob: impl Read,
    expected: &ExpectedBlob,
    path: &str,
    limits: &Limits,
) -> Result<Sight, LayerError> {
    let mut sizes = Sizes(Vec::new());
    let pass = Pass { expected, limits, strict: false };
    let layer = pass.run(blob, &mut Parents::default(), &mut sizes)?;
    Ok(sight(&layer.normalised.tree, &sizes, path))
}

fn sight(tree: &Tree, sizes: &Sizes, path: &str) -> Sight {
    let mut node = tree.node(Tree::ROOT);
    let mut hides = is_opaque(node);
    for name in names(path.as_bytes()) {
        let NodeKind::Directory(entries) = &node.kind else { return Sight::Hidden };
        let Some(id) = entries.get(name) else {
            return if hides { Sight::Hidden } else { Sight::Nothing };
        };
        node = tree.node(*id);
        hides |= is_opaque(node);
    }
    match &node.kind {
        NodeKind::File(content) => Sight::File { size: sizes.of(*content) },
        NodeKind::CharacterDevice(Device { major: 0, minor: 0 }) => Sight::Hidden,
        _ => Sight::Other,
    }
}

fn is_opaque(node: &Node) -> bool {
    node.metadata.xattrs.iter().any(|xattr| *xattr.name == *OPAQUE)
}

/// Takes contents for their sizes.
struct Sizes(Vec<u64>);

impl Sizes {
    fn of(&self, content: ContentId) -> u64 {
        let index = usize::try_from(content.0).unwrap_or(usize::MAX);
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl Contents for Sizes {
    fn begin(&mut self) -> Result<(), SquashfsError> {
        self.0.push(0);
        Ok(())
    }

    fn take(&mut self, piece: Piece<'_>) -> Result<(), SquashfsError> {
        let length = match piece {
            Piece::Data(data) => u64::try_from(data.len()).unwrap_or(u64::MAX),
            Piece::Hole(length) => length,
        };
        if let Some(size) = self.0.last_mut() {
            *size = size.saturating_add(length);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<ContentId, SquashfsError> {
        // The limit of entries is far below what a number of a content holds.
        let index = self.0.len().saturating_sub(1);
        Ok(ContentId(u32::try_from(index).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Metadata, Xattr};

    #[test]
    fn a_path_is_seen_as_overlay_would_show_it() {
        let mut tree = Tree::new(Metadata::default());
        let plain = |kind| Node { metadata: Metadata::default(), kind };
        let whiteout = NodeKind::CharacterDevice(Device::default());
        let file = tree.add(plain(NodeKind::File(ContentId(1)))).unwrap();
        let gone = tree.add(plain(whiteout)).unwrap();
        let link = tree.add(plain(NodeKind::Symlink(b"x"[..].into()))).unwrap();
        let mut opaque = plain(NodeKind::Directory([(b"f"[..].into(), file)].into()));
        opaque.metadata.xattrs.push(Xattr { name: OPAQUE.into(), value: b"y"[..].into() });
        let opaque = tree.add(opaque).unwrap();
        let entries = [(&b"gone"[..], gone), (b"link", link), (b"opaque", opaque), (b"f", file)];
        let entries = entries.into_iter().map(|(name, id)| (name.into(), id)).collect();
        tree.node_mut(Tree::ROOT).kind = NodeKind::Directory(entries);
        let sizes = Sizes(vec![9, 7]);
        for (path, expected) in [
            ("f", Sight::File { size: 7 }),
            ("./opaque//f", Sight::File { size: 7 }),
            ("opaque/g", Sight::Hidden),
            ("opaque", Sight::Other),
            ("other/g", Sight::Nothing),
            ("gone", Sight::Hidden),
            ("gone/g", Sight::Hidden),
            ("link", Sight::Other),
            ("f/g", Sight::Hidden),
        ] {
            assert_eq!(sight(&tree, &sizes, path), expected, "{path}");
        }
    }
}
