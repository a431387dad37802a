//! Running other programs: to their end, or for as long as a value lives.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::BenchError;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to stop when asked.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A program built with this one.
pub(crate) fn beside_us(name: &str) -> Result<PathBuf, BenchError> {
    let us = std::env::current_exe()
        .map_err(|source| BenchError::Spawn { program: name.to_owned(), source })?;
    Ok(us.with_file_name(name))
}

/// Runs a program to its end and answers what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String, BenchError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| BenchError::Spawn { program: program.clone(), source })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(BenchError::Failed { program, output: format!("{errors}{text}") })
}

/// A server that is asked to stop when the value is dropped, and killed when it doesn't.
pub(crate) struct Server {
    child: Child,
    stop_signal: &'static str,
}

impl Server {
    /// Starts a server and waits for a line on its output that starts with `ready`.
    pub(crate) fn start(command: &mut Command, ready: &str) -> Result<Self, BenchError> {
        let mut server = Self::spawn(command.stdout(Stdio::piped()), "-TERM")?;
        let lines = server.child.stdout.take().map(BufReader::new);
        for line in lines.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
            if line.starts_with(ready) {
                return Ok(server);
            }
        }
        Err(BenchError::NotReady(command.get_program().to_string_lossy().into_owned()))
    }

    /// Starts a server and asks until it answers.
    pub(crate) fn start_until(
        command: &mut Command,
        stop_signal: &'static str,
        mut answers: impl FnMut() -> bool,
    ) -> Result<Self, BenchError> {
        let server = Self::spawn(command.stdout(Stdio::null()), stop_signal)?;
        let start = Instant::now();
        while start.elapsed() < START_TIMEOUT {
            if answers() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(BenchError::NotReady(command.get_program().to_string_lossy().into_owned()))
    }

    fn spawn(command: &mut Command, stop_signal: &'static str) -> Result<Self, BenchError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| BenchError::Spawn { program, source })?;
        Ok(Server { child, stop_signal })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args([self.stop_signal, &pid]).status();
        let start = Instant::now();
        while asked.is_ok() && start.elapsed() < STOP_TIMEOUT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
