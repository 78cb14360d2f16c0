//! An HDFS for tests that are not written in Rust.
//!
//! `serve_hdfs <directory>` starts one with a copy of the directory, prints the copy's URL and a
//! `HADOOP_CONF_DIR`, a line each, and serves until its standard input ends.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::error::Error;
use std::io::{self, Read, Write};

use storm_oci_test_stores::{Hdfs, HdfsSpec};

const TARGET: &str = "/images";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: serve_hdfs <directory>")?;
    let hdfs = Hdfs::start(HdfsSpec::default())?;
    hdfs.put(directory.as_ref(), TARGET)?;
    println!("{}\n{}", hdfs.url(TARGET), hdfs.client_conf().display());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
