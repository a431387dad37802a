//! COPY FROM STDIN.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use catalog::{CatalogSnapshot, Privileges, Table};
use kv::Txn;
use pgtypes::{Datum, EvalEnv, cast};
use sqlparser::ast;

use super::binary::{self, Piece};
use super::csv::{self, Scanner};
use super::options::{Header, Options};
use super::positions;
use super::text::{self, Field};
use crate::ddl::BulkWriter;
use crate::dml::{Event, Names, References, Rules, Writes, codec_error};
use crate::ir::{self, CatalogView, Relation, Scalar};
use crate::point::Defaults;
use crate::privilege::{Access, Accessed};
use crate::session::api::{CopyShape, Sink};
use crate::session::{
    CatalogDefaults, Engine, SequenceCalls, Session, SessionInfo, Tag, XactId, has_sequence_call,
};
use crate::{SqlError, SqlState};

/// Rows handed to the transaction at a time.
const BATCH_ROWS: usize = 1_000;
/// Row ids fetched at a time.
const ROW_IDS: u64 = 20_000;
/// Longest record: a row has to fit a Raft entry.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// What turns fields into rows.
struct Rows {
    table: Arc<Table>,
    rules: Rules,
    positions: Vec<usize>,
    /// Values of the columns that are not in the file, where they have a default.
    defaults: Vec<(usize, Scalar)>,
    env: Arc<EvalEnv>,
    options: Options,
    line: u64,
    /// Columns that ask a sequence for their value.
    sequenced: Vec<(usize, Scalar)>,
}

pub(super) async fn run(
    session: &mut Session,
    name: &ast::ObjectName,
    columns: &[ast::Ident],
    options: &Options,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let txn = session.statement_txn().await?;
    let (catalog, mut rows) = loop {
        let catalog = session.visible_catalog(&txn).await?;
        let rows = rows(session, &catalog, name, columns, options)?;
        session.authority().demand(&*rows.table, Privileges::INSERT)?;
        let relation = Accessed::Stored(rows.table.id);
        let access = Access { relation, wanted: Privileges::INSERT, as_role: None };
        if !session.heed_closing(&catalog, &[access], &txn).await? {
            break (catalog, rows);
        }
    };
    if let Some(premise) = session.premise() {
        premise.note_written(&catalog, &rows.table);
    }
    session.find_xact_id(XactId::in_defaults(&rows.table), &txn).await?;
    session.set_names(&catalog);
    rows.env = session.env().clone();
    let width = rows.positions.len();
    sink.copy_in_start(CopyShape { columns: width, binary: options.binary }).await?;
    if session.is_in_block() {
        sink.forget_copied();
    }
    let table = rows.table.clone();
    let mut target = Target::new(session, &table, txn.clone(), catalog.clone());
    let count = match options.binary {
        true => read_binary(&mut rows, &mut target, sink).await?,
        false => read_all(&mut rows, &mut target, sink).await?,
    };
    target.finish(&mut rows).await?;
    session.engine().statistics.note_written(table.id, count);
    Ok(Tag::Count("COPY", count))
}

fn rows(
    session: &Session,
    catalog: &Arc<CatalogSnapshot>,
    name: &ast::ObjectName,
    columns: &[ast::Ident],
    options: &Options,
) -> Result<Rows, SqlError> {
    let (schema, short) = crate::bind::relation_name(name, &session.env().database)?;
    let view = session.view(catalog);
    let table = match view.relation(schema.as_deref(), &short)? {
        Some(Relation::Table(table)) => table,
        Some(_) => {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("cannot copy to view \"{short}\""),
            ));
        }
        None => {
            return Err(SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{name}\" does not exist"),
            ));
        }
    };
    let positions = positions(&table, columns)?;
    let source = CatalogDefaults { view, env: session.env() };
    let mut defaults = Vec::new();
    let mut sequenced = Vec::new();
    for position in 0..table.columns.len() {
        let column = &table.columns[position];
        let has_default = column.default.is_some() || column.sequence.is_some();
        if !positions.contains(&position) && has_default {
            let default = source.default_of(&table, position)?;
            let to = if has_sequence_call(&default) { &mut sequenced } else { &mut defaults };
            to.push((position, default));
        }
    }
    Ok(Rows {
        rules: Rules::of(&table, &source)?,
        sequenced,
        table,
        positions,
        defaults,
        env: session.env().clone(),
        options: options.clone(),
        line: 0,
    })
}

/// Reads records until the client is done. Returns how many rows there were.
async fn read_all(
    rows: &mut Rows,
    target: &mut Target,
    sink: &mut dyn Sink,
) -> Result<u64, SqlError> {
    let mut data = BytesMut::new();
    let mut scanner = Scanner::default();
    let mut scanned = 0;
    let mut count = 0;
    let mut ended = false;
    let mut fields: Vec<Field> = Vec::new();
    let mut quoted = Vec::new();
    loop {
        let chunk = sink.copy_in().await?;
        let last = chunk.is_none();
        if let Some(chunk) = chunk {
            if ended {
                continue;
            }
            data.extend_from_slice(&chunk);
        } else if !data.is_empty() && data.last() != Some(&b'\n') {
            data.extend_from_slice(b"\n");
        }
        while !ended {
            let found = if rows.options.csv {
                scanner.record(&data, scanned, &rows.options)
            } else {
                text::record(&data, scanned)
            };
            let Some(len) = found else {
                // Only a backslash before the end matters to what was scanned of a text record.
                scanned = if rows.options.csv { data.len() } else { 0 };
                break;
            };
            scanned = 0;
            rows.line += 1;
            let record = text::trim(&data[..len]);
            if record == b"\\." {
                ended = true;
            } else if rows.line > 1 || !rows.is_header(record, &mut fields, &mut quoted)? {
                let row = rows.row(record, &mut fields, &mut quoted)?;
                target.add(rows, row).await?;
                count += 1;
            }
            data.advance(len);
        }
        if data.len() > RECORD_BYTES_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("COPY record exceeds {RECORD_BYTES_MAX} bytes"),
            ));
        }
        if last {
            if scanner.in_quotes() {
                return Err(rows.context(csv::unterminated()));
            }
            return Ok(count);
        }
    }
}

/// The same of the binary format.
async fn read_binary(
    rows: &mut Rows,
    target: &mut Target,
    sink: &mut dyn Sink,
) -> Result<u64, SqlError> {
    let mut data = BytesMut::new();
    let mut reader = binary::Reader::default();
    let mut count = 0;
    while let Some(chunk) = sink.copy_in().await? {
        data.extend_from_slice(&chunk);
        loop {
            let piece = reader.next(&mut data, rows.positions.len());
            match piece.map_err(|e| rows.context(e))? {
                Piece::Wanting => break,
                Piece::End => {}
                Piece::Row(fields) => {
                    rows.line += 1;
                    let row = rows.binary_row(fields)?;
                    target.add(rows, row).await?;
                    count += 1;
                }
            }
        }
        if data.len() > RECORD_BYTES_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("COPY record exceeds {RECORD_BYTES_MAX} bytes"),
            ));
        }
    }
    reader.finish(&data).map_err(|e| rows.context(e))?;
    Ok(count)
}

impl Rows {
    /// A row of defaults and NULLs.
    fn blank(&self) -> Result<Vec<Datum>, SqlError> {
        let mut row = vec![Datum::Null; self.table.columns.len()];
        for (position, default) in &self.defaults {
            row[*position] = ir::eval(default, &self.env, &[], &[])?;
        }
        Ok(row)
    }

    fn binary_row(&self, fields: Vec<Option<Bytes>>) -> Result<Vec<Datum>, SqlError> {
        let mut row = self.blank()?;
        for (field, &position) in fields.into_iter().zip(&self.positions) {
            let Some(bytes) = field else { continue };
            let column = &self.table.columns[position];
            let datum =
                pgtypes::parse_binary(bytes, column.ty).and_then(|datum| match column.ty.typmod {
                    -1 => Ok(datum),
                    _ => cast::apply_typmod(datum, column.ty, false),
                });
            row[position] = datum.map_err(|e| self.context(e.into()))?;
        }
        Ok(row)
    }

    fn split(
        &self,
        record: &[u8],
        fields: &mut Vec<Field>,
        quoted: &mut Vec<bool>,
    ) -> Result<(), SqlError> {
        let result = if self.options.csv {
            csv::fields(record, &self.options, fields, quoted)
        } else {
            text::fields(record, &self.options, fields)
        };
        result.map_err(|e| self.context(e))
    }

    /// Whether the first record is the header; one that must match is checked.
    fn is_header(
        &self,
        record: &[u8],
        fields: &mut Vec<Field>,
        quoted: &mut Vec<bool>,
    ) -> Result<bool, SqlError> {
        match self.options.header {
            Header::None => Ok(false),
            Header::Names => Ok(true),
            Header::Match => {
                self.split(record, fields, quoted)?;
                let names =
                    self.positions.iter().map(|&p| Some(self.table.columns[p].name.clone()));
                if names.eq(fields.iter().cloned()) {
                    return Ok(true);
                }
                Err(self.context(SqlError::new(
                    SqlState::BAD_COPY_FILE_FORMAT,
                    "column name mismatch in header line",
                )))
            }
        }
    }

    fn row(
        &self,
        record: &[u8],
        fields: &mut Vec<Field>,
        quoted: &mut Vec<bool>,
    ) -> Result<Vec<Datum>, SqlError> {
        self.split(record, fields, quoted)?;
        let mut row = self.blank()?;
        // A table without columns is fed empty lines.
        if self.positions.is_empty() && record.is_empty() {
            return Ok(row);
        }
        if let Some(extra) = fields.get(self.positions.len()) {
            let _ = extra;
            return Err(self.context(SqlError::new(
                SqlState::BAD_COPY_FILE_FORMAT,
                "extra data after last expected column",
            )));
        }
        for (n, &position) in self.positions.iter().enumerate() {
            let column = &self.table.columns[position];
            let Some(field) = fields.get(n) else {
                return Err(self.context(SqlError::new(
                    SqlState::BAD_COPY_FILE_FORMAT,
                    format!("missing data for column \"{}\"", column.name),
                )));
            };
            let value = match field {
                None if self.options.force_not_null.contains(&column.name) => {
                    Some(self.options.null.as_str())
                }
                None => None,
                Some(text)
                    if *text == self.options.null
                        && self.options.force_null.contains(&column.name) =>
                {
                    None
                }
                Some(text) => Some(text.as_str()),
            };
            let Some(value) = value else { continue };
            row[position] = pgtypes::parse_text(value, column.ty, &self.env)
                .and_then(|datum| match column.ty.typmod {
                    -1 => Ok(datum),
                    _ => cast::apply_typmod(datum, column.ty, false),
                })
                .map_err(|e| self.column_context(e.into(), &column.name, value))?;
        }
        Ok(row)
    }

    fn context(&self, error: SqlError) -> SqlError {
        let at = format!("COPY {}, line {}", self.table.name, self.line);
        match error.fields().detail.clone() {
            Some(detail) => error.detail(format!("{detail}\n{at}")),
            None => error.detail(at),
        }
    }

    fn column_context(&self, error: SqlError, column: &str, value: &str) -> SqlError {
        let shown: String = value.chars().take(100).collect();
        error.detail(format!(
            "COPY {}, line {}, column {column}: \"{shown}\"",
            self.table.name, self.line
        ))
    }
}

/// Where rows go.
struct Target {
    txn: Arc<Txn>,
    catalog: Arc<CatalogSnapshot>,
    db: kv::Db,
    engine: Arc<Engine>,
    /// Nothing but the commit looks for duplicates.
    lone: bool,
    ids: std::ops::Range<u64>,
    info: Arc<SessionInfo>,
    deferrals: Arc<crate::dml::Deferrals>,
    /// Rows that wait for values of sequences, which are asked for many at once; and their lines.
    open: Vec<(u64, Vec<Datum>)>,
    /// What foreign keys have to be told.
    events: Vec<Event>,
    way: Way,
}

enum Way {
    Load(BulkWriter),
    Buffer { writes: Writes, rows: usize },
}

impl Target {
    fn new(
        session: &mut Session,
        table: &Table,
        txn: Arc<Txn>,
        catalog: Arc<CatalogSnapshot>,
    ) -> Self {
        let db = session.engine().db.clone();
        let way = if session.may_load(table) {
            for index in std::iter::once(&table.primary).chain(&table.indexes) {
                let span = base::keyspace::index_prefix(table.id, index.id).prefix_range();
                session.note_loaded(span);
            }
            Way::Load(BulkWriter::new(db.clone(), txn.read_ts()))
        } else {
            Way::Buffer { writes: Writes::default(), rows: 0 }
        };
        let engine = session.engine().clone();
        Target {
            txn,
            catalog,
            db,
            engine,
            lone: session.is_lone(),
            ids: 0..0,
            info: session.info().clone(),
            deferrals: session.deferrals().clone(),
            open: Vec::new(),
            events: Vec::new(),
            way,
        }
    }

    async fn row_id(&mut self) -> Result<u64, SqlError> {
        if self.ids.is_empty() {
            let first = self.db.allocate_ids(kv::IdKind::Row, ROW_IDS).await?;
            self.ids = first..first + ROW_IDS;
        }
        Ok(self.ids.next().expect("just filled"))
    }

    async fn add(&mut self, rows: &mut Rows, row: Vec<Datum>) -> Result<(), SqlError> {
        if rows.sequenced.is_empty() {
            return self.put(rows, row).await;
        }
        self.open.push((rows.line, row));
        if self.open.len() < BATCH_ROWS {
            return Ok(());
        }
        self.close_open(rows).await
    }

    /// Gives rows that wait the values of their sequences.
    async fn close_open(&mut self, rows: &mut Rows) -> Result<(), SqlError> {
        let open = std::mem::take(&mut self.open);
        let (catalog, engine, info) =
            (self.catalog.clone(), self.engine.clone(), self.info.clone());
        let calls =
            SequenceCalls::new(&engine.db, &engine.sequences, &info.sequences, &catalog, false);
        let wanted = rows.sequenced.iter().flat_map(|(_, s)| std::iter::repeat_n(s, open.len()));
        calls.reserve(wanted).await?;
        let line = rows.line;
        for (own, mut row) in open {
            rows.line = own;
            for (position, value) in &rows.sequenced {
                row[*position] = calls.eval(value, &rows.env, &[], &[]).await?;
            }
            self.put(rows, row).await?;
        }
        rows.line = line;
        Ok(())
    }

    async fn put(&mut self, rows: &Rows, mut row: Vec<Datum>) -> Result<(), SqlError> {
        let table = &rows.table;
        rows.rules.complete(&mut row, &rows.env).map_err(|e| rows.context(e))?;
        let id = if table.has_hidden_row_id() { Some(self.row_id().await?) } else { None };
        let names = Names { catalog: &self.catalog, env: &rows.env };
        match &mut self.way {
            Way::Load(writer) => {
                let codec = table.codec();
                let failed = |e| names.kv_error(e);
                let key = match id {
                    Some(id) => codec.hidden_key(id),
                    None => codec.key(&row).map_err(|e| codec_error(&e, table))?,
                };
                let whole = crate::indexed::with_computed(table, &row)?;
                for index in codec.indexes() {
                    let entry =
                        codec.entry(index, &key, &whole).map_err(|e| codec_error(&e, table))?;
                    let Some(entry) = entry else { continue };
                    writer.put(entry.key, entry.value).await.map_err(failed)?;
                }
                let value = codec.value(&row).map_err(|e| codec_error(&e, table))?;
                writer.put(key.clone(), value).await.map_err(failed)?;
                if rows.rules.has_references() {
                    let (table, new) = (table.clone(), Some(row));
                    self.events.push(Event { table, key, old: None, new });
                }
                Ok(())
            }
            Way::Buffer { writes, rows: count } => {
                let key = writes.insert(table, &row, id)?;
                if rows.rules.has_references() {
                    let (table, new) = (table.clone(), Some(row));
                    self.events.push(Event { table, key, old: None, new });
                }
                *count += 1;
                if *count < BATCH_ROWS {
                    return Ok(());
                }
                *count = 0;
                let batch = std::mem::take(writes);
                batch.apply(&self.txn, !self.lone, &names).await.map_err(too_large)
            }
        }
    }

    /// Writes what is left, and looks whether all references hold.
    async fn finish(mut self, rows: &mut Rows) -> Result<(), SqlError> {
        self.close_open(rows).await?;
        let names = Names { catalog: &self.catalog, env: &rows.env };
        match self.way {
            Way::Load(writer) => writer.finish().await.map_err(|e| names.kv_error(e))?,
            Way::Buffer { writes, .. } => {
                writes.apply(&self.txn, !self.lone, &names).await.map_err(too_large)?;
            }
        }
        if self.events.is_empty() {
            return Ok(());
        }
        let sequences = &self.engine.sequences;
        let own = &self.info.sequences;
        let calls = SequenceCalls::new(&self.db, sequences, own, &self.catalog, false);
        let references = References {
            db: &self.db,
            txn: &self.txn,
            env: &rows.env,
            catalog: &self.catalog,
            deferrals: &self.deferrals,
            sequences: &calls,
        };
        references.follow(self.events).await
    }
}

fn too_large(error: SqlError) -> SqlError {
    if error.code() != SqlState::OUT_OF_MEMORY {
        return error;
    }
    error.hint(
        "Load fewer rows per COPY, or into a table created or truncated in the same transaction.",
    )
}
