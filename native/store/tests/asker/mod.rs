//! A process that asks a cluster: Kerberos is configured by a process's environment.
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use storm_oci_test_stores::Kdc;

pub(crate) struct Asker {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Asker {
    /// Starts the example `ask_hdfs`, with the realm's configuration; through another program, if
    /// `wrapper` has one, which gets the command as its last arguments.
    pub(crate) fn start(
        wrapper: &[&str],
        kdc: &Kdc,
        conf: &Path,
        login: Option<(&Path, &str)>,
    ) -> Self {
        let deps = std::env::current_exe().unwrap();
        let program = deps.parent().unwrap().parent().unwrap().join("examples/ask_hdfs");
        let mut command = match wrapper {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.arg(conf);
        if let Some((keytab, principal)) = login {
            command.arg(keytab).arg(principal);
        }
        command.env("KRB5_CONFIG", kdc.config()).env_remove("KRB5CCNAME");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`cargo build --examples` makes it");
        let questions = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, questions, answers }
    }

    pub(crate) fn ask(&mut self, question: &str) -> String {
        writeln!(self.questions, "{question}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
