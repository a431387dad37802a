//! Deadlocks over several nodes are broken in time, by the death of the youngest; and nobody waits for
//! ever, whatever the order of locks.

use std::sync::Arc;

use kv::{Db, Isolation, KvError, Strength, TxnOptions, WaitPolicy};
use parking_lot::Mutex;
use sim::workload::{row, value};
use sim::{Client, Micros, Rng, Settings, World, for_each};

const MS: Micros = 1_000;
const SECOND: Micros = 1_000_000;

fn world(seed: u64, nodes: usize, probes: bool) -> World {
    let mut settings = Settings { nodes, probes, ..Settings::new(seed) };
    // What transactions that sleep first want to write must not be closed by then.
    Arc::make_mut(&mut settings.range).eval.close_lag_ms = 10_000;
    let mut world = World::new(settings);
    let client = world.client();
    let keys: Vec<_> = (1..5).map(|part| row(part * 10)).collect();
    let split = async move {
        client
            .until_done(0, move |db| {
                let keys = keys.clone();
                Box::pin(async move { db.split(&keys).await })
            })
            .await;
    };
    world.block_on(20 * SECOND, split).expect("five ranges");
    // Leaders are spread some seconds after a split, and what they hold in memory stays behind.
    world.run_for(12 * SECOND);
    world
}

/// How each of a ring of transactions ended, and when: `None` for the victim.
type Ends = Arc<Mutex<Vec<(usize, Option<KvError>, Micros)>>>;

/// Transaction `me` of `n` takes its key, waits until all have theirs, and wants the next one's.
async fn in_a_ring(client: Client, me: usize, n: usize, begins: Micros, ends: Ends) {
    let clock = client.clone();
    let work = move |db: Db| async move {
        clock.sleep(me as u64 * 20 * MS).await;
        let txn =
            db.begin(TxnOptions { isolation: Isolation::ReadCommitted, ..Default::default() });
        txn.begin_statement().await?;
        let key = |which: usize| row((which % n) as u64 * 10 + 1);
        txn.lock(&[key(me)], Strength::Update, WaitPolicy::Block).await?;
        clock.sleep(begins - clock.now()).await;
        txn.lock(&[key(me + 1)], Strength::Update, WaitPolicy::Block).await?;
        txn.commit().await.map(drop)
    };
    let ended = client.on(me, work).await.expect("no node dies");
    ends.lock().push((me, ended.err(), client.now()));
}

fn broken_within(seed: u64, n: usize, probes: bool, limit: Micros) {
    let mut world = world(seed, n.max(3), probes);
    let ends = Ends::default();
    let begins = world.now() + SECOND;
    for me in 0..n {
        world.spawn(in_a_ring(world.client(), me, n, begins, Arc::clone(&ends)));
    }
    let all = world.run_until(20 * SECOND, |_| ends.lock().len() == n);
    let ends = ends.lock();
    assert!(all, "seed {seed}: somebody waits for ever: {ends:?}");
    let victims: Vec<_> = ends.iter().filter(|(_, error, _)| error.is_some()).collect();
    for (_, error, at) in victims.iter().copied() {
        assert!(matches!(error, Some(KvError::Deadlock { .. })), "seed {seed}: {error:?}");
        let took = *at - begins;
        assert!(took <= limit, "seed {seed}: {n} in a ring took {took} us");
    }
    if probes {
        assert_eq!(victims.len(), 1, "seed {seed}: one is enough: {ends:?}");
        assert_eq!(victims[0].0, n - 1, "seed {seed}: the youngest dies: {ends:?}");
    } else {
        // By age alone, it is the younger one of some pairs.
        assert!((1..n).contains(&victims.len()), "seed {seed}: somebody goes on: {ends:?}");
    }
}

#[test]
fn of_two_three_and_five_are_broken_within_200_ms() {
    for_each(10, |seed| {
        for n in [2, 3, 5] {
            broken_within(seed, n, true, 200 * MS);
        }
    });
}

#[test]
fn are_broken_by_age_within_6_s_when_probes_are_lost() {
    for_each(5, |seed| {
        for n in [2, 3, 5] {
            broken_within(seed, n, false, 6 * SECOND);
        }
    });
}

/// A transaction that takes some locks, in any order and strength.
async fn takes_locks(client: Client, mut rng: Rng, node: usize) -> Result<(), KvError> {
    let clock = client.clone();
    let work = move |db: Db| async move {
        let txn =
            db.begin(TxnOptions { isolation: Isolation::ReadCommitted, ..Default::default() });
        txn.begin_statement().await?;
        for _ in 0..rng.between(1, 4) {
            let keys: Vec<_> =
                (0..rng.between(1, 2)).map(|_| row(rng.below(5) * 10 + rng.below(2))).collect();
            let strength = if rng.chance(300_000) { Strength::Share } else { Strength::Update };
            txn.lock(&keys, strength, WaitPolicy::Block).await?;
            clock.sleep(rng.below(2 * MS)).await;
        }
        txn.commit().await.map(drop)
    };
    client.on(node, work).await.expect("no node dies")
}

#[test]
fn ten_thousand_random_lock_schedules_end() {
    const AT_A_TIME: usize = 5;
    for_each(50, |seed| {
        let mut world = world(seed, 3, true);
        let ended = Arc::new(Mutex::new((0, Vec::new())));
        const SCHEDULES: usize = 200;
        for _ in 0..AT_A_TIME {
            let (client, ended) = (world.client(), Arc::clone(&ended));
            world.spawn(async move {
                let mut rng = client.rng();
                for _ in 0..SCHEDULES / AT_A_TIME {
                    let node = rng.index(3);
                    let begun = client.now();
                    let end = takes_locks(client.clone(), rng.fork(), node).await;
                    let waited = client.now() - begun;
                    let mut ended = ended.lock();
                    ended.0 += 1;
                    let fair = matches!(end, Ok(()) | Err(KvError::Deadlock { .. }));
                    if !fair || waited > 5 * SECOND {
                        ended.1.push((waited, end));
                    }
                }
            });
        }
        let all = world.run_until(600 * SECOND, |_| ended.lock().0 == SCHEDULES);
        let ended = ended.lock();
        assert!(all, "seed {seed}: only {} of {SCHEDULES} ended", ended.0);
        assert!(ended.1.is_empty(), "seed {seed}: {:?}", ended.1);
    });
}

/// One waits in its commit for a row that the other has locked; the other reads a row that the first is
/// about to commit.
#[test]
fn of_a_commit_and_a_read_are_broken() {
    for_each(5, |seed| {
        let mut world = world(seed, 3, true);
        let begins = world.now() + SECOND;
        let (commits, reads) = (world.client(), world.client());
        let commit = async move {
            let clock = commits.clone();
            let work = move |db: Db| async move {
                let txn = db.begin(TxnOptions::default());
                txn.begin_statement().await?;
                txn.put(row(1), value(1))?;
                txn.put(row(11), value(1))?;
                clock.sleep(begins - clock.now()).await;
                txn.commit().await.map(drop)
            };
            commits.on(0, work).await.expect("no node dies")
        };
        let read = async move {
            let clock = reads.clone();
            let work = move |db: Db| async move {
                clock.sleep(100 * MS).await;
                let txn = db.begin(TxnOptions::default());
                txn.begin_statement().await?;
                txn.lock(&[row(11)], Strength::Update, WaitPolicy::Block).await?;
                clock.sleep(begins + 50 * MS - clock.now()).await;
                txn.get(&row(1)).await?;
                txn.commit().await.map(drop)
            };
            reads.on(1, work).await.expect("no node dies")
        };
        let both = futures::future::join(commit, read);
        let ends = world.block_on(2 * SECOND, both);
        let Some((committed, read)) = ends else { panic!("seed {seed}: they wait for ever") };
        assert_eq!(committed, Ok(()), "seed {seed}: the older one commits");
        assert!(matches!(read, Err(KvError::Deadlock { .. })), "seed {seed}: {read:?}");
    });
}
