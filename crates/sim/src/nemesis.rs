//! What goes wrong, and when: drawn by lot, and over when the time is up.

use std::collections::BTreeMap;

use base::RangeId;
use proto::kv::range_request::Request;
use proto::kv::{ChangeReplicas, Split, TransferLeader};
use proto::meta::Replica as Member;

use crate::workload::row;
use crate::{Micros, Rng, World};

const MS: Micros = 1_000;
const SECOND: Micros = 1_000_000;
const HOUR_MS: i64 = 3_600_000;

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process ends; what it has not synced is lost. It starts again.
    Kill,
    /// The power fails between two writes to a disk, in the middle of whatever the process does. It
    /// starts again.
    Power,
    /// All processes end at once.
    KillAll,
    /// A process stops for a while, sometimes in the middle of something.
    Pause,
    /// A node hears nobody, or nobody hears it, or both.
    Partition,
    /// Every packet takes long.
    Spike,
    /// A wall clock is wrong by hours.
    Clock,
    /// A log takes long to sync.
    Disk,
    /// A leader hands over.
    Leader,
    /// A range is cut in two.
    Split,
    /// A replica moves to another node.
    Move,
}

/// Which faults struck, and how often.
pub type Struck = BTreeMap<Fault, u64>;

/// Which faults, how often.
#[derive(Debug, Clone)]
pub struct Nemesis {
    faults: Vec<Fault>,
    every: Micros,
    /// Rows lie in `0..rows`, for splits.
    rows: u64,
}

impl Nemesis {
    /// Some kinds of faults, one about every so often.
    #[must_use]
    pub fn new(faults: &[Fault], every: Micros, rows: u64) -> Self {
        Nemesis { faults: faults.to_vec(), every, rows }
    }

    /// Everything, often.
    #[must_use]
    pub fn everything(rows: u64) -> Self {
        use Fault::{
            Clock, Disk, Kill, KillAll, Leader, Move, Partition, Pause, Power, Spike, Split,
        };
        let all = [
            Kill, Power, KillAll, Pause, Pause, Partition, Partition, Spike, Clock, Disk, Leader,
            Leader, Split, Move,
        ];
        Nemesis::new(&all, 700 * MS, rows)
    }

    /// Everything, or a few kinds and more of them: some orders of events need quiet in all else.
    #[must_use]
    pub fn drawn(rng: &mut Rng, rows: u64) -> Self {
        use Fault::{Clock, Disk, Kill, Leader, Move, Partition, Pause, Power, Spike, Split};
        match rng.below(8) {
            0 => Nemesis::new(&[Pause], 400 * MS, rows),
            1 => Nemesis::new(&[Partition, Spike, Leader], 500 * MS, rows),
            2 => Nemesis::new(&[Leader, Split, Move, Power], 200 * MS, rows),
            3 => Nemesis::new(&[Kill, Power, Disk, Clock], 600 * MS, rows),
            _ => Nemesis::everything(rows),
        }
    }

    /// Torments a world for so long, and then leaves it in peace. Returns what it did.
    pub fn run(&self, world: &mut World, rng: &mut Rng, micros: Micros) -> Struck {
        let end = world.now() + micros;
        let mut struck = Struck::new();
        let mut undo: Vec<(Micros, Undo)> = Vec::new();
        loop {
            let next = world.now() + rng.between(self.every / 2, self.every * 3 / 2);
            while let Some(at) = undo.iter().map(|(at, _)| *at).min().filter(|at| *at <= next) {
                let wait = at.saturating_sub(world.now());
                world.run_for(wait);
                let place = undo.iter().position(|(when, _)| *when == at).expect("just found");
                undo.swap_remove(place).1.carry_out(world);
            }
            if next >= end {
                world.run_for(end.saturating_sub(world.now()));
                break;
            }
            world.run_for(next - world.now());
            if !self.faults.is_empty() {
                let fault = self.faults[rng.index(self.faults.len())];
                *struck.entry(fault).or_default() += 1;
                self.strike(fault, world, rng, &mut undo);
            }
        }
        heal(world);
        struck
    }

    fn strike(
        &self,
        fault: Fault,
        world: &mut World,
        rng: &mut Rng,
        undo: &mut Vec<(Micros, Undo)>,
    ) {
        let nodes = world.client().nodes();
        let (node, now) = (rng.index(nodes), world.now());
        world.client().say(|| format!("{fault:?} at {node}"));
        match fault {
            Fault::Kill => {
                world.kill(node);
                undo.push((now + rng.between(50 * MS, 4 * SECOND), Undo::Start(node)));
            }
            Fault::Power => {
                // Where nothing is written, it fails when something is.
                world.cut_power(node, rng.below(12));
                undo.push((now + rng.between(50 * MS, 4 * SECOND), Undo::Start(node)));
            }
            Fault::KillAll => {
                for node in 0..nodes {
                    world.kill(node);
                    undo.push((now + rng.between(50 * MS, SECOND), Undo::Start(node)));
                }
            }
            Fault::Pause => {
                let looks = rng.chance(700_000).then(|| 1 + rng.below(6) as u32);
                world.pause(node, rng.between(100 * MS, 6 * SECOND), looks);
            }
            Fault::Partition => {
                partition(world, rng, node, nodes);
                undo.push((now + rng.between(200 * MS, 5 * SECOND), Undo::Mend));
            }
            Fault::Spike => {
                world.spike(rng.between(10 * MS, 500 * MS));
                undo.push((now + rng.between(200 * MS, 2 * SECOND), Undo::Mend));
            }
            Fault::Clock => {
                let hours = i64::try_from(rng.below(25)).expect("small") - 12;
                world.jump_clock(node, hours * HOUR_MS + rng.below(1000) as i64);
            }
            Fault::Disk => {
                world.set_disk(node, (5 * MS, 200 * MS));
                undo.push((now + rng.between(200 * MS, 3 * SECOND), Undo::Disk(node)));
            }
            Fault::Leader => transfer(world, rng, nodes),
            Fault::Split => split(world, rng, self.rows),
            Fault::Move => move_replica(world, rng, nodes),
        }
    }
}

enum Undo {
    Start(usize),
    Mend,
    Disk(usize),
}

impl Undo {
    fn carry_out(self, world: &mut World) {
        match self {
            Undo::Start(node) => world.start(node),
            Undo::Mend => world.mend(),
            Undo::Disk(node) => world.set_disk(node, (50, 400)),
        }
    }
}

/// Takes back every fault; clocks stay as wrong as they are.
pub fn heal(world: &mut World) {
    world.mend();
    for node in 0..world.client().nodes() {
        world.resume(node);
        world.restore_power(node);
        world.set_disk(node, (50, 400));
        world.start(node);
    }
}

fn partition(world: &mut World, rng: &mut Rng, node: usize, nodes: usize) {
    let (hears, is_heard) = [(false, false), (true, false), (false, true)][rng.index(3)];
    // Sometimes from one other node only, so that the rest see both.
    let only = rng.chance(300_000).then(|| rng.index(nodes));
    for other in (0..nodes).filter(|n| *n != node && only.is_none_or(|only| only == *n)) {
        if !hears {
            world.cut(other, node);
        }
        if !is_heard {
            world.cut(node, other);
        }
    }
}

fn transfer(world: &mut World, rng: &mut Rng, nodes: usize) {
    let led = world.leaders();
    if led.is_empty() {
        return;
    }
    let (descriptor, leader) = &led[rng.index(led.len())];
    let to = World::node_id(rng.index(nodes)).0;
    let request = Request::TransferLeader(TransferLeader { to });
    world.order(*leader, descriptor.id(), request);
}

fn split(world: &mut World, rng: &mut Rng, rows: u64) {
    let key = row(rng.below(rows));
    let led = world.leaders();
    let Some((descriptor, leader)) = led.iter().find(|(r, _)| r.span().contains(key.as_bytes()))
    else {
        return;
    };
    world.order(*leader, descriptor.id(), Request::Split(Split { keys: vec![key.0] }));
}

/// Adds a replica of some range on a node without; the planner removes one too many. With as many
/// replicas as nodes, one is removed, and the planner adds it again.
fn move_replica(world: &mut World, rng: &mut Rng, nodes: usize) {
    let led = world.leaders();
    if led.is_empty() {
        return;
    }
    let (descriptor, leader) = &led[rng.index(led.len())];
    let generation = descriptor.generation;
    let without = (0..nodes).find(|node| !descriptor.has_replica(World::node_id(*node)));
    let change = match without {
        Some(node) => {
            let node_id = World::node_id(node).0;
            let add = vec![Member { node_id, learner: true }];
            ChangeReplicas { add, remove: Vec::new(), generation }
        }
        None => {
            let victim = (*leader + 1 + rng.index(nodes - 1)) % nodes;
            let remove = vec![World::node_id(victim).0];
            ChangeReplicas { add: Vec::new(), remove, generation }
        }
    };
    let range: RangeId = descriptor.id();
    world.order(*leader, range, Request::ChangeReplicas(change));
}
