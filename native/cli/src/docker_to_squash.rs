//! The commands of Storm's `docker-to-squash.py`: its arguments, with results that are right.

mod build;
mod magic_file;

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use storm_oci_convert::publish::{CleanupOptions, Publisher, RemoveOptions, SOURCE_MANIFEST};
use storm_oci_store::{Digest, Location, Reference};
use tracing::Level;

use crate::access::Access;
use crate::args::{AccessArgs, Format, LogLevel, ScriptCommand, ScriptOptions};
use crate::commands::{print_plan, references};
use crate::failure::CliError;
use crate::output;
use crate::session::{Session, Writing};

/// How long another's lock is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(120);

/// What Python calls levels.
pub(crate) fn level(log: LogLevel) -> Option<Level> {
    Some(match log {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warning => Level::WARN,
        LogLevel::Error | LogLevel::Critical => Level::ERROR,
    })
}

/// Does what the script was meant to do.
pub(crate) async fn run(
    session: &Session,
    command: ScriptCommand,
    options: &ScriptOptions,
) -> Result<(), CliError> {
    if options.image_tag_to_hash.contains('/') {
        return Err(CliError::Usage("--image-tag-to-hash is a name, without a `/`".to_owned()));
    }
    let script = Script { session, options };
    match command {
        ScriptCommand::PullBuildPushUpdate { images_and_tags } => {
            build::pull_build_push_update(&script, &images_and_tags).await
        }
        ScriptCommand::PullBuild { images_and_tags } => {
            build::pull_build(&script, &images_and_tags).await
        }
        ScriptCommand::PushUpdate { images_and_tags } => {
            build::push_update(&script, &images_and_tags).await
        }
        ScriptCommand::RemoveImage { images } => script.remove_image(&images).await,
        ScriptCommand::RemoveTag { tags } => script.remove_tag(&tags).await,
        ScriptCommand::AddTag { images_and_tags } => script.add_tag(&images_and_tags).await,
        ScriptCommand::CopyUpdate { src_root, dest_root, images_and_tags } => {
            script.copy_update(&src_root, &dest_root, &images_and_tags).await
        }
        ScriptCommand::QueryTag { tags } => script.query_tag(&tags).await,
        ScriptCommand::ListTags => script.list_tags().await,
        ScriptCommand::Bootstrap => script.at(&options.hdfs_root)?.init().await.map_err(Into::into),
        ScriptCommand::Cleanup => script.cleanup().await,
    }
}

/// One run of the script.
struct Script<'a> {
    session: &'a Session,
    options: &'a ScriptOptions,
}

impl Script<'_> {
    /// A store that is made if `--bootstrap` says so, and else must be there.
    async fn store(&self, root: &str) -> Result<Arc<Publisher>, CliError> {
        let publisher = self.at(root)?;
        if self.options.bootstrap {
            publisher.init().await?;
        } else {
            publisher.must_exist().await?;
        }
        Ok(publisher)
    }

    fn at(&self, root: &str) -> Result<Arc<Publisher>, CliError> {
        let access = self.access(root)?;
        let writing = Writing {
            replication: self.options.replication,
            lock_wait: LOCK_WAIT,
            verify_existing: false,
            force: self.options.force,
        };
        self.session.publisher(&access, writing)
    }

    /// The script knew its cluster from Hadoop's configuration alone.
    fn access(&self, root: &str) -> Result<Access, CliError> {
        let root = in_default_file_system(root);
        let tag_map = Location::parse(&root)?.join(&self.options.image_tag_to_hash);
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let prefix =
            self.options.hadoop_prefix.as_ref().filter(|_| set("HADOOP_CONF_DIR").is_none());
        Access::of(&AccessArgs {
            store: Some(root),
            tag_map: Some(tag_map.to_string()),
            storm_conf: set("STORM_OCI_STORM_CONF").map(PathBuf::from),
            set: Vec::new(),
            hadoop_conf_dir: prefix.map(|prefix| prefix.join("etc/hadoop")),
            keytab: None,
            principal: None,
            credentials_file: None,
            store_ca_file: None,
            replication: self.options.replication,
            lock_wait: LOCK_WAIT,
        })
    }

    async fn remove_image(&self, images: &[String]) -> Result<(), CliError> {
        let publisher = self.store(&self.options.hdfs_root).await?;
        let names: Vec<_> = images.iter().flat_map(|names| names.split(',')).collect();
        // As the script did: at once. A publisher that counted on a layer finds it gone before it
        // tags anything.
        let options = RemoveOptions { all_tags: true, grace: Duration::ZERO, dry_run: false };
        let plan = publisher.remove(&references(&names)?, &options).await?;
        print_plan(Format::Text, &plan, false);
        Ok(())
    }

    async fn remove_tag(&self, tags: &[String]) -> Result<(), CliError> {
        let publisher = self.store(&self.options.hdfs_root).await?;
        let tags: Vec<_> = tags.iter().flat_map(|names| names.split(',')).collect();
        let tags = references(&tags)?;
        let removed = publisher.untag(&tags).await?;
        for tag in tags.iter().filter(|tag| !removed.iter().any(|(removed, _)| removed == *tag)) {
            output::note(&format!("no image has the tag {tag}"));
        }
        Ok(())
    }

    async fn add_tag(&self, images_and_tags: &[String]) -> Result<(), CliError> {
        let publisher = self.store(&self.options.hdfs_root).await?;
        for argument in images_and_tags {
            let (image, tags) = image_and_tags(argument)?;
            let tags = references(&tags)?;
            if tags.is_empty() {
                return Err(CliError::Usage(format!("`{argument}` names no tag to add")));
            }
            let known = publisher.tags().await?;
            let name = Reference::parse(image).ok();
            let digest = match name {
                Some(name) if known.digest(&name).is_some() || name.digest().is_some() => {
                    publisher.show(&name).await?.image.digest
                }
                _ => self.published(&publisher, image).await?,
            };
            publisher.tag(&digest, &tags, Some(image)).await?;
        }
        Ok(())
    }

    /// The image of the store that was made of what a registry has under this name now.
    async fn published(&self, publisher: &Publisher, image: &str) -> Result<Digest, CliError> {
        let resolved = build::resolve(self, image).await?;
        for candidate in publisher.list().await? {
            let details = publisher.show(&Reference::parse(candidate.digest.as_hex())?).await?;
            let source = details.manifest.as_deref().and_then(source_manifest);
            if candidate.digest == resolved.digest
                || source.is_some_and(|source| source == resolved.digest)
            {
                return Ok(candidate.digest);
            }
        }
        Err(CliError::Found(format!(
            "cannot tag `{image}`: the store does not have {}; hint: pull-build-push-update it",
            resolved.digest
        )))
    }

    async fn copy_update(
        &self,
        from: &str,
        to: &str,
        images_and_tags: &[String],
    ) -> Result<(), CliError> {
        let from = self.at(from)?;
        from.must_exist().await?;
        let to = self.store(to).await?;
        for argument in images_and_tags {
            let (image, tags) = image_and_tags(argument)?;
            let copied = from.copy_to(&to, &Reference::parse(image)?, &references(&tags)?).await?;
            output::out(&format!("copied {image} = {}\n", copied.digest));
        }
        Ok(())
    }

    async fn query_tag(&self, tags: &[String]) -> Result<(), CliError> {
        let publisher = self.store(&self.options.hdfs_root).await?;
        let top_level = publisher.top_level();
        for tag in tags {
            let details = publisher.show(&Reference::parse(tag)?).await?;
            let mut text = format!("{tag}\n");
            let manifest = details.image.digest.as_hex();
            text.push_str(&format!(
                "  manifest: {}\n",
                top_level.join(&format!("manifests/{manifest}"))
            ));
            if let Some(config) = &details.config {
                let config = format!("config/{}", config.as_hex());
                text.push_str(&format!("  config: {}\n", top_level.join(&config)));
            }
            for layer in &details.layers {
                let layer = top_level.join(&format!("layers/{}", layer.file));
                text.push_str(&format!("  layer: {layer}\n"));
            }
            output::out(&text);
        }
        Ok(())
    }

    async fn list_tags(&self) -> Result<(), CliError> {
        let publisher = self.store(&self.options.hdfs_root).await?;
        output::bytes(&publisher.read_tag_map().await?);
        Ok(())
    }

    async fn cleanup(&self) -> Result<(), CliError> {
        let publisher = self.store(&self.options.hdfs_root).await?;
        let options = CleanupOptions {
            transition: Duration::from_secs(self.options.untagged_transition_sec),
            dead_mode: self.options.dead_perms,
            ..CleanupOptions::default()
        };
        let plan = publisher.cleanup(&options).await?;
        print_plan(Format::Text, &plan, false);
        Ok(())
    }
}

/// The digest of the manifest that a manifest of the store was made of.
fn source_manifest(manifest: &str) -> Option<Digest> {
    let manifest: Value = serde_json::from_str(manifest).ok()?;
    Digest::parse(manifest.get("annotations")?.get(SOURCE_MANIFEST)?.as_str()?).ok()
}

/// `IMAGE[,TAG]...`.
fn image_and_tags(argument: &str) -> Result<(&str, Vec<&str>), CliError> {
    let mut parts = argument.split(',').map(str::trim);
    match parts.next() {
        Some(image) if !image.is_empty() => Ok((image, parts.collect())),
        _ => Err(CliError::Usage(format!("`{argument}` is not IMAGE,TAG[,TAG]..."))),
    }
}

/// A path without a scheme, as `hdfs dfs` takes it.
fn in_default_file_system(root: &str) -> String {
    if root.starts_with('/') { format!("hdfs://{root}") } else { root.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_in_the_default_file_system() {
        for (typed, meant) in [
            ("/runc-root", "hdfs:///runc-root"),
            ("hdfs://ns1/x", "hdfs://ns1/x"),
            ("file:///srv/x", "file:///srv/x"),
        ] {
            assert_eq!(in_default_file_system(typed), meant);
        }
    }

    #[test]
    fn the_first_part_is_the_image() {
        assert_eq!(image_and_tags("a:1,b, c").unwrap(), ("a:1", vec!["b", "c"]));
        assert_eq!(image_and_tags("a").unwrap(), ("a", vec![]));
        assert!(image_and_tags(",b").is_err());
    }
}
