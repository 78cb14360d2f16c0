//! Asks a cluster of HDFS, as an image store does.
//!
//! `ask_hdfs <Hadoop configuration directory> [<keytab> <principal>]` reads lines `stat <url>`,
//! `read <url>` and `write <url> <text>` and answers each with one line: `ok` and what there is to
//! say, or the kind of the error and its message.
#![expect(clippy::print_stdout, reason = "a program that talks to people")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use storm_oci_store::remote::Remotes;
use storm_oci_store::{
    Digest, HadoopLogin, HadoopSettings, Location, RemoteSettings, StoreError, StoreOptions,
};

async fn answer(remotes: &Remotes, line: &str) -> Result<String, StoreError> {
    let mut words = line.splitn(3, ' ');
    let (verb, url, text) = (words.next(), words.next(), words.next());
    let location = Location::parse(url.unwrap_or_default())?;
    let store = remotes.open(&location)?;
    if verb == Some("write") {
        let body = Bytes::from(text.unwrap_or_default().to_owned());
        store.replace(&location, body).await?;
        return Ok(String::new());
    }
    let stat = store.stat(&location).await?;
    if verb == Some("stat") {
        return Ok(stat.size.to_string());
    }
    let bytes = store.read(&location, &stat, 0..stat.size).await?;
    Ok(format!("{} {}", stat.size, Digest::of(&bytes)))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (conf_dir, login) = match arguments.as_slice() {
        [conf_dir] => (conf_dir, None),
        [conf_dir, keytab, principal] => {
            let principal = principal.clone();
            (conf_dir, Some(HadoopLogin { keytab: PathBuf::from(keytab), principal }))
        }
        _ => return Err("usage: ask_hdfs <configuration directory> [<keytab> <principal>]".into()),
    };
    let hadoop = HadoopSettings {
        conf_dir: Some(PathBuf::from(conf_dir)),
        options: StoreOptions(BTreeMap::new()),
        login,
    };
    let request_timeout = Duration::from_secs(20);
    let remotes =
        Remotes::new(RemoteSettings { hadoop, request_timeout, ..RemoteSettings::default() });
    for line in io::stdin().lines() {
        match answer(&remotes, &line?).await {
            Ok(said) => println!("ok {said}"),
            Err(error) => println!("{} {error}", error.kind()),
        }
        io::stdout().flush()?;
    }
    Ok(())
}
