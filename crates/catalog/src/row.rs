//! How a row and its index entries look as keys and values.
//!
//! ```text
//!   row, primary key   10 | table | index | key columns          ->  01 | cells of the others
//!   row, hidden id     10 | table | index | row id u64           ->  01 | cells of all columns
//!   unique entry       10 | table | index | columns              ->  01 | suffix length, suffix | cells
//!   other entry        10 | table | index | columns | suffix     ->  01 | 0 | cells
//! ```
//!
//! The *suffix* is what follows the index id in the row's own key. A unique entry with a NULL among
//! its columns conflicts with nothing, so it carries the suffix in its key as well. Values begin
//! with a format byte; included columns follow the suffix as cells ([`crate::EntryDecoder`]).
//!
//! A row given to have its entries made has the table's computed columns behind the others; of a
//! partial index it has an entry if the index's condition is true.
//!
//! # Invariants
//!
//! - **C1** `decode(encode(row)) == row` for every row that meets its column types.
//! - **C2** Keys of one index compare as their column values do in PostgreSQL (COLLATE "C").
//! - **C3** Cells are in the order of column ids, and a column has at most one.
//!
//! Tests: `tests/row.rs` (properties).

use base::{Key, KeyRange, keyspace};
use bytes::{BufMut, Bytes, BytesMut};
use pgtypes::{Datum, PgType};

use crate::cell::{self, Cell, Cells, Stored};
use crate::key::{self, KeyColumn};
use crate::{CodecError, Column, ColumnId, Index, IndexId, Table};

/// First byte of every value.
pub(crate) const FORMAT: u8 = 1;
/// Bytes of `10 | table | index`.
pub(crate) const PREFIX_LEN: usize = 9;
/// A key larger than this is refused (54000): every page of every index would suffer.
pub const MAX_KEY_BYTES: usize = 8 * 1024;
/// A row larger than this is refused (54000): it has to fit a Raft entry several times over.
pub const MAX_ROW_BYTES: usize = 32 << 20;

/// How rows of one table are encoded.
#[derive(Debug)]
pub struct RowCodec {
    primary: IndexCodec,
    indexes: Vec<IndexCodec>,
    hidden: bool,
    /// Columns that have a cell, in the order of ids (C3).
    cells: Vec<CellColumn>,
    columns: Vec<Column>,
}

#[derive(Debug, Clone)]
struct CellColumn {
    id: ColumnId,
    position: usize,
    ty: PgType,
    /// NULL has to be spelled out, since absence means the value the column was added with.
    explicit_null: bool,
}

/// How entries of one index are encoded.
#[derive(Debug)]
pub struct IndexCodec {
    /// Which index.
    pub id: IndexId,
    /// Whether entries must differ in their columns.
    pub unique: bool,
    /// Whether rows that are written get an entry; if not, they lose the one they have.
    pub is_written: bool,
    prefix: Bytes,
    pub(crate) columns: Vec<KeyColumn>,
    /// Included columns, in the order of ids (C3): id, position, type.
    pub(crate) include: Vec<(ColumnId, usize, PgType)>,
    /// Position of the computed column that says whether a row has an entry.
    predicate: Option<usize>,
    /// NULL equals NULL.
    nulls_not_distinct: bool,
}

/// One index entry of a row.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Bytes,
    /// Whether the key must not exist yet (a unique index, and no NULL among the columns).
    pub claims: bool,
}

impl RowCodec {
    /// The codec of a table. Prefer [`Table::codec`], which remembers it.
    #[must_use]
    pub fn new(table: &Table) -> Self {
        let primary = IndexCodec::new(table, &table.primary, true);
        let in_key = |position: usize| {
            primary.columns.iter().any(|c| c.position == position && key::is_exact(c.ty))
        };
        let mut cells: Vec<CellColumn> = table
            .columns
            .iter()
            .enumerate()
            .filter(|(position, _)| !in_key(*position))
            .map(|(position, c)| CellColumn {
                id: c.id,
                position,
                ty: c.ty,
                explicit_null: c.missing.is_some(),
            })
            .collect();
        cells.sort_by_key(|c| c.id);
        let indexes = table.indexes.iter().map(|i| IndexCodec::new(table, i, false)).collect();
        RowCodec {
            hidden: table.has_hidden_row_id(),
            primary,
            indexes,
            cells,
            columns: table.columns.clone(),
        }
    }

    /// The primary index: where the rows are.
    #[must_use]
    pub fn primary(&self) -> &IndexCodec {
        &self.primary
    }

    /// Secondary indexes, in the order of the descriptor.
    #[must_use]
    pub fn indexes(&self) -> &[IndexCodec] {
        &self.indexes
    }

    /// The index of that id, the primary one included.
    #[must_use]
    pub fn index(&self, id: IndexId) -> Option<&IndexCodec> {
        std::iter::once(&self.primary).chain(&self.indexes).find(|i| i.id == id)
    }

    /// All rows.
    #[must_use]
    pub fn span(&self) -> KeyRange {
        self.primary.span()
    }

    /// The key of a row with a primary key. `row` has all columns, in the table's order.
    pub fn key(&self, row: &[Datum]) -> Result<Key, CodecError> {
        debug_assert!(!self.hidden, "a hidden row id is not among the columns");
        self.primary.key_of_row(row)
    }

    /// The key of a row without a primary key.
    #[must_use]
    pub fn hidden_key(&self, row_id: u64) -> Key {
        let mut key = BytesMut::with_capacity(PREFIX_LEN + 8);
        key.put_slice(&self.primary.prefix);
        key.put_u64(row_id);
        Key(key.freeze())
    }

    /// The value of a row. `row` has all columns, in the table's order.
    pub fn value(&self, row: &[Datum]) -> Result<Bytes, CodecError> {
        debug_assert!(row.len() >= self.columns.len(), "a row has all columns");
        let mut out = BytesMut::with_capacity(16 * self.cells.len() + 1);
        out.put_u8(FORMAT);
        let mut last = 0;
        for column in &self.cells {
            let datum = &row[column.position];
            if matches!(datum, Datum::Null) && !column.explicit_null {
                continue;
            }
            cell::put(&mut out, column.id - last, column.ty, datum)?;
            last = column.id;
        }
        if out.len() > MAX_ROW_BYTES {
            return Err(CodecError::RowTooLarge { bytes: out.len(), limit: MAX_ROW_BYTES });
        }
        Ok(out.freeze())
    }

    /// The entry of a row in one secondary index; `None` if a partial index has none for it. `row` has
    /// the computed columns behind the others.
    pub fn entry(
        &self,
        index: &IndexCodec,
        row_key: &Key,
        row: &[Datum],
    ) -> Result<Option<Entry>, CodecError> {
        if !index.covers(row) {
            return Ok(None);
        }
        let suffix = row_key.as_bytes().get(PREFIX_LEN..).ok_or(CodecError::Corrupt("row key"))?;
        let mut key = BytesMut::with_capacity(PREFIX_LEN + 16 + suffix.len());
        key.put_slice(&index.prefix);
        let mut has_null = false;
        for column in &index.columns {
            let datum = &row[column.position];
            has_null |= matches!(datum, Datum::Null);
            key::put(&mut key, column, datum)?;
        }
        let claims = index.unique && (!has_null || index.nulls_not_distinct);
        let mut value = BytesMut::with_capacity(suffix.len() + 3);
        value.put_u8(FORMAT);
        if claims {
            cell::put_varint(&mut value, suffix.len() as u64);
            value.put_slice(suffix);
        } else {
            key.put_slice(suffix);
            cell::put_varint(&mut value, 0);
        }
        let mut last = 0;
        for (id, position, ty) in &index.include {
            if !row[*position].is_null() {
                cell::put(&mut value, id - last, *ty, &row[*position])?;
                last = *id;
            }
        }
        check_key(&key)?;
        Ok(Some(Entry { key: Key(key.freeze()), value: value.freeze(), claims }))
    }

    /// The key of the row that an index entry points to.
    pub fn row_key(
        &self,
        index: &IndexCodec,
        entry: &Key,
        value: &Bytes,
    ) -> Result<Key, CodecError> {
        self.open_entry(index, entry, value).map(|(key, _)| key)
    }

    /// The key of the row that an index entry points to, and the entry's cells.
    pub(crate) fn open_entry<'v>(
        &self,
        index: &IndexCodec,
        entry: &Key,
        value: &'v Bytes,
    ) -> Result<(Key, Cells<'v>), CodecError> {
        let mut cells = Cells::open(value)?;
        let len = usize::try_from(cells.varint()?).map_err(|_| CodecError::Corrupt("suffix"))?;
        let suffix = if len > 0 {
            cells.raw(len)?
        } else {
            let mut rest = entry.as_bytes().get(PREFIX_LEN..).ok_or(CodecError::Corrupt("key"))?;
            for column in &index.columns {
                key::take(&mut rest, column)?;
            }
            entry.0.slice(entry.0.len() - rest.len()..)
        };
        let mut key = BytesMut::with_capacity(PREFIX_LEN + suffix.len());
        key.put_slice(&self.primary.prefix);
        key.put_slice(&suffix);
        Ok((Key(key.freeze()), cells))
    }

    /// A plan to decode the columns at `wanted` positions, in that order. Made once, used per row.
    #[must_use]
    pub fn decoder(&self, wanted: &[usize]) -> RowDecoder {
        RowDecoder::new(self, wanted)
    }

    /// All columns of a row.
    pub fn decode(&self, key: &Key, value: &Bytes) -> Result<Vec<Datum>, CodecError> {
        let wanted: Vec<usize> = (0..self.columns.len()).collect();
        let mut out = Vec::with_capacity(wanted.len());
        self.decoder(&wanted).decode(key, value, &mut out)?;
        Ok(out)
    }
}

impl IndexCodec {
    fn new(table: &Table, index: &Index, primary: bool) -> Self {
        let columns = index
            .columns
            .iter()
            .map(|c| {
                let position = table.position_of(c.column).expect("an index names columns it has");
                let column = table.column_at(position);
                KeyColumn {
                    position,
                    ty: column.ty,
                    // A NOT NULL can be added and dropped while entries exist, so only the primary
                    // key (D3) does without the marker.
                    nullable: !primary,
                    descending: c.descending,
                    nulls_reversed: c.nulls_reversed,
                }
            })
            .collect();
        let prefix = keyspace::index_prefix(table.id, index.id).0;
        let position = |id: ColumnId| table.position_of(id).expect("an index names columns it has");
        let mut include: Vec<(ColumnId, usize, PgType)> = index
            .include
            .iter()
            .map(|&id| (id, position(id), table.column_at(position(id)).ty))
            .collect();
        include.sort_by_key(|(id, ..)| *id);
        include.dedup_by_key(|(id, ..)| *id);
        IndexCodec {
            id: index.id,
            unique: index.unique,
            is_written: index.state.is_written(),
            prefix,
            columns,
            include,
            predicate: index.predicate.map(position),
            nulls_not_distinct: index.nulls_not_distinct,
        }
    }

    /// Whether a row has an entry. `row` has the computed columns behind the others.
    #[must_use]
    pub fn covers(&self, row: &[Datum]) -> bool {
        self.predicate.is_none_or(|position| row[position] == Datum::Bool(true))
    }

    /// Whether a key with NULL in it must be new like any other.
    #[must_use]
    pub fn nulls_not_distinct(&self) -> bool {
        self.nulls_not_distinct
    }

    /// Positions of all columns that an entry depends on.
    pub fn depends_on(&self) -> impl Iterator<Item = usize> + '_ {
        let include = self.include.iter().map(|(_, position, _)| *position);
        self.positions().chain(include).chain(self.predicate)
    }

    /// All entries.
    #[must_use]
    pub fn span(&self) -> KeyRange {
        Key(self.prefix.clone()).prefix_range()
    }

    /// Positions in the table of the index's columns.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.columns.iter().map(|c| c.position)
    }

    /// Type of the index's `n`th column.
    #[must_use]
    pub fn column_type(&self, n: usize) -> PgType {
        self.columns[n].ty
    }

    /// Whether the index descends in its `n`th column.
    #[must_use]
    pub fn is_descending(&self, n: usize) -> bool {
        self.columns[n].descending
    }

    /// The key that starts with these values of the leading columns. Values must have the columns'
    /// types (integers of other widths are fine). With all columns of a primary key or (no NULL) of
    /// a unique index it is the whole key; with fewer, [`Key::prefix_range`] is the span of matches.
    pub fn key_prefix(&self, values: &[Datum]) -> Result<Key, CodecError> {
        debug_assert!(values.len() <= self.columns.len(), "no more values than columns");
        let mut key = BytesMut::with_capacity(PREFIX_LEN + 10 * values.len());
        key.put_slice(&self.prefix);
        for (column, value) in self.columns.iter().zip(values) {
            key::put(&mut key, column, value)?;
        }
        check_key(&key)?;
        Ok(Key(key.freeze()))
    }

    fn key_of_row(&self, row: &[Datum]) -> Result<Key, CodecError> {
        let mut key = BytesMut::with_capacity(PREFIX_LEN + 10 * self.columns.len());
        key.put_slice(&self.prefix);
        for column in &self.columns {
            key::put(&mut key, column, &row[column.position])?;
        }
        check_key(&key)?;
        Ok(Key(key.freeze()))
    }

    /// The values of as many columns as a key, or the bound of a span, has; none if it ends inside of one.
    #[must_use]
    pub fn decode_bound(&self, bound: &[u8]) -> Option<Vec<Datum>> {
        let mut rest = bound.get(PREFIX_LEN..)?;
        let mut values = Vec::new();
        for column in &self.columns {
            if rest.is_empty() {
                break;
            }
            values.push(key::take(&mut rest, column).ok()?);
        }
        Some(values)
    }

    /// The column values in an entry's key: equal to what was stored, if not identical (the scale
    /// of a numeric, the padding of char(n)).
    pub fn decode_key(&self, entry: &Key) -> Result<Vec<Datum>, CodecError> {
        let mut rest = entry.as_bytes().get(PREFIX_LEN..).ok_or(CodecError::Corrupt("key"))?;
        self.columns.iter().map(|c| key::take(&mut rest, c)).collect()
    }

    /// The column values that a prefix of keys is made of ([`IndexCodec::key_prefix`]).
    pub fn decode_prefix(&self, prefix: &[u8]) -> Result<Vec<Datum>, CodecError> {
        let mut rest = prefix.get(PREFIX_LEN..).ok_or(CodecError::Corrupt("key"))?;
        let mut values = Vec::new();
        for column in self.columns.iter() {
            if rest.is_empty() {
                break;
            }
            values.push(key::take(&mut rest, column)?);
        }
        if rest.is_empty() { Ok(values) } else { Err(CodecError::Corrupt("key")) }
    }
}

fn check_key(key: &BytesMut) -> Result<(), CodecError> {
    if key.len() > MAX_KEY_BYTES {
        return Err(CodecError::KeyTooLarge { bytes: key.len(), limit: MAX_KEY_BYTES });
    }
    Ok(())
}

/// Decodes some columns of a table's rows.
#[derive(Debug, Clone)]
pub struct RowDecoder {
    width: usize,
    /// The key's columns up to the last wanted one, each with the output slot it fills.
    key: Vec<(KeyColumn, Option<usize>)>,
    /// Wanted columns that have a cell, by id.
    cells: Vec<WantedCell>,
}

#[derive(Debug, Clone)]
struct WantedCell {
    id: ColumnId,
    ty: PgType,
    /// The place among the columns that were asked for.
    slot: usize,
    /// What rows have that are older than the column.
    missing: Option<Datum>,
}

impl RowDecoder {
    fn new(codec: &RowCodec, wanted: &[usize]) -> Self {
        let slot_of = |position: usize| wanted.iter().position(|&w| w == position);
        let mut key: Vec<(KeyColumn, Option<usize>)> = codec
            .primary
            .columns
            .iter()
            .map(|c| (*c, slot_of(c.position).filter(|_| key::is_exact(c.ty))))
            .collect();
        while key.last().is_some_and(|(_, slot)| slot.is_none()) {
            key.pop();
        }
        let mut cells = Vec::new();
        for column in &codec.cells {
            let Some(slot) = slot_of(column.position) else { continue };
            let missing = codec.columns[column.position]
                .missing
                .as_ref()
                .map(|bytes| decode_single(bytes, column.ty).expect("a default that was encoded"));
            cells.push(WantedCell { id: column.id, ty: column.ty, slot, missing });
        }
        RowDecoder { width: wanted.len(), key, cells }
    }

    /// Appends the wanted columns to `out`, in the order they were asked for. A position asked for
    /// twice is filled once; ask for each once.
    pub fn decode(&self, key: &Key, value: &Bytes, out: &mut Vec<Datum>) -> Result<(), CodecError> {
        let first = out.len();
        out.resize(first + self.width, Datum::Null);
        self.walk(key, value, |slot, found| {
            out[first + slot] = match found {
                Found::Nothing => return Ok(()),
                Found::Datum(datum) => datum,
                Found::Cell(cell, ty) => cell::decode(value, cell, ty)?,
            };
            Ok(())
        })
    }

    /// Hands each wanted column to `put`, once: the place among those asked for, and the value.
    pub fn each<'v>(
        &self,
        key: &Key,
        value: &'v Bytes,
        mut put: impl FnMut(usize, Stored<'v>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        self.walk(key, value, |slot, found| {
            let stored = match found {
                Found::Nothing => Stored::Datum(Datum::Null),
                Found::Datum(datum) => Stored::Datum(datum),
                Found::Cell(cell, ty) => cell::stored(value, cell, ty)?,
            };
            put(slot, stored)
        })
    }

    /// Looks for each wanted column, once.
    fn walk(
        &self,
        key: &Key,
        value: &Bytes,
        mut found: impl FnMut(usize, Found) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        if !self.key.is_empty() {
            let mut rest = key.as_bytes().get(PREFIX_LEN..).ok_or(CodecError::Corrupt("key"))?;
            for (column, slot) in &self.key {
                let datum = key::take(&mut rest, column)?;
                if let Some(slot) = slot {
                    found(*slot, Found::Datum(datum))?;
                }
            }
        }
        let mut wanted = self.cells.iter().peekable();
        if wanted.peek().is_none() {
            return Ok(());
        }
        let mut cells = Cells::open(value)?;
        while let Some(cell) = cells.next()? {
            while let Some(column) = wanted.next_if(|column| column.id < cell.column) {
                found(column.slot, column.missing())?;
            }
            if let Some(column) = wanted.next_if(|column| column.id == cell.column) {
                found(column.slot, Found::Cell(cell, column.ty))?;
            }
            if wanted.peek().is_none() {
                return Ok(());
            }
        }
        wanted.try_for_each(|column| found(column.slot, column.missing()))
    }
}

/// A column's value in a row.
enum Found {
    /// There is none: NULL.
    Nothing,
    Datum(Datum),
    Cell(Cell, PgType),
}

impl WantedCell {
    fn missing(&self) -> Found {
        self.missing.clone().map_or(Found::Nothing, Found::Datum)
    }
}

/// Encodes one value on its own, for [`Column::missing`].
pub fn encode_single(datum: &Datum, ty: PgType) -> Result<Vec<u8>, CodecError> {
    let mut out = BytesMut::new();
    cell::put(&mut out, 1, ty, datum)?;
    Ok(out.to_vec())
}

/// Decodes what [`encode_single`] encoded.
pub fn decode_single(bytes: &[u8], ty: PgType) -> Result<Datum, CodecError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut cells = Cells::new(&bytes, 0);
    let cell = cells.next()?.ok_or(CodecError::Corrupt("no value"))?;
    cells.decode(cell, ty)
}
