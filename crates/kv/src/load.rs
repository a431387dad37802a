//! Writing many new rows where nobody else looks yet, and removing them where nobody looks any more:
//! outside of any transaction.

use base::{Key, KeyRange, Timestamp, TxnId};
use bytes::Bytes;
use proto::kv;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;

use crate::db::Db;
use crate::error::KvError;
use crate::router::{Refusal, Replay};
use crate::scatter::{Piece, scatter};
use crate::txn::range_refused;

/// A row and its key.
impl Piece for (Key, Bytes) {
    fn anchor(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn cut(self, _: &KeyRange) -> (Self, Option<Self>) {
        (self, None)
    }
}

impl Db {
    /// Writes rows, in key order and each key once, visible from `ts` on. The caller vouches that nobody
    /// else reads or writes these keys before it has told them of; in return there are no locks, and no
    /// limit but the size of one request: hand over some hundred kilobytes at a time. A row whose key
    /// exists is [`KvError::DuplicateKey`]. Not atomic: after an error, some rows may be there.
    pub async fn load(&self, rows: Vec<(Key, Bytes)>, ts: Timestamp) -> Result<(), KvError> {
        self.send_load(rows, ts, false).await
    }

    /// The same for keys that others may write already, but never below `ts`, and that nobody reads before
    /// the caller has told them to: a row whose key exists is left out, whatever its value.
    pub async fn fill(&self, rows: Vec<(Key, Bytes)>, ts: Timestamp) -> Result<(), KvError> {
        self.send_load(rows, ts, true).await
    }

    async fn send_load(
        &self,
        rows: Vec<(Key, Bytes)>,
        ts: Timestamp,
        fill: bool,
    ) -> Result<(), KvError> {
        let shared = &self.shared;
        // Names this load: a range that has carried it out recognises a repetition.
        let id = shared.oracle.draw(&shared.router).await?;
        let (node, incarnation) = shared.router.transport.local_node();
        let meta = kv::TxnMeta {
            id: TxnId::from(id).0,
            start_ts: id.0,
            isolation: kv::Isolation::Serializable as i32,
            coordinator: node.0,
            incarnation,
        };
        let build = |rows: &[(Key, Bytes)]| {
            let row = |(key, value): &(Key, Bytes)| kv::KeyValue {
                key: key.0.clone(),
                value: value.clone(),
            };
            shared.router.metrics.consensus_rounds.inc();
            Request::Load(kv::Load { rows: rows.iter().map(row).collect(), ts: ts.0, fill })
        };
        let answers = scatter(&shared.router, Some(&meta), Replay::Safe, rows, build).await?;
        all_done(answers)
    }

    /// Removes all that lies in a span, its history included. The caller vouches that nothing refers to
    /// the span any more since `safe_point`; who reads there at or below it is refused from now on
    /// ([`KvError::SnapshotTooOld`]). Zero: nobody ever knew of the span. May be repeated.
    pub async fn clear(&self, span: KeyRange, safe_point: Timestamp) -> Result<(), KvError> {
        let router = &self.shared.router;
        // One request for each range that holds some of it.
        let build = |spans: &[KeyRange]| {
            router.metrics.consensus_rounds.inc();
            let span = Some(spans[0].clone().into());
            Request::Clear(kv::Clear { span, safe_point: safe_point.0 })
        };
        all_done(scatter(router, None, Replay::Safe, vec![span], build).await?)
    }
}

fn all_done<T>(answers: Vec<(Vec<T>, Result<Response, Refusal>)>) -> Result<(), KvError> {
    for (_, answer) in answers {
        match answer {
            Ok(_) => {}
            Err(Refusal::Range(error)) => return Err(range_refused(error)),
            Err(Refusal::Unavailable(error)) => return Err(error),
            Err(Refusal::Moved) => unreachable!("what has moved is cut anew"),
        }
    }
    Ok(())
}
