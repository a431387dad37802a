//! Rows read from an index alone.
//!
//! An entry has the index's key columns, the key of its row, and the columns it includes. Where that is
//! all a reader wants, the row itself is not looked up. Types whose values a key does not give back as
//! they were ([`crate::is_indexable`] says which have an order at all) count only if they are included.

use base::Key;
use bytes::Bytes;
use pgtypes::{Datum, PgType};

use crate::key::{self, KeyColumn};
use crate::row::PREFIX_LEN;
use crate::{CodecError, ColumnId, IndexCodec, RowCodec};

/// Decodes some columns of rows from the entries of one index.
#[derive(Debug, Clone)]
pub struct EntryDecoder {
    width: usize,
    /// The entry's key columns, each with the output slot it fills.
    key: Vec<(KeyColumn, Option<usize>)>,
    /// The row's key columns, likewise; none if nothing of them is wanted.
    row_key: Vec<(KeyColumn, Option<usize>)>,
    /// Wanted columns among the included ones, by id.
    cells: Vec<(ColumnId, PgType, usize)>,
}

impl EntryDecoder {
    /// A decoder of the columns at `wanted` positions, in that order; `None` if the index does not hold
    /// all of them.
    #[must_use]
    pub fn new(table: &RowCodec, index: &IndexCodec, wanted: &[usize]) -> Option<EntryDecoder> {
        let slot_of = |position: usize| wanted.iter().position(|&w| w == position);
        let mut open: Vec<bool> = vec![true; wanted.len()];
        let mut take = |position: usize| {
            let slot = slot_of(position).filter(|&slot| open[slot])?;
            open[slot] = false;
            Some(slot)
        };
        let include = index.include.iter();
        let cells: Vec<_> =
            include.filter_map(|(id, at, ty)| Some((*id, *ty, take(*at)?))).collect();
        let mut columns = |columns: &[KeyColumn]| -> Vec<(KeyColumn, Option<usize>)> {
            let mut exact = |c: &KeyColumn| key::is_exact(c.ty).then(|| take(c.position)).flatten();
            columns.iter().map(|c| (*c, exact(c))).collect()
        };
        let key = columns(&index.columns);
        let mut row_key = columns(&table.primary().columns);
        while row_key.last().is_some_and(|(_, slot)| slot.is_none()) {
            row_key.pop();
        }
        (!open.contains(&true)).then_some(EntryDecoder { width: wanted.len(), key, row_key, cells })
    }

    /// Appends the wanted columns to `out`, in the order they were asked for; gives the row's key.
    pub fn decode(
        &self,
        table: &RowCodec,
        index: &IndexCodec,
        entry: (&Key, &Bytes),
        out: &mut Vec<Datum>,
    ) -> Result<Key, CodecError> {
        let first = out.len();
        out.resize(first + self.width, Datum::Null);
        let mut fill = |key: &Key, columns: &[(KeyColumn, Option<usize>)]| {
            let mut rest = key.as_bytes().get(PREFIX_LEN..).ok_or(CodecError::Corrupt("key"))?;
            for (column, slot) in columns {
                let datum = key::take(&mut rest, column)?;
                if let Some(slot) = slot {
                    out[first + slot] = datum;
                }
            }
            Ok::<(), CodecError>(())
        };
        fill(entry.0, &self.key)?;
        let (row_key, mut cells) = table.open_entry(index, entry.0, entry.1)?;
        fill(&row_key, &self.row_key)?;
        let mut wanted = self.cells.iter();
        let Some(mut next) = wanted.next() else { return Ok(row_key) };
        while let Some(cell) = cells.next()? {
            while next.0 < cell.column {
                match wanted.next() {
                    Some(following) => next = following,
                    None => return Ok(row_key),
                }
            }
            if next.0 == cell.column {
                out[first + next.2] = cells.decode(cell, next.1)?;
            }
        }
        Ok(row_key)
    }
}
