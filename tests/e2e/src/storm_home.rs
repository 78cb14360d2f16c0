//! A stock Storm's home, from the jars on Maven Central.

use std::path::Path;
use std::process::Command;

use crate::{E2eError, Layout, command, files, say};

/// The release all of whose artifacts are on Maven Central.
pub const STORM_VERSION: &str = "2.8.3";

const POM: &str = include_str!("../storm/pom.xml");

/// Maven's profile, and the directory below the home its jars go to.
const PROFILES: [(&str, &str); 2] = [("daemon", "lib"), ("worker", "lib-worker")];

/// Makes `storm.home` at `scratch/storm`; the jars are linked from the cache.
///
/// # Errors
///
/// [`E2eError::Ended`] when Maven cannot fetch the jars.
pub fn create(layout: &Layout) -> Result<(), E2eError> {
    let mut key = files::digest_of(POM);
    key.truncate(12);
    let cache = layout.cache.join(format!("storm-{STORM_VERSION}-{key}"));
    if cache.exists() {
        say::line(format!("Storm {STORM_VERSION} from {}", cache.display()));
    } else {
        fetch(layout, &cache)?;
    }
    let home = layout.scratch("storm");
    for directory in ["extlib", "extlib-daemon", "conf", "log4j2", "bin"] {
        files::make_dir(&home.join(directory))?;
    }
    for (_, directory) in PROFILES {
        let target = home.join(directory);
        files::make_dir(&target)?;
        for jar in files::list(&cache.join(directory))? {
            files::link_or_copy(&jar, &target.join(jar.file_name().unwrap_or_default()))?;
        }
    }
    let configurations = layout.repository.join("tests/e2e/storm/log4j2");
    for file in files::list(&configurations)? {
        files::write(
            &home.join("log4j2").join(file.file_name().unwrap_or_default()),
            files::read(&file)?,
        )?;
    }
    Ok(())
}

fn fetch(layout: &Layout, cache: &Path) -> Result<(), E2eError> {
    let part = cache.with_extension("part");
    files::remove_tree(&part)?;
    say::line(format!("fetching Storm {STORM_VERSION} from Maven Central"));
    for (profile, directory) in PROFILES {
        let mut maven = Command::new("mvn");
        maven
            .args(["--batch-mode", "--quiet", "-P", profile, "dependency:copy-dependencies"])
            .arg("-DincludeScope=runtime")
            .arg(format!("-DoutputDirectory={}", part.join(directory).display()))
            .arg("-f")
            .arg(layout.repository.join("tests/e2e/storm/pom.xml"));
        command::run("fetch Storm's jars", &mut maven, &layout.log("storm-jars"))?;
    }
    files::rename(&part, cache)
}
