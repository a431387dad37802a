//! COPY FROM STDIN and TO STDOUT: text, CSV and binary.
//!
//! ```text
//!   CopyData ──▶ records ──▶ fields ──▶ row ──┬─▶ BulkWriter   table made or truncated here
//!             text, csv, binary      parse_text └─▶ Writes       all others: the transaction's buffer
//! ```
//!
//! Input is decoded as it comes; memory holds one record and one batch, and for the second way what
//! the transaction has written, up to its limit (53200).

mod binary;
mod csv;
mod input;
mod options;
mod output;
mod parse;
mod text;

use sqlparser::ast;

use crate::SqlError;
use crate::session::api::Sink;
use crate::session::{Session, Tag};

pub(crate) use parse::{CopySource, CopyStatement, parse_copy};

/// Runs a COPY statement.
pub(crate) async fn run(
    session: &mut Session,
    statement: &CopyStatement,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    if statement.server_side {
        return Err(SqlError::unsupported("COPY with a file or program on the server")
            .hint("Use STDIN or STDOUT, or \\copy in psql."));
    }
    let options = options::Options::new(statement)?;
    if !statement.from {
        return output::run(session, statement, &options, text, sink).await;
    }
    if statement.filter.is_some() {
        return Err(SqlError::unsupported("COPY … WHERE"));
    }
    match &statement.source {
        CopySource::Table(name, columns) => {
            input::run(session, name, columns, &options, sink).await
        }
        CopySource::Query(_) => Err(SqlError::syntax("COPY FROM a query")),
    }
}

/// Positions of named columns; all of them if none are named.
fn positions(table: &catalog::Table, columns: &[ast::Ident]) -> Result<Vec<usize>, SqlError> {
    if columns.is_empty() {
        let given = |p: &usize| table.columns[*p].generated.is_none();
        return Ok((0..table.columns.len()).filter(given).collect());
    }
    let mut positions = Vec::with_capacity(columns.len());
    for column in columns {
        let name = crate::bind::fold(column);
        let position = table.position(&name).ok_or_else(|| {
            SqlError::new(
                crate::SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
            )
        })?;
        if table.columns[position].generated.is_some() {
            return Err(SqlError::new(
                crate::SqlState::INVALID_COLUMN_REFERENCE,
                format!("column \"{name}\" is a generated column"),
            )
            .detail("Generated columns cannot be used in COPY."));
        }
        if positions.contains(&position) {
            return Err(SqlError::new(
                crate::SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        positions.push(position);
    }
    Ok(positions)
}
