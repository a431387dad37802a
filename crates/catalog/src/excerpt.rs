//! The part of a table that some of its columns need, to be told to another node; and rows cut down to it.
//!
//! An excerpt is a table like any other, with fewer columns, one index besides the primary one at most, and
//! without names: its codec decodes from rows and entries what the whole table's does. Who gets one need not
//! know the table, or knows another version of it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::cell::{self, Cells};
use crate::row::FORMAT;
use crate::{CodecError, Column, ColumnId, Index, Table, decode_single};

impl Table {
    /// The table as far as the columns at `positions` need it, and the secondary index at a place.
    #[must_use]
    pub fn excerpt(&self, positions: &[usize], index: Option<usize>) -> Table {
        let index = index.map(|at| &self.indexes[at]);
        let wanted = |id: ColumnId| {
            positions.iter().any(|&at| self.column_at(at).id == id)
                || self.primary.mentions(id)
                || index.is_some_and(|index| index.mentions(id))
        };
        let columns = |columns: &[Column]| -> Vec<Column> {
            columns.iter().filter(|column| wanted(column.id)).map(bare_column).collect()
        };
        let mut excerpt = Table::new(
            self.id,
            self.schema,
            String::new(),
            self.owner,
            columns(&self.columns),
            bare_index(&self.primary),
        );
        excerpt.computed = columns(&self.computed);
        excerpt.indexes = index.map(bare_index).into_iter().collect();
        excerpt
    }

    /// An excerpt as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("descriptors are plain data")
    }

    /// The excerpt in bytes that came from elsewhere.
    pub fn from_bytes(bytes: &[u8]) -> Result<Table, CodecError> {
        const MALFORMED: CodecError = CodecError::Corrupt("table");
        let table: Table = serde_json::from_slice(bytes).map_err(|_| MALFORMED)?;
        let known = |id: ColumnId| table.position_of(id).is_some();
        for index in std::iter::once(&table.primary).chain(&table.indexes) {
            let columns = index.columns.iter().map(|column| column.column);
            if !columns.chain(index.include.iter().copied()).chain(index.predicate).all(known) {
                return Err(MALFORMED);
            }
        }
        for column in &table.columns {
            if let Some(missing) = &column.missing {
                decode_single(missing, column.ty)?;
            }
        }
        Ok(table)
    }
}

fn bare_column(column: &Column) -> Column {
    Column {
        nullable: column.nullable,
        missing: column.missing.clone(),
        ..Column::new(column.id, String::new(), column.ty)
    }
}

fn bare_index(index: &Index) -> Index {
    Index { name: String::new(), comment: None, constraint_comment: None, ..index.clone() }
}

/// Cuts rows down to the columns of an excerpt.
#[derive(Debug, Clone)]
pub struct RowCut {
    /// Ids of the columns that stay, ascending.
    columns: Vec<ColumnId>,
}

impl RowCut {
    /// A cut to the columns of `excerpt`.
    #[must_use]
    pub fn to(excerpt: &Table) -> RowCut {
        let mut columns: Vec<ColumnId> = excerpt.columns.iter().map(|column| column.id).collect();
        columns.sort_unstable();
        RowCut { columns }
    }

    /// The value of a row without the other columns' cells. With its key it is decoded as before.
    pub fn apply(&self, value: &Bytes) -> Result<Bytes, CodecError> {
        let mut cells = Cells::open(value)?;
        let mut out = BytesMut::with_capacity(value.len().min(16 * self.columns.len() + 1));
        out.put_u8(FORMAT);
        let mut last = 0;
        while let Some(cell) = cells.next()? {
            if self.columns.last().is_none_or(|&most| cell.column > most) {
                break;
            }
            if self.columns.binary_search(&cell.column).is_ok() {
                cell::copy(&mut out, cell.column - last, value, cell);
                last = cell.column;
            }
        }
        Ok(out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use base::Key;
    use pgtypes::{Datum, PgType};
    use proptest::prelude::*;

    use super::*;
    use crate::{IndexColumn, encode_single};

    const TYPES: [PgType; 6] = [
        PgType::INT8,
        PgType::TEXT,
        PgType::BOOL,
        PgType::FLOAT8,
        PgType::NUMERIC,
        PgType::new(pgtypes::TypeId::Jsonb),
    ];

    fn table(ids: &[ColumnId], missing: bool) -> Table {
        let columns = ids.iter().zip(TYPES.iter().cycle()).enumerate().map(|(at, (&id, &ty))| {
            let default = (at == 3 && missing).then(|| {
                encode_single(&Datum::Float8(1.5), PgType::FLOAT8).expect("a value of its type")
            });
            Column {
                nullable: at > 0,
                default: Some("1".to_owned()),
                missing: default,
                ..Column::new(id, format!("c{id}"), ty)
            }
        });
        let mut primary = Index::new(7, "t_pkey".to_owned(), true);
        primary.columns = vec![IndexColumn::ascending(ids[0])];
        let mut table = Table::new(5, 2, "t".to_owned(), 10, columns.collect(), primary);
        let mut index = Index::new(8, "t_second".to_owned(), false);
        index.columns = vec![IndexColumn::ascending(ids[1])];
        index.include = vec![ids[4]];
        table.indexes = vec![Index::new(9, "other".to_owned(), false), index];
        table
    }

    fn row(ty: PgType) -> BoxedStrategy<Datum> {
        match ty {
            PgType::INT8 => any::<i64>().prop_map(Datum::Int8).boxed(),
            PgType::TEXT => ".{0,20}".prop_map(|text: String| Datum::text(text)).boxed(),
            PgType::BOOL => any::<bool>().prop_map(Datum::Bool).boxed(),
            PgType::FLOAT8 => any::<i32>().prop_map(|v| Datum::Float8(f64::from(v))).boxed(),
            PgType::NUMERIC => any::<i64>().prop_map(|v| Datum::Numeric(v.into())).boxed(),
            _ => Just(Datum::Null).boxed(),
        }
    }

    proptest! {
        #[test]
        fn a_row_that_was_cut_is_decoded_by_the_excerpt_as_the_whole_row_was(
            values in TYPES.map(row),
            absent in proptest::collection::vec(any::<bool>(), 6),
            wanted in proptest::sample::subsequence(vec![0usize, 1, 2, 3, 4, 5], 0..=6),
            gap in 1u32..40,
            missing in any::<bool>(),
        ) {
            let ids: Vec<ColumnId> = (0..6).map(|at| 1 + at * gap).collect();
            let table = table(&ids, missing);
            let mut row: Vec<Datum> = values.to_vec();
            for (at, absent) in absent.iter().enumerate().skip(1) {
                if *absent {
                    row[at] = Datum::Null;
                }
            }
            let key = table.codec().key(&row).expect("a key");
            let value = table.codec().value(&row).expect("a value");
            let told = table.excerpt(&wanted, Some(1)).to_bytes();
            let excerpt = Table::from_bytes(&told).expect("an excerpt");
            let cut = RowCut::to(&excerpt).apply(&value).expect("a row");
            prop_assert!(cut.len() <= value.len());
            let there: Vec<usize> = wanted
                .iter()
                .map(|&at| excerpt.position_of(table.column_at(at).id).expect("a wanted column"))
                .collect();
            let (mut whole, mut part) = (Vec::new(), Vec::new());
            table.codec().decoder(&wanted).decode(&key, &value, &mut whole).expect("the row");
            excerpt.codec().decoder(&there).decode(&key, &cut, &mut part).expect("the cut row");
            prop_assert_eq!(&whole, &part);
            let entry = table.codec().entry(&table.codec().indexes()[1], &key, &row);
            let entry = entry.expect("an entry").expect("no condition");
            let found = excerpt.codec().row_key(&excerpt.codec().indexes()[0], &entry.key, &entry.value);
            prop_assert_eq!(found, Ok::<Key, CodecError>(key));
        }

        #[test]
        fn bytes_that_are_no_excerpt_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(),
            to in any::<u8>(),
        ) {
            prop_assert!(Table::from_bytes(&bytes).is_err());
            let mut changed = table(&[1, 2, 3, 4, 5, 6], true).excerpt(&[1, 3], Some(1)).to_bytes();
            let at = at.index(changed.len());
            changed[at] = to;
            if let Ok(table) = Table::from_bytes(&changed) {
                prop_assert!(table.codec().span().start < table.codec().span().end);
            }
            drop(RowCut { columns: vec![1, 2] }.apply(&bytes.into()));
        }
    }
}
