//! The protocols of stores.

use std::fmt;

/// A protocol that a store speaks. Another one is a variant here and its arm in
/// [`crate::remote::Remotes::open`], which the compiler then asks for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Scheme {
    /// A directory of this host, local or mounted.
    File,
    /// The Hadoop file system; the authority is a namenode or a name service.
    Hdfs,
    /// Amazon's S3 or what is compatible with it; the authority is the bucket.
    S3,
    /// Google Cloud Storage; the authority is the bucket.
    Gs,
    /// Azure Blob Storage; the authority is the container.
    Azure,
    /// A web server, to read only.
    Http,
    /// A web server behind TLS, to read only.
    Https,
}

impl Scheme {
    const ALL: [Self; 7] =
        [Self::File, Self::Hdfs, Self::S3, Self::Gs, Self::Azure, Self::Http, Self::Https];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Hdfs => "hdfs",
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Azure => "az",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        // What Hadoop calls its S3 connector.
        if text.eq_ignore_ascii_case("s3a") {
            return Some(Self::S3);
        }
        Self::ALL.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(text))
    }

    /// The schemes that work, for messages.
    pub(crate) fn supported() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
