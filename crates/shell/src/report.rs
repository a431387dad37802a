//! How does an error or a notice of the server look on the screen?
//!
//! As in psql: the message, then the line of the statement with a caret under the position, then
//! the secondary fields.
//!
//! ```text
//! ERROR:  column "nam" does not exist
//! LINE 2:   where nam = 'x'
//!                 ^
//! HINT:  Perhaps you meant to reference the column "t.name".
//! ```

use std::fmt::{self, Write as _};
use std::io;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How much of a long line is shown around the position.
const WINDOW_COLUMNS: usize = 60;

/// An error or a notice.
#[derive(Clone, Debug, Default)]
pub struct ServerMessage {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) context: Option<String>,
    /// In characters of the statement, from 1.
    pub(crate) position: Option<usize>,
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:  {}", self.severity, self.message)
    }
}

impl ServerMessage {
    pub(crate) fn parse(fields: &mut ErrorFields<'_>) -> io::Result<Self> {
        let mut parsed = Self::default();
        while let Some(field) = fields.next()? {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'S' => parsed.severity = value,
                b'C' => parsed.code = value,
                b'M' => parsed.message = value,
                b'D' => parsed.detail = Some(value),
                b'H' => parsed.hint = Some(value),
                b'W' => parsed.context = Some(value),
                b'P' => parsed.position = value.parse().ok(),
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// The session is over with this error.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// The whole text for the screen, `statement` being what the position counts in.
    pub(crate) fn render(&self, statement: &str) -> String {
        let mut text = format!("{self}\n");
        if let Some(excerpt) = self.position.and_then(|at| excerpt(statement, at)) {
            text.push_str(&excerpt);
        }
        let fields = [("DETAIL", &self.detail), ("HINT", &self.hint), ("CONTEXT", &self.context)];
        for (name, value) in fields {
            if let Some(value) = value {
                writeln!(text, "{name}:  {value}").expect("writing to a string succeeds");
            }
        }
        text
    }
}

/// The line of the position and a caret under it.
fn excerpt(statement: &str, position: usize) -> Option<String> {
    let at = position.checked_sub(1)?;
    let before: String = statement.chars().take(at).collect();
    if before.chars().count() < at {
        return None;
    }
    let line_number = before.matches('\n').count() + 1;
    let line = statement.lines().nth(line_number - 1).unwrap_or_default();
    let column = before.chars().rev().take_while(|&c| c != '\n').count();
    let (shown, column) = window(&line.replace('\t', " "), column);
    let label = format!("LINE {line_number}: ");
    let indent = label.len() + shown.chars().take(column).collect::<String>().width();
    Some(format!("{label}{shown}\n{:indent$}^\n", ""))
}

/// The part of a long line around the column, and where the column is in it.
fn window(line: &str, column: usize) -> (String, usize) {
    let chars: Vec<char> = line.chars().collect();
    let width = |part: &[char]| part.iter().map(|c| c.width().unwrap_or(0)).sum::<usize>();
    if width(&chars) <= WINDOW_COLUMNS {
        return (line.trim_end().to_owned(), column);
    }
    let (mut start, mut end) = (0, chars.len());
    // The right side is cut first, but ten columns after the caret stay if there are any.
    while end > column + 10 && width(&chars[start..end]) > WINDOW_COLUMNS {
        end -= 1;
    }
    while start < column && width(&chars[start..end]) > WINDOW_COLUMNS {
        start += 1;
    }
    let (left, right) =
        (if start > 0 { "..." } else { "" }, if end < chars.len() { "..." } else { "" });
    let middle: String = chars[start..end].iter().collect();
    (format!("{left}{middle}{right}"), column - start + left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_is_under_the_position() {
        let sql = "select *\n  from nowhere\n where true";
        let message = ServerMessage {
            severity: "ERROR".into(),
            message: "relation \"nowhere\" does not exist".into(),
            hint: Some("Look elsewhere.".into()),
            position: Some(17),
            ..ServerMessage::default()
        };
        let expected = "ERROR:  relation \"nowhere\" does not exist\n\
                        LINE 2:   from nowhere\n               ^\nHINT:  Look elsewhere.\n";
        assert_eq!(message.render(sql), expected);
    }

    #[test]
    fn a_long_line_is_cut_around_the_position() {
        let sql = format!("select {} from t", vec!["column_name"; 40].join(", "));
        let position = sql.find("from").expect("it is there") + 1;
        let text = excerpt(&sql, position).expect("the position is inside");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("LINE 1: ..."), "{text}");
        assert!(lines[0].len() < 80, "{text}");
        assert_eq!(lines[0].find("from"), lines[1].find('^'), "{text}");
    }

    #[test]
    fn wide_characters_move_the_caret() {
        let text = excerpt("select '日本' x y", 13).expect("the position is inside");
        assert_eq!(text, "LINE 1: select '日本' x y\n                      ^\n");
    }

    #[test]
    fn a_position_behind_the_end_is_not_shown() {
        assert_eq!(excerpt("select", 99), None);
    }
}
