//! Finding and locking rows: the one that is referred to, and those that refer.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base::{Key, KeyRange};
use bytes::Bytes;
use catalog::{IndexCodec, Table};
use kv::{Isolation, ScanOptions, Strength, Txn, TxnOptions, WaitPolicy};
use pgtypes::Datum;

use super::References;
use super::reference::{Reference, same, values};
use crate::dml::codec_error;
use crate::{SqlError, SqlState};

/// Bytes of rows read at a time.
const PAGE_BYTES: u64 = 1 << 20;
/// How long a reader beside the transaction may wait for others.
const READER_WAIT: Duration = Duration::from_secs(5);

/// A reader beside the transaction is none that deadlock detection knows as it: it does not wait for long.
async fn in_time<T, E: Into<SqlError>>(
    reading: impl Future<Output = Result<T, E>>,
) -> Result<T, SqlError> {
    match tokio::time::timeout(READER_WAIT, reading).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(SqlError::new(
            SqlState::SERIALIZATION_FAILURE,
            "could not serialize access due to concurrent update",
        )),
    }
}

impl<'a> References<'a> {
    /// Locks the row that has a key for KEY SHARE. `values` are of the referenced columns' types.
    pub(super) async fn referenced_row(
        &self,
        reference: Reference<'_>,
        wanted: &[Datum],
    ) -> Result<Option<Key>, SqlError> {
        let table = reference.to;
        let codec = table.codec();
        let failed = |e| codec_error(&e, table);
        let their = reference.their_positions();
        let Some(entry) = self.entry(reference, wanted)? else { return Ok(None) };
        let index = self.index(reference)?;
        if index.id == codec.primary().id {
            return Ok(self.lock(&entry, Strength::KeyShare).await?.map(|_| entry));
        }
        let mut found = self.txn.get(&entry).await?;
        let mut fresh = !self.is_stale_snapshot();
        loop {
            if let Some(value) = &found {
                let key = codec.row_key(index, &entry, value).map_err(failed)?;
                if let Some(value) = self.lock(&key, Strength::KeyShare).await? {
                    let row = codec.decode(&key, &value).map_err(failed)?;
                    if same(&values(&row, &their), wanted) {
                        return Ok(Some(key));
                    }
                }
            }
            if fresh {
                return Ok(None);
            }
            fresh = true;
            found = match self.reader().await? {
                Some(reader) => {
                    let found = in_time(reader.get(&entry)).await?;
                    reader.rollback().await;
                    found
                }
                None => self.txn.get(&entry).await?,
            };
        }
    }

    fn index<'b>(&self, reference: Reference<'b>) -> Result<&'b IndexCodec, SqlError> {
        let table: &'b Table = reference.to;
        table
            .index_by_oid(reference.key.index)
            .and_then(|index| table.codec().index(index.id))
            .ok_or_else(|| SqlError::internal("a foreign key without its unique index"))
    }

    /// The key of the unique entry with these values; `None` if no row can have them.
    pub(super) fn entry(
        &self,
        reference: Reference<'_>,
        wanted: &[Datum],
    ) -> Result<Option<Key>, SqlError> {
        let index = self.index(reference)?;
        let their = reference.their_positions();
        let ordered: Vec<Datum> = index
            .positions()
            .map(|p| {
                let at = their.iter().position(|t| *t == p).expect("the index's columns");
                wanted[at].clone()
            })
            .collect();
        Ok(index.key_prefix(&ordered).ok())
    }

    /// Whether what others have committed since the snapshot would go unnoticed.
    pub(super) fn is_stale_snapshot(&self) -> bool {
        self.txn.options().isolation != Isolation::Serializable
    }

    /// Makes the newest state readable: READ COMMITTED moves its own snapshot there, REPEATABLE READ
    /// gets a reader beside it.
    async fn reader(&self) -> Result<Option<Arc<Txn>>, SqlError> {
        if self.txn.options().isolation == Isolation::ReadCommitted {
            self.txn.begin_statement().await?;
            return Ok(None);
        }
        let reader = self.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
        reader.begin_statement().await?;
        Ok(Some(reader))
    }

    /// The newest state of a row, locked.
    async fn lock(&self, key: &Key, strength: Strength) -> Result<Option<Bytes>, SqlError> {
        let keys = std::slice::from_ref(key);
        if self.txn.options().isolation == Isolation::ReadCommitted {
            let mut locked = self.txn.lock_as_found(keys, strength).await?;
            return Ok(locked.pop().and_then(|(locked, _)| locked.value));
        }
        let mut locked = self.txn.lock(keys, strength, WaitPolicy::Block).await?;
        Ok(locked.pop().and_then(|locked| locked.value))
    }

    /// Rows that refer to a key, locked. With `one`, the first is enough.
    pub(super) async fn referring_rows(
        &self,
        reference: Reference<'_>,
        gone: &[Datum],
        strength: Strength,
        one: bool,
    ) -> Result<Vec<(Key, Vec<Datum>)>, SqlError> {
        let Some(wanted) = reference.convert(self.env, gone, false) else { return Ok(Vec::new()) };
        let search = Search::new(reference, wanted)?;
        let mut keys = BTreeSet::new();
        let reader = match self.is_stale_snapshot() {
            true => self.reader().await?,
            false => None,
        };
        self.search(self.txn, &search, gone, reference, &mut keys).await?;
        if let Some(reader) = reader {
            in_time(self.search(&reader, &search, gone, reference, &mut keys)).await?;
            reader.rollback().await;
        }
        let mut rows = Vec::new();
        for key in keys {
            let Some(value) = self.lock(&key, strength).await? else { continue };
            let row = reference
                .from
                .codec()
                .decode(&key, &value)
                .map_err(|e| codec_error(&e, reference.from))?;
            if self.refers(reference, &row, gone) {
                rows.push((key, row));
                if one {
                    break;
                }
            }
        }
        Ok(rows)
    }

    fn refers(&self, reference: Reference<'_>, row: &[Datum], gone: &[Datum]) -> bool {
        let own = values(row, &reference.own_positions());
        let converted = reference.convert(self.env, &own, true);
        converted.is_some_and(|own| !own.iter().any(Datum::is_null) && same(&own, gone))
    }

    async fn search(
        &self,
        txn: &Txn,
        search: &Search,
        gone: &[Datum],
        reference: Reference<'_>,
        keys: &mut BTreeSet<Key>,
    ) -> Result<(), SqlError> {
        let codec = reference.from.codec();
        let failed = |e| codec_error(&e, reference.from);
        let index = search.index.and_then(|id| codec.index(id));
        let mut left = Some(search.span.clone());
        while let Some(span) = left.take() {
            let options = ScanOptions { max_bytes: PAGE_BYTES, ..ScanOptions::default() };
            let page = txn.scan(span, options).await?;
            left = page.resume;
            for (key, value) in page.rows {
                match index {
                    Some(index) => {
                        keys.insert(codec.row_key(index, &key, &value).map_err(failed)?);
                    }
                    None => {
                        let row = codec.decode(&key, &value).map_err(failed)?;
                        if self.refers(reference, &row, gone) {
                            keys.insert(key);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where rows that refer to a key are looked for.
struct Search {
    /// The index whose entries the span is of; none for the rows themselves.
    index: Option<catalog::IndexId>,
    span: KeyRange,
}

impl Search {
    /// By an index that begins with the columns, in whatever order; else everywhere.
    fn new(reference: Reference<'_>, wanted: Vec<Datum>) -> Result<Search, SqlError> {
        let table = reference.from;
        let codec = table.codec();
        let own = reference.own_positions();
        let fits = |index: &catalog::Index| {
            let positions = table.index_positions(index);
            index.state.is_public()
                && index.predicate.is_none()
                && positions.len() >= own.len()
                && own.iter().all(|p| positions[..own.len()].contains(p))
        };
        let primary = std::iter::once(&table.primary).filter(|i| !i.columns.is_empty());
        let Some(index) = primary.chain(&table.indexes).find(|i| fits(i)) else {
            return Ok(Search { index: None, span: codec.span() });
        };
        let ordered: Vec<Datum> = table.index_positions(index)[..own.len()]
            .iter()
            .map(|p| wanted[own.iter().position(|o| o == p).expect("it fits")].clone())
            .collect();
        let id = index.id;
        let index = codec.index(id).expect("an index of the table");
        let prefix = index.key_prefix(&ordered).map_err(|e| codec_error(&e, table))?;
        let index = (id != codec.primary().id).then_some(id);
        Ok(Search { index, span: prefix.prefix_range() })
    }
}
