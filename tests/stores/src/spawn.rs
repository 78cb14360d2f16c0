//! Processes that do not outlive this one.

use std::io;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread;

struct Job {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

/// The kernel sends the signal of `--pdeathsig` when the *thread* that forked ends, and a test's
/// thread ends before the tests that share its store. This one lives as long as the process.
static SPAWNER: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (sender, jobs) = channel::<Job>();
    thread::spawn(move || {
        for Job { mut command, reply } in jobs {
            // Nobody waits any more: the child is killed with the process.
            let _ = reply.send(command.spawn());
        }
    });
    sender
});

/// A command that is killed when this process ends, however it ends.
pub(crate) fn mortal(program: &str, unprivileged: bool) -> Command {
    let mut command = Command::new("setpriv");
    if unprivileged {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.arg("--pdeathsig=KILL").arg("--").arg(program);
    command
}

pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = sync_channel(1);
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    SPAWNER.send(Job { command, reply }).map_err(|_| gone(std::sync::mpsc::RecvError))?;
    answer.recv().map_err(gone)?
}
