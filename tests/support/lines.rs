//! A process whose output is read while it runs.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout},
    time::timeout,
};

/// How long a line may take to come.
const LINE: Duration = Duration::from_secs(60);

/// A process whose lines are read as it prints them. It is killed when this is dropped.
pub struct Lines {
    process: Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

impl Lines {
    /// Starts the command.
    pub fn of(command: std::process::Command) -> Self {
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = process.stdout.take().expect("its output");
        let lines = BufReader::new(stdout).lines();
        Self { process, lines, seen: Vec::new() }
    }

    /// Waits for the next line with this text.
    pub async fn wait_for(&mut self, text: &str) {
        let waited = timeout(LINE, async {
            while let Some(line) = self.lines.next_line().await.expect("text") {
                assert!(!line.contains('\u{1b}'), "what steers a terminal: {line:?}");
                self.seen.push(line);
                if self.seen.last().is_some_and(|line| line.contains(text)) {
                    return true;
                }
            }
            false
        });
        let is_found = waited.await.unwrap_or(false);
        assert!(is_found, "no line with {text:?} in {:#?}", self.seen);
    }

    /// Its exit status, once it has ended without another line.
    pub async fn ended(&mut self) -> Option<i32> {
        let status = timeout(LINE, self.process.wait()).await;
        status.unwrap_or_else(|_| panic!("it goes on after {:#?}", self.seen)).expect("it ran").code()
    }
}
