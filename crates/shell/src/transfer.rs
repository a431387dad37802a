//! How do bulk data get in and out?
//!
//! `COPY … FROM STDIN` takes the lines that follow it up to `\.`; for statements of the command
//! line that is standard input. `\copy` moves a file of this machine and shows how far it is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures::FutureExt;
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::ShellError;
use crate::input::{Input, Line};
use crate::interpreter::{Flow, Shell};
use crate::report::ServerMessage;
use crate::statement::Awaited;
use crate::wire::Event;

const CHUNK_BYTES: usize = 64 * 1024;

/// Which way and between what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// The statement, with STDIN or STDOUT in place of the file.
    pub(crate) sql: String,
    pub(crate) into_table: bool,
    /// None for standard input and output.
    pub(crate) file: Option<PathBuf>,
}

impl Transfer {
    /// Reads the arguments of `\copy`: `t [(columns)] | (query)`, FROM or TO, a file, options.
    pub(crate) fn parse(arguments: &str) -> Option<Self> {
        let (at, word) = words(arguments).find(|(_, word)| {
            word.eq_ignore_ascii_case("from") || word.eq_ignore_ascii_case("to")
        })?;
        let into_table = word.eq_ignore_ascii_case("from");
        let target = arguments[..at].trim();
        let rest = arguments[at + word.len()..].trim_start();
        let (name, quoted, options) = file_name(rest)?;
        let standard = ["stdin", "stdout", "pstdin", "pstdout"];
        let is_file = quoted || !standard.iter().any(|word| name.eq_ignore_ascii_case(word));
        let end = if into_table { "FROM STDIN" } else { "TO STDOUT" };
        let options = options.trim().trim_end_matches(';');
        (!target.is_empty()).then(|| Self {
            sql: format!("COPY {target} {end} {options}").trim_end().to_owned(),
            into_table,
            file: is_file.then(|| PathBuf::from(name)),
        })
    }
}

/// The words outside of quotes and parentheses, with their places.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut depth, mut quote, mut start, mut found) = (0_u32, None, None, Vec::new());
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let inside = quote.is_some() || depth > 0;
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        if !inside && c.is_alphanumeric() {
            start.get_or_insert(at);
        } else if let Some(start) = start.take_if(|_| c != '_') {
            found.push((start, &text[start..at]));
        }
    }
    found.into_iter()
}

/// A file name in quotes or without, and what follows it.
fn file_name(text: &str) -> Option<(String, bool, &str)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), false, &text[end..]));
    };
    let mut name = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '\'' {
            name.push(c);
        } else if chars.next_if(|&(_, next)| next == '\'').is_some() {
            name.push('\'');
        } else {
            return Some((name, true, &quoted[at + 1..]));
        }
    }
    None
}

impl Shell {
    /// Feeds a running `COPY … FROM STDIN`. The inner error is the connection's.
    pub(crate) async fn copy_in(
        &mut self,
        input: &mut Input,
    ) -> Result<io::Result<()>, ShellError> {
        if input.is_terminal() {
            let help = "Enter the data, one row per line. End with \\. on a line of its own.";
            writeln!(self.out, "{help}").and_then(|()| self.out.flush()).map_err(lost_terminal)?;
        }
        let mut standard = match (&self.data, input.is_text()) {
            (_, false) => None,
            (None, true) => Some(Input::stdin()),
            (Some(_), true) => self.data.take(),
        };
        let source = standard.as_mut().unwrap_or(input);
        let fed = self.feed(source).await;
        self.data = standard.or(self.data.take());
        fed
    }

    async fn feed(&mut self, source: &mut Input) -> Result<io::Result<()>, ShellError> {
        loop {
            let line = tokio::select! {
                line = source.data_line(">> ") => line.map_err(lost_terminal)?,
                _ = self.interrupts.recv() => Line::Interrupted,
            };
            let Some(connection) = &mut self.connection else {
                return Ok(Err(io::ErrorKind::NotConnected.into()));
            };
            let sent = match line {
                Line::Text(text) if text != "\\." => {
                    connection.copy_data(format!("{text}\n").as_bytes()).await
                }
                Line::Text(_) | Line::End => {
                    connection.copy_done();
                    return Ok(connection.flush().await);
                }
                Line::Interrupted => return Ok(connection.copy_fail("canceled by user")),
            };
            if sent.is_err() {
                return Ok(sent);
            }
        }
    }

    /// `\copy`.
    pub(crate) async fn transfer(
        &mut self,
        transfer: &Transfer,
        input: &mut Input,
    ) -> Result<Flow, ShellError> {
        let Some(path) = &transfer.file else { return self.statement(&transfer.sql, input).await };
        let opened = if transfer.into_table { File::open(path) } else { File::create(path) };
        let file = match opened {
            Ok(file) => file,
            Err(error) => return self.complain(&format!("{}: {error}", path.display())),
        };
        let Some(connection) = &mut self.connection else {
            return self.complain("not connected");
        };
        if let Err(error) = connection.query(&transfer.sql) {
            return self.complain(&error.to_string());
        }
        let started = Instant::now();
        let bar = progress(transfer.into_table, &file);
        let moved = self.moved(transfer, path, file, &bar, input).await;
        bar.finish_and_clear();
        if self.timing && matches!(moved, Ok(Flow::Continue)) {
            let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
            writeln!(self.out, "Time: {milliseconds:.3} ms").map_err(lost_terminal)?;
        }
        self.out.flush().map_err(lost_terminal)?;
        moved
    }

    async fn moved(
        &mut self,
        transfer: &Transfer,
        path: &Path,
        mut file: File,
        bar: &ProgressBar,
        input: &Input,
    ) -> Result<Flow, ShellError> {
        let (mut flow, mut cancelled) = (Flow::Continue, 0);
        let mut refused: Option<String> = None;
        loop {
            let event = match self.event(&mut cancelled).await {
                Awaited::Event(event) => event,
                Awaited::Gone(error) => return self.lost(error).await,
            };
            match event {
                Event::CopyIn => match self.send_file(&mut file, bar).await {
                    Ok(None) => {}
                    Ok(Some(message)) => {
                        flow = Flow::Failed;
                        bar.suspend(|| self.show_message(&message, &transfer.sql, input))?;
                    }
                    Err(error) => return self.lost(error).await,
                },
                Event::CopyData(data) => {
                    bar.inc(data.len() as u64);
                    if let Err(error) = file.write_all(&data) {
                        refused.get_or_insert(format!("{}: {error}", path.display()));
                    }
                }
                Event::Error(message) | Event::Notice(message) => {
                    if message.severity == "ERROR" || message.is_fatal() {
                        flow = Flow::Failed;
                    }
                    bar.suspend(|| self.show_message(&message, &transfer.sql, input))?;
                }
                Event::Complete(tag) if !self.quiet => {
                    bar.suspend(|| writeln!(self.out, "{tag}")).map_err(lost_terminal)?;
                }
                Event::Ready => break,
                _ => {}
            }
        }
        match refused {
            Some(reason) => self.complain(&reason),
            None => Ok(flow),
        }
    }

    /// Sends the file. Returns early with the server's error, if it has one: it drops the rest.
    async fn send_file(
        &mut self,
        file: &mut File,
        bar: &ProgressBar,
    ) -> io::Result<Option<ServerMessage>> {
        let Some(connection) = &mut self.connection else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if self.interrupts.recv().now_or_never().is_some() {
                connection.copy_fail("canceled by user")?;
                return Ok(None);
            }
            match file.read(&mut chunk) {
                Ok(0) => {
                    connection.copy_done();
                    return Ok(None);
                }
                Ok(length) => {
                    connection.copy_data(&chunk[..length]).await?;
                    bar.inc(length as u64);
                }
                Err(error) => {
                    connection.copy_fail(&error.to_string())?;
                    return Ok(None);
                }
            }
            if let Some(event) = connection.next().now_or_never()
                && let Event::Error(message) = event?
            {
                return Ok(Some(message));
            }
        }
    }
}

fn lost_terminal(error: io::Error) -> ShellError {
    ShellError::Terminal(error)
}

/// On standard error, and only if that is a terminal.
fn progress(into_table: bool, file: &File) -> ProgressBar {
    let total = file.metadata().map(|metadata| metadata.len()).unwrap_or(0);
    if into_table && total > 0 {
        let template = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        return ProgressBar::new(total).with_style(style);
    }
    let style = ProgressStyle::with_template("{spinner} {bytes}, {bytes_per_sec}")
        .expect("the template is valid");
    ProgressBar::new_spinner().with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_copy_are_taken_apart() {
        let parsed = Transfer::parse("t (a, \"from\") from '/tmp/it''s.csv' with (format csv)");
        let expected = Transfer {
            sql: "COPY t (a, \"from\") FROM STDIN with (format csv)".to_owned(),
            into_table: true,
            file: Some("/tmp/it's.csv".into()),
        };
        assert_eq!(parsed, Some(expected));
        let parsed = Transfer::parse("(select 'to' from t) TO out.txt").expect("it is valid");
        assert_eq!(parsed.sql, "COPY (select 'to' from t) TO STDOUT");
        assert_eq!(parsed.file, Some("out.txt".into()));
        assert_eq!(Transfer::parse("t to stdout").expect("it is valid").file, None);
        assert_eq!(Transfer::parse("valid_from from"), None);
        assert_eq!(Transfer::parse("t"), None);
    }
}
