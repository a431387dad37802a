//! A gateway dies in the middle of a commit, at each of its steps: everybody sees the same outcome, and
//! no lock is left after ten seconds.

use std::sync::Arc;

use base::KeyRange;
use kv::{Db, Isolation, KvError, ScanOptions, TxnOptions};
use parking_lot::Mutex;
use sim::workload::{row, value, value_of};
use sim::{Micros, Moment, Rng, Settings, Step, Trap, World};

const SECOND: Micros = 1_000_000;
const KEYS: [u64; 3] = [1, 21, 41];
const GATEWAY: usize = 1;

async fn prepare(db: Db) -> Result<(), KvError> {
    db.split(&[row(20), row(40)]).await?;
    let txn = db.begin(TxnOptions::default());
    txn.begin_statement().await?;
    for key in KEYS {
        txn.put(row(key), value(0))?;
    }
    txn.commit().await.map(drop)
}

/// Writes all keys, or one; having read them, so that at SERIALIZABLE somebody must verify.
async fn write(db: Db, level: Isolation, keys: usize) -> Result<(), KvError> {
    let txn = db.begin(TxnOptions { isolation: level, ..TxnOptions::default() });
    txn.begin_statement().await?;
    txn.get(&row(KEYS[2])).await?;
    for key in &KEYS[..keys] {
        txn.put(row(*key), value(7))?;
    }
    txn.commit().await.map(drop)
}

async fn read(db: Db) -> Result<Vec<u64>, KvError> {
    let txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
    txn.begin_statement().await?;
    let span = KeyRange { start: row(0), end: row(60) };
    let page = txn.scan(span, ScanOptions::default()).await?;
    assert!(page.resume.is_none(), "three rows are one page");
    Ok(page.rows.iter().map(|(_, value)| value_of(value)).collect())
}

/// What readers on one node have seen, in order.
type Seen = Arc<Mutex<Vec<Vec<u64>>>>;

/// Runs one death; false if the commit took no such step.
fn dies(seed: u64, level: Isolation, keys: usize, trap: Trap) -> bool {
    let mut world = World::new(Settings::new(seed));
    let client = world.client();
    let ready = async move { client.until_done(0, |db| Box::pin(prepare(db))).await };
    world.block_on(20 * SECOND, ready).expect("rows");
    // Leaders spread out, so that the gateway leads some of the ranges.
    world.run_for(Rng::new(seed).below(4 * SECOND));
    world.set_trap(Some(trap));
    let client = world.client();
    let told = async move { client.on(GATEWAY, |db| write(db, level, keys)).await };
    let told = world.block_on(8 * SECOND, told).expect("an end, by death or not");
    world.run_for(SECOND / 10);
    if world.trap_is_set() {
        told.expect("it lives").expect("nobody is in its way");
        return false;
    }
    let died = world.now();
    let seen: Seen = Arc::default();
    for node in (0..3).filter(|node| *node != GATEWAY) {
        let (client, seen) = (world.client(), Arc::clone(&seen));
        world.spawn(async move {
            while client.now() < died + 10 * SECOND {
                if let Ok(Ok(rows)) = client.on(node, read).await {
                    seen.lock().push(rows);
                }
                client.sleep(100_000).await;
            }
        });
    }
    world.run_for(10 * SECOND);
    let name = format!("seed {seed}, {level:?}, {keys} keys, {trap:?}");
    assert_eq!(world.locks(), (0, 0), "{name}: locks are left");
    let seen = seen.lock();
    let (before, mut after) = (vec![0; 3], vec![0; 3]);
    after[..keys].fill(7);
    assert!(seen.len() > 20, "{name}: readers got through only {} times", seen.len());
    assert!(seen.iter().all(|rows| *rows == before || *rows == after), "{name}: {seen:?}");
    let first = seen.iter().position(|rows| *rows == after).unwrap_or(seen.len());
    assert!(seen[first..].iter().all(|rows| *rows == after), "{name}: turned around: {seen:?}");
    if told == Ok(Ok(())) {
        assert_eq!(first, 0, "{name}: acknowledged, and not there");
    }
    assert!(world.failures().is_empty(), "{:?}", world.failures());
    true
}

fn at_every_step(level: Isolation, keys: usize) -> usize {
    let mut deaths = 0;
    for (number, step) in (0..).zip(Step::ALL) {
        for moment in Moment::ALL {
            for nth in 0..3 {
                let trap = Trap { node: GATEWAY, step, nth, moment };
                for seed in 0..3 {
                    deaths += usize::from(dies(seed + 100 * number, level, keys, trap));
                }
            }
        }
    }
    deaths
}

#[test]
fn in_a_parallel_commit_at_serializable() {
    // Prewrites, the record, and resolutions: three ranges, three moments, three seeds.
    assert!(at_every_step(Isolation::Serializable, 3) >= 50);
}

#[test]
fn in_a_parallel_commit_at_read_committed() {
    assert!(at_every_step(Isolation::ReadCommitted, 3) >= 50);
}

#[test]
fn in_a_one_phase_commit() {
    assert!(at_every_step(Isolation::RepeatableRead, 1) >= 9);
}
