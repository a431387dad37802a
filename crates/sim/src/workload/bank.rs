//! Money moves between accounts; none is made or lost, whoever looks and at whatever moment.
//!
//! Accounts lie over several ranges. Every snapshot must show the same total: of a statement, of a
//! transaction that takes its time between two halves, and of a moment long ago, twice.

use std::sync::Arc;

use base::{KeyRange, Timestamp};
use kv::{Db, Isolation, KvError, ScanOptions, Strength, Txn, TxnOptions, WaitPolicy};
use parking_lot::Mutex;

use super::{Body, Ended, row, transact, value, value_of};
use crate::{Client, Micros, Rng, World};

/// What each account has at first.
const FIRST: u64 = 100;

/// The workload.
#[derive(Debug, Clone, Copy)]
pub struct Bank {
    /// How many accounts.
    pub accounts: u64,
    /// Clients at a time.
    pub clients: usize,
    /// For how long.
    pub micros: Micros,
    /// The level of the transfers.
    pub level: Isolation,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Transfers acknowledged.
    pub committed: u64,
    /// Transfers refused.
    pub failed: u64,
    /// Transfers of which nobody knows.
    pub unknown: u64,
    /// Snapshots looked at.
    pub looks: u64,
    /// What should not be.
    pub wrong: Vec<String>,
    /// When a transfer was last acknowledged.
    pub last_commit: Micros,
    seen: Vec<(Timestamp, Vec<u64>)>,
}

/// The outcome, shared by the clients.
pub type Shared = Arc<Mutex<Outcome>>;

impl Bank {
    /// Opens the accounts, cuts them into ranges, and lets clients loose. They end by themselves.
    pub fn start(self, world: &mut World) -> Shared {
        let client = world.client();
        let accounts = self.accounts;
        let opened = world.block_on(30_000_000, async move {
            client.until_done(0, move |db| Box::pin(open(db, accounts))).await;
        });
        assert!(opened.is_some(), "no account was opened: rerun with SIM_SEED={}", world.seed());
        let outcome = Shared::default();
        let until = world.now() + self.micros;
        for _ in 0..self.clients {
            let client = world.client();
            world.spawn(self.client(client, until, Arc::clone(&outcome)));
        }
        outcome
    }

    async fn client(self, client: Client, until: Micros, outcome: Shared) {
        let mut rng = client.rng();
        while client.now() < until {
            let node = rng.index(client.nodes());
            match rng.below(10) {
                0..7 => self.transfer(&client, &mut rng, node, &outcome).await,
                7 => self.look(&client, &mut rng, node, 0, &outcome).await,
                8 => self.look(&client, &mut rng, node, 2_000_000, &outcome).await,
                _ => self.look_back(&client, &mut rng, node, &outcome).await,
            }
            client.sleep(rng.below(20_000)).await;
        }
    }

    async fn transfer(self, client: &Client, rng: &mut Rng, node: usize, outcome: &Shared) {
        let from = rng.below(self.accounts);
        let to = (from + 1 + rng.below(self.accounts - 1)) % self.accounts;
        let locks = self.level == Isolation::ReadCommitted || rng.chance(500_000);
        let transfer = Arc::new(Transfer { from, to, amount: 1 + rng.below(5), locks });
        let options = TxnOptions { isolation: self.level, ..TxnOptions::default() };
        let ended = client.on(node, |db| transact(db, options, transfer)).await;
        let mut outcome = outcome.lock();
        match ended {
            Ok((Ended::Committed, _)) => {
                outcome.committed += 1;
                outcome.last_commit = client.now();
            }
            Ok((Ended::Failed, _)) => outcome.failed += 1,
            Ok((Ended::Unknown, _)) | Err(_) => outcome.unknown += 1,
        }
    }

    /// Looks at all accounts in one snapshot, with a rest in the middle.
    async fn look(
        self,
        client: &Client,
        rng: &mut Rng,
        node: usize,
        rest: Micros,
        outcome: &Shared,
    ) {
        let rest = rng.below(rest + 1);
        let look = Look { accounts: self.accounts, rest, client: client.clone() };
        let options = TxnOptions {
            isolation: Isolation::RepeatableRead,
            read_only: true,
            ..TxnOptions::default()
        };
        let ended = client.on(node, |db| transact(db, options, Arc::new(look))).await;
        if let Ok((Ended::Committed, Some((ts, balances)))) = ended {
            self.check(client, ts, balances, outcome);
        }
    }

    /// Looks again at a moment that somebody looked at before.
    async fn look_back(self, client: &Client, rng: &mut Rng, node: usize, outcome: &Shared) {
        let then = {
            let outcome = outcome.lock();
            if outcome.seen.is_empty() {
                return;
            }
            outcome.seen[rng.index(outcome.seen.len())].0
        };
        let look = Look { accounts: self.accounts, rest: 0, client: client.clone() };
        let options = TxnOptions { as_of: Some(then), ..TxnOptions::default() };
        let ended = client.on(node, |db| transact(db, options, Arc::new(look))).await;
        if let Ok((Ended::Committed, Some((ts, balances)))) = ended {
            self.check(client, ts, balances, outcome);
        }
    }

    fn check(self, client: &Client, ts: Timestamp, balances: Vec<u64>, outcome: &Shared) {
        let mut outcome = outcome.lock();
        outcome.looks += 1;
        let (total, right) = (balances.iter().sum::<u64>(), self.accounts * FIRST);
        let now = client.now();
        if balances.len() as u64 != self.accounts || total != right {
            outcome.wrong.push(format!("total {total} of {right} at {ts} ({now}): {balances:?}"));
        }
        let before = outcome.seen.iter().find(|(then, _)| *then == ts).map(|(_, b)| b.clone());
        match before {
            Some(before) if before != balances => {
                let was = format!("at {ts} was {before:?} and is {balances:?} ({now})");
                outcome.wrong.push(was);
            }
            Some(_) => {}
            None => outcome.seen.push((ts, balances)),
        }
    }

    /// The end of it, on a world at peace: clients are done, and the total is right.
    pub fn finish(self, world: &mut World, outcome: &Shared) -> Outcome {
        let client = world.client();
        let read = world.block_on(30_000_000, async move {
            let accounts = self.accounts;
            let reader = client.clone();
            let look = move |db: Db| {
                let look = Arc::new(Look { accounts, rest: 0, client: reader.clone() });
                let options = TxnOptions::default();
                let task = async move {
                    let (_, found) = transact(db, options, look).await;
                    found.ok_or(KvError::NotUsable("it was not read"))
                };
                Box::pin(task) as futures::future::BoxFuture<'static, _>
            };
            client.until_done(0, look).await
        });
        let (ts, balances) = read.expect("the accounts can be read within 30 s of peace");
        let client = world.client();
        self.check(&client, ts, balances, outcome);
        if !super::sweep(world, self.accounts) {
            outcome.lock().wrong.push(format!("locks are left: {:?}", world.locks()));
        }
        std::mem::take(&mut *outcome.lock())
    }
}

async fn open(db: Db, accounts: u64) -> Result<(), KvError> {
    let txn = db.begin(TxnOptions::default());
    txn.begin_statement().await?;
    for account in 0..accounts {
        txn.put(row(account), value(FIRST))?;
    }
    txn.commit().await?;
    let quarter = (accounts / 4).max(1);
    let keys: Vec<_> = (1..4).map(|part| row(part * quarter)).collect();
    db.split(&keys).await
}

struct Transfer {
    from: u64,
    to: u64,
    amount: u64,
    locks: bool,
}

impl Body for Transfer {
    type Found = ();

    async fn run(&self, txn: Arc<Txn>) -> Result<(), KvError> {
        txn.begin_statement().await?;
        let keys = [row(self.from), row(self.to)];
        let balances: Vec<u64> = if self.locks {
            let rows = txn.lock(&keys, Strength::Update, WaitPolicy::Block).await?;
            rows.into_iter().map(|row| value_of(&row.value.unwrap_or_default())).collect()
        } else {
            let rows = txn.get_many(&keys).await?;
            rows.into_iter().map(|row| value_of(&row.unwrap_or_default())).collect()
        };
        let amount = self.amount.min(balances[0]);
        txn.put(keys[0].clone(), value(balances[0] - amount))?;
        txn.put(keys[1].clone(), value(balances[1] + amount))
    }
}

struct Look {
    accounts: u64,
    rest: Micros,
    client: Client,
}

impl Body for Look {
    type Found = (Timestamp, Vec<u64>);

    async fn run(&self, txn: Arc<Txn>) -> Result<Self::Found, KvError> {
        let ts = txn.begin_statement().await?;
        let middle = row(self.accounts / 2);
        let halves = [
            KeyRange { start: row(0), end: middle.clone() },
            KeyRange { start: middle, end: row(self.accounts) },
        ];
        let mut balances = Vec::new();
        for half in halves {
            let mut left = Some(half);
            while let Some(span) = left {
                let page = txn.scan(span, ScanOptions::default()).await?;
                balances.extend(page.rows.iter().map(|(_, value)| value_of(value)));
                left = page.resume;
            }
            if self.rest > 0 {
                self.client.sleep(self.rest).await;
            }
        }
        Ok((ts, balances))
    }
}
