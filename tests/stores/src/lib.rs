//! Real stores for tests: HDFS, plain or with Kerberos, S3 and HTTP on this host, an OCI registry,
//! and a slow network before them.
//!
//! Each is a daemon, or several, on free ports and in a directory of its own. Dropped, it ends and
//! its directory goes; so do the daemons of a static, with the process that started them, however
//! that ends. Nothing here needs root.
//!
//! ```no_run
//! use std::time::Duration;
//! use storm_oci_test_stores::{Hdfs, HdfsSpec, Throttle};
//!
//! # fn main() -> Result<(), storm_oci_test_stores::TestbedError> {
//! let mut hdfs = Hdfs::start(HdfsSpec {
//!     datanodes: 3,
//!     // Clients reach datanodes through proxies only.
//!     network: Some(Throttle { bytes_per_second: 50 << 20, round_trip: Duration::from_millis(10) }),
//!     ..HdfsSpec::default()
//! })?;
//! hdfs.put("/var/images".as_ref(), "/storm")?;
//! println!("{} with HADOOP_CONF_DIR={}", hdfs.url("/storm"), hdfs.client_conf().display());
//! hdfs.datanode(0).kill()?;
//! # Ok(())
//! # }
//! ```

pub mod cache;
mod daemon;
mod error;
mod hdfs;
mod http;
mod images;
mod kdc;
mod local_http;
mod oci_layout;
mod ports;
mod proxy;
mod registry;
mod s3;
mod scratch;
mod spawn;
mod tls;

pub use daemon::Daemon;
pub use error::TestbedError;
pub use hdfs::{Hdfs, HdfsSpec, Protection, Security};
pub use http::Http;
pub use images::{Kept, RealImage, misordered_image, real_images};
pub use kdc::Kdc;
pub use oci_layout::{OciLayout, Packing, Types};
pub use proxy::{Proxy, Throttle};
pub use registry::{Answer, Asked, Front, Login, Registry, RegistrySpec};
pub use s3::S3;
pub use scratch::Scratch;
pub use tls::{Authority, Identity};
