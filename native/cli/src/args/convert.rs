//! Options that say where an image comes from and what becomes of its layers.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::store::bytes;

/// How the source is reached, and which of its images is meant.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Source")]
pub(crate) struct SourceArgs {
    /// Which image of a multi-platform one: system/architecture[/variant].
    ///
    /// By default `storm.oci.image.platform`, which is this host's by default.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Speak plain HTTP with the registry.
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Certificates of authorities that the registry may have its own from, in PEM form.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Where the registry's credentials are, as `docker login` or `podman login` writes them.
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    pub(crate) authfile: Option<PathBuf>,
}

/// The file system of a layer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum LayerFormatArg {
    /// Every kernel mounts it.
    #[default]
    Squashfs,
    /// For kernels since 5.4; needs `mkfs.erofs` and root.
    Erofs,
}

/// How squashfs is compressed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum CompressionArg {
    /// Every kernel mounts it.
    #[default]
    Gzip,
    /// Read three times as fast; needs CONFIG_SQUASHFS_ZSTD on every supervisor.
    Zstd,
}

/// What becomes of layers, and how much is accepted.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Layers")]
pub(crate) struct ConvertArgs {
    /// The layers' file system.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) layer_format: LayerFormatArg,
    /// How squashfs layers are compressed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) compression: CompressionArg,
    /// How hard: 1 to 9 for gzip, by default 5; 1 to 22 for zstd, by default 3.
    #[arg(long, value_name = "N")]
    pub(crate) compression_level: Option<u8>,
    /// How many threads compress. By default one a processor.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Refuse what would only be warned of, such as an attribute that squashfs cannot keep.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Where layers are converted; as much room is needed as the largest takes. By default $TMPDIR.
    #[arg(long, value_name = "DIR")]
    pub(crate) working_dir: Option<PathBuf>,
    /// The most layers an image may have.
    #[arg(long, value_name = "N", default_value_t = 127)]
    pub(crate) max_layers: usize,
    /// The most bytes an image's layers may have together, compressed.
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = bytes)]
    pub(crate) max_size: u64,
    /// The most bytes one layer may have, uncompressed.
    #[arg(long, value_name = "SIZE", default_value = "64G", value_parser = bytes)]
    pub(crate) max_layer_size: u64,
    /// The most files one layer may have.
    #[arg(long, value_name = "N", default_value_t = 4_000_000)]
    pub(crate) max_layer_files: u64,
}
