//! SQL over a simulated cluster, while nodes die, stop and lose sight of each other: what clients see is
//! judged as the key-value layer's histories are (`sim::workload`).
//!
//! A session is a future like any other, and all it waits for comes from the simulated node below, so the
//! simulation polls it. Tokio's runtime is there for what insists on one, and nobody drives it: a timer
//! in it never fires, and a task in it never runs. Same seed, same run.
//!
//! `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` so many, `SIM_LOG=1` tells what happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Timestamp;

use crate::support::{TextSink, connect};
use checker::{Action, History, Key, Level, Op, Outcome, Snapshot, Txn};
use parking_lot::Mutex;
use sim::{
    Client, Fault, Lost, Micros, Nemesis, Network, Rng, Settings, Struck, Tally, World, survey,
};
use sql::Reclaimer;
use sql::session::{Engine, EngineConfig, Session};
use sql::{SqlError, SqlState};

const SECOND: Micros = 1_000_000;
const TORMENT: Micros = 5 * SECOND;
const CALM: Micros = 7 * SECOND;
/// Keys of the lists and accounts of the bank, in ranges of three.
const ROWS: i64 = 9;
const BALANCE: i64 = 100;

const TABLES: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS lists (k int PRIMARY KEY, v text)",
    "CREATE TABLE IF NOT EXISTS accounts (id int PRIMARY KEY, balance int NOT NULL)",
    "ALTER TABLE lists SPLIT AT VALUES (3), (6)",
    "ALTER TABLE accounts SPLIT AT VALUES (3), (6)",
];

/// What all clients share.
#[derive(Clone)]
struct Shared {
    client: Client,
    engines: Engines,
    record: Arc<Mutex<Record>>,
    level: Level,
}

/// The SQL layers of processes, by where their clients of ranges lie in memory.
#[derive(Clone, Default)]
struct Engines(Arc<Mutex<BTreeMap<usize, Arc<Engine>>>>);

impl Engines {
    fn of(&self, db: kv::Db) -> Arc<Engine> {
        let place = std::ptr::from_ref(db.metrics()).addr();
        let new = || Engine::new(db, EngineConfig::default());
        Arc::clone(self.0.lock().entry(place).or_insert_with(new))
    }
}

#[derive(Default)]
struct Record {
    history: History,
    wrong: Vec<String>,
    last_commit: Micros,
    next_value: i64,
    next_process: u32,
}

/// How a transaction ended, for its client.
enum End {
    Committed,
    Failed,
    Unknown,
}

impl Shared {
    fn new(client: Client, level: Level) -> Self {
        let (engines, record) = (Engines::default(), Arc::default());
        Shared { client, engines, record, level }
    }

    /// Connects to a node and does something there.
    async fn on<T, F>(
        &self,
        node: usize,
        act: impl FnOnce(Session) -> F + Send + 'static,
    ) -> Result<T, Lost>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let engines = self.engines.clone();
        let work = move |db| async move { act(connect(&engines.of(db)).await).await };
        self.client.on(node, work).await
    }

    fn next_process(&self) -> u32 {
        let mut record = self.record.lock();
        record.next_process += 1;
        record.next_process
    }

    fn next_value(&self) -> i64 {
        let mut record = self.record.lock();
        record.next_value += 1;
        record.next_value
    }

    async fn client_of_lists(self, mut rng: Rng, until: Micros) {
        let mut process = self.next_process();
        while self.client.now() < until {
            let looks = rng.chance(200_000);
            let plan = if looks { Vec::new() } else { self.plan(&mut rng) };
            let node = rng.index(self.client.nodes());
            if self.transact(node, plan, process).await == Outcome::Unknown {
                process = self.next_process();
            }
            self.client.sleep(rng.below(20_000)).await;
        }
    }

    /// Statements, and what the checker calls them; a read is filled in when it is answered.
    fn plan(&self, rng: &mut Rng) -> Vec<(String, Action)> {
        let many = rng.between(1, 3);
        let statements = (0..many).map(|_| {
            let key = rng.below(ROWS as u64) as i64;
            if rng.chance(600_000) {
                let value = self.next_value();
                let sql = format!(
                    "INSERT INTO lists VALUES ({key}, '{value}') \
                     ON CONFLICT (k) DO UPDATE SET v = lists.v || ',{value}'"
                );
                return (sql, Action::Append(Key(key), value));
            }
            let locks = if rng.chance(300_000) { " FOR UPDATE" } else { "" };
            let sql = format!("SELECT v FROM lists WHERE k = {key}{locks}");
            (sql, Action::List(Key(key), Vec::new()))
        });
        statements.collect()
    }

    /// Runs a transaction and records it; without statements one that reads everything.
    async fn transact(&self, node: usize, plan: Vec<(String, Action)>, process: u32) -> Outcome {
        let (invoked, looks) = (self.client.now(), plan.is_empty());
        let seen: Arc<Mutex<Vec<Op>>> = Arc::default();
        let (shared, ops) = (self.clone(), Arc::clone(&seen));
        let ran = self.on(node, move |mut session| async move {
            match looks {
                true => look(&mut session, &ops).await,
                false => shared.run(&mut session, plan, &ops).await,
            }
        });
        let outcome = match ran.await {
            Ok(End::Committed) => Outcome::Ok,
            Ok(End::Failed) | Err(Lost { before: true }) => Outcome::Failed,
            Ok(End::Unknown) | Err(Lost { before: false }) => Outcome::Unknown,
        };
        let completed = self.client.now();
        let mut record = self.record.lock();
        if outcome == Outcome::Ok && !looks {
            record.last_commit = completed;
        }
        let (id, ops) = (record.history.txns.len() as u64, std::mem::take(&mut *seen.lock()));
        self.client.say(|| format!("T{id} {outcome:?} at {invoked} on {node}: {ops:?}"));
        let snapshot = looks.then_some(Snapshot::Now);
        let (level, commit_ts) = (self.level, None);
        let txn = Txn { id, process, invoked, completed, outcome, level, snapshot, commit_ts, ops };
        record.history.txns.push(txn);
        outcome
    }

    async fn run(
        &self,
        session: &mut Session,
        plan: Vec<(String, Action)>,
        seen: &Mutex<Vec<Op>>,
    ) -> End {
        let alone = plan.len() == 1;
        let result = async {
            if !alone {
                execute(session, &format!("BEGIN ISOLATION LEVEL {}", self.level)).await?;
            } else {
                let set = format!("SET default_transaction_isolation = '{}'", self.level);
                execute(session, &set.to_lowercase()).await?;
            }
            for (sql, action) in plan {
                let note = |action: Action| seen.lock().push(Op { action, sql: Some(sql.clone()) });
                match action {
                    Action::List(key, _) => {
                        let rows = execute(session, &sql).await?;
                        note(Action::List(key, rows.first().map_or_else(Vec::new, |v| list(v))));
                    }
                    other => {
                        note(other);
                        execute(session, &sql).await?;
                    }
                }
            }
            Ok::<(), SqlError>(())
        };
        let done = result.await;
        let done = match done {
            Ok(()) if !alone => commit(session).await,
            Ok(()) => Ok(()),
            Err(error) if alone => Err(error),
            Err(error) => {
                drop(execute(session, "ROLLBACK").await);
                Err(error)
            }
        };
        match done {
            Ok(()) => End::Committed,
            Err(error) if error.fields().code == SqlState::STATEMENT_COMPLETION_UNKNOWN => {
                End::Unknown
            }
            Err(_) => End::Failed,
        }
    }

    async fn client_of_the_bank(self, mut rng: Rng, until: Micros) {
        while self.client.now() < until {
            let node = rng.index(self.client.nodes());
            if rng.chance(300_000) {
                let by_index = rng.chance(700_000);
                self.count(node, by_index).await;
            } else {
                let (from, by) = (rng.below(ROWS as u64), rng.between(1, 5));
                let to = (from + 1 + rng.below(ROWS as u64 - 1)) % ROWS as u64;
                let level = self.level;
                let transfer = format!(
                    "BEGIN ISOLATION LEVEL {level};
                     UPDATE accounts SET balance = balance - {by} WHERE id = {from};
                     UPDATE accounts SET balance = balance + {by} WHERE id = {to};
                     COMMIT"
                );
                // Lost or not, the total stays.
                drop(self.on(node, |mut s| async move { execute(&mut s, &transfer).await }).await);
            }
            self.client.sleep(rng.below(30_000)).await;
        }
    }

    /// Makes and drops an index and a constraint while money moves, and moves the rows to another type.
    async fn client_of_the_schema(self, mut rng: Rng, until: Micros) {
        while self.client.now() < until {
            let node = rng.index(self.client.nodes());
            let sql = match rng.below(9) {
                0 | 1 => "DROP INDEX IF EXISTS by_balance",
                2 => "ALTER TABLE accounts ALTER balance TYPE numeric",
                3 => "ALTER TABLE accounts ALTER balance TYPE bigint",
                4 => "ALTER TABLE accounts ADD CONSTRAINT bounded CHECK (balance > -1000000)",
                5 => "ALTER TABLE accounts DROP CONSTRAINT IF EXISTS bounded",
                _ => "CREATE INDEX CONCURRENTLY IF NOT EXISTS by_balance ON accounts (balance)",
            };
            drop(self.on(node, move |mut s| async move { execute(&mut s, sql).await }).await);
            self.client.sleep(rng.below(600_000)).await;
        }
    }

    /// What changes of the schema are left when those of processes that ended are taken back.
    async fn tidy(&self, node: usize) -> Result<Vec<String>, String> {
        let engines = self.engines.clone();
        let work = move |db| async move {
            let mut reclaimer = Reclaimer::new(engines.of(db), || Some(Timestamp::ZERO));
            reclaimer.sweep().await
        };
        let swept = self.client.on(node, work).await;
        swept.map_err(|e| format!("{e:?}"))?.map_err(|error| error.to_string())?;
        let left = "SELECT name, state, node_id FROM conclave.schema_changes";
        let left = self.on(node, move |mut s| async move { execute(&mut s, left).await }).await;
        let left = left.map_err(|e| format!("{e:?}"))?.map_err(|error| error.to_string())?;
        Ok(left)
    }

    async fn count(&self, node: usize, by_index: bool) -> bool {
        let sum = match by_index {
            true => "SELECT sum(balance), count(*) FROM accounts WHERE balance > -1000000",
            false => "SELECT sum(balance), count(*) FROM accounts",
        };
        let counted = self.on(node, move |mut s| async move { execute(&mut s, sum).await }).await;
        let Ok(Ok(rows)) = counted else { return false };
        let right = format!("{}|{ROWS}", ROWS * BALANCE);
        if rows != [right.as_str()] {
            let now = self.client.now();
            self.record.lock().wrong.push(format!("{rows:?} on {node} at {now}, not {right}"));
        }
        true
    }
}

/// Reads all lists in one statement.
async fn look(session: &mut Session, seen: &Mutex<Vec<Op>>) -> End {
    let sql = "SELECT k, v FROM lists ORDER BY k";
    let Ok(rows) = execute(session, sql).await else { return End::Failed };
    let mut lists: BTreeMap<i64, Vec<i64>> = (0..ROWS).map(|key| (key, Vec::new())).collect();
    for (key, values) in rows.iter().filter_map(|row| row.split_once('|')) {
        lists.insert(key.parse().expect("a key"), list(values));
    }
    let reads = lists.into_iter().map(|(key, values)| Action::List(Key(key), values));
    seen.lock().extend(reads.map(|action| Op { action, sql: Some(sql.to_owned()) }));
    End::Committed
}

fn list(text: &str) -> Vec<i64> {
    text.split(',').map(|value| value.parse().expect("a number")).collect()
}

/// COMMIT, which after an error that nobody heard of would be a ROLLBACK.
async fn commit(session: &mut Session) -> Result<(), SqlError> {
    let mut sink = TextSink::default();
    session.simple("COMMIT", &mut sink).await?;
    assert_eq!(sink.lines, ["-- COMMIT"]);
    Ok(())
}

/// The rows of a script.
async fn execute(session: &mut Session, sql: &str) -> Result<Vec<String>, SqlError> {
    let mut sink = TextSink::default();
    session.simple(sql, &mut sink).await?;
    Ok(sink.lines.into_iter().filter(|line| !line.starts_with("-- ")).collect())
}

/// Tables, and money.
async fn prepare(shared: Shared) {
    let money: Vec<String> = (0..ROWS).map(|id| format!("({id}, {BALANCE})")).collect();
    let money = format!("INSERT INTO accounts VALUES {} ON CONFLICT DO NOTHING", money.join(", "));
    for node in (0..shared.client.nodes()).cycle() {
        let money = money.clone();
        let made = shared.on(node, |mut session| async move {
            for statement in TABLES {
                execute(&mut session, statement).await?;
            }
            execute(&mut session, &money).await
        });
        match made.await {
            Ok(Ok(_)) => return,
            other => shared.client.say(|| format!("no tables: {other:?}")),
        }
        shared.client.sleep(100_000).await;
    }
}

/// A run; and the number that stands for all that happened.
fn run(seed: u64, level: Level) -> (Tally, (u64, u64)) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let tokio = tokio.expect("a runtime");
    let _entered = tokio.enter();
    let mut rng = Rng::new(seed);
    let mut world = World::new(Settings { network: Network::ROUGH, ..Settings::new(seed) });
    let shared = Shared::new(world.client(), level);
    world.block_on(60 * SECOND, prepare(shared.clone())).expect("tables");
    let until = world.now() + TORMENT + CALM;
    for number in 0..7 {
        let (shared, rng) = (shared.clone(), world.client().rng());
        match number % 3 {
            _ if number == 6 => world.spawn(shared.client_of_the_schema(rng, until)),
            2 => world.spawn(shared.client_of_the_bank(rng, until)),
            _ => world.spawn(shared.client_of_lists(rng, until)),
        }
    }
    let faults = [
        Fault::Kill,
        Fault::Power,
        Fault::Pause,
        Fault::Partition,
        Fault::Spike,
        Fault::Leader,
        Fault::Clock,
    ];
    let nemesis = Nemesis::new(&faults, 700_000, 8);
    let struck: Struck = nemesis.run(&mut world, &mut rng, TORMENT);
    world.set_network(Network::CALM);
    let healed = world.now();
    world.run_for(CALM + SECOND);
    let last = shared.clone();
    let unmet = Arc::new(Mutex::new(String::new()));
    let noted = unmet.clone();
    let read = world.block_on(30 * SECOND, async move {
        let process = last.next_process();
        loop {
            let transacted = last.transact(0, Vec::new(), process).await == Outcome::Ok;
            if transacted && last.count(0, true).await && last.count(0, false).await {
                let left = last.tidy(0).await;
                if left.as_ref().is_ok_and(Vec::is_empty) {
                    return;
                }
                *noted.lock() = format!("tidying up: {left:?}");
            } else {
                *noted.lock() = format!("reading; transacted: {transacted}");
            }
            last.client.sleep(100_000).await;
        }
    });
    assert!(read.is_some(), "{} did not end within 30 s of peace", unmet.lock());
    let record = shared.record.lock();
    assert!(record.wrong.is_empty(), "{:#?}", record.wrong);
    assert!(world.failures().is_empty(), "{:#?}", world.failures());
    assert!(record.last_commit > healed + 5 * SECOND, "nothing was committed in peace");
    let report = checker::check(&record.history, &checker::Options::default());
    let report = report.expect("a history that can be judged");
    let anomalies: Vec<String> = report.anomalies.iter().map(ToString::to_string).collect();
    assert!(anomalies.is_empty(), "{}", anomalies.join("\n"));
    let tally = Tally::of(&record.history, struck, world.deeds());
    assert!(tally.acknowledged > 50, "{tally}");
    drop(record);
    let digest = world.digest();
    // Sessions go before their world.
    shared.engines.0.lock().clear();
    (tally, digest)
}

#[test]
fn sql_at_serializable() {
    survey("sql_at_serializable", 3, |seed| run(seed, Level::Serializable).0);
}

#[test]
fn sql_at_repeatable_read() {
    survey("sql_at_repeatable_read", 2, |seed| run(seed, Level::RepeatableRead).0);
}

#[test]
fn sql_at_read_committed() {
    survey("sql_at_read_committed", 2, |seed| run(seed, Level::ReadCommitted).0);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let digest = || run(1, Level::Serializable).1;
    assert_eq!(digest(), digest());
}
