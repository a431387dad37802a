//! How is a statement typed?
//!
//! rustyline edits the whole statement, over several lines if need be: Enter ends it only when the
//! splitter finds it complete. The editor blocks, so it runs on a thread of its own while a
//! statement is typed and comes back with the text.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor};

use crate::input::Line;
use crate::names::Names;
use crate::splitter::Splitter;

/// The longest history kept.
const HISTORY_ENTRIES: usize = 5000;

/// What the editor asks while a person types.
#[derive(rustyline::Helper)]
struct Assistant {
    names: Arc<RwLock<Names>>,
    /// Data for COPY is typed: every line is complete.
    data: bool,
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let complete = self.data || is_complete(context.input());
        Ok(if complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        if self.data {
            let tab = Pair { display: String::new(), replacement: "\t".to_owned() };
            return Ok((position, vec![tab]));
        }
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let (start, words) = names.complete(&line[..position]);
        let pair = |word: String| Pair { display: word.clone(), replacement: word };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

/// True when Enter should hand the text over: nothing in it waits for a semicolon.
fn is_complete(text: &str) -> bool {
    let mut splitter = Splitter::default();
    let mut command = false;
    for line in text.split('\n') {
        splitter.push_line(line);
        while let Some(piece) = splitter.next_piece() {
            command = matches!(piece, crate::splitter::Piece::Command(_));
        }
    }
    command || splitter.is_empty()
}

type LineEditor = Editor<Assistant, FileHistory>;

/// The line editor with its history.
pub(crate) struct Terminal {
    /// Away while a line is being typed.
    editor: Option<LineEditor>,
    history: Option<PathBuf>,
}

impl Terminal {
    pub(crate) fn new(names: Arc<RwLock<Names>>, history: Option<PathBuf>) -> io::Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY_ENTRIES)
            .map_err(terminal_error)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .build();
        let mut editor = LineEditor::with_config(config).map_err(terminal_error)?;
        editor.set_helper(Some(Assistant { names, data: false }));
        if let Some(file) = &history {
            // The first run has no history yet; nor does a home that cannot be read.
            drop(editor.load_history(file));
        }
        Ok(Self { editor: Some(editor), history })
    }

    /// Lets a statement be typed, or one line of data.
    pub(crate) async fn read(&mut self, prompt: &str, data: bool) -> io::Result<Line> {
        let mut editor = self.editor.take().expect("the editor comes back after every line");
        if let Some(assistant) = editor.helper_mut() {
            assistant.data = data;
        }
        let prompt = prompt.to_owned();
        let typed = tokio::task::spawn_blocking(move || {
            let read = editor.readline(&prompt);
            (editor, read)
        });
        let (mut editor, read) = typed.await.map_err(io::Error::other)?;
        if let (Ok(text), false) = (&read, data) {
            self.remember(&mut editor, text);
        }
        self.editor = Some(editor);
        match read {
            Ok(text) => Ok(Line::Text(text)),
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(terminal_error(error)),
        }
    }

    /// A history that cannot be written is not worth stopping for.
    fn remember(&self, editor: &mut LineEditor, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        drop(editor.add_history_entry(text));
        if let Some(file) = &self.history {
            drop(editor.append_history(file));
        }
    }
}

fn terminal_error(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn enter_ends_a_statement_only_at_its_semicolon() {
        for text in ["", "select 1;", "select 1; -- done", "\\dt", "select 1 \\g", "-- nothing"] {
            assert!(is_complete(text), "{text}");
        }
        for text in ["select 1", "select ';", "select 1; select 2", "/* open", "select $$;"] {
            assert!(!is_complete(text), "{text}");
        }
    }
}
