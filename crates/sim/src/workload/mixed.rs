//! Workloads whose histories the checker judges, and the clients that carry them out.
//!
//! | workload | transactions | judged by |
//! |---|---|---|
//! | lists | append to and read lists | cycles, for each level |
//! | registers | set and read registers, scan them | cycles, for each level |
//! | skew | take from a span whose sum allows it, by a change or by a new row | no sum below the floor |
//! | set | insert a row, scan them all | lost rows, long fork, causal reverse |
//! | ids | take ids | none twice |
//!
//! Beside them, in each: snapshots of now that stay open over many commits, and snapshots of then, of any
//! age; each must show what was committed up to its timestamp (`snapshots`).

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Timestamp;
use checker::invariants::{forks, growing, sums, values};
use checker::{History, Outcome, Txn};
use kv::{IdKind, Isolation, KvError, TxnOptions};
use parking_lot::Mutex;

use super::plan::{Plan, Ran, Seen, Statement};
use super::{row, snapshots};
use crate::{Client, Lost, Micros, Rng, World};

/// What transactions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Lists.
    Lists,
    /// Registers.
    Registers,
    /// Sums with a floor.
    Skew,
    /// A growing set.
    Set,
    /// Unique ids.
    Ids,
}

/// A workload.
#[derive(Debug, Clone, Copy)]
pub struct Mixed {
    /// What transactions do.
    pub kind: Kind,
    /// At which level.
    pub level: Isolation,
    /// Clients at a time.
    pub clients: usize,
    /// For how long.
    pub micros: Micros,
}

/// Rows of lists and registers; groups of the sums have one each.
const ROWS: u64 = 8;
/// Rows in a group of the sums.
const GROUP: u64 = 64;
/// What each group of the sums begins with.
const FLOOR_ABOVE: i64 = 3;
/// Rows of the set lie below this.
const SET: u64 = 4096;

/// What clients have done so far.
#[derive(Debug, Default)]
pub struct Record {
    /// The transactions.
    pub history: History,
    /// When a transaction that wrote was last acknowledged.
    pub last_commit: Micros,
    snapshots: Vec<(Timestamp, Micros)>,
    /// At which timestamp read-only transactions have read.
    read_at: BTreeMap<u64, Timestamp>,
    next_value: i64,
    next_process: u32,
}

/// The record, shared by the clients.
pub type Shared = Arc<Mutex<Record>>;

impl Mixed {
    /// The rows that it uses.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match self.kind {
            Kind::Lists | Kind::Registers | Kind::Ids => ROWS,
            Kind::Skew => 4 * GROUP,
            Kind::Set => SET,
        }
    }

    /// Cuts the rows into ranges and lets clients loose. They end by themselves.
    pub fn start(self, world: &mut World) -> Shared {
        let record = Shared::default();
        let (client, kind) = (world.client(), self.kind);
        let rows = self.rows();
        let ready = world.block_on(30_000_000, async move {
            client.until_done(0, move |db| Box::pin(prepare(db, kind, rows))).await;
        });
        assert!(ready.is_some(), "no row was made: rerun with SIM_SEED={}", world.seed());
        let until = world.now() + self.micros;
        for _ in 0..self.clients {
            let client = world.client();
            world.spawn(self.client(client, until, Arc::clone(&record)));
        }
        record
    }

    async fn client(self, client: Client, until: Micros, record: Shared) {
        let mut rng = client.rng();
        let mut process = next_process(&record);
        while client.now() < until {
            let plan = self.plan(&mut rng, &record);
            let node = rng.index(client.nodes());
            if transact(&client, node, plan, process, &record).await == Outcome::Unknown {
                // Who knows for how long that transaction goes on.
                process = next_process(&record);
            }
            client.sleep(rng.below(15_000)).await;
        }
    }

    fn plan(self, rng: &mut Rng, record: &Shared) -> Plan {
        let dice = rng.below(100);
        if dice >= 80 && self.kind != Kind::Ids {
            let then = if dice >= 90 { record.lock().then(rng) } else { None };
            let rest = if rng.chance(500_000) { 1_500_000 } else { 20_000 };
            let statements = self.look(rng, rest);
            // At READ COMMITTED each statement has a snapshot of its own.
            let level = match self.level {
                Isolation::ReadCommitted => Isolation::RepeatableRead,
                level => level,
            };
            return Plan { level, snapshot: Some(then), statements };
        }
        let statements = match self.kind {
            Kind::Lists | Kind::Registers => self.reads_and_writes(rng, record),
            Kind::Skew => vec![self.take(rng)],
            Kind::Set => {
                // Each row once, in any part of the table.
                let value = next_value(record);
                let nth = value.unsigned_abs() % SET;
                let key = nth.wrapping_mul(2_654_435_761) % SET;
                vec![Statement::Write { key, value, locks: rng.chance(500_000) }]
            }
            Kind::Ids => {
                vec![Statement::TakeId([IdKind::Row, IdKind::Range, IdKind::Table][rng.index(3)])]
            }
        };
        Plan { level: self.level, snapshot: None, statements }
    }

    fn reads_and_writes(self, rng: &mut Rng, record: &Shared) -> Vec<Statement> {
        let mut statements = Vec::new();
        for _ in 0..rng.between(1, 4) {
            let key = rng.below(ROWS);
            let locks = self.level == Isolation::ReadCommitted || rng.chance(500_000);
            let writes = rng.chance(550_000);
            statements.push(match (self.kind, writes) {
                (Kind::Lists, true) => Statement::Append { key, value: next_value(record), locks },
                (Kind::Lists, false) => Statement::List(key),
                (_, true) => Statement::Write { key, value: next_value(record), locks },
                (_, false) if rng.chance(200_000) => {
                    Statement::Scan { from: key, to: ROWS.min(key + 4) }
                }
                (_, false) => Statement::Read(key),
            });
            if rng.chance(150_000) {
                statements.push(Statement::Rest(rng.below(30_000)));
            }
        }
        statements
    }

    /// Takes one from a group if there is one more than the floor, by a new row or by an old one.
    fn take(self, rng: &mut Rng) -> Statement {
        let from = rng.below(4) * GROUP;
        let key = from + 1 + rng.below(GROUP - 1);
        let (floor, value) = if rng.chance(600_000) { (1, -1) } else { (i64::MIN, 0) };
        Statement::WriteIf { from, to: from + GROUP, floor, key, value }
    }

    /// Reads everything in one snapshot, with rests in between.
    fn look(self, rng: &mut Rng, rest: Micros) -> Vec<Statement> {
        let mut statements = match self.kind {
            Kind::Lists => (0..ROWS).map(Statement::List).collect(),
            Kind::Registers => {
                let mut reads: Vec<_> = (0..ROWS).map(Statement::Read).collect();
                reads.push(Statement::Scan { from: 0, to: ROWS });
                reads
            }
            Kind::Skew => {
                let groups = (0..4).map(|group| group * GROUP);
                groups.map(|from| Statement::Scan { from, to: from + GROUP }).collect()
            }
            Kind::Set => vec![Statement::Scan { from: 0, to: SET }; 2],
            Kind::Ids => Vec::new(),
        };
        let at = rng.index(statements.len() + 1);
        statements.insert(at, Statement::Rest(rng.below(rest)));
        statements
    }

    /// The end of it, on a world at peace: all is read once more, and the history is judged.
    pub fn finish(self, world: &mut World, record: &Shared) -> Vec<String> {
        let client = world.client();
        let mut rng = client.rng();
        let process = next_process(record);
        let statements = self.look(&mut rng, 1);
        let level = Isolation::Serializable;
        let (shared, nodes) = (Arc::clone(record), client.nodes());
        let read = world.block_on(30_000_000, async move {
            for node in (0..nodes).cycle() {
                let plan = Plan { level, snapshot: Some(None), statements: statements.clone() };
                if transact(&client, node, plan, process, &shared).await == Outcome::Ok {
                    return;
                }
                client.sleep(100_000).await;
            }
        });
        let mut wrong = self.judge(&record.lock());
        if read.is_none() {
            wrong.push("the last read did not end within 30 s of peace".to_owned());
        }
        wrong
    }

    fn judge(self, record: &Record) -> Vec<String> {
        let history = &record.history;
        let mut wrong = snapshots::check(history, &record.read_at);
        let mut violations = Vec::new();
        match self.kind {
            Kind::Lists | Kind::Registers => {
                let report = checker::check(history, &checker::Options::default());
                let report = report.expect("a history that can be judged");
                wrong.extend(report.anomalies.iter().map(ToString::to_string));
            }
            Kind::Skew => {
                if self.level == Isolation::Serializable {
                    violations.extend(sums::check(history, sums::Total::AtLeast(0)));
                }
            }
            Kind::Set => {
                violations.extend(growing::check(history));
                if self.level != Isolation::ReadCommitted {
                    violations.extend(forks::long_forks(history));
                }
                violations.extend(forks::causal_reverses(history));
            }
            Kind::Ids => {}
        }
        if self.kind == Kind::Ids {
            for kind in [IdKind::Row, IdKind::Range, IdKind::Table] {
                violations.extend(values::duplicate_ids(&only(history, kind)));
            }
        }
        wrong.extend(violations.into_iter().map(|violation| violation.text));
        wrong
    }
}

impl Record {
    /// A snapshot of the past, lately or at any time, and an instant before which what was acknowledged
    /// is in it: any timestamp between one that was drawn then and the newest.
    fn then(&self, rng: &mut Rng) -> Option<(Timestamp, Micros)> {
        let many = self.snapshots.len();
        let newest = self.snapshots.iter().map(|(ts, _)| ts.0).max()?;
        let oldest = if rng.chance(700_000) { many.saturating_sub(60) } else { 0 };
        let (drawn, since) = self.snapshots[oldest + rng.index(many - oldest)];
        let ts = match rng.below(10) {
            0..3 => drawn,
            3..8 => Timestamp(rng.between(drawn.0, newest)),
            _ => Timestamp(newest),
        };
        Some((ts, since))
    }
}

/// The history of one kind of ids.
fn only(history: &History, kind: IdKind) -> History {
    let of_kind = |txn: &&Txn| {
        txn.ops
            .iter()
            .all(|op| matches!(op.action, checker::Action::Read(key, _) if key.0 == kind as i64))
    };
    History { txns: history.txns.iter().filter(of_kind).cloned().collect() }
}

/// Runs a transaction on a node and records it.
async fn transact(
    client: &Client,
    node: usize,
    plan: Plan,
    process: u32,
    record: &Shared,
) -> Outcome {
    let seen = Seen::default();
    let invoked = client.now();
    let (level, snapshot) = (plan.checked_level(), plan.checked_snapshot());
    let run = {
        let (client, seen) = (client.clone(), Arc::clone(&seen));
        move |db| plan.run(db, client, seen)
    };
    let (outcome, ran) = match client.on(node, run).await {
        Ok(ran) => (ran.outcome, Some(ran)),
        Err(Lost { before: true }) => (Outcome::Failed, None),
        Err(Lost { before: false }) => (Outcome::Unknown, None),
    };
    let completed = client.now();
    let mut record = record.lock();
    if let Some(Ran { read_ts, commit_ts, .. }) = &ran {
        if *read_ts > Timestamp::ZERO && snapshot.is_none() {
            record.snapshots.push((*read_ts, invoked));
        }
        if commit_ts.is_some() {
            record.last_commit = completed;
        }
    }
    let id = record.history.txns.len() as u64;
    if let (Some(ran), Some(_)) = (&ran, snapshot) {
        record.read_at.insert(id, ran.read_ts);
    }
    let commit_ts = ran.and_then(|ran| ran.commit_ts);
    let ops = std::mem::take(&mut *seen.lock());
    client.say(|| format!("T{id} {outcome:?} {commit_ts:?} at {invoked} on {node}: {ops:?}"));
    let txn = Txn { id, process, invoked, completed, outcome, level, snapshot, commit_ts, ops };
    record.history.txns.push(txn);
    outcome
}

fn next_value(record: &Shared) -> i64 {
    let mut record = record.lock();
    record.next_value += 1;
    record.next_value
}

fn next_process(record: &Shared) -> u32 {
    let mut record = record.lock();
    record.next_process += 1;
    record.next_process
}

async fn prepare(db: kv::Db, kind: Kind, rows: u64) -> Result<(), KvError> {
    let keys: Vec<_> = (1..4).map(|part| row(part * rows / 4)).collect();
    db.split(&keys).await?;
    if kind == Kind::Skew {
        let txn = db.begin(TxnOptions::default());
        txn.begin_statement().await?;
        for group in 0..4 {
            txn.put(row(group * GROUP), super::plan::number_value(FLOOR_ABOVE))?;
        }
        txn.commit().await?;
    }
    Ok(())
}
