//! `storm-oci docker-to-squash`: what Storm's `docker-to-squash.py` understands.
//!
//! Options may stand before and after the command, with one meaning.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// The script's commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  storm-oci docker-to-squash pull-build-push-update centos:latest,centos,exampletag
  storm-oci docker-to-squash list-tags --hdfs-root hdfs://ns1/containers")]
pub(crate) enum ScriptCommand {
    /// Pull images, convert them, push them to the store, and update their tags.
    PullBuildPushUpdate {
        /// Image and tags: IMAGE,TAG[,TAG]...
        #[arg(required = true, value_name = "IMAGE,TAG")]
        images_and_tags: Vec<String>,
    },
    /// Pull images and convert them, into the working directory.
    PullBuild {
        /// Image and tags: IMAGE[,TAG]...
        #[arg(required = true, value_name = "IMAGE,TAG")]
        images_and_tags: Vec<String>,
    },
    /// Push what `pull-build` made in the working directory, and update tags.
    PushUpdate {
        /// Image and tags: IMAGE,TAG[,TAG]...
        #[arg(required = true, value_name = "IMAGE,TAG")]
        images_and_tags: Vec<String>,
    },
    /// Remove images with all their tags, and the layers that no other image needs.
    RemoveImage {
        /// Tags or digests, joined by commas.
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Take tags away.
    RemoveTag {
        /// Tags, joined by commas.
        #[arg(required = true, value_name = "TAG")]
        tags: Vec<String>,
    },
    /// Add tags to images that the store has.
    AddTag {
        /// A tag, a digest or the image's reference, and the new tags: IMAGE,TAG[,TAG]...
        #[arg(required = true, value_name = "IMAGE,TAG")]
        images_and_tags: Vec<String>,
    },
    /// Copy images from one store to another, and update their tags there.
    CopyUpdate {
        /// The store to read.
        src_root: String,
        /// The store to write.
        dest_root: String,
        /// A tag in the first store and its tags in the second: TAG[,TAG]...
        #[arg(required = true, value_name = "TAG,TAG")]
        images_and_tags: Vec<String>,
    },
    /// Print the paths of an image's manifest, config and layers.
    QueryTag {
        /// The tags.
        #[arg(required = true, value_name = "TAG")]
        tags: Vec<String>,
    },
    /// Print the tag map as it is.
    ListTags,
    /// Make the directories and the empty tag map of a store.
    Bootstrap,
    /// Remove images that have had no tag for long, in the script's two steps.
    Cleanup,
}

/// How much is logged, in Python's words.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum LogLevel {
    /// All there is.
    Debug,
    /// What is done.
    #[default]
    Info,
    /// What is odd.
    Warning,
    /// What fails.
    Error,
    /// What fails.
    Critical,
}

/// The script's options, with its defaults.
#[derive(Args, Clone, Debug)]
pub(crate) struct ScriptOptions {
    /// Where images are converted and kept by `pull-build`.
    #[arg(long, global = true, value_name = "DIR", default_value = "dts-work-dir")]
    pub(crate) working_dir: PathBuf,
    /// Ignored: skopeo is not used.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "dir", hide = true)]
    pub(crate) skopeo_format: String,
    /// Where images are pulled from: docker, oci, docker-archive or dir.
    #[arg(long, global = true, value_name = "TRANSPORT", default_value = "docker")]
    pub(crate) pull_format: String,
    /// How much is logged.
    #[arg(short, long, global = true, value_enum, ignore_case = true, default_value_t)]
    pub(crate) log: LogLevel,
    /// The image store. A path without a scheme is in the cluster's default file system.
    #[arg(long, global = true, value_name = "LOCATION", default_value = "/runc-root")]
    pub(crate) hdfs_root: String,
    /// The name of the tag map in the store.
    #[arg(long, global = true, value_name = "NAME", default_value = "image-tag-to-hash")]
    pub(crate) image_tag_to_hash: String,
    /// How many copies HDFS keeps of what is written.
    #[arg(short, long, global = true, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) replication: u16,
    /// Where Hadoop is installed; its etc/hadoop is read, unless HADOOP_CONF_DIR is set.
    #[arg(long, global = true, value_name = "DIR", env = "HADOOP_PREFIX")]
    pub(crate) hadoop_prefix: Option<PathBuf>,
    /// Convert and write again what the store has.
    #[arg(short, long, global = true)]
    pub(crate) force: bool,
    /// Refuse images without the magic file.
    #[arg(long, global = true)]
    pub(crate) check_magic_file: bool,
    /// The magic file: in the image, and not empty.
    #[arg(long, global = true, value_name = "PATH", default_value = "etc/dockerfile-version")]
    pub(crate) magic_file: String,
    /// The most layers an image may have.
    #[arg(long, global = true, value_name = "N", default_value_t = 37)]
    pub(crate) max_layers: usize,
    /// The most bytes an image's layers may have together, compressed.
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 10 << 30)]
    pub(crate) max_size: u64,
    /// How many seconds an image stays in each step of `cleanup`.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 604_800)]
    pub(crate) untagged_transition_sec: u64,
    /// The mode of a manifest whose image `cleanup` will remove next.
    #[arg(long, global = true, value_name = "MODE", default_value = "400", value_parser = mode)]
    pub(crate) dead_perms: u16,
    /// Make the store first if it is not there.
    #[arg(short, long, global = true)]
    pub(crate) bootstrap: bool,
}

fn mode(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "not a mode in octal digits, such as 400".to_owned())
}
