//! What is typed: every command, option and example of `storm-oci`.

mod convert;
mod docker_to_squash;
mod image;
mod store;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use convert::{CompressionArg, ConvertArgs, LayerFormatArg, SourceArgs};
pub(crate) use docker_to_squash::{LogLevel, ScriptCommand, ScriptOptions};
pub(crate) use image::{
    ConvertCommand, CopyCommand, ImageCommand, ImagesCommand, PublishCommand, PushCommand,
    RemoveCommand, ShowCommand, TagCommand, UntagCommand, VerifyCommand,
};
pub(crate) use store::{AccessArgs, GcCommand, StoreCommand};

/// Brings container images to Apache Storm's workers.
///
/// An image store is a place in HDFS, a bucket or a directory that supervisors read their images
/// from. `storm-oci image publish` brings an image there from a registry, an OCI layout or an
/// archive: each layer becomes a squashfs file, in one pass and without root.
#[derive(Debug, Parser)]
#[command(
    name = "storm-oci",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:
  storm-oci image publish debian:12 --tag storm/debian:12 --store hdfs://ns1/containers
  storm-oci image list --storm-conf /etc/storm/storm.yaml
  storm-oci image verify --all --store s3://bucket/images

Exit codes: 0 done; 1 it cannot be done, and the error says why; 2 wrong usage, or a defect."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Tell what the libraries do; twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
}

/// The groups of commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish, look at, verify, tag and remove images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Make an image store, and free what no image needs.
    #[command(subcommand)]
    Store(StoreCommand),
    /// The commands and options of Storm's docker-to-squash.py.
    #[command(name = "docker-to-squash")]
    DockerToSquash {
        /// What to do.
        #[command(subcommand)]
        command: ScriptCommand,
        /// The script's options.
        #[command(flatten)]
        options: Box<ScriptOptions>,
    },
    /// Print a script that completes this command's arguments in a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the manual pages into a directory.
    Man {
        /// Where they go; made if it is not there.
        directory: std::path::PathBuf,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
}
