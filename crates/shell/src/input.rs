//! Where do lines come from?
//!
//! From the line editor, from a file, from standard input or from the command line; the interpreter
//! does not care. A multi-line text of the editor is handed out line by line like the others, so
//! that the data lines after `COPY … FROM STDIN` are found where they are in all of them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use tokio::sync::mpsc;

use crate::editor::Terminal;

/// What a source of lines answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Text(String),
    /// Ctrl-C on the line.
    Interrupted,
    End,
}

enum Source {
    Terminal(Box<Terminal>),
    File(BufReader<File>),
    Stdin(mpsc::Receiver<io::Result<String>>),
    Text,
}

/// A source of lines and where it is in it.
pub(crate) struct Input {
    source: Source,
    /// Lines that were read and not yet handed out.
    lines: VecDeque<String>,
    /// How errors name this source, if at all.
    pub(crate) name: Option<String>,
    /// The number of the line that was handed out last.
    pub(crate) number: usize,
}

impl Input {
    fn new(source: Source, name: Option<String>) -> Self {
        Self { source, lines: VecDeque::new(), name, number: 0 }
    }

    /// The person at the terminal.
    pub(crate) fn terminal(terminal: Terminal) -> Self {
        Self::new(Source::Terminal(Box::new(terminal)), None)
    }

    /// The lines of a text.
    pub(crate) fn text(text: &str) -> Self {
        let mut input = Self::new(Source::Text, None);
        input.lines = text.lines().map(str::to_owned).collect();
        input
    }

    /// The lines of a file, or of standard input if its name is `-`.
    pub(crate) fn file(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::stdin());
        }
        let source = Source::File(BufReader::with_capacity(256 * 1024, File::open(path)?));
        Ok(Self::new(source, Some(path.display().to_string())))
    }

    /// Standard input. A thread of its own reads it: a read of a pipe cannot be interrupted, and
    /// neither Ctrl-C nor the end of the program may wait for it.
    pub(crate) fn stdin() -> Self {
        let (sender, receiver) = mpsc::channel(1024);
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        Self::new(Source::Stdin(receiver), None)
    }

    /// True for a source that shows prompts.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.source, Source::Terminal(_))
    }

    /// True for statements given on the command line, whose COPY data comes from standard input.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.source, Source::Text)
    }

    /// The next line of statements and commands.
    pub(crate) async fn line(&mut self, prompt: &str) -> io::Result<Line> {
        self.next_line(prompt, false).await
    }

    /// The next line of data for COPY.
    pub(crate) async fn data_line(&mut self, prompt: &str) -> io::Result<Line> {
        self.next_line(prompt, true).await
    }

    async fn next_line(&mut self, prompt: &str, data: bool) -> io::Result<Line> {
        if self.lines.is_empty() {
            let read = match &mut self.source {
                Source::Terminal(terminal) => terminal.read(prompt, data).await?,
                Source::Stdin(lines) => match lines.recv().await.transpose()? {
                    Some(line) => Line::Text(line),
                    None => Line::End,
                },
                Source::File(reader) => {
                    let mut line = String::new();
                    match reader.read_line(&mut line)? {
                        0 => Line::End,
                        _ => Line::Text(line.trim_end_matches(['\n', '\r']).to_owned()),
                    }
                }
                Source::Text => Line::End,
            };
            match read {
                Line::Text(text) if text.contains('\n') => {
                    self.lines = text.split('\n').map(str::to_owned).collect();
                }
                Line::Text(text) => self.lines.push_back(text),
                other => return Ok(other),
            }
        }
        self.number += 1;
        Ok(self.lines.pop_front().map_or(Line::End, Line::Text))
    }
}
