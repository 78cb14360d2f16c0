//! `storm-oci image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use storm_oci_store::Location;

use super::store::{location, span};
use super::{AccessArgs, ConvertArgs, Format, SourceArgs};

/// The forms of an image's name.
const REFERENCES: &str = "References:
  registry.example.org/team/app:1.2     an image in a registry; docker:// may stand before it
  app@sha256:...                        the same by digest
  oci:DIRECTORY[:TAG]                   an OCI layout
  docker-archive:FILE[:REFERENCE]       what `docker save` writes
  dir:DIRECTORY                         what `skopeo copy … dir:` writes";

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Convert an image and put it into the store, under its tags.
    ///
    /// Nothing is published unless all of it is right: digests and sizes of what the registry
    /// sends, and of what the store has in the end. The tag map is written last, so that
    /// supervisors see a whole image or none. What the store has already is not sent again; an
    /// interrupted run is completed by the next.
    Publish(PublishCommand),
    /// Convert an image into a local directory, which is a store of its own.
    Convert(ConvertCommand),
    /// Put into the store what `image convert` made.
    Push(PushCommand),
    /// List the images of the store.
    List(ImagesCommand),
    /// Show one image: its manifest, config and layers, and whether all of it is there.
    Show(ShowCommand),
    /// Read images in the store again, and compare every byte with what it should be.
    Verify(VerifyCommand),
    /// Give an image of the store more tags.
    Tag(TagCommand),
    /// Take tags away. The images stay, until `store gc` finds them without a tag.
    Untag(UntagCommand),
    /// Remove images, and the layers that no other image needs.
    Remove(RemoveCommand),
    /// Copy images from one store to another.
    ///
    /// The options of stores are those of both; the location alone tells them apart.
    Copy(CopyCommand),
}

/// `storm-oci image publish`.
#[derive(Args, Debug)]
#[command(after_help = format!("{REFERENCES}

Examples:
  storm-oci image publish debian:12 --tag storm/debian:12 --store hdfs://ns1/containers
  storm-oci image publish oci:build:latest --tag app:1 --tag app:latest --store /srv/images
  storm-oci image publish a.example.org/x:1 a.example.org/y:1 --tag x:1 --tag y:1,y:latest"))]
pub(crate) struct PublishCommand {
    /// The images.
    #[arg(required = true, value_name = "REFERENCE")]
    pub(crate) references: Vec<String>,
    /// The tags that topologies name it by, joined by commas or given several times.
    ///
    /// With several images, one for each, in their order. Without: the reference itself, less
    /// `docker://`; a layout, an archive or a directory needs one.
    #[arg(long = "tag", short, value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Convert and write layers again that the store has. Nodes that have them keep theirs.
    #[arg(long, short)]
    pub(crate) force: bool,
    /// Read layers again that the store has, and compare them with their digests.
    #[arg(long)]
    pub(crate) verify_existing: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Which store.
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Where from.
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// How.
    #[command(flatten)]
    pub(crate) convert: ConvertArgs,
}

/// `storm-oci image convert`.
#[derive(Args, Debug)]
#[command(after_help = format!("{REFERENCES}

Examples:
  storm-oci image convert debian:12 --tag storm/debian:12 --output /var/tmp/debian
  storm-oci image push /var/tmp/debian --store hdfs://ns1/containers"))]
pub(crate) struct ConvertCommand {
    /// The image.
    pub(crate) reference: String,
    /// The directory; made if it is not there.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The tags it shall have. By default the reference, as with `image publish`.
    #[arg(long = "tag", short, value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Convert layers again that the directory has.
    #[arg(long, short)]
    pub(crate) force: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Where from.
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// How.
    #[command(flatten)]
    pub(crate) convert: ConvertArgs,
}

/// `storm-oci image push`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  storm-oci image push /var/tmp/debian --store hdfs://ns1/containers
  storm-oci image push /var/tmp/debian storm/debian:12 --store s3://bucket/images")]
pub(crate) struct PushCommand {
    /// The directory that `image convert` wrote.
    #[arg(value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// Which of its tags. By default all.
    #[arg(value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Which store.
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// `storm-oci image list`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  storm-oci image list --store hdfs://ns1/containers
  storm-oci image list --format json --storm-conf /etc/storm/storm.yaml")]
pub(crate) struct ImagesCommand {
    /// Those without a tag too.
    #[arg(long, short)]
    pub(crate) all: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Which store.
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// `storm-oci image show`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  storm-oci image show storm/debian:12 --store hdfs://ns1/containers")]
pub(crate) struct ShowCommand {
    /// A tag, or the digest of a manifest.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Which store.
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// `storm-oci image verify`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  storm-oci image verify storm/debian:12 --store hdfs://ns1/containers
  storm-oci image verify --all --store s3://bucket/images")]
pub(crate) struct VerifyCommand {
    /// Tags, or digests of manifests.
    #[arg(value_name = "IMAGE", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) images: Vec<String>,
    /// Every image of the store.
    #[arg(long, short)]
    pub(crate) all: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Which store.
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// `storm-oci image tag`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  storm-oci image tag storm/debian:12 storm/debian:current --store hdfs://ns1/containers")]
pub(crate) struct TagCommand {
    /// A tag it has, or the digest of its manifest.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The tags to add. One that another image has is taken from it.
    #[arg(required = true, value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Which store.
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// `storm-oci image untag`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  storm-oci image untag storm/debian:old --store hdfs://ns1/containers")]
pub(crate) struct UntagCommand {
    /// The tags to take away.
    #[arg(required = true, value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Which store.
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// `storm-oci image remove`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  storm-oci image remove storm/debian:old --dry-run --store hdfs://ns1/containers")]
pub(crate) struct RemoveCommand {
    /// Tags, or digests of manifests.
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Remove the other tags of these images with them. Without, one that has any stays.
    #[arg(long)]
    pub(crate) all_tags: bool,
    /// Leave configs and layers that are younger than this: a number with s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = span)]
    pub(crate) grace: std::time::Duration,
    /// Only say what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Which store.
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// `storm-oci image copy`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  storm-oci image copy hdfs://ns1/containers hdfs://ns2/containers storm/debian:12
  storm-oci image copy /srv/images s3://bucket/images --all")]
pub(crate) struct CopyCommand {
    /// The store to read.
    #[arg(value_name = "FROM", value_parser = location)]
    pub(crate) from: Location,
    /// The store to write.
    #[arg(value_name = "TO", value_parser = location)]
    pub(crate) to: Location,
    /// Tags, or digests of manifests.
    #[arg(value_name = "IMAGE", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) images: Vec<String>,
    /// Every tagged image.
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Only say what would be copied.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// How both are reached.
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}
