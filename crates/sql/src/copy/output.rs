//! COPY TO STDOUT.

use std::sync::Arc;

use bytes::BytesMut;
use kv::Txn;
use pgtypes::Datum;
use sqlparser::ast;

use super::options::{Header, Options};
use super::parse::{CopySource, CopyStatement};
use super::{binary, csv, text};
use crate::bind::{self, Binder};
use crate::ir::{Query, Statement};
use crate::privilege::{self, Access};
use crate::session::api::{CopyShape, Sink};
use crate::session::{Session, Tag, XactId};
use crate::{SqlError, SqlState};

pub(super) async fn run(
    session: &mut Session,
    statement: &CopyStatement,
    options: &Options,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let txn = session.statement_txn().await?;
    let catalog = session.visible_catalog(&txn).await?;
    session.set_names(&catalog);
    let (query, accesses) = bind_source(session, &catalog, &statement.source, text)?;
    if let Some(premise) = session.premise() {
        premise.note(&catalog, &accesses);
    }
    privilege::check(&catalog, session.database(), session.authority(), &accesses)?;
    session.find_xact_id(XactId::in_rel(&query.rel), &txn).await?;
    let names: Vec<&str> = query.columns.iter().map(|c| &*c.name).collect();
    let forced: Vec<bool> = names.iter().map(|n| options.force_quote.contains(n)).collect();
    sink.copy_out_start(CopyShape { columns: names.len(), binary: options.binary });
    if options.binary {
        return binary_rows(session, &query, &txn, sink).await;
    }
    let mut line = Vec::new();
    if options.header != Header::None {
        for (n, name) in names.iter().enumerate() {
            field(Some(name), n, false, names.len(), options, &mut line);
        }
        line.push(b'\n');
        sink.copy_out(&line);
    }
    let env = session.env().clone();
    let mut cursor = session.open_query(&query, &[], &txn).await?;
    let mut count = 0;
    let mut value = String::new();
    while let Some(rows) = cursor.next_rows().await? {
        for row in rows {
            line.clear();
            for (n, (datum, column)) in row.iter().zip(&query.columns).enumerate() {
                value.clear();
                let shown = match datum {
                    Datum::Null => None,
                    datum => {
                        pgtypes::to_text(datum, column.ty, &env, &mut value);
                        Some(value.as_str())
                    }
                };
                field(shown, n, forced[n], names.len(), options, &mut line);
            }
            line.push(b'\n');
            sink.copy_out(&line);
            count += 1;
        }
        sink.flush().await?;
    }
    sink.copy_out_done();
    Ok(Tag::Count("COPY", count))
}

async fn binary_rows(
    session: &Session,
    query: &Query,
    txn: &Arc<Txn>,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    // Clients expect the header in one message with what follows it.
    let mut out = BytesMut::new();
    binary::header(&mut out);
    let mut cursor = session.open_query(query, &[], txn).await?;
    let mut count = 0;
    while let Some(rows) = cursor.next_rows().await? {
        for row in rows {
            binary::row(row.iter().zip(query.columns.iter().map(|c| c.ty)), &mut out);
            sink.copy_out(&out);
            out.clear();
            count += 1;
        }
        sink.flush().await?;
    }
    binary::trailer(&mut out);
    sink.copy_out(&out);
    sink.copy_out_done();
    Ok(Tag::Count("COPY", count))
}

fn field(
    value: Option<&str>,
    n: usize,
    force: bool,
    width: usize,
    options: &Options,
    line: &mut Vec<u8>,
) {
    if n > 0 {
        line.push(options.delimiter);
    }
    match value {
        None => line.extend_from_slice(options.null.as_bytes()),
        Some(value) if options.csv => csv::quote(value, force, width == 1, options, line),
        Some(value) => text::escape(value, options, line),
    }
}

fn bind_source(
    session: &Session,
    catalog: &catalog::CatalogSnapshot,
    source: &CopySource,
    text: &str,
) -> Result<(Query, Vec<Access>), SqlError> {
    let view = session.view(catalog);
    match source {
        CopySource::Query(query) => {
            Binder::new(&view, session.env(), text).bind_query_with_accesses(query)
        }
        CopySource::Table(name, columns) => {
            let columns = match columns.as_slice() {
                [] => "*".to_owned(),
                columns => columns.iter().map(ast::Ident::to_string).collect::<Vec<_>>().join(", "),
            };
            let select = format!("SELECT {columns} FROM {name}");
            let statement = bind::parse(&select)?.pop();
            let statement = statement.ok_or_else(|| SqlError::internal("no statement"))?;
            // Positions would count in a text that nobody wrote.
            let bound = Binder::new(&view, session.env(), "").bind(&statement, &[])?;
            match bound.statement {
                Statement::Query(query) => Ok((query, bound.accesses)),
                _ => Err(SqlError::new(SqlState::INTERNAL_ERROR, "COPY source is no query")),
            }
        }
    }
}
