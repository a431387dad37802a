//! Leases keep a leader that was replaced from answering. Each time the leader is cut off from the other
//! voters, but not from a gateway that trusts it, and a new one is elected: written there, what does the
//! gateway read?
//!
//! Raft alone would not tell the old leader for a second or so. And with the rule that is being tested
//! switched off the gateway reads what was there before.

use base::RangeId;
use kv::{Db, KvError, TxnOptions};
use sim::workload::{row, value, value_of};
use sim::{Duties, Micros, Settings, World};
use txn::Rules;

const MS: Micros = 1_000;
const SECOND: Micros = 1_000_000;
/// Has no replica.
const GATEWAY: usize = 3;
const VOTERS: [usize; 3] = [0, 1, 2];
const SEEDS: u64 = 20;

async fn write(db: Db, number: u64) -> Result<(), KvError> {
    let txn = db.begin(TxnOptions::default());
    txn.begin_statement().await?;
    txn.put(row(1), value(number))?;
    txn.commit().await.map(drop)
}

async fn read(db: Db) -> Result<u64, KvError> {
    let txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
    txn.begin_statement().await?;
    Ok(value_of(&txn.get(&row(1)).await?.unwrap_or_default()))
}

/// The node that leads a range, other than `not` if that one thinks that it still does.
fn leader(world: &World, range: RangeId, not: Option<usize>) -> Option<usize> {
    let mut led =
        world.leaders().into_iter().filter(|(r, node)| r.id() == range && Some(*node) != not);
    led.next().map(|(_, node)| node)
}

fn user_range(world: &World) -> Option<RangeId> {
    let led = world.leaders().into_iter().find(|(r, _)| r.span().contains(row(1).as_bytes()));
    led.map(|(descriptor, _)| descriptor.id())
}

/// Moves leaders about until the oracle's is, or is not, the row's.
fn place_leaders(world: &mut World, together: bool) -> (RangeId, usize) {
    for _ in 0..50 {
        let user = user_range(world);
        let user = user.and_then(|range| Some((range, leader(world, range, None)?)));
        if let (Some((range, node)), Some(oracle)) = (user, leader(world, RangeId::SYSTEM, None)) {
            if (node == oracle) == together {
                return (range, node);
            }
            let to = if together { node } else { VOTERS[(oracle + 1) % 3] };
            let transfer = proto::kv::TransferLeader { to: World::node_id(to).0 };
            let request = proto::kv::range_request::Request::TransferLeader(transfer);
            world.order(oracle, RangeId::SYSTEM, request);
        }
        world.run_for(200 * MS);
    }
    panic!("leaders do not move: rerun with SIM_SEED={}", world.seed());
}

/// What the gateway reads after two was written over one.
fn reads(seed: u64, rules: Rules, duties: Duties, restarts: bool) -> Option<u64> {
    let mut settings = Settings { nodes: 4, duties, ..Settings::new(seed) };
    settings.set_rules(rules);
    let mut world = World::new(settings);
    let client = world.client();
    let first = async move { client.until_done(GATEWAY, |db| Box::pin(write(db, 1))).await };
    world.block_on(20 * SECOND, first).expect("a row");
    // What voters promised as they began is over.
    world.run_for(5 * SECOND);
    let (range, old) = place_leaders(&mut world, restarts);
    let client = world.client();
    let before = async move { client.until_done(GATEWAY, |db| Box::pin(read(db))).await };
    assert_eq!(world.block_on(5 * SECOND, before), Some(1));

    let others = VOTERS.into_iter().filter(|voter| *voter != old);
    for other in others.clone() {
        world.cut(old, other);
        world.cut(other, old);
    }
    if restarts {
        others.clone().for_each(|voter| world.kill(voter));
        world.run_for(20 * MS);
        others.for_each(|voter| world.start(voter));
    }
    let led = |world: &World, range| leader(world, range, Some(old));
    let elected = world.run_until(8 * SECOND, |world| {
        led(world, range).is_some() && led(world, RangeId::SYSTEM).is_some()
    });
    assert!(elected, "nobody is elected: rerun with SIM_SEED={seed}");
    let new = led(&world, range).expect("just seen");
    let oracle = led(&world, RangeId::SYSTEM).expect("just seen");
    let client = world.client();
    let second = async move {
        let act = move |db: Db| async move {
            db.learn_leader(range, World::node_id(new));
            db.learn_leader(RangeId::SYSTEM, World::node_id(oracle));
            write(db, 2).await
        };
        client.on(new, act).await
    };
    let written = world.block_on(5 * SECOND, second).expect("an end");
    written.expect("no node dies").expect("a leader is there");
    let client = world.client();
    let after = async move { client.until_done(GATEWAY, |db| Box::pin(read(db))).await };
    world.block_on(20 * SECOND, after)
}

fn some_seed_reads_the_past(rules: Rules, duties: Duties, restarts: bool) {
    let found = (0..SEEDS).find(|seed| reads(*seed, rules, duties, restarts) == Some(1));
    let found = found.unwrap_or_else(|| panic!("{SEEDS} seeds read what was written"));
    let kept = reads(found, Rules::ALL, Duties::ALL, restarts);
    assert_eq!(kept, Some(2), "seed {found}, with all rules");
}

#[test]
fn a_leader_without_a_lease_reads_the_past() {
    let rules = Rules { leases_are_checked: false, ..Rules::ALL };
    some_seed_reads_the_past(rules, Duties::ALL, false);
}

#[test]
fn voters_that_forget_their_promises_let_the_past_be_read() {
    let duties = Duties { restarts_abstain: false, ..Duties::ALL };
    some_seed_reads_the_past(Rules::ALL, duties, true);
}

#[test]
fn nobody_reads_the_past() {
    for seed in 0..5 {
        for restarts in [false, true] {
            let read = reads(seed, Rules::ALL, Duties::ALL, restarts);
            assert_eq!(read, Some(2), "seed {seed}, restarts: {restarts}");
        }
    }
}
