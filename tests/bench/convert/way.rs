//! The ways to convert a layer that are compared.

use std::fs::{self, File};
use std::path::Path;

use storm_oci_convert::layer::{ExpectedBlob, LayerOptions, Parents};
use storm_oci_store::Digest;

use crate::measure::{self, Sample};

/// The argument that makes this program convert one layer.
pub(crate) const ROLE: &str = "--convert";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// Our library as it is by default: gzip at libdeflate's level 5, both digests of the blob
    /// checked and the file's made. The file is smaller than those of zlib's level 6.
    Ours,
    /// As Storm's script does it: unpacks, and compresses at mksquashfs' level, which is 9.
    Script,
    /// The same at level 6.
    ScriptAtSix,
    /// tar2sqfs at level 6.
    Tar2sqfs,
    /// mksquashfs, from an archive, at level 6.
    Mksquashfs,
}

impl Way {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ours, Self::Script, Self::ScriptAtSix, Self::Tar2sqfs, Self::Mksquashfs];
    /// Those whose files are as small as ours, or a little larger.
    pub(crate) const EQUAL: [Self; 3] = [Self::ScriptAtSix, Self::Tar2sqfs, Self::Mksquashfs];

    /// How figures name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours, by default",
            Self::Script => "script's way, gzip 9",
            Self::ScriptAtSix => "script's way, gzip 6",
            Self::Tar2sqfs => "tar2sqfs, gzip 6",
            Self::Mksquashfs => "mksquashfs -tar, gzip 6",
        }
    }

    /// What a shell does in an empty directory: `$0` is the blob, `out` the file.
    fn script(self) -> &'static str {
        match self {
            Self::Ours => "",
            Self::Script => {
                "mkdir tree; tar -C tree --xattrs --xattrs-include='*' -xf \"$0\"; \
                 mksquashfs tree out -write-queue 4096 -read-queue 4096 -fragment-queue 4096; rm -rf tree"
            }
            Self::ScriptAtSix => {
                "mkdir tree; tar -C tree --xattrs --xattrs-include='*' -xf \"$0\"; \
                 mksquashfs tree out -Xcompression-level 6 \
                 -write-queue 4096 -read-queue 4096 -fragment-queue 4096; rm -rf tree"
            }
            Self::Tar2sqfs => "zcat \"$0\" | tar2sqfs -q -f -s -c gzip -X level=6 out",
            Self::Mksquashfs => "zcat \"$0\" | mksquashfs - out -tar -Xcompression-level 6",
        }
    }

    /// Converts the layer once.
    pub(crate) fn run(self, blob: &Path, watch_disk: bool) -> Sample {
        let place = tempfile::tempdir().unwrap();
        let (blob, program) = (blob.to_str().unwrap(), std::env::current_exe().unwrap());
        let command = match self {
            Self::Ours => {
                [program.to_str().unwrap(), ROLE, blob, "out"].map(str::to_owned).to_vec()
            }
            other => ["sh", "-e", "-c", other.script(), blob].map(str::to_owned).to_vec(),
        };
        let mut sample = measure::sample(&command, place.path(), watch_disk);
        sample.output = fs::metadata(place.path().join("out")).unwrap().len();
        sample
    }
}

/// Converts a layer with our library.
pub(crate) fn convert(blob: &Path, file: &Path) {
    // A registry names it so.
    let digest = fs::read_to_string(blob.with_extension("digest")).unwrap();
    let expected =
        ExpectedBlob { digest: Digest::parse(&digest).unwrap(), size: None, diff_id: None };
    let file = File::options().read(true).write(true).create_new(true).open(file).unwrap();
    let blob = File::open(blob).unwrap();
    let options = LayerOptions::default();
    storm_oci_convert::layer::convert(blob, &expected, &mut Parents::default(), file, &options)
        .unwrap();
}

/// Notes the digest of a blob for [`convert`].
pub(crate) fn note_digest(blob: &Path) {
    let digest = Digest::of(&fs::read(blob).unwrap());
    fs::write(blob.with_extension("digest"), digest.to_string()).unwrap();
}
