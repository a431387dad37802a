//! Who asks what has become of a transaction hears what has become of it, on every node, whatever died in
//! the middle of its commit; and what was said to be final is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::Timestamp;
use futures::future::BoxFuture;
use kv::{Db, Isolation, KvError, Txn, TxnOptions, XactStatus};
use parking_lot::Mutex;
use sim::workload::{Body, Ended, row, transact, value};
use sim::{Client, Micros, Moment, Nemesis, Network, Rng, Settings, Step, Trap, World, for_each};

const SECOND: Micros = 1_000_000;
const GATEWAY: usize = 1;

/// Everything that was said of one transaction.
#[derive(Debug, Default)]
struct Said {
    told: Option<Ended>,
    answers: Vec<(Micros, XactStatus)>,
}

/// By id; the number is that of the row which the transaction writes, and nobody else.
type Record = Arc<Mutex<BTreeMap<Timestamp, (u64, Said)>>>;

/// Tells its id, and writes a row of its own, and some that others write too.
struct Marked {
    own: u64,
    shared: Vec<u64>,
    record: Record,
}

impl Body for Marked {
    type Found = Timestamp;

    async fn run(&self, txn: Arc<Txn>) -> Result<Timestamp, KvError> {
        txn.begin_statement().await?;
        let id = txn.xact_id().await?;
        self.record.lock().entry(id).or_insert_with(|| (self.own, Said::default()));
        for number in &self.shared {
            txn.get(&row(*number)).await?;
            txn.put(row(*number), value(self.own))?;
        }
        txn.put(row(self.own), value(self.own))?;
        Ok(id)
    }
}

fn marks(record: &Record, own: u64) -> Vec<u64> {
    let known = record.lock();
    known.iter().filter(|(_, (mark, _))| *mark == own).map(|(id, _)| id.0).collect()
}

async fn ask(client: &Client, node: usize, id: Timestamp, record: &Record) {
    let answer = client.on(node, move |db| async move { db.xact_status(id).await }).await;
    if let Ok(Ok(status)) = answer {
        client.say(|| format!("n{} says {id} is {status:?}", node + 1));
        let mut record = record.lock();
        let said = &mut record.get_mut(&id).expect("it was recorded").1;
        said.answers.push((client.now(), status));
    }
}

async fn written(db: Db, numbers: Vec<u64>) -> Result<Vec<bool>, KvError> {
    let txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
    txn.begin_statement().await?;
    let keys: Vec<_> = numbers.into_iter().map(row).collect();
    Ok(txn.get_many(&keys).await?.into_iter().map(|value| value.is_some()).collect())
}

/// At peace: every node is asked, and says what the rows say; and nothing said before was otherwise.
fn judge(world: &mut World, record: &Record, nodes: usize, name: &str) {
    let ids: Vec<(Timestamp, u64)> =
        record.lock().iter().map(|(id, (mark, _))| (*id, *mark)).collect();
    for (id, _) in &ids {
        for node in 0..nodes {
            let (id, client, record) = (*id, world.client(), Arc::clone(record));
            let asked = async move {
                for _ in 0..100 {
                    ask(&client, node, id, &record).await;
                    let last = record.lock()[&id].1.answers.last().map(|(_, status)| *status);
                    if last.is_some_and(|status| status != XactStatus::InProgress) {
                        return;
                    }
                    client.sleep(SECOND / 5).await;
                }
            };
            world.block_on(40 * SECOND, asked);
        }
    }
    let (client, numbers) = (world.client(), ids.iter().map(|(_, mark)| *mark).collect::<Vec<_>>());
    let there = world.block_on(30 * SECOND, async move {
        let read = move |db| Box::pin(written(db, numbers.clone())) as BoxFuture<'static, _>;
        client.until_done(0, read).await
    });
    let there = there.expect("the rows can be read");
    let record = record.lock();
    for ((id, mark), there) in ids.into_iter().zip(there) {
        let said = &record[&id].1;
        let right = if there { XactStatus::Committed } else { XactStatus::Aborted };
        let name = format!("{name}: transaction {id} of row {mark}: {said:?}");
        assert_eq!(said.answers.last().map(|(_, s)| *s), Some(right), "{name}");
        let first = said.answers.iter().position(|(_, s)| *s != XactStatus::InProgress);
        let finals = &said.answers[first.expect("it has an end")..];
        // An answer may overtake an earlier one's, so only what is final is compared.
        assert!(
            finals.iter().all(|(_, s)| *s == right || *s == XactStatus::InProgress),
            "{name}: an answer was wrong"
        );
        match said.told {
            Some(Ended::Committed) => assert!(there, "{name}: acknowledged"),
            Some(Ended::Failed) => assert!(!there, "{name}: refused"),
            Some(Ended::Unknown) | None => {}
        }
    }
}

/// One death in the middle of a commit; false if the commit took no such step.
fn dies(seed: u64, level: Isolation, shared: &[u64], trap: Trap) -> bool {
    let mut world = World::new(Settings::new(seed));
    let client = world.client();
    let ready = async move {
        let split = |db: Db| async move { db.split(&[row(20), row(40)]).await };
        client.until_done(0, move |db| Box::pin(split(db))).await;
    };
    world.block_on(20 * SECOND, ready).expect("ranges");
    world.run_for(Rng::new(seed).below(4 * SECOND));
    let record = Record::default();
    let client = world.client();
    let body = Arc::new(Marked { own: 1, shared: shared.to_vec(), record: Arc::clone(&record) });
    let known = Arc::clone(&record);
    let options = TxnOptions { isolation: level, ..TxnOptions::default() };
    world.spawn(async move {
        let ended = client.on(GATEWAY, |db| transact(db, options, body)).await;
        if let Ok((ended, Some(id))) = ended {
            known.lock().get_mut(&id).expect("it was recorded").1.told = Some(ended);
        }
    });
    // The announcement is a commit in one range, too: the trap is for what follows.
    let nth = trap.nth + u32::from(trap.step == Step::OnePhase);
    world.set_trap(Some(Trap { nth, ..trap }));
    assert!(world.run_until(5 * SECOND, |_| !marks(&record, 1).is_empty()));
    world.run_for(SECOND / 2);
    if world.trap_is_set() {
        world.set_trap(None);
        world.run_for(SECOND);
        let told = record.lock().values().next().and_then(|(_, said)| said.told);
        assert_eq!(told, Some(Ended::Committed), "nobody was in its way");
        return false;
    }
    let id = Timestamp(marks(&record, 1)[0]);
    let died = world.now();
    for node in (0..3).filter(|node| *node != GATEWAY) {
        let (client, record) = (world.client(), Arc::clone(&record));
        world.spawn(async move {
            while client.now() < died + 12 * SECOND {
                ask(&client, node, id, &record).await;
                client.sleep(SECOND / 5).await;
            }
        });
    }
    let restarts = seed.is_multiple_of(2);
    if restarts {
        world.run_for(3 * SECOND);
        world.start(GATEWAY);
    }
    world.run_for(13 * SECOND);
    let name = format!("seed {seed}, {level:?}, {shared:?}, {trap:?}");
    let decided = record.lock()[&id].1.answers.iter().any(|(_, s)| *s != XactStatus::InProgress);
    assert!(decided, "{name}: nobody was told within 12 s");
    if !restarts {
        world.start(GATEWAY);
        world.run_for(3 * SECOND);
    }
    judge(&mut world, &record, 3, &name);
    assert!(world.failures().is_empty(), "{name}: {:?}", world.failures());
    true
}

fn at_every_step(level: Isolation, shared: &[u64]) -> usize {
    let mut deaths = 0;
    for (number, step) in (0..).zip(Step::ALL) {
        for moment in Moment::ALL {
            for nth in 0..3 {
                let trap = Trap { node: GATEWAY, step, nth, moment };
                for seed in 0..2 {
                    deaths += usize::from(dies(seed + 100 * number, level, shared, trap));
                }
            }
        }
    }
    deaths
}

#[test]
fn a_gateway_dies_in_a_commit_over_several_ranges() {
    assert!(at_every_step(Isolation::Serializable, &[21, 41]) >= 30);
}

#[test]
fn a_gateway_dies_in_a_commit_at_read_committed() {
    assert!(at_every_step(Isolation::ReadCommitted, &[21]) >= 20);
}

#[test]
fn a_gateway_dies_in_a_commit_in_one_range() {
    assert!(at_every_step(Isolation::RepeatableRead, &[]) >= 6);
}

/// Transactions and those who ask about them, under every fault: nodes that are taken for dead and are
/// not, above all.
fn under_fire(seed: u64, level: Isolation) -> (usize, usize) {
    const ROWS: u64 = 16;
    let mut rng = Rng::new(seed);
    let nodes = 3 + rng.index(3);
    let settings = Settings { nodes, network: Network::ROUGH, ..Settings::new(seed) };
    let mut world = World::new(settings);
    let (client, record) = (world.client(), Record::default());
    let ready = async move {
        let split = |db: Db| async move { db.split(&[row(4), row(8), row(ROWS), row(500)]).await };
        client.until_done(0, move |db| Box::pin(split(db))).await;
    };
    world.block_on(30 * SECOND, ready).expect("ranges");
    let until = world.now() + 14 * SECOND;
    for number in 0..4u64 {
        let (client, record) = (world.client(), Arc::clone(&record));
        world.spawn(async move {
            let mut rng = client.rng();
            for own in (100 + 1000 * number).. {
                if client.now() > until {
                    return;
                }
                let shared = (0..1 + rng.index(3)).map(|_| rng.below(ROWS)).collect();
                let body = Marked { own, shared, record: Arc::clone(&record) };
                let options = TxnOptions { isolation: level, ..TxnOptions::default() };
                let node = rng.index(client.nodes());
                let ended = client.on(node, |db| transact(db, options, Arc::new(body))).await;
                if let Ok((ended, _)) = ended {
                    for (mark, said) in record.lock().values_mut().filter(|(m, _)| *m == own) {
                        said.told = Some(ended);
                        client.say(|| format!("row {mark}: {ended:?}"));
                    }
                }
                client.sleep(rng.below(SECOND / 4)).await;
            }
        });
    }
    for _ in 0..3 {
        let (client, record) = (world.client(), Arc::clone(&record));
        world.spawn(async move {
            let mut rng = client.rng();
            while client.now() < until {
                // Lately begun, so that some are in their commit.
                let known: Vec<Timestamp> = record.lock().keys().rev().take(6).copied().collect();
                if !known.is_empty() {
                    let id = known[rng.index(known.len())];
                    ask(&client, rng.index(client.nodes()), id, &record).await;
                }
                client.sleep(rng.below(SECOND / 10)).await;
            }
        });
    }
    Nemesis::everything(ROWS).run(&mut world, &mut rng, 10 * SECOND);
    world.set_network(Network::CALM);
    world.run_for(8 * SECOND);
    judge(&mut world, &record, nodes, &format!("seed {seed}, {level:?}"));
    assert!(world.failures().is_empty(), "{:?}", world.failures());
    let record = record.lock();
    let ends = |end: XactStatus| {
        record.values().filter(|(_, said)| said.answers.last().is_some_and(|a| a.1 == end)).count()
    };
    (ends(XactStatus::Committed), ends(XactStatus::Aborted))
}

#[test]
fn answers_are_true_under_every_fault_at_serializable() {
    let ends = [AtomicUsize::new(0), AtomicUsize::new(0)];
    for_each(30, |seed| {
        let (committed, aborted) = under_fire(seed, Isolation::Serializable);
        ends[0].fetch_add(committed, Ordering::Relaxed);
        ends[1].fetch_add(aborted, Ordering::Relaxed);
    });
    assert!(ends.iter().all(|end| end.load(Ordering::Relaxed) > 0), "{ends:?}");
}

#[test]
fn answers_are_true_under_every_fault_at_read_committed() {
    for_each(30, |seed| {
        under_fire(seed, Isolation::ReadCommitted);
    });
}
