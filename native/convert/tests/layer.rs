//! Whole layers: what is refused, and what is the same however it comes.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod archive;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use archive::{Entry, archive};
use flate2::write::GzEncoder;
use storm_oci_convert::Limits;
use storm_oci_convert::layer::{
    Compression, ConvertedLayer, EntryError, ExpectedBlob, LayerError, LayerOptions, Parents,
    convert, scan,
};
use storm_oci_convert::tar::TarError;
use storm_oci_store::{Content, Digest, ErrorKind};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Some files that compress and some that do not.
fn sample() -> Vec<u8> {
    let mut state = 7_u32;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    };
    let files =
        [noise(300_000), b"text\n".repeat(100_000), noise(10), vec![0; 400_000], noise(131_072)];
    let files =
        files.iter().enumerate().map(|(number, file)| Entry::file(format!("d/{number}"), file));
    let entries = [Entry::directory("./"), Entry::directory("d"), Entry::hard_link("l", "d/0")];
    archive(&entries.into_iter().chain(files).collect::<Vec<_>>())
}

fn expected(blob: &[u8]) -> ExpectedBlob {
    let Content { sha256, size } = Content::of(blob);
    ExpectedBlob { digest: sha256, size: Some(size), diff_id: None }
}

/// The layer and its file.
fn converted(
    blob: impl Read,
    expected: &ExpectedBlob,
    options: &LayerOptions,
) -> Result<(ConvertedLayer, Vec<u8>), LayerError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer.sqsh");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let layer = convert(blob, expected, &mut Parents::default(), file, options)?;
    Ok((layer, fs::read(path).unwrap()))
}

fn refused_as(blob: &[u8], expected: &ExpectedBlob, limits: Limits) -> LayerError {
    let scanned = scan(blob, expected, &mut Parents::default(), &limits).unwrap_err();
    let options = LayerOptions { limits, ..LayerOptions::default() };
    let error = converted(blob, expected, &options).unwrap_err();
    assert_eq!(scanned.to_string(), error.to_string());
    let message = error.to_string();
    assert!(message.starts_with("cannot ") && !message.contains('\n'), "{message}");
    error
}

fn refused(blob: &[u8]) -> LayerError {
    refused_as(blob, &expected(blob), Limits::default())
}

/// Gives a byte or so at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1 + self.0.len() % 3);
        self.0.read(&mut buffer[..most])
    }
}

#[test]
fn a_layer_is_the_same_however_it_comes() {
    let tar = sample();
    let halves = tar.split_at(tar.len() / 3);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc", &zstd(&tar)].concat();
    let blobs = [
        tar.clone(),
        gzip(&tar),
        [gzip(halves.0), gzip(b""), gzip(halves.1)].concat(),
        zstd(&tar),
        [zstd(halves.0), zstd(halves.1)].concat(),
        skippable,
    ];
    let diff_id = Some(Digest::of(&tar));
    let mut files = Vec::new();
    for (number, blob) in blobs.iter().enumerate() {
        for threads in [1, 2, 5] {
            let mut options = LayerOptions::default();
            options.squashfs.threads = NonZeroUsize::new(threads).unwrap();
            let expected = ExpectedBlob { diff_id: diff_id.clone(), ..expected(blob) };
            let (layer, file) = if threads == 1 && number < 4 {
                converted(Slow(blob), &expected, &options).unwrap()
            } else {
                converted(blob.as_slice(), &expected, &options).unwrap()
            };
            assert_eq!(layer.blob, Content::of(blob));
            assert_eq!(Some(layer.diff_id), diff_id);
            assert_eq!(layer.tar_bytes, u64::try_from(tar.len()).unwrap());
            assert_eq!((layer.entries, layer.implicit_parents), (8, 0));
            assert!(layer.warnings.is_empty());
            assert_eq!(layer.file, Content::of(&file));
            files.push(file);
        }
    }
    assert!(files.iter().all(|file| *file == files[0]));
}

#[test]
fn a_blob_is_what_its_descriptor_says() {
    let tar = sample();
    for blob in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let right = expected(&blob);
        let found = right.digest.clone();
        let other = Digest::of(b"another");
        let size = right.size.unwrap();

        let wrong = ExpectedBlob { digest: other.clone(), ..right.clone() };
        let error = refused_as(&blob, &wrong, Limits::default());
        assert!(
            matches!(&error, LayerError::DigestMismatch { found: digest, .. } if *digest == found),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Mismatch);

        for wrong in [size - 1, size + 1, 1] {
            let wrong = ExpectedBlob { size: Some(wrong), ..right.clone() };
            let error = refused_as(&blob, &wrong, Limits::default());
            assert!(matches!(error, LayerError::SizeMismatch { .. }), "{error}");
            assert_eq!(error.kind(), ErrorKind::Mismatch);
        }

        let wrong = ExpectedBlob { diff_id: Some(other), ..right.clone() };
        let error = refused_as(&blob, &wrong, Limits::default());
        assert!(
            matches!(&error, LayerError::DiffIdMismatch { found, .. } if *found == Digest::of(&tar)),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Mismatch);

        // Without a size there is still an end.
        let unsized_blob = ExpectedBlob { size: None, ..right.clone() };
        let limits = Limits { image_bytes: size - 1, ..Limits::default() };
        let error = refused_as(&blob, &unsized_blob, limits);
        assert!(matches!(error, LayerError::TooLarge { .. }), "{error}");

        // One that was damaged on the way is another blob, whatever its archive has become.
        for place in [0, blob.len() / 2, blob.len() - 1] {
            let mut damaged = blob.clone();
            damaged[place] ^= 0x55;
            let error = refused_as(&damaged, &right, Limits::default());
            assert!(matches!(error, LayerError::DigestMismatch { .. }), "{place}: {error}");
        }
        let error = refused_as(&blob[..blob.len() / 2], &right, Limits::default());
        assert!(matches!(error, LayerError::SizeMismatch { .. }), "{error}");
    }
}

/// The digests are right: it was made so.
#[test]
fn broken_blobs_are_refused() {
    let tar = sample();
    let (gz, zst) = (gzip(&tar), zstd(&tar));
    let cut = |blob: &[u8], by: usize| blob[..blob.len() - by].to_vec();
    let with = |blob: &[u8], tail: &[u8]| [blob, tail].concat();
    let rows = [
        (Compression::Gzip, cut(&gz, gz.len() / 2)),
        (Compression::Gzip, cut(&gz, 1)),
        (Compression::Gzip, cut(&gz, 8)),
        (Compression::Gzip, gz[..5].to_vec()),
        (Compression::Gzip, with(&gz, b"garbage")),
        (Compression::Gzip, with(&gz, &[0; 512])),
        (Compression::Gzip, with(&gz, &gz[..7])),
        (Compression::Zstd, cut(&zst, zst.len() / 2)),
        (Compression::Zstd, cut(&zst, 1)),
        (Compression::Zstd, zst[..5].to_vec()),
        (Compression::Zstd, with(&zst, b"garbage")),
        (Compression::Zstd, with(&zst, &[0; 512])),
    ];
    for (number, (expected, blob)) in rows.iter().enumerate() {
        let error = refused(blob);
        assert!(
            matches!(error, LayerError::Inflate { compression, .. } if compression == *expected),
            "{number}: {error}"
        );
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }
    let broken = [
        cut(&tar, 1024 + 131_072),
        with(&tar, b"garbage"),
        with(&tar, &tar),
        b"no archive at all".repeat(100),
    ];
    for tar in broken {
        for blob in [gzip(&tar), zstd(&tar), tar] {
            let error = refused(&blob);
            let LayerError::Tar { cause, .. } = &error else { panic!("{error}") };
            assert!(
                matches!(
                    cause,
                    TarError::Truncated { .. }
                        | TarError::TrailingGarbage { .. }
                        | TarError::WrongChecksum { .. }
                ),
                "{error}"
            );
            assert_eq!(error.kind(), ErrorKind::Malformed);
        }
    }
    for blob in [&b"\xfd7zXZ\0more of it"[..], b"BZh91AY"] {
        let error = refused(blob);
        assert!(matches!(error, LayerError::UnsupportedCompression { .. }), "{error}");
    }
}

#[test]
fn bombs_are_refused() {
    let limits = Limits {
        layer_bytes: 1 << 20,
        layer_entries: 100,
        header_bytes: 64 << 10,
        ..Limits::default()
    };
    let zeros = archive(&[Entry::file("zeros", vec![0; 8 << 20])]);
    let many: Vec<_> = (0..101).map(|number| Entry::file(number.to_string(), "")).collect();
    let many = archive(&many);
    let header = archive(&[Entry::file("a", "").xattr("user.a", vec![b'a'; 65 << 10])]);
    for blob in [gzip(&zeros), zstd(&zeros), zeros] {
        let error = refused_as(&blob, &expected(&blob), limits.clone());
        assert!(
            matches!(error, LayerError::Tar { cause: TarError::TooLong { limit: 1_048_576 }, .. }),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    for blob in [gzip(&many), zstd(&many), many] {
        let error = refused_as(&blob, &expected(&blob), limits.clone());
        assert!(
            matches!(
                error,
                LayerError::Entry { cause: EntryError::TooManyEntries { limit: 100, .. }, .. }
            ),
            "{error}"
        );
    }
    for blob in [gzip(&header), zstd(&header), header] {
        let error = refused_as(&blob, &expected(&blob), limits.clone());
        assert!(
            matches!(error, LayerError::Tar { cause: TarError::HeaderTooLarge { .. }, .. }),
            "{error}"
        );
    }
    // Each block of a hole takes some bytes of the file.
    let hole = |size: u64| {
        let entry = Entry::file("hole", "").record("GNU.sparse.map", "0,0");
        archive(&[entry.record("GNU.sparse.size", size.to_string())])
    };
    let error = refused_as(&hole(1 << 20), &expected(&hole(1 << 20)), limits);
    assert!(matches!(error, LayerError::Tar { cause: TarError::TooLong { .. }, .. }), "{error}");
    let (hole, options) = (hole(8 << 30), LayerOptions::default());
    let (_, file) = converted(hole.as_slice(), &expected(&hole), &options).unwrap();
    assert!(file.len() < 1 << 20, "{}", file.len());
}

#[test]
fn a_blob_that_stops_coming_is_told_from_a_bad_one() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }
    }
    let tar = sample();
    for blob in [gzip(&tar), zstd(&tar), tar] {
        for length in [0, 3, 1000, blob.len()] {
            let source = blob[..length].chain(Broken);
            let error = converted(source, &expected(&blob), &LayerOptions::default()).unwrap_err();
            assert!(matches!(error, LayerError::Read { .. }), "{length}: {error}");
            assert_eq!(error.kind(), ErrorKind::Unreachable);
        }
    }
}
