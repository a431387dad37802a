//! Where does one statement end and the next begin?
//!
//! Text comes in lines; statements come out, each ending with the `;` that is outside of quotes,
//! dollar quotes, comments and parentheses. A backslash outside of them begins a command of the
//! shell that runs to the end of its line. Every character is looked at once, however long the
//! statement.
//!
//! ```text
//!   select 'a;b', $$;$$ -- ;        no statement ends here,
//!     , (1) ;  \timing              one ends here, then a command
//! ```

/// What the splitter found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A statement with its semicolon.
    Statement(String),
    /// A line that began with a backslash, which is not included.
    Command(String),
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Plain,
    Single {
        backslash_escapes: bool,
    },
    Double,
    Dollar(String),
    LineComment,
    BlockComment {
        depth: u32,
    },
}

/// The text that was read and not yet given out.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    text: String,
    scanned: usize,
    mode: Mode,
    parens: u32,
    /// Something other than space and comments was seen since the last statement.
    started: bool,
}

impl Splitter {
    /// Adds one line, without its line break.
    pub(crate) fn push_line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The next statement or command in the text, if it is complete.
    pub(crate) fn next_piece(&mut self) -> Option<Piece> {
        while self.scanned < self.text.len() {
            let found = match self.mode {
                Mode::Plain => self.plain(),
                Mode::Single { .. } | Mode::Double => self.quoted(),
                Mode::Dollar(_) => self.dollar_quoted(),
                Mode::LineComment | Mode::BlockComment { .. } => self.comment(),
            };
            if found.is_some() {
                return found;
            }
        }
        if !self.started && self.mode == Mode::Plain {
            self.clear();
        }
        None
    }

    /// True when nothing but space and comments waits for its semicolon.
    pub(crate) fn is_empty(&self) -> bool {
        !self.started && matches!(self.mode, Mode::Plain | Mode::LineComment)
    }

    /// The unfinished statement, for `\p`.
    pub(crate) fn pending(&self) -> &str {
        self.text.trim()
    }

    /// Takes the unfinished statement as it is: the end of the input or `\g` stands for the `;`.
    pub(crate) fn take(&mut self) -> Option<String> {
        let statement = self.text.trim().to_owned();
        let started = self.started;
        self.clear();
        (started && !statement.is_empty()).then_some(statement)
    }

    /// Forgets the unfinished statement.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn plain(&mut self) -> Option<Piece> {
        let rest = &self.text[self.scanned..];
        let first = rest.chars().next()?;
        let mut length = first.len_utf8();
        match first {
            '\'' => self.mode = Mode::Single { backslash_escapes: self.after_escape_prefix() },
            '"' => self.mode = Mode::Double,
            '-' if rest.starts_with("--") => self.mode = Mode::LineComment,
            '/' if rest.starts_with("/*") => {
                self.mode = Mode::BlockComment { depth: 1 };
                length = 2;
            }
            '$' => {
                if let Some(tag) = self.dollar_tag() {
                    length = tag.len();
                    self.mode = Mode::Dollar(tag);
                }
            }
            '(' | '[' => self.parens += 1,
            ')' | ']' => self.parens = self.parens.saturating_sub(1),
            ';' if self.parens == 0 => return self.statement(),
            '\\' => return Some(self.command()),
            _ => {}
        }
        let comment = matches!(self.mode, Mode::LineComment | Mode::BlockComment { .. });
        self.started |= !first.is_whitespace() && !comment;
        self.scanned += length;
        None
    }

    /// A quote ends at its second quote; a doubled one ends and begins again, which is the same.
    fn quoted(&mut self) -> Option<Piece> {
        let (quote, escapes) = match self.mode {
            Mode::Single { backslash_escapes } => ('\'', backslash_escapes),
            _ => ('"', false),
        };
        let mut chars = self.text[self.scanned..].chars();
        let first = chars.next()?;
        self.scanned += first.len_utf8();
        if escapes && first == '\\' {
            self.scanned += chars.next().map_or(0, char::len_utf8);
        } else if first == quote {
            // 'a''b' in an E string must stay in its mode: the second half escapes as well.
            if chars.next() == Some(quote) {
                self.scanned += 1;
            } else {
                self.mode = Mode::Plain;
            }
        }
        None
    }

    fn dollar_quoted(&mut self) -> Option<Piece> {
        let Mode::Dollar(tag) = &self.mode else { return None };
        match self.text[self.scanned..].find(tag.as_str()) {
            Some(at) => {
                self.scanned += at + tag.len();
                self.mode = Mode::Plain;
            }
            None => self.scanned = self.text.len(),
        }
        None
    }

    fn comment(&mut self) -> Option<Piece> {
        let rest = &self.text[self.scanned..];
        match &mut self.mode {
            Mode::BlockComment { depth } if rest.starts_with("*/") => {
                *depth -= 1;
                if *depth == 0 {
                    self.mode = Mode::Plain;
                }
                self.scanned += 2;
            }
            Mode::BlockComment { depth } if rest.starts_with("/*") => {
                *depth += 1;
                self.scanned += 2;
            }
            mode => {
                let first = rest.chars().next()?;
                if *mode == Mode::LineComment && first == '\n' {
                    *mode = Mode::Plain;
                }
                self.scanned += first.len_utf8();
            }
        }
        None
    }

    fn statement(&mut self) -> Option<Piece> {
        let rest = self.text.split_off(self.scanned + 1);
        let statement = std::mem::replace(&mut self.text, rest).trim().to_owned();
        let started = std::mem::take(&mut self.started);
        self.scanned = 0;
        started.then_some(Piece::Statement(statement))
    }

    fn command(&mut self) -> Piece {
        let rest = &self.text[self.scanned + 1..];
        let length = rest.find('\n').unwrap_or(rest.len());
        let command = rest[..length].trim().to_owned();
        self.text.replace_range(self.scanned..self.scanned + 1 + length, "");
        Piece::Command(command)
    }

    fn before(&self) -> impl Iterator<Item = char> + '_ {
        self.text[..self.scanned].chars().rev()
    }

    /// `E'…'`, where the E is not the end of a longer word.
    fn after_escape_prefix(&self) -> bool {
        let mut before = self.before();
        matches!(before.next(), Some('e' | 'E')) && !before.next().is_some_and(is_identifier)
    }

    /// `$tag$` or `$$`, unless the dollar is part of a word (`a$b$`) or of a parameter (`$1`).
    fn dollar_tag(&self) -> Option<String> {
        if self.before().next().is_some_and(is_identifier) {
            return None;
        }
        let rest = &self.text[self.scanned + 1..];
        let length = rest.find('$')?;
        let tag = &rest[..length];
        let valid = tag.chars().all(|c| c != '$' && is_identifier(c))
            && !tag.starts_with(|c: char| c.is_ascii_digit());
        valid.then(|| format!("${tag}$"))
    }
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(lines: &[&str]) -> (Vec<String>, String) {
        let mut splitter = Splitter::default();
        let mut found = Vec::new();
        for line in lines {
            splitter.push_line(line);
            while let Some(piece) = splitter.next_piece() {
                found.push(match piece {
                    Piece::Statement(sql) => sql,
                    Piece::Command(command) => format!("\\{command}"),
                });
            }
        }
        (found, splitter.take().unwrap_or_default())
    }

    #[test]
    fn semicolons_in_quotes_and_comments_do_not_end_a_statement() {
        let (found, rest) = split(&[
            "select ';', \";\", $$;$$, $x$ ; $$ $x$ -- ;",
            "/* ; /* ; */ ; */ , e'\\';', 'it''s;', (select 1;);",
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(rest, "");
    }

    #[test]
    fn statements_and_commands_share_a_line() {
        let (found, rest) = split(&["select 1; select 2 ; \\timing", "\\d t", "select 3"]);
        assert_eq!(found, ["select 1;", "select 2 ;", "\\timing", "\\d t"]);
        assert_eq!(rest, "select 3");
    }

    #[test]
    fn a_command_leaves_the_unfinished_statement() {
        let (found, rest) = split(&["select 1", "  \\p", "+ 1"]);
        assert_eq!(found, ["\\p"]);
        assert_eq!(rest.split_whitespace().collect::<Vec<_>>(), ["select", "1", "+", "1"]);
    }

    #[test]
    fn comments_and_empty_statements_are_not_statements() {
        let (found, rest) = split(&["-- nothing", ";", "/* more", "of it */ ;", "-- end"]);
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(rest, "");
    }

    #[test]
    fn parameters_and_words_with_dollars_are_not_quotes() {
        let (found, _) = split(&["select $1, a$b$; select $2;"]);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
