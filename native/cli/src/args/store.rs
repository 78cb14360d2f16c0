//! Options that name a store, and the commands that tend one.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use storm_oci_store::Location;

use super::Format;

/// Which store, and how it is reached.
///
/// Everything may be in Storm's own configuration; an option comes before the key it stands for.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub(crate) struct AccessArgs {
    /// The image store: hdfs://, s3://, gs://, az://, file:// or a directory.
    ///
    /// Stands for `storm.oci.image.hdfs.toplevel.dir`.
    #[arg(long, value_name = "LOCATION", env = "STORM_OCI_STORE")]
    pub(crate) store: Option<String>,
    /// The tag map, if it is not `image-tag-to-hash` in the store.
    #[arg(long, value_name = "LOCATION")]
    pub(crate) tag_map: Option<String>,
    /// A storm.yaml whose keys say which store it is and how it is reached.
    #[arg(long, value_name = "FILE", env = "STORM_OCI_STORM_CONF")]
    pub(crate) storm_conf: Option<PathBuf>,
    /// A key of storm.yaml, over what the file says; the value is YAML.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Where core-site.xml and hdfs-site.xml are.
    #[arg(long, value_name = "DIR")]
    pub(crate) hadoop_conf_dir: Option<PathBuf>,
    /// The keytab to log in to HDFS with; without it a ticket of `kinit` is used.
    #[arg(long, value_name = "FILE", requires = "principal")]
    pub(crate) keytab: Option<PathBuf>,
    /// The principal in the keytab; `_HOST` stands for this host's name.
    #[arg(long, value_name = "NAME", requires = "keytab")]
    pub(crate) principal: Option<String>,
    /// Options of an object store, its keys above all, as name=value lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials_file: Option<PathBuf>,
    /// Certificates of authorities that the store may have its own from, in PEM form.
    #[arg(long, value_name = "FILE")]
    pub(crate) store_ca_file: Option<PathBuf>,
    /// How many copies HDFS keeps of what is written.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) replication: u16,
    /// How many seconds to wait while another publisher holds the store's lock.
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub(crate) lock_wait: Duration,
}

/// `storm-oci store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Make the directories and the empty tag map of an image store.
    ///
    /// What is there already stays as it is.
    #[command(after_help = "Examples:
  storm-oci store init --store hdfs://ns1/containers
  storm-oci store init --store /srv/storm-images")]
    Init {
        /// Only say what would be made.
        #[arg(long)]
        dry_run: bool,
        /// Which store.
        #[command(flatten)]
        access: AccessArgs,
    },
    /// Remove what no tagged image needs.
    ///
    /// Manifests without a tag, and configs, layers and temporary files that no manifest needs, go
    /// once they are older than the grace period. Never what a tagged image needs.
    Gc(GcCommand),
}

/// `storm-oci store gc`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  storm-oci store gc --dry-run --store hdfs://ns1/containers
  storm-oci store gc --grace 30d --storm-conf /etc/storm/storm.yaml")]
pub(crate) struct GcCommand {
    /// How old it must be: a number with s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = span)]
    pub(crate) grace: Duration,
    /// Remove manifests that cannot be read too, and what may belong to them.
    #[arg(long)]
    pub(crate) force: bool,
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

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("not KEY=VALUE".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| "not a whole number of seconds".to_owned())
}

/// A time such as `90s`, `10m`, `12h` or `7d`; a bare number is seconds.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "not a number with s, m, h or d, such as 12h".to_owned();
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match text.strip_prefix(digits) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86400,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

/// A size such as `10G` or `1048576`; units are powers of 1024.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "not a number of bytes with K, M, G or T, such as 10G".to_owned();
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let shift = match text.strip_prefix(digits).unwrap_or_default() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A place in a store.
pub(super) fn location(text: &str) -> Result<Location, String> {
    Location::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("2m", 120), ("12h", 43200), ("7d", 604_800)]
        {
            assert_eq!(span(text).unwrap(), Duration::from_secs(seconds));
        }
        for (text, size) in
            [("0", 0), ("7B", 7), ("2K", 2048), ("10G", 10 << 30), ("1TiB", 1 << 40)]
        {
            assert_eq!(bytes(text).unwrap(), size);
        }
        for bad in
            ["", "d", "1w", "-1d", "1.5h", "1 d", "99999999999999999999", "18446744073709551615d"]
        {
            assert!(span(bad).is_err(), "{bad}");
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
