//! How does a result look on the screen?
//!
//! Three formats: a table like psql's, CSV, and one line per column. Text comes from the server and
//! may contain anything, so what would move the cursor of a terminal is escaped, except in CSV,
//! which is for programs.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table};
use unicode_width::UnicodeWidthStr;

use crate::wire::{Column, Row};

/// comfy-table's positions: the line under the header is `-+`, columns are parted by `|`.
const PSQL_PRESET: &str = "     -+ |          ";

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Aligned,
    Csv,
    Expanded,
}

/// What `\pset` can change.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) format: Format,
    pub(crate) null: String,
    pub(crate) tuples_only: bool,
}

impl Style {
    /// Formats that need no look at the rows to come are written row by row.
    pub(crate) fn streams(&self) -> bool {
        self.format != Format::Aligned
    }

    /// What comes before the rows.
    pub(crate) fn begin(&self, out: &mut dyn Write, columns: &[Column]) -> io::Result<()> {
        if self.format == Format::Csv && !self.tuples_only {
            let names = columns.iter().map(|column| csv_field(&column.name));
            writeln!(out, "{}", names.collect::<Vec<_>>().join(","))?;
        }
        Ok(())
    }

    /// Row number `number`, from 1, in a format that streams.
    pub(crate) fn row(
        &self,
        out: &mut dyn Write,
        columns: &[Column],
        row: &Row,
        number: usize,
    ) -> io::Result<()> {
        match self.format {
            Format::Csv => {
                let fields = row.iter().map(|value| match value {
                    Some(value) => csv_field(&String::from_utf8_lossy(value)),
                    None => self.null.clone(),
                });
                writeln!(out, "{}", fields.collect::<Vec<_>>().join(","))
            }
            Format::Expanded => self.record(out, columns, row, number),
            Format::Aligned => unreachable!("the aligned format does not stream"),
        }
    }

    /// A whole result in the aligned format.
    pub(crate) fn table(
        &self,
        out: &mut dyn Write,
        columns: &[Column],
        rows: &[Row],
    ) -> io::Result<()> {
        if columns.is_empty() {
            writeln!(out, "--")?;
        } else if !(self.tuples_only && rows.is_empty()) {
            let mut table = Table::new();
            table.load_preset(PSQL_PRESET).set_content_arrangement(ContentArrangement::Disabled);
            table.force_no_tty();
            if !self.tuples_only {
                table.set_header(columns.iter().map(|column| {
                    comfy_table::Cell::new(printable(&column.name))
                        .set_alignment(CellAlignment::Center)
                }));
            }
            table.add_rows(rows.iter().map(|row| row.iter().map(|value| self.text(value))));
            for (column, shown) in columns.iter().zip(table.column_iter_mut()) {
                if is_numeric(column.type_oid) {
                    shown.set_cell_alignment(CellAlignment::Right);
                }
            }
            for line in table.lines() {
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        self.row_count(out, rows.len())
    }

    /// What comes after the rows of a format that streams.
    pub(crate) fn end(&self, out: &mut dyn Write, rows: usize) -> io::Result<()> {
        match self.format {
            Format::Expanded if rows == 0 => self.row_count(out, 0),
            Format::Expanded if !self.tuples_only => writeln!(out),
            _ => Ok(()),
        }
    }

    fn row_count(&self, out: &mut dyn Write, rows: usize) -> io::Result<()> {
        if self.tuples_only {
            return Ok(());
        }
        writeln!(out, "({rows} row{})\n", if rows == 1 { "" } else { "s" })
    }

    fn record(
        &self,
        out: &mut dyn Write,
        columns: &[Column],
        row: &Row,
        number: usize,
    ) -> io::Result<()> {
        let names: Vec<String> = columns.iter().map(|column| printable(&column.name)).collect();
        let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
        let values: Vec<String> = row.iter().map(|value| self.text(value)).collect();
        if !self.tuples_only {
            let longest = values.iter().flat_map(|value| value.lines()).map(UnicodeWidthStr::width);
            let total = width + 3 + longest.max().unwrap_or(0);
            let title = format!("-[ RECORD {number} ]");
            writeln!(out, "{title:-<total$}")?;
        } else if number > 1 {
            writeln!(out)?;
        }
        for (name, value) in names.iter().zip(&values) {
            let pad = width - name.width();
            let mut lines = value.split('\n');
            writeln!(out, "{name}{:pad$} | {}", "", lines.next().unwrap_or_default())?;
            for line in lines {
                writeln!(out, "{:width$} | {line}", "")?;
            }
        }
        Ok(())
    }

    fn text(&self, value: &Option<bytes::Bytes>) -> String {
        match value {
            Some(value) => printable(&String::from_utf8_lossy(value)),
            None => self.null.clone(),
        }
    }
}

fn csv_field(value: &str) -> String {
    let plain = !value.is_empty() && value != "\\." && !value.contains(['"', ',', '\n', '\r']);
    if plain { value.to_owned() } else { format!("\"{}\"", value.replace('"', "\"\"")) }
}

/// The text with everything escaped that a terminal would obey.
fn printable(text: &str) -> String {
    if !text.chars().any(|c| c.is_control()) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => shown.push('\n'),
            '\t' => shown.push_str("    "),
            '\r' => shown.push_str("\\r"),
            c if c.is_control() => shown.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown
}

/// int2, int4, int8, oid, float4, float8, money, numeric, xid, cid: what psql aligns to the right.
fn is_numeric(type_oid: u32) -> bool {
    matches!(type_oid, 20 | 21 | 23 | 26 | 28 | 29 | 700 | 701 | 790 | 1700 | 5069)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(format: Format, rows: &[&[Option<&str>]]) -> String {
        let columns = [("id", 23), ("name", 25)]
            .map(|(name, type_oid)| Column { name: name.to_owned(), type_oid });
        let style = Style { format, null: "∅".to_owned(), tuples_only: false };
        let rows: Vec<Row> = rows
            .iter()
            .map(|row| {
                row.iter().map(|v| v.map(|v| bytes::Bytes::copy_from_slice(v.as_bytes()))).collect()
            })
            .collect();
        let mut out = Vec::new();
        if style.streams() {
            style.begin(&mut out, &columns).expect("a vector takes it");
            for (at, row) in rows.iter().enumerate() {
                style.row(&mut out, &columns, row, at + 1).expect("a vector takes it");
            }
            style.end(&mut out, rows.len()).expect("a vector takes it");
        } else {
            style.table(&mut out, &columns, &rows).expect("a vector takes it");
        }
        String::from_utf8(out).expect("only text was written")
    }

    #[test]
    fn aligned_is_like_psql() {
        let shown = show(Format::Aligned, &[&[Some("1"), Some("a")], &[Some("10"), None]]);
        assert_eq!(shown, " id | name\n----+------\n  1 | a\n 10 | ∅\n(2 rows)\n\n");
        assert_eq!(show(Format::Aligned, &[]), " id | name\n----+------\n(0 rows)\n\n");
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let shown = show(Format::Csv, &[&[Some("1"), Some("a \"b\", c")], &[None, Some("")]]);
        assert_eq!(shown, "id,name\n1,\"a \"\"b\"\", c\"\n∅,\"\"\n");
    }

    #[test]
    fn expanded_lists_the_columns() {
        let shown = show(Format::Expanded, &[&[Some("1"), Some("two\nlines")]]);
        assert_eq!(shown, "-[ RECORD 1 ]\nid   | 1\nname | two\n     | lines\n\n");
    }

    #[test]
    fn a_value_cannot_command_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{7}"), "a\\x1B[2Jb\\x07");
    }
}
