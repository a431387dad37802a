//! DISTINCT and ORDER BY inside an aggregate call, around any accumulator.
//!
//! Rows are kept until the end: as a set by sort key, or as a list with the key of their ORDER BY.
//! The state is the kept rows, so that partial aggregates on several nodes merge correctly.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Accumulate, ResolvedAggregate};
use crate::binary::{parse_binary, put_field};
use crate::datum::Datum;
use crate::env::EvalEnv;
use crate::error::Result;
use crate::sortkey::sort_key;
use crate::ty::PgType;

/// Keeps rows, once each if DISTINCT, and aggregates them in order at the end.
#[derive(Debug)]
pub(crate) struct Kept {
    aggregate: ResolvedAggregate,
    env: Arc<EvalEnv>,
    distinct: bool,
    /// By order key, arrival, and row: BTreeMap keeps both uses sorted.
    rows: BTreeMap<(Vec<u8>, Vec<u8>), Vec<Datum>>,
    arrivals: u64,
    heap: usize,
}

impl Kept {
    pub(crate) fn new(aggregate: ResolvedAggregate, env: Arc<EvalEnv>, distinct: bool) -> Self {
        Self { aggregate, env, distinct, rows: BTreeMap::new(), arrivals: 0, heap: 0 }
    }

    /// Takes a row with the key it is ordered by (empty without ORDER BY).
    pub(crate) fn insert(&mut self, order: &[u8], args: &[Datum]) {
        if self.aggregate.strict && args.iter().any(Datum::is_null) {
            return;
        }
        let identity = if self.distinct {
            // Without ORDER BY, PostgreSQL sorts by the arguments to find duplicates; so does this.
            let mut key = Vec::new();
            for (arg, ty) in args.iter().zip(&self.aggregate.args) {
                key.push(if arg.is_null() { 2 } else { 1 });
                sort_key(arg, *ty, &mut key);
                key.push(0);
            }
            key
        } else {
            self.arrivals += 1;
            self.arrivals.to_be_bytes().to_vec()
        };
        let size = order.len() + identity.len() + args.iter().map(Datum::size).sum::<usize>();
        let before = self.rows.len();
        self.rows.entry((order.to_vec(), identity)).or_insert_with(|| args.to_vec());
        if self.rows.len() > before {
            self.heap += size;
        }
    }

    /// The kept rows as bytes: for each, order key and arguments with their lengths.
    pub(crate) fn state(&self) -> Datum {
        let mut out = BytesMut::new();
        for ((order, _), args) in &self.rows {
            out.put_u32(u32::try_from(order.len()).expect("keys are short"));
            out.put_slice(order);
            for (arg, ty) in args.iter().zip(&self.aggregate.args) {
                put_field(arg, *ty, &mut out);
            }
        }
        Datum::Bytea(out.freeze())
    }

    /// Takes in the rows of another's state.
    pub(crate) fn merge(&mut self, state: &Datum) -> Result<()> {
        let Datum::Bytea(bytes) = state else { return Ok(()) };
        let mut bytes: Bytes = bytes.clone();
        let types: Vec<PgType> = self.aggregate.args.clone();
        while bytes.has_remaining() {
            let len = bytes.get_u32() as usize;
            let order = bytes.split_to(len);
            let args = types
                .iter()
                .map(|ty| match usize::try_from(bytes.get_i32()) {
                    Ok(len) => parse_binary(bytes.split_to(len), ty.base()),
                    Err(_) => Ok(Datum::Null),
                })
                .collect::<Result<Vec<_>>>()?;
            self.insert(&order, &args);
        }
        Ok(())
    }

    pub(crate) fn finish(&self) -> Result<Datum> {
        let mut inner: Box<dyn Accumulate> = self.aggregate.accumulator(&self.env);
        for args in self.rows.values() {
            inner.update(args)?;
        }
        inner.finish()
    }

    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.heap
    }
}
