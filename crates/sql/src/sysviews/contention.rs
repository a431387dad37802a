//! Who waits for whom, and who did: pg_locks, pg_stat_activity, and the views of `conclave` behind errors.
//!
//! Every node is asked for what it has in memory, and has a second to answer. One that does not is left
//! out of the rows of the others and has one of its own that says so: its id, and NULLs.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Key, KeyRange, NodeId};
use kv::{AdvisoryKey, Inspection, Strength};
use pgtypes::{Datum, EvalEnv};
use proto::kv as message;

use super::{Row, Source, SystemView, text, view};
use crate::SqlError;
use crate::dml::Names;
use crate::session::{ViewContext, lock_mode, wall_micros};

/// What is asked of all nodes.
#[derive(Clone, Copy)]
pub(super) enum Question {
    Locks,
    LockWaits,
    Transactions,
    Events,
    Activity,
}

pub(super) fn views() -> Vec<Arc<SystemView>> {
    let all = |question| Source::Nodes(question);
    vec![
        view(
            "pg_catalog",
            "pg_locks",
            "locktype:t database:o relation:o page:4 tuple:2 virtualxid:t transactionid:8 classid:o \
             objid:o objsubid:2 virtualtransaction:t pid:4 mode:t granted:b fastpath:b waitstart:z \
             node:8 key:t",
            all(Question::Locks),
        ),
        view(
            "pg_catalog",
            "pg_stat_activity",
            "datid:o datname:n pid:4 leader_pid:4 usesysid:o usename:n application_name:t \
             client_addr:t client_hostname:t client_port:4 backend_start:z xact_start:z \
             query_start:z state_change:z wait_event_type:t wait_event:t state:t backend_xid:8 \
             backend_xmin:8 query_id:8 query:t backend_type:t node:8",
            all(Question::Activity),
        ),
        view(
            "conclave",
            "lock_waits",
            "node:8 waiter:8 waiter_pid:4 waiter_application:t waiter_statement:t holder:8 \
             holder_pid:4 holder_application:t holder_statement:t holder_age_ms:8 place:t wish:t \
             held:t waited_ms:8",
            all(Question::LockWaits),
        ),
        view(
            "conclave",
            "transactions",
            "node:8 transaction:8 start:z age_ms:8 isolation:t phase:t kind:t locks:8 \
             buffered_bytes:8 waits:b pid:4 user_name:n application_name:t statement:t",
            all(Question::Transactions),
        ),
        view(
            "conclave",
            "contention_events",
            "node:8 happened_at:z sqlstate:t message:t place:t transaction:8 pid:4 application_name:t \
             statement:t other:8 other_application:t other_statement:t wish:t held:t waited_ms:8 \
             cycle:t",
            all(Question::Events),
        ),
    ]
}

/// Everything that one view is made of.
struct Cluster<'a> {
    names: Names<'a>,
    txns: BTreeMap<u64, (u64, message::TxnInfo)>,
    now_us: u64,
}

type Answers = Vec<(NodeId, Option<message::Inspected>)>;

pub(super) async fn answer(question: Question, cx: &ViewContext) -> Result<Vec<Row>, SqlError> {
    let db = &cx.info.engine.db;
    let what = match question {
        Question::Locks | Question::LockWaits => Inspection::Locks,
        Question::Transactions => Inspection::Txns,
        Question::Events => Inspection::Events,
        Question::Activity => Inspection::Sessions,
    };
    let (answers, txns) = match question {
        Question::Locks | Question::LockWaits | Question::Activity => {
            futures::future::join(db.inspect(what), db.inspect(Inspection::Txns)).await
        }
        Question::Transactions | Question::Events => (db.inspect(what).await, Vec::new()),
    };
    let env = EvalEnv::default();
    let mut cluster = Cluster {
        names: Names { catalog: &cx.catalog, env: &env },
        txns: BTreeMap::new(),
        now_us: wall_micros(db).unsigned_abs(),
    };
    for (node, answer) in txns {
        for txn in answer.into_iter().flat_map(|answer| answer.txns) {
            if let Some(meta) = &txn.txn {
                cluster.txns.insert(meta.id, (node.0, txn));
            }
        }
    }
    let rows = match question {
        Question::Locks => cluster.rows(answers, 18, 16, |c, _, a| c.locks(&a)),
        Question::LockWaits => cluster.rows(answers, 14, 0, |c, n, a| c.lock_waits(n, &a)),
        Question::Transactions => cluster.rows(answers, 14, 0, |c, n, a| c.transactions(n, &a)),
        Question::Events => cluster.rows(answers, 16, 0, |c, n, a| c.events(n, &a)),
        Question::Activity => {
            let database = cx.info.database;
            cluster.rows(answers, 23, 22, |c, n, a| c.activity(n, &a, database))
        }
    };
    Ok(hide_others(question, cx, rows))
}

/// Who may not see what others do sees that they are there: no statements of theirs, no keys.
fn hide_others(question: Question, cx: &ViewContext, mut rows: Vec<Row>) -> Vec<Row> {
    const USER: usize = 5;
    const QUERY: usize = 20;
    const KEY: usize = 17;
    if cx.authority.has(catalog::role::READ_ALL_STATS_ROLE_ID) {
        return rows;
    }
    let own = |name: &str| cx.catalog.role(name).is_some_and(|role| cx.authority.has(role.id));
    for row in &mut rows {
        match question {
            Question::Activity if !row[USER].as_str().is_some_and(own) => {
                row[7..=19].fill(Datum::Null);
                row[QUERY] = text("<insufficient privilege>");
            }
            Question::Locks => row[KEY] = Datum::Null,
            _ => {}
        }
    }
    rows
}

impl Cluster<'_> {
    /// The rows of all nodes. One that is silent has NULLs and its id.
    fn rows(
        &self,
        answers: Answers,
        width: usize,
        node_at: usize,
        of: impl Fn(&Self, u64, message::Inspected) -> Vec<Row>,
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        for (node, answer) in answers {
            match answer {
                Some(answer) => rows.extend(of(self, node.0, answer)),
                None => {
                    let mut row = vec![Datum::Null; width];
                    row[node_at] = int8(node.0);
                    rows.push(row);
                }
            }
        }
        rows
    }

    fn info(&self, txn: Option<&message::TxnMeta>) -> Option<&message::TxnInfo> {
        self.txns.get(&txn?.id).map(|(_, info)| info)
    }

    fn session(&self, txn: Option<&message::TxnMeta>) -> Option<&message::Activity> {
        self.info(txn)?.activity.as_ref()
    }

    fn locks(&self, answer: &message::Inspected) -> Vec<Row> {
        let row = |lock: &message::LockInfo| {
            let key = Key(lock.key.clone());
            let advisory = AdvisoryKey::from_key(key.as_bytes());
            let table =
                self.names.owner(&key).filter(|_| is_table(&key)).map(|(table, _)| table.id);
            let (class, object, sub) = match advisory {
                Some(AdvisoryKey::One(_, n)) => (oid((n >> 32) as u32), oid(n as u32), Some(1)),
                Some(AdvisoryKey::Two(_, a, b)) => (oid(a as u32), oid(b as u32), Some(2)),
                None => (Datum::Null, Datum::Null, None),
            };
            let database = advisory.map_or(Datum::Null, |key| oid(key.database()));
            let txn = lock.txn.as_ref();
            let waits = (!lock.granted)
                .then(|| timestamp(self.now_us.saturating_sub(lock.waited_ms * 1000)));
            vec![
                text(lock_type(lock, advisory.is_some())),
                database,
                table.map_or(Datum::Null, oid),
                Datum::Null,
                Datum::Null,
                Datum::Null,
                Datum::Null,
                class,
                object,
                sub.map_or(Datum::Null, Datum::Int2),
                txn.map_or(Datum::Null, |txn| text(txn.id.to_string())),
                self.session(txn).map_or(Datum::Null, |s| Datum::Int4(s.pid)),
                text(pg_mode(lock.strength(), advisory.is_some())),
                Datum::Bool(lock.granted),
                Datum::Bool(false),
                waits.unwrap_or(Datum::Null),
                txn.map_or(Datum::Null, |txn| int8(txn.coordinator)),
                text(self.place(lock)),
            ]
        };
        answer.locks.iter().map(row).collect()
    }

    fn lock_waits(&self, node: u64, answer: &message::Inspected) -> Vec<Row> {
        let mut rows = Vec::new();
        for lock in answer.locks.iter().filter(|lock| !lock.granted) {
            let key = Key(lock.key.clone());
            let advisory = AdvisoryKey::from_key(key.as_bytes()).is_some();
            for ahead in &lock.behind {
                let (waiter, holder) = (lock.txn.as_ref(), ahead.txn.as_ref());
                let mut row = vec![int8(node)];
                row.extend(self.party(waiter));
                row.extend(self.party(holder));
                row.push(holder.map_or(Datum::Null, |txn| int8(self.age_ms(txn))));
                row.push(text(self.place(lock)));
                row.push(text(lock_mode(lock.strength(), advisory)));
                row.push(text(lock_mode(ahead.strength(), advisory)));
                row.push(int8(lock.waited_ms));
                rows.push(row);
            }
        }
        rows
    }

    /// What a lock is on.
    fn place(&self, lock: &message::LockInfo) -> String {
        match &lock.span {
            Some(span) => self.names.place_of_span(&KeyRange::from(span.clone())),
            None => self.names.place(&Key(lock.key.clone())),
        }
    }

    /// Transaction, process, application, statement.
    fn party(&self, txn: Option<&message::TxnMeta>) -> [Datum; 4] {
        let session = self.session(txn);
        [
            txn.map_or(Datum::Null, |txn| int8(txn.id)),
            session.map_or(Datum::Null, |s| Datum::Int4(s.pid)),
            session.map_or(Datum::Null, |s| text(&s.application_name)),
            session.map_or(Datum::Null, |s| text(&s.statement)),
        ]
    }

    fn transactions(&self, node: u64, answer: &message::Inspected) -> Vec<Row> {
        let row = |info: &message::TxnInfo| {
            let meta = info.txn.unwrap_or_default();
            let session = info.activity.as_ref();
            let isolation = match meta.isolation() {
                message::Isolation::Serializable => "serializable",
                message::Isolation::RepeatableRead => "repeatable read",
                message::Isolation::ReadCommitted => "read committed",
            };
            vec![
                int8(node),
                int8(meta.id),
                timestamp(began_us(&meta)),
                int8(self.age_ms(&meta)),
                text(isolation),
                text(&info.phase),
                text(if info.advisory { "advisory lock" } else { "transaction" }),
                int8(info.locks),
                int8(info.buffered_bytes),
                Datum::Bool(info.waits),
                session.map_or(Datum::Null, |s| Datum::Int4(s.pid)),
                session.map_or(Datum::Null, |s| text(&s.user)),
                session.map_or(Datum::Null, |s| text(&s.application_name)),
                session.map_or(Datum::Null, |s| text(&s.statement)),
            ]
        };
        answer.txns.iter().map(row).collect()
    }

    fn events(&self, node: u64, answer: &message::Inspected) -> Vec<Row> {
        let row = |event: &message::ContentionEvent| {
            let key = Key(event.key.clone());
            let advisory = AdvisoryKey::from_key(key.as_bytes()).is_some();
            let own = event.victim.clone().unwrap_or_default();
            let own_id = own.txn.as_ref().map_or(0, |txn| txn.id);
            let edge = event.edges.iter().find(|e| e.waiter == own_id).or(event.edges.first());
            let mode = |strength: Option<Strength>| {
                strength.map_or(Datum::Null, |s| text(lock_mode(s, advisory)))
            };
            let other = event.others.first();
            let (session, theirs) =
                (own.activity.as_ref(), other.and_then(|other| other.activity.as_ref()));
            let cycle: Vec<String> = event
                .edges
                .iter()
                .map(|e| {
                    let place = self.names.place(&Key(e.key.clone()));
                    format!("{} waits for {} at {place}", e.waiter, e.holder)
                })
                .collect();
            vec![
                int8(node),
                timestamp(event.time_us),
                text(&event.sqlstate),
                text(&event.message),
                if event.key.is_empty() { Datum::Null } else { text(self.names.place(&key)) },
                int8(own_id),
                session.map_or(Datum::Null, |s| Datum::Int4(s.pid)),
                session.map_or(Datum::Null, |s| text(&s.application_name)),
                session.map_or(Datum::Null, |s| text(&s.statement)),
                other.and_then(|o| o.txn.as_ref()).map_or(Datum::Null, |txn| int8(txn.id)),
                theirs.map_or(Datum::Null, |s| text(&s.application_name)),
                theirs.map_or(Datum::Null, |s| text(&s.statement)),
                mode(edge.map(message::WaitEdge::wish)),
                mode(edge.map(message::WaitEdge::held)),
                int8(event.waited_ms),
                if cycle.len() > 1 { text(cycle.join("; ")) } else { Datum::Null },
            ]
        };
        answer.events.iter().map(row).collect()
    }

    fn activity(&self, node: u64, answer: &message::Inspected, database: u32) -> Vec<Row> {
        let row = |s: &message::Activity| {
            let own = |(at, info): &&(u64, message::TxnInfo)| {
                *at == node && info.activity.as_ref().is_some_and(|a| a.session == s.session)
            };
            let waits = self.txns.values().filter(own).any(|(_, info)| info.waits);
            let advisory = self.txns.values().filter(own).any(|(_, i)| i.waits && i.advisory);
            let event = if advisory { "advisory" } else { "tuple" };
            let when = |us: u64| if us == 0 { Datum::Null } else { timestamp(us) };
            let (host, port) = s.client.rsplit_once(':').unwrap_or((&s.client, ""));
            vec![
                oid(database),
                text(&s.database),
                Datum::Int4(s.pid),
                Datum::Null,
                oid(self.names.catalog.role(&s.user).map_or(0, |role| role.id)),
                text(&s.user),
                text(&s.application_name),
                if host.is_empty() { Datum::Null } else { text(host) },
                Datum::Null,
                port.parse().map_or(Datum::Null, Datum::Int4),
                when(s.began_us),
                when(s.xact_us),
                when(s.statement_us),
                when(s.changed_us),
                text(if waits { "Lock" } else { "Client" }),
                text(if waits { event } else { "ClientRead" }),
                text(&s.state),
                if s.txn_id == 0 { Datum::Null } else { int8(s.txn_id) },
                Datum::Null,
                Datum::Null,
                text(&s.statement),
                text("client backend"),
                int8(node),
            ]
        };
        let mut rows: Vec<Row> = answer.sessions.iter().map(row).collect();
        // Only who rests waits for its client.
        for row in &mut rows {
            if row[14] == text("Client") && row[16] == text("active") {
                (row[14], row[15]) = (Datum::Null, Datum::Null);
            }
        }
        rows
    }

    fn age_ms(&self, txn: &message::TxnMeta) -> u64 {
        self.now_us.saturating_sub(began_us(txn)) / 1000
    }
}

/// When a transaction began, in microseconds since 2000: its start timestamp is the oracle's clock.
fn began_us(txn: &message::TxnMeta) -> u64 {
    const EPOCH_MS: u64 = 946_684_800_000;
    base::Timestamp(txn.start_ts).millis().saturating_sub(EPOCH_MS) * 1000
}

/// A span is none of PostgreSQL's types: its predicate locks make nobody wait.
fn lock_type(lock: &message::LockInfo, advisory: bool) -> &'static str {
    match (&lock.span, advisory) {
        (Some(_), _) => "range",
        (None, true) => "advisory",
        (None, false) => "tuple",
    }
}

fn is_table(key: &Key) -> bool {
    key.as_bytes().first() == Some(&base::keyspace::TABLES)
}

/// As PostgreSQL shows a row lock in pg_locks: by the table-level mode that stands for it.
fn pg_mode(strength: Strength, advisory: bool) -> &'static str {
    match (advisory, strength) {
        (true, _) => lock_mode(strength, true),
        (false, Strength::KeyShare) => "AccessShareLock",
        (false, Strength::Share) => "RowShareLock",
        (false, Strength::NoKeyUpdate) => "ExclusiveLock",
        (false, Strength::Update) => "AccessExclusiveLock",
    }
}

fn timestamp(us: u64) -> Datum {
    Datum::Timestamptz(i64::try_from(us).unwrap_or(i64::MAX))
}

fn oid(value: u32) -> Datum {
    Datum::Oid(value)
}

fn int8(value: u64) -> Datum {
    Datum::Int8(i64::try_from(value).unwrap_or(i64::MAX))
}
