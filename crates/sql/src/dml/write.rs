//! Rows in, key-value writes out: index entries, uniqueness, NOT NULL.
//!
//! A statement collects the writes of some rows in a [`Writes`] and applies them together:
//! deletions first, then claims on keys that must be new, then the rest. So
//! `UPDATE t SET id = id + 1` does not trip over itself within a batch.
//!
//! # When a duplicate is noticed
//!
//! Inside a transaction block at the statement that makes it: the claimed keys are locked, which
//! tells what is there. The only statement of an implicit transaction does not lock; its commit
//! checks the claims in the same command that installs the rows ([`kv::Txn::insert`]).

use std::sync::Arc;

use base::Key;
use bytes::Bytes;
use catalog::{CatalogSnapshot, CodecError, Entry, Index, IndexCodec, Table};
use kv::{KvError, Strength, Txn, WaitPolicy};
use pgtypes::{Datum, EvalEnv};

use crate::indexed::with_computed;
use crate::{SqlError, SqlState};

/// Most keys in one lock request.
const LOCK_BATCH: usize = 1_024;

/// The key-value writes of some rows of one table.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    deletes: Vec<Key>,
    claims: Vec<(Key, Bytes)>,
    puts: Vec<(Key, Bytes)>,
}

impl Writes {
    /// A new row. `row_id` is given exactly for tables without a primary key.
    pub(crate) fn insert(
        &mut self,
        table: &Table,
        row: &[Datum],
        row_id: Option<u64>,
    ) -> Result<Key, SqlError> {
        let codec = table.codec();
        let key = match row_id {
            Some(id) => codec.hidden_key(id),
            None => codec.key(row).map_err(|e| codec_error(&e, table))?,
        };
        let value = codec.value(row).map_err(|e| codec_error(&e, table))?;
        let row = with_computed(table, row)?;
        for index in codec.indexes().iter().filter(|index| index.is_written) {
            let entry = codec.entry(index, &key, &row).map_err(|e| codec_error(&e, table))?;
            self.add_entry(entry);
        }
        // A row id is given out once, so nobody else can have it.
        let to = if row_id.is_some() { &mut self.puts } else { &mut self.claims };
        to.push((key.clone(), value));
        Ok(key)
    }

    /// Keys that must be new.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &Key> {
        self.claims.iter().map(|(key, _)| key)
    }

    /// All other keys.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Key> {
        self.deletes.iter().chain(self.puts.iter().map(|(key, _)| key))
    }

    /// A row that goes.
    pub(crate) fn delete(
        &mut self,
        table: &Table,
        key: Key,
        row: &[Datum],
    ) -> Result<(), SqlError> {
        let codec = table.codec();
        let row = with_computed(table, row)?;
        for index in codec.indexes() {
            let entry = codec.entry(index, &key, &row).map_err(|e| codec_error(&e, table))?;
            self.deletes.extend(entry.map(|entry| entry.key));
        }
        self.deletes.push(key);
        Ok(())
    }

    /// A row that changes; it is locked. Returns its key from here on.
    pub(crate) fn update(
        &mut self,
        table: &Table,
        key: Key,
        old: &[Datum],
        new: &[Datum],
    ) -> Result<Key, SqlError> {
        let codec = table.codec();
        let failed = |e: CodecError| codec_error(&e, table);
        let new_key =
            if table.has_hidden_row_id() { key.clone() } else { codec.key(new).map_err(failed)? };
        let value = codec.value(new).map_err(failed)?;
        let (old, new) = (with_computed(table, old)?, with_computed(table, new)?);
        for index in codec.indexes() {
            if new_key == key && !touches(index, &old, &new) {
                continue;
            }
            let before = codec.entry(index, &key, &old).map_err(failed)?;
            let after = match index.is_written {
                true => codec.entry(index, &new_key, &new).map_err(failed)?,
                false => None,
            };
            let (before, after) = match (before, after) {
                (Some(before), Some(after)) => (before, after),
                (before, after) => {
                    self.deletes.extend(before.map(|entry| entry.key));
                    self.add_entry(after);
                    continue;
                }
            };
            if before.key == after.key {
                if before.value != after.value {
                    self.puts.push((after.key, after.value));
                }
                continue;
            }
            self.deletes.push(before.key);
            self.add_entry(Some(after));
        }
        if new_key == key {
            self.puts.push((key, value));
        } else {
            self.deletes.push(key);
            self.claims.push((new_key.clone(), value));
        }
        Ok(new_key)
    }

    fn add_entry(&mut self, entry: Option<Entry>) {
        let Some(entry) = entry else { return };
        let to = if entry.claims { &mut self.claims } else { &mut self.puts };
        to.push((entry.key, entry.value));
    }

    /// Hands the writes to the transaction. With `check`, duplicates are noticed now.
    pub(crate) async fn apply(
        self,
        txn: &Txn,
        check: bool,
        names: &Names<'_>,
    ) -> Result<(), SqlError> {
        for key in self.deletes {
            txn.delete(key)?;
        }
        if check {
            for batch in self.claims.chunks(LOCK_BATCH) {
                let keys: Vec<Key> = batch.iter().map(|(key, _)| key.clone()).collect();
                let locked = txn.lock(&keys, Strength::Update, WaitPolicy::Block).await?;
                if let Some(taken) = locked.iter().find(|l| l.value.is_some()) {
                    return Err(names.duplicate(&taken.key));
                }
            }
        }
        for (key, value) in self.claims {
            txn.insert(key, value).map_err(|e| names.kv_error(e))?;
        }
        for (key, value) in self.puts {
            txn.put(key, value)?;
        }
        Ok(())
    }
}

/// How strongly an UPDATE that assigns these columns locks its rows: fully if it may change a key that
/// others could refer to.
pub(crate) fn update_strength(
    table: &Table,
    mut assigned: impl Iterator<Item = usize>,
) -> Strength {
    // Others can refer to whole columns of all rows only.
    let unique = table.indexes.iter().filter(|index| index.unique && table.is_plain(index));
    let keys: Vec<usize> = std::iter::once(&table.primary)
        .chain(unique)
        .flat_map(|index| table.index_positions(index))
        .collect();
    let generated = keys.iter().any(|&p| table.columns[p].generated.is_some());
    match generated || assigned.any(|column| keys.contains(&column)) {
        true => Strength::Update,
        false => Strength::NoKeyUpdate,
    }
}

/// Whether an entry depends on a column whose value changes.
fn touches(index: &IndexCodec, old: &[Datum], new: &[Datum]) -> bool {
    index.depends_on().any(|p| old[p] != new[p])
}

/// What is needed to name a key to the user.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    /// Where tables are looked up.
    pub(crate) catalog: &'a CatalogSnapshot,
    /// How values are printed.
    pub(crate) env: &'a EvalEnv,
}

impl Names<'_> {
    /// The user's view of an error of the key-value layer.
    pub(crate) fn kv_error(&self, error: KvError) -> SqlError {
        match error {
            KvError::DuplicateKey { key } => self.duplicate(&key),
            other => other.into(),
        }
    }

    /// 23505 with the key's values and the constraint's name.
    pub(crate) fn duplicate(&self, key: &Key) -> SqlError {
        let Some((table, index)) = self.owner(key) else {
            return SqlError::new(SqlState::UNIQUE_VIOLATION, "duplicate key value");
        };
        let schema = self.catalog.schema_by_id(table.schema).map_or("", |s| s.name.as_str());
        let error = SqlError::new(
            SqlState::UNIQUE_VIOLATION,
            format!("duplicate key value violates unique constraint \"{}\"", index.name),
        )
        .table(schema, table.name.as_str())
        .constraint(index.name.as_str());
        match self.describe(table, index, key) {
            Some(described) => error.detail(format!("Key {described} already exists.")),
            None => error,
        }
    }

    /// The index that a key is of, and its table.
    pub(crate) fn owner(&self, key: &Key) -> Option<(&Arc<Table>, &Index)> {
        let bytes = key.as_bytes();
        let table = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?);
        let index = u32::from_be_bytes(bytes.get(5..9)?.try_into().ok()?);
        let table = self.catalog.table_by_id(table)?;
        Some((table, table.index(index)?))
    }

    /// `(a, b)=(1, x)`.
    pub(crate) fn describe(&self, table: &Table, index: &Index, key: &Key) -> Option<String> {
        let values = table.codec().index(index.id)?.decode_key(key).ok()?;
        Some(self.named(table, index, &values))
    }

    /// The same for the first columns of an index; none if the prefix is not made of whole values.
    pub(crate) fn describe_prefix(
        &self,
        table: &Table,
        index: &Index,
        prefix: &[u8],
    ) -> Option<String> {
        let values = table.codec().index(index.id)?.decode_prefix(prefix).ok()?;
        (!values.is_empty()).then(|| self.named(table, index, &values))
    }

    fn named(&self, table: &Table, index: &Index, values: &[Datum]) -> String {
        let positions: Vec<usize> =
            table.index_positions(index).into_iter().take(values.len()).collect();
        let names: Vec<String> = positions
            .iter()
            .map(|&p| match table.is_computed(p) {
                true => crate::sysviews::key_shown(table, p),
                false => pgtypes::registry::quote_ident(&table.columns[p].name),
            })
            .collect();
        let values: Vec<String> = positions
            .iter()
            .zip(values)
            .map(|(&p, v)| print(v, table.column_at(p).ty, self.env))
            .collect();
        format!("({})=({})", names.join(", "), values.join(", "))
    }
}

/// A value as text; `null` for NULL.
pub(crate) fn print(value: &Datum, ty: pgtypes::PgType, env: &EvalEnv) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let mut out = String::new();
    pgtypes::to_text(value, ty, env, &mut out);
    out
}

/// Refuses NULL in a column that does not take it.
pub(super) fn check_not_null(
    table: &Table,
    schema: &str,
    row: &[Datum],
    env: &EvalEnv,
) -> Result<(), SqlError> {
    let demanded = |column| table.not_null(column) != catalog::Demand::None;
    let failing = table.columns.iter().zip(row).find(|(c, v)| v.is_null() && demanded(c));
    let Some((column, _)) = failing else { return Ok(()) };
    Err(SqlError::new(
        SqlState::NOT_NULL_VIOLATION,
        format!(
            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
            column.name, table.name
        ),
    )
    .detail(failing_row(table, row, env))
    .table(schema, table.name.as_str())
    .column(column.name.as_str()))
}

/// A row as the detail of an error: values longer than 64 bytes are cut.
pub(super) fn failing_row(table: &Table, row: &[Datum], env: &EvalEnv) -> String {
    const SHOWN: usize = 64;
    let shown = |(column, value): (&catalog::Column, &Datum)| {
        let mut text = print(value, column.ty, env);
        if text.len() > SHOWN {
            let mut end = SHOWN;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str("...");
        }
        text
    };
    let values: Vec<String> = table.columns.iter().zip(row).map(shown).collect();
    format!("Failing row contains ({}).", values.join(", "))
}

/// What a row that cannot be encoded or decoded is to the user.
pub(crate) fn codec_error(error: &CodecError, table: &Table) -> SqlError {
    match error {
        CodecError::Corrupt(detail) => SqlError::new(
            SqlState::DATA_CORRUPTED,
            format!("a row of table \"{}\" is damaged", table.name),
        )
        .detail((*detail).to_owned()),
        CodecError::KeyTooLarge { .. } | CodecError::RowTooLarge { .. } => {
            SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, error.to_string())
        }
        CodecError::NullInKey => SqlError::new(
            SqlState::NOT_NULL_VIOLATION,
            format!("null value in a primary key column of relation \"{}\"", table.name),
        ),
        CodecError::NotIndexable | CodecError::Value(_) => {
            SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, error.to_string())
        }
    }
}
