//! What a supervisor has on its node, without a cluster: a stock Storm with this project, small
//! images, and a program that drives containers as the supervisor's slots do.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::accounts::{self, Account};
use crate::cluster::class_path;
use crate::publish::publish;
use crate::say::Steps;
use crate::storm_conf::{self, Ports, Settings};
use crate::{E2eError, Layout, Testbed, command, files, image, traces};

/// How many steps [`Node::create`] tells.
pub const STEPS: usize = 5;

/// The tag of the image of small workers.
pub const IMAGE: &str = "storm/small:1";

/// The tag of the demo's image, of which the next one has the base system and the JDK.
const BASE_IMAGE: &str = "storm/demo:1";
/// The tag of the image of workers that are small, but Java.
pub const JAVA_IMAGE: &str = "storm/java:1";

/// The first of the slots' ports. Nobody listens there.
pub const FIRST_PORT: u16 = 6700;

/// How many slots there are.
pub const SLOTS: u16 = 64;

/// A static program that is every command of a small system.
const BUSYBOX: &str = "/bin/busybox";

const COMMANDS: [&str; 7] = ["sh", "sleep", "head", "tail", "cat", "dd", "date"];

/// Storm starts workers with bash; what its script needs of it the small shell can do.
const BASH: &str = "#!/bin/sh\nexec /bin/sh \"$@\"\n";

/// The worker: not Java, but what the topology's environment says.
const JAVA: &str = "#!/bin/sh\n: > tmp/runs\neval \"$WORK\"\n";

/// A node. What [`Node::create`] made is removed when it is dropped.
#[derive(Debug)]
pub struct Node {
    /// Where everything is.
    pub layout: Layout,
    /// The supervisor's account.
    pub daemon: Account,
    /// The topologies' account.
    pub user: Account,
    testbed: Option<Testbed>,
}

impl Node {
    /// Makes a node on this host.
    ///
    /// # Errors
    ///
    /// [`E2eError`]: the first step that fails; what was made is removed.
    pub fn create(layout: Layout, steps: &mut Steps) -> Result<Self, E2eError> {
        let testbed = Testbed::install(layout, steps)?;
        let layout = testbed.layout.clone();
        steps.begin("the image of small workers, and what drives them");
        let layer = testbed.store.add_layer(&small_layer(&layout)?)?;
        testbed.store.add_image(&[IMAGE], &[layer])?;
        let mut layers = publish(&layout, &image::build(&layout)?, BASE_IMAGE, &[])?.layers;
        layers.pop();
        layers.push(testbed.store.add_layer(&before_java(&layout)?)?);
        testbed.store.add_image(&[JAVA_IMAGE], &layers)?;
        compile(&layout)?;
        write_conf(&layout, &testbed.daemon)?;
        Ok(Self {
            layout,
            daemon: testbed.daemon.clone(),
            user: testbed.user.clone(),
            testbed: Some(testbed),
        })
    }

    /// The node that another process has made: a virtual machine sees its host's.
    ///
    /// # Errors
    ///
    /// [`E2eError::Unconfirmed`] when there is none.
    pub fn of_host(layout: Layout) -> Result<Self, E2eError> {
        files::make_dir(&layout.logs)?;
        let account = |name: String| {
            accounts::find(&name)?.ok_or_else(|| {
                E2eError::unconfirmed(format!("account `{name}` exists"), "it does not")
            })
        };
        Ok(Self {
            daemon: account(layout.daemon_account())?,
            user: account(layout.topology_account())?,
            layout,
            testbed: None,
        })
    }

    /// Lets the launcher unmount the layers that it keeps for later containers, and fails if
    /// containers have left anything. `container_id` is one that has ended.
    ///
    /// # Errors
    ///
    /// [`E2eError::Left`].
    pub fn expect_no_container(&self, container_id: &str) -> Result<(), E2eError> {
        traces::release_layers(&self.layout, &self.daemon, &self.user, container_id)?;
        traces::expect_no_container(&self.layout)
    }

    /// Removes what was made, then looks whether anything is left.
    ///
    /// # Errors
    ///
    /// [`E2eError::Left`], or what could not be removed.
    pub fn remove(self) -> Result<(), E2eError> {
        self.testbed.map_or(Ok(()), Testbed::remove)
    }
}

/// Where the programs are compiled to: containers see it too.
pub(crate) fn classes(layout: &Layout) -> PathBuf {
    layout.scratch("storm/slots")
}

/// The class path of a program in a worker's place.
#[must_use]
pub fn worker_class_path(layout: &Layout) -> String {
    let classes = classes(layout);
    format!("{}:{}", class_path(layout, &["lib-worker", "extlib"], "storm/conf"), classes.display())
}

fn small_layer(layout: &Layout) -> Result<PathBuf, E2eError> {
    let tree = layout.scratch("small");
    for directory in ["bin", "etc", "proc", "sys", "dev", "tmp", "var"] {
        files::make_dir(&tree.join(directory))?;
    }
    let bin = tree.join("bin");
    copy(Path::new(BUSYBOX), &bin.join("busybox"))?;
    for name in COMMANDS {
        symlink("busybox", bin.join(name)).map_err(|source| E2eError::File {
            verb: "make",
            path: bin.join(name),
            source,
        })?;
    }
    write_program(&bin.join("bash"), BASH)?;
    write_program(&bin.join("java"), JAVA)?;
    let file = layout.scratch("small.sqsh");
    image::squash(&tree, &file, &layout.log("image"))?;
    Ok(file)
}

/// What stands before the JDK's `java`.
fn before_java(layout: &Layout) -> Result<PathBuf, E2eError> {
    let tree = layout.scratch("before-java");
    let bin = tree.join("usr/local/bin");
    files::make_dir(&bin)?;
    write_program(&bin.join("java"), JAVA)?;
    let file = layout.scratch("before-java.sqsh");
    image::squash(&tree, &file, &layout.log("image"))?;
    Ok(file)
}

fn write_program(path: &Path, content: &str) -> Result<(), E2eError> {
    files::write(path, content)?;
    files::set_mode(path, 0o755)
}

fn copy(from: &Path, to: &Path) -> Result<(), E2eError> {
    fs::copy(from, to).map(|_| ()).map_err(|source| E2eError::File {
        verb: "copy",
        path: from.to_owned(),
        source,
    })
}

/// Compiles the programs against stock Storm and the installed jar.
fn compile(layout: &Layout) -> Result<(), E2eError> {
    let classes = classes(layout);
    files::make_dir(&classes)?;
    let sources = layout.repository.join("java/src/test/java/org/apache/storm/container/oci/slots");
    let mut javac = Command::new("javac");
    javac
        .args(["--release", "17", "-Xlint:all,-processing", "-Werror", "-cp"])
        .arg(class_path(layout, &["lib", "extlib-daemon"], ""))
        .arg("-d")
        .arg(&classes)
        .args(files::list(&sources)?);
    command::run("compile what drives the slots", &mut javac, &layout.log("slots-build"))
}

fn write_conf(layout: &Layout, daemon: &Account) -> Result<(), E2eError> {
    for directory in ["local", "logs", "layers"] {
        let path = layout.scratch(directory);
        files::make_dir(&path)?;
        files::give(&path, daemon.uid, daemon.gid)?;
    }
    // Nobody is there, and nobody is asked.
    let ports = Ports {
        zookeeper: 2181,
        nimbus: 6627,
        supervisor: 6628,
        slots: (0..SLOTS).map(|slot| FIRST_PORT + slot).collect(),
    };
    let settings = Settings {
        image: IMAGE.to_owned(),
        allowed_images: [IMAGE, JAVA_IMAGE].map(str::to_owned).to_vec(),
        ..Settings::new(layout)
    };
    let mut conf = storm_conf::storm_yaml(layout, &ports, &settings);
    if let Some(keys) = conf.as_object_mut() {
        let manager = "org.apache.storm.container.oci.slots.NotedExits";
        keys.insert("storm.resource.isolation.plugin".to_owned(), json!(manager));
        // These workers send no heartbeat, and each end is to be told at once.
        keys.insert("storm.oci.relaunch.backoff.max.secs".to_owned(), json!(0));
    }
    // JSON is YAML.
    files::write(&layout.scratch("storm/conf/storm.yaml"), format!("{conf:#}\n"))
}
