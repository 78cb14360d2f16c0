//! The JVM that drives containers as a supervisor's slots do: stock Storm's classes, this project's
//! jar and library, and a program that does what it is told line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{NO_COUNTERS, as_account, class_path, storm_properties};
use crate::{E2eError, Node, interrupt, node};

/// Minutes under emulation; whoever takes as long as this hangs.
const LIMIT: Duration = Duration::from_secs(600);

/// How often a wait looks whether it is interrupted.
const LOOK: Duration = Duration::from_millis(200);

/// The program. Dropped, it is killed; its containers go on.
#[derive(Debug)]
pub struct Slots {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
    log: PathBuf,
}

impl Slots {
    /// Starts the program on a node and waits until the plugin is prepared.
    ///
    /// # Errors
    ///
    /// [`E2eError::TimedOut`] or [`E2eError::Unconfirmed`] when it does not come up.
    pub fn start(node: &Node) -> Result<Self, E2eError> {
        let layout = &node.layout;
        let log = layout.log("slots");
        let mut command = as_account(&node.daemon);
        command
            // One size, touched at once: what memory it takes afterwards is not Java's heap.
            .args(["java", "-server", "-Xms128m", "-Xmx128m", "-XX:+AlwaysPreTouch"])
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", NO_COUNTERS])
            .args(storm_properties(layout))
            .arg(format!(
                "-Dlog4j.configurationFile={}",
                layout.scratch("storm/log4j2/cluster.xml").display()
            ))
            .args(["-Ddaemon.name=slots", "-Dlogfile.name=slots.log", "-cp"])
            .arg(format!(
                "{}:{}",
                class_path(layout, &["lib", "extlib-daemon"], "storm/conf"),
                node::classes(layout).display()
            ))
            .arg("org.apache.storm.container.oci.slots.SlotsProgram")
            .arg(&node.user.name);
        let errors = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|source| E2eError::File { verb: "write", path: log.clone(), source })?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(errors))
            .spawn()
            .map_err(|source| E2eError::Start { program: "slots".to_owned(), source })?;
        let (commands, output) = (child.stdin.take(), child.stdout.take());
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
            // Storm's own output is between the answers. Ends with the program.
            for line in lines.map_while(Result::ok).filter(|line| line.starts_with(['=', '!'])) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let commands = commands.ok_or(E2eError::Interrupted)?;
        let slots = Self { child, commands, answers, log };
        slots.answer("the start")?;
        Ok(slots)
    }

    /// Has a command done and gives its answer.
    ///
    /// # Errors
    ///
    /// [`E2eError::Unconfirmed`] with the program's own words when it cannot do it.
    pub fn ask(&mut self, command: &str) -> Result<String, E2eError> {
        writeln!(self.commands, "{command}")
            .and_then(|()| self.commands.flush())
            .map_err(|source| E2eError::Start { program: "slots".to_owned(), source })?;
        self.answer(command)
    }

    /// Has a command done whose answer is numbers.
    ///
    /// # Errors
    ///
    /// [`E2eError::Unconfirmed`], also when the answer is something else.
    pub fn ask_numbers<const COUNT: usize>(
        &mut self,
        command: &str,
    ) -> Result<[i64; COUNT], E2eError> {
        let answer = self.ask(command)?;
        let numbers: Option<Vec<i64>> =
            answer.split(' ').map(|number| number.parse().ok()).collect();
        numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| {
            E2eError::unconfirmed(format!("`{command}` gives {COUNT} numbers"), answer)
        })
    }

    /// Gives the node a topology whose workers do what a line says to the image's shell.
    ///
    /// # Errors
    ///
    /// [`E2eError::Unconfirmed`].
    pub fn localize(&mut self, topology: &str, image: &str, work: &str) -> Result<(), E2eError> {
        self.ask(&format!("topology {topology} {image} {work}")).map(|_| ())
    }

    fn answer(&self, command: &str) -> Result<String, E2eError> {
        let end = Instant::now() + LIMIT;
        loop {
            interrupt::check()?;
            match self.answers.recv_timeout(LOOK) {
                Ok(line) => {
                    return match line.split_at_checked(2) {
                        Some(("= ", answer)) => Ok(answer.to_owned()),
                        _ => Err(E2eError::unconfirmed(format!("slots can do `{command}`"), line)),
                    };
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(E2eError::unconfirmed(
                        format!("slots can do `{command}`"),
                        format!("they have ended; see {}", self.log.display()),
                    ));
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= end => {
                    return Err(E2eError::TimedOut {
                        what: format!("the end of `{command}`"),
                        seconds: LIMIT.as_secs(),
                        log: self.log.clone(),
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // A supervisor has no shutdown of its own either; containers outlive it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
