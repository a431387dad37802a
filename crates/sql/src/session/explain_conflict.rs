//! Errors that tell who was in the way, where and how: what 40001, 40P01 and 55P03 say in DETAIL and HINT.
//!
//! The transaction layer knows ids and keys. Statements and applications are asked of the other
//! transaction's coordinator, for a moment only: an error that says less is better than one that comes
//! late. The same record goes into the node's ring of conflicts (`conclave.contention_events`).

use base::{Key, KeyRange, Timestamp, TxnId};
use kv::{AdvisoryKey, KvError, SerializationCause, Strength, WaitEdge};
use proto::kv as message;

use super::Session;
use crate::dml::Names;
use crate::{SqlError, SqlState};

/// Bytes of a statement in an error.
const STATEMENT_MAX: usize = 200;
/// Transactions of a deadlock that are asked for.
const ASKED_MAX: usize = 8;

/// Another transaction, as far as anybody could say.
struct Other {
    id: TxnId,
    info: Option<message::TxnInfo>,
}

impl Session {
    /// The error as the client shall see it; the conflict, if it is one, is kept.
    pub(super) async fn explained(&self, error: SqlError) -> SqlError {
        let Some(conflict) = error.fields().conflict.clone() else { return error };
        // A transaction that was repeated since has another id by now.
        let own = match &*conflict {
            KvError::Deadlock { victim, .. } => *victim,
            _ => self.tx.txn().and_then(|txn| txn.id()).unwrap_or(TxnId(0)),
        };
        let ids: Vec<TxnId> = match &*conflict {
            KvError::Serialization { by, .. } => by.iter().copied().collect(),
            KvError::LockNotAvailable { holder, .. } => vec![*holder],
            KvError::Deadlock { cycle, .. } => {
                cycle.iter().map(|e| e.waiter).filter(|id| *id != own).take(ASKED_MAX).collect()
            }
            _ => return error,
        };
        let asked = ids
            .into_iter()
            .map(|id| async move { Other { id, info: self.engine.db.who(id).await } });
        let others = futures::future::join_all(asked).await;
        let catalog = self.known_catalog();
        let names = Names { catalog: &catalog, env: &self.env };
        let now_us = super::clock::wall_micros(&self.engine.db);
        let explained = explain(error, &conflict, own, &others, &names, now_us);
        self.record(&explained, &conflict, own, others, now_us);
        explained
    }

    fn record(
        &self,
        error: &SqlError,
        conflict: &KvError,
        own: TxnId,
        others: Vec<Other>,
        now_us: i64,
    ) {
        let edge = |e: &WaitEdge| message::WaitEdge {
            waiter: e.waiter.0,
            holder: e.holder.0,
            key: e.key.0.clone(),
            waiter_start_ts: e.waiter_start.0,
            holder_start_ts: e.holder_start.0,
            wish: e.wish as i32,
            held: e.held as i32,
            waited_ms: millis(e.waited),
        };
        let (key, waited, edges) = match conflict {
            KvError::Deadlock { cycle, .. } => {
                let own = cycle.iter().find(|e| e.waiter == own).or(cycle.first());
                let (key, waited) = own.map(|e| (e.key.clone(), e.waited)).unwrap_or_default();
                (key, waited, cycle.iter().map(edge).collect())
            }
            KvError::LockNotAvailable { key, holder, wish, held, waited, .. } => {
                let edge = message::WaitEdge {
                    waiter: own.0,
                    holder: holder.0,
                    key: key.0.clone(),
                    wish: *wish as i32,
                    held: *held as i32,
                    waited_ms: millis(*waited),
                    ..message::WaitEdge::default()
                };
                (key.clone(), *waited, vec![edge])
            }
            KvError::Serialization { key, .. } => {
                (key.clone().unwrap_or_default(), Default::default(), Vec::new())
            }
            _ => return,
        };
        let txn = message::TxnMeta { id: own.0, start_ts: own.0, ..Default::default() };
        let victim = message::TxnInfo {
            txn: Some(txn),
            activity: Some(self.activity.snapshot()),
            ..Default::default()
        };
        let unknown = |id: TxnId| message::TxnInfo {
            txn: Some(message::TxnMeta { id: id.0, start_ts: id.0, ..Default::default() }),
            ..Default::default()
        };
        self.engine.db.note_contention(message::ContentionEvent {
            time_us: now_us.unsigned_abs(),
            sqlstate: error.code().as_str().to_owned(),
            message: error.message().to_owned(),
            key: key.0,
            victim: Some(victim),
            waited_ms: millis(waited),
            edges,
            others: others.into_iter().map(|o| o.info.unwrap_or_else(|| unknown(o.id))).collect(),
        });
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn explain(
    error: SqlError,
    conflict: &KvError,
    own: TxnId,
    others: &[Other],
    names: &Names<'_>,
    now_us: i64,
) -> SqlError {
    let who = |id: TxnId| match others.iter().find(|other| other.id == id) {
        _ if id == own => "this transaction".to_owned(),
        Some(other) => described(other, now_us),
        None => format!("transaction {}", id.0),
    };
    match conflict {
        KvError::Serialization { key, by, cause } => {
            let place = key.as_ref().map_or("something it read".to_owned(), |k| names.place(k));
            let by = by.map_or("another transaction".to_owned(), who);
            let detail = match cause {
                SerializationCause::WriteConflict(at) => format!(
                    "{place} was changed by {by}, which committed at {}, after the snapshot of \
                     this transaction was taken.",
                    at.0
                ),
                SerializationCause::ReadChanged(at) => format!(
                    "{place}, which this transaction has read or locked, was changed by {by} at {}.",
                    at.0
                ),
                SerializationCause::RolledBack => {
                    "This transaction was rolled back by another, because its node was silent for \
                     too long or its locks were in the way."
                        .to_owned()
                }
            };
            error.detail(capital(detail)).hint("Run the transaction again: it might succeed.")
        }
        KvError::LockNotAvailable { key, holder, wish, held, waited, timed_out } => {
            let advisory = AdvisoryKey::from_key(key.as_bytes()).is_some();
            let detail = format!(
                "{}\nThis transaction asked for {} and waited {} ms.",
                capital(format!(
                    "{} holds {} on {}.",
                    who(*holder),
                    mode(*held, advisory),
                    names.place(key)
                )),
                mode(*wish, advisory),
                waited.as_millis(),
            );
            let hint = match timed_out {
                true => "End the other transaction, or raise lock_timeout.",
                false => "Try again later, without NOWAIT, or with SKIP LOCKED.",
            };
            let error = match (timed_out, names.table_of(key)) {
                (false, Some(table)) => SqlError::new(
                    SqlState::LOCK_NOT_AVAILABLE,
                    format!("could not obtain lock on row in relation \"{table}\""),
                ),
                _ => error,
            };
            error.detail(detail).hint(hint)
        }
        KvError::Deadlock { cycle, .. } => {
            let lines: Vec<String> = cycle.iter().map(|e| edge_line(e, &who, names)).collect();
            error.detail(lines.join("\n")).hint(
                "Run the transaction again. Transactions that lock rows in the same order do not \
                 deadlock.",
            )
        }
        _ => error,
    }
}

fn edge_line(edge: &WaitEdge, who: &dyn Fn(TxnId) -> String, names: &Names<'_>) -> String {
    let advisory = AdvisoryKey::from_key(edge.key.as_bytes()).is_some();
    capital(format!(
        "{} waits for {} on {}, held {} by {}, since {} ms.",
        who(edge.waiter),
        mode(edge.wish, advisory),
        names.place(&edge.key),
        mode(edge.held, advisory),
        who(edge.holder),
        edge.waited.as_millis(),
    ))
}

/// `transaction 17 (age 1.2 s, application "psql", node 2, statement: UPDATE …)`.
fn described(other: &Other, now_us: i64) -> String {
    let id = other.id.0;
    let Some(info) = &other.info else {
        return format!("transaction {id} (age {})", age(other.id, now_us));
    };
    let start = info.txn.as_ref().map_or(other.id, |txn| TxnId(txn.start_ts));
    let mut facts = vec![format!("age {}", age(start, now_us))];
    if let Some(activity) = &info.activity {
        if !activity.application_name.is_empty() {
            facts.push(format!("application \"{}\"", activity.application_name));
        }
        if activity.pid != 0 {
            facts.push(format!("process {}", activity.pid));
        }
        if let Some(node) = info.txn.as_ref().map(|txn| txn.coordinator).filter(|n| *n != 0) {
            facts.push(format!("node {node}"));
        }
        if !activity.statement.is_empty() {
            facts.push(format!("statement: {}", cut(&activity.statement)));
        }
    }
    format!("transaction {id} ({})", facts.join(", "))
}

/// How old a transaction is: its id is the timestamp at which it began.
fn age(start: TxnId, now_us: i64) -> String {
    // The oracle counts from 1970.
    const EPOCH_MS: u64 = 946_684_800_000;
    let began_ms = Timestamp(start.0).millis();
    let now_ms = now_us.unsigned_abs() / 1000 + EPOCH_MS;
    format!("{:.1} s", now_ms.saturating_sub(began_ms) as f64 / 1000.0)
}

fn cut(statement: &str) -> String {
    let one_line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    if one_line.len() <= STATEMENT_MAX {
        return one_line;
    }
    let mut end = STATEMENT_MAX;
    while !one_line.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} …", &one_line[..end])
}

/// A strength as its clause, or the mode of an advisory lock.
pub(crate) fn mode(strength: Strength, advisory: bool) -> &'static str {
    match (advisory, strength) {
        (true, Strength::Update | Strength::NoKeyUpdate) => "ExclusiveLock",
        (true, Strength::Share | Strength::KeyShare) => "ShareLock",
        (false, Strength::KeyShare) => "FOR KEY SHARE",
        (false, Strength::Share) => "FOR SHARE",
        (false, Strength::NoKeyUpdate) => "FOR NO KEY UPDATE",
        (false, Strength::Update) => "FOR UPDATE",
    }
}

fn capital(text: String) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().collect::<String>() + chars.as_str(),
        None => text,
    }
}

impl Names<'_> {
    /// Where a conflict is, as a person writes it: `accounts(id)=(7), index "accounts_pkey"`.
    pub(crate) fn place(&self, key: &Key) -> String {
        match AdvisoryKey::from_key(key.as_bytes()) {
            Some(AdvisoryKey::One(_, number)) => return format!("advisory lock {number}"),
            Some(AdvisoryKey::Two(_, a, b)) => return format!("advisory lock ({a}, {b})"),
            None => {}
        }
        if key.as_bytes().first() == Some(&base::keyspace::CATALOG) {
            return "the catalog".to_owned();
        }
        let Some((table, index)) = self.owner(key) else { return format!("key {key}") };
        match self.describe(table, index, key) {
            Some(values) if !index.columns.is_empty() => {
                format!("{}{values}, index \"{}\"", table.name, index.name)
            }
            _ => format!("a row of {}", table.name),
        }
    }

    /// The same for a span: `accounts from (id)=(10) to (id)=(20), index "accounts_pkey"`.
    pub(crate) fn place_of_span(&self, span: &KeyRange) -> String {
        let Some((table, index)) = self.owner(&span.start) else { return format!("keys {span}") };
        let whole = base::keyspace::index_prefix(table.id, index.id).prefix_range();
        let values = |prefix: &[u8]| self.describe_prefix(table, index, prefix);
        let (start, end) = (span.start.as_bytes(), span.end.as_bytes());
        let from = match (values(start), start.strip_suffix(&[0]).and_then(values)) {
            _ if span.start <= whole.start => String::new(),
            (Some(from), _) => format!(" from {from}"),
            // Where a page of a scan ended.
            (None, Some(last)) => format!(" after {last}"),
            (None, None) => " from some value".to_owned(),
        };
        let to = match (last_before(end).as_deref().and_then(values), values(end)) {
            _ if span.end == whole.end => String::new(),
            (Some(last), _) => format!(" to {last}"),
            (None, Some(end)) => format!(" to before {end}"),
            (None, None) => " to some value".to_owned(),
        };
        match from.is_empty() && to.is_empty() {
            true => format!("all rows of {}, index \"{}\"", table.name, index.name),
            false => format!("{}{from}{to}, index \"{}\"", table.name, index.name),
        }
    }

    /// The table of a key, if it is of one.
    pub(crate) fn table_of(&self, key: &Key) -> Option<&str> {
        if key.as_bytes().first() != Some(&base::keyspace::TABLES) {
            return None;
        }
        self.owner(key).map(|(table, _)| table.name.as_str())
    }
}

/// What ends right before `end`: a prefix of keys, or a key.
fn last_before(end: &[u8]) -> Option<Vec<u8>> {
    let (&last, rest) = end.split_last()?;
    let mut prefix = rest.to_vec();
    if last > 0 {
        prefix.push(last - 1);
    }
    Some(prefix)
}
