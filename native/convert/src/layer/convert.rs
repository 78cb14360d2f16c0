//! One pass over a blob.

use std::fs::File;
use std::io::Read;

use storm_oci_store::{Content, Digest};

use super::entry_error::EntryError;
use super::error::LayerError;
use super::finish::Normalised;
use super::inflate::{Inflate, Unreadable};
use super::measure::Measured;
use super::normaliser::Normaliser;
use super::parents::Parents;
use super::warnings::Warnings;
use crate::limits::Limits;
use crate::squashfs::{SquashfsError, SquashfsOptions, SquashfsWriter};
use crate::tar::{EntryKind, Piece, TarError, TarReader};
use crate::tree::ContentId;

/// What a blob must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExpectedBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, if the manifest gives it.
    pub size: Option<u64>,
    /// The digest of the archive in it, if the image's config gives it.
    pub diff_id: Option<Digest>,
}

/// How layers are converted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LayerOptions {
    /// What a layer may ask for.
    pub limits: Limits,
    /// How its file is written.
    pub squashfs: SquashfsOptions,
    /// Whether a warning is an error.
    pub strict: bool,
}

/// A layer that was converted.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ConvertedLayer {
    /// The blob, as it came.
    pub blob: Content,
    /// The digest of the archive in it.
    pub diff_id: Digest,
    /// The size of that archive, in bytes.
    pub tar_bytes: u64,
    /// The file it became.
    pub file: Content,
    /// The entries of the archive.
    pub entries: u64,
    /// How often it had to be known what lower layers have: the metadata of a directory that this
    /// one has no entry of, what an opaque root directory hides, or that nothing is there to hide.
    pub implicit_parents: u64,
    /// What it has that the file does not.
    pub warnings: Warnings,
}

/// Converts a layer in one pass: the blob, which is gzip, zstd or a plain archive by its first bytes,
/// becomes a squashfs file. Nothing else touches the disk, and the memory it takes does not grow with
/// contents.
///
/// `parents` must have seen the layers below, and has seen this one afterwards. `file` is empty and
/// can be read and written.
///
/// Blocks: call it on a thread of its own.
///
/// # Errors
///
/// [`LayerError`]. Then the file is not usable, and neither is `parents` for the layers above.
pub fn convert(
    blob: impl Read,
    expected: &ExpectedBlob,
    parents: &mut Parents,
    file: File,
    options: &LayerOptions,
) -> Result<ConvertedLayer, LayerError> {
    let failed = |cause| LayerError::Squashfs { layer: expected.digest.clone(), cause };
    let mut writer = SquashfsWriter::create(file, options.squashfs.clone()).map_err(failed)?;
    let pass = Pass { expected, limits: &options.limits, strict: options.strict };
    let read = pass.run(blob, parents, &mut writer)?;
    let file = writer.finish(&read.normalised.tree).map_err(failed)?;
    Ok(ConvertedLayer {
        blob: read.blob,
        diff_id: read.archive.sha256,
        tar_bytes: read.archive.size,
        file: Content { sha256: file.sha256.into(), size: file.size },
        entries: read.entries,
        implicit_parents: read.normalised.implicit_parents,
        warnings: read.normalised.warnings,
    })
}

/// Reads a layer for its directories alone, which layers above may need: `parents` has seen it
/// afterwards. Checks all that [`convert`] checks but what needs a file.
///
/// # Errors
///
/// [`LayerError`]. Then `parents` is not usable.
pub fn scan(
    blob: impl Read,
    expected: &ExpectedBlob,
    parents: &mut Parents,
    limits: &Limits,
) -> Result<(), LayerError> {
    Pass { expected, limits, strict: false }.run(blob, parents, &mut Unwanted).map(|_| ())
}

/// What takes the contents of files.
pub(super) trait Contents {
    fn begin(&mut self) -> Result<(), SquashfsError>;
    fn take(&mut self, piece: Piece<'_>) -> Result<(), SquashfsError>;
    fn end(&mut self) -> Result<ContentId, SquashfsError>;
}

impl Contents for SquashfsWriter {
    fn begin(&mut self) -> Result<(), SquashfsError> {
        self.begin_content()
    }

    fn take(&mut self, piece: Piece<'_>) -> Result<(), SquashfsError> {
        match piece {
            Piece::Data(data) => self.write(data),
            Piece::Hole(length) => self.write_hole(length),
        }
    }

    fn end(&mut self) -> Result<ContentId, SquashfsError> {
        self.end_content()
    }
}

/// Takes nothing.
struct Unwanted;

impl Contents for Unwanted {
    fn begin(&mut self) -> Result<(), SquashfsError> {
        Ok(())
    }

    fn take(&mut self, _piece: Piece<'_>) -> Result<(), SquashfsError> {
        Ok(())
    }

    fn end(&mut self) -> Result<ContentId, SquashfsError> {
        Ok(ContentId(0))
    }
}

/// Reading one layer.
pub(super) struct Pass<'a> {
    pub(super) expected: &'a ExpectedBlob,
    pub(super) limits: &'a Limits,
    pub(super) strict: bool,
}

/// What was read.
pub(super) struct Layer {
    blob: Content,
    archive: Content,
    entries: u64,
    pub(super) normalised: Normalised,
}

/// The archive in a blob, both measured.
type Archive<R> = TarReader<Measured<Inflate<R>>>;

impl Pass<'_> {
    pub(super) fn run<R: Read>(
        &self,
        blob: R,
        parents: &mut Parents,
        contents: &mut impl Contents,
    ) -> Result<Layer, LayerError> {
        let limit = self.expected.size.unwrap_or(self.limits.image_bytes);
        let inflate = Inflate::new(Measured::new(blob, limit));
        let inflate = inflate.map_err(|unreadable| match unreadable {
            Unreadable::Failed(cause) => LayerError::Read { layer: self.layer(), cause },
            Unreadable::TooLong(found) => self.too_long(found),
            Unreadable::Unsupported(compression) => {
                LayerError::UnsupportedCompression { layer: self.layer(), compression }
            }
        })?;
        let limits = self.limits;
        // The reader is the one that says when it is too much.
        let archive = Measured::new(inflate, u64::MAX);
        let mut archive = TarReader::new(archive, limits.layer_bytes, limits.header_bytes);
        let mut normaliser = Normaliser::new(limits, self.strict);
        let read = self.entries(&mut archive, &mut normaliser, contents);
        let entries = self.checked(&mut archive, read)?;
        let normalised = normaliser.finish(parents).map_err(|cause| self.bad_entry(cause))?;
        let measured = archive.get_ref();
        Ok(Layer {
            blob: measured.get_ref().blob().content(),
            archive: measured.content(),
            entries,
            normalised,
        })
    }

    fn entries<R: Read>(
        &self,
        archive: &mut Archive<R>,
        normaliser: &mut Normaliser,
        contents: &mut impl Contents,
    ) -> Result<u64, LayerError> {
        let bad_archive = |cause| LayerError::Tar { layer: self.layer(), cause };
        let unwritable = |cause| LayerError::Squashfs { layer: self.layer(), cause };
        let mut entries = 0;
        while let Some(entry) = archive.next_entry().map_err(bad_archive)? {
            let mut content = ContentId(0);
            if let EntryKind::File { .. } = entry.kind {
                contents.begin().map_err(unwritable)?;
                while let Some(piece) = archive.next_piece().map_err(bad_archive)? {
                    contents.take(piece).map_err(unwritable)?;
                }
                content = contents.end().map_err(unwritable)?;
            }
            normaliser.add(entry, content).map_err(|cause| self.bad_entry(cause))?;
            entries += 1;
        }
        Ok(entries)
    }

    /// Compares the blob with what it must be. That it is another one says more than what is wrong
    /// with its archive, so the rest of it is read for its digest even then.
    fn checked<R: Read>(
        &self,
        archive: &mut Archive<R>,
        read: Result<u64, LayerError>,
    ) -> Result<u64, LayerError> {
        let layer = self.layer();
        let inflate = archive.get_mut().get_mut();
        let read = match read {
            Err(LayerError::Tar { cause: TarError::Read(cause), .. }) => {
                if inflate.blob().is_too_long() {
                    return Err(self.too_long(inflate.blob().size()));
                }
                if inflate.blob().has_failed {
                    return Err(LayerError::Read { layer, cause });
                }
                let (layer, compression) = (layer.clone(), inflate.compression());
                Err(LayerError::Inflate { layer, compression, cause })
            }
            // The blob is not to blame, or it is more of it than is wanted.
            Err(
                error @ (LayerError::Squashfs { .. }
                | LayerError::Tar { cause: TarError::TooLong { .. }, .. }),
            ) => {
                return Err(error);
            }
            read => read,
        };
        if let Err(cause) = inflate.drain() {
            return Err(if inflate.blob().is_too_long() {
                self.too_long(inflate.blob().size())
            } else {
                LayerError::Read { layer, cause }
            });
        }
        let blob = inflate.blob().content();
        if let Some(expected) = self.expected.size.filter(|size| *size != blob.size) {
            return Err(LayerError::SizeMismatch {
                layer: self.layer(),
                expected,
                found: blob.size,
            });
        }
        if blob.sha256 != self.expected.digest {
            return Err(LayerError::DigestMismatch { layer: self.layer(), found: blob.sha256 });
        }
        let entries = read?;
        let found = archive.get_ref().content().sha256;
        match &self.expected.diff_id {
            Some(expected) if *expected != found => {
                let expected = expected.clone();
                Err(LayerError::DiffIdMismatch { layer: self.layer(), expected, found })
            }
            _ => Ok(entries),
        }
    }

    /// What is wrong with a blob of which so much came and more would.
    fn too_long(&self, found: u64) -> LayerError {
        let layer = self.layer();
        match self.expected.size {
            Some(expected) => LayerError::SizeMismatch { layer, expected, found },
            None => LayerError::TooLarge { layer, limit: self.limits.image_bytes },
        }
    }

    fn bad_entry(&self, cause: EntryError) -> LayerError {
        LayerError::Entry { layer: self.layer(), cause }
    }

    fn layer(&self) -> Digest {
        self.expected.digest.clone()
    }
}
