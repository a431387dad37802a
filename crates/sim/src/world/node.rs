//! A node: its disks, its clocks, and the process that runs on it, when one does.

use std::cell::Cell as Slot;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base::{NodeId, RangeId};
use consensus::{Liveness, LivenessConfig};
use futures::channel::oneshot;
use kv::Db;
use proto::kv::RangeResponse;
use range::{Ctx, Effect, Open, Replica, Token};
use storage::{Engine, LogStore, MemEngine, MemLogStore, MemPower, mvcc};

use super::past::Closing;
use super::state::{Event, Micros, Outside, Owner, Place, State};
use crate::rng::Rng;

/// The wall clock's time when the world begins: the year 2026.
const EPOCH_MS: u64 = 1_790_000_000_000;
/// Invariants of a replica are checked after one in so many calls; all are at each tick.
const CHECK_EVERY: u64 = 61;

/// A node of the cluster, up or down.
pub(crate) struct Node {
    pub id: NodeId,
    pub incarnation: u64,
    /// Of both disks.
    pub power: Arc<MemPower>,
    pub engine: Arc<MemEngine>,
    pub logs: Arc<MemLogStore>,
    pub process: Option<Box<Process>>,
    /// What the process does waits until then. Its clocks go on.
    pub paused_until: Micros,
    /// Up to when the process has seen its clock, if it was stopped in the middle of something: it does not
    /// go on before that.
    pub seen_until: Micros,
    /// The process is paused for so long in the middle of the so-many-th look at its clock.
    pub stall: Option<(u32, Micros)>,
    /// The wall clock's error, in milliseconds.
    pub wall_error_ms: i64,
    /// How long the log takes to sync: from, to.
    pub disk: (Micros, Micros),
    offset: Micros,
    drift_ppm: u64,
}

/// Who waits for an answer of a replica.
pub(crate) enum Waiter {
    Local(oneshot::Sender<RangeResponse>),
    Remote { caller: Owner, id: u64 },
    Nobody,
}

/// A call of this process to another node.
pub(crate) struct Call {
    pub to: usize,
    pub answer: oneshot::Sender<Result<RangeResponse, ()>>,
}

/// One replica and those who wait for it.
pub(crate) struct Cell {
    pub id: u64,
    pub replica: Replica,
    pub waiters: BTreeMap<Token, Waiter>,
    pub queued: bool,
    pub retired: bool,
}

/// What a process knows of another node.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub incarnation: u64,
    pub last: Micros,
    pub silenced: bool,
}

/// What is lost when a node dies.
pub(crate) struct Process {
    pub liveness: Liveness,
    pub db: Option<Db>,
    pub open: Open,
    pub cells: BTreeMap<RangeId, Cell>,
    pub calls: BTreeMap<u64, Call>,
    pub next_call: u64,
    pub tokens: u64,
    pub cell_ids: u64,
    pub queue: VecDeque<(RangeId, u64)>,
    pub turning: Option<Vec<(RangeId, u64, bool)>>,
    pub turn_due: bool,
    pub heard: BTreeMap<usize, Heard>,
    pub turns: u64,
    pub closing: Closing,
}

impl Node {
    pub(crate) fn new(index: usize, rng: &mut Rng) -> Self {
        let power = Arc::new(MemPower::default());
        Node {
            id: NodeId(index as u64 + 1),
            incarnation: 0,
            engine: Arc::new(MemEngine::on(Arc::clone(&power))),
            logs: Arc::new(MemLogStore::on(Arc::clone(&power))),
            power,
            process: None,
            paused_until: 0,
            seen_until: 0,
            stall: None,
            wall_error_ms: 0,
            disk: (50, 400),
            offset: 1_000_000 + rng.below(10_000_000_000),
            // Within what `consensus::liveness` allows for.
            drift_ppm: rng.below(20_000),
        }
    }

    /// The monotonic clock of the node.
    pub(crate) fn clock(&self, now: Micros) -> Micros {
        self.offset + now + now / 1000 * self.drift_ppm / 1000
    }

    pub(crate) fn wall_ms(&self, now: Micros) -> u64 {
        (EPOCH_MS + now / 1000).saturating_add_signed(self.wall_error_ms)
    }

    pub(crate) fn owner(&self) -> Owner {
        let node = usize::try_from(self.id.0 - 1).expect("small");
        Owner { node, incarnation: self.incarnation }
    }
}

impl Process {
    pub(crate) fn add_cell(&mut self, replica: Replica) -> (RangeId, u64) {
        self.cell_ids += 1;
        let (range, id) = (replica.id(), self.cell_ids);
        let waiters = BTreeMap::new();
        let cell = Cell { id, replica, waiters, queued: false, retired: false };
        self.cells.insert(range, cell);
        (range, id)
    }
}

impl State {
    /// Begins a life of a node, from what is on its disks.
    pub(crate) fn start(&mut self, index: usize) -> Option<Outside> {
        let (count, config) = (self.nodes.len() as u64, Arc::clone(&self.settings.range));
        let node = &mut self.nodes[index];
        if node.process.is_some() {
            return None;
        }
        node.incarnation += 1;
        (node.paused_until, node.seen_until) = (0, 0);
        let first = node.incarnation == 1;
        let (clock, fresh) =
            (node.clock(self.now), first || !self.settings.duties.restarts_abstain);
        let promises = LivenessConfig::default();
        let mut liveness = Liveness::new(node.id, node.incarnation, clock, promises, fresh);
        liveness.set_peers((1..=count).map(NodeId));
        let logs = Arc::clone(&node.logs) as Arc<dyn LogStore>;
        let open = Open { node: node.id, logs, config };
        let replicas = match Replica::load(&*node.engine, &open) {
            Ok(replicas) => replicas,
            Err(error) => {
                self.fail(format!("node {} can't start: {error}", index + 1));
                return None;
            }
        };
        let mut process = Process {
            liveness,
            db: None,
            open,
            cells: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            tokens: 0,
            cell_ids: 0,
            queue: VecDeque::new(),
            turning: None,
            turn_due: false,
            heard: BTreeMap::new(),
            turns: 0,
            closing: Closing::default(),
        };
        for mut replica in replicas {
            replica.set_size(size_of(&*node.engine, &replica));
            process.add_cell(replica);
        }
        node.process = Some(Box::new(process));
        let owner = node.owner();
        for place in self.places(owner) {
            self.schedule(place);
        }
        for (every, event) in [
            (100_000, Event::Tick(owner)),
            (100_000, Event::Liveness(owner)),
            (500_000, Event::Maintenance(owner)),
        ] {
            let phase = self.rng.below(every);
            self.after(phase, event);
        }
        Some(Outside::Begun(owner))
    }

    /// Ends the life of a node. Of what the engine has not flushed, and of what the log has not synced,
    /// some prefix may have survived.
    pub(crate) fn kill(&mut self, index: usize) -> Option<Outside> {
        let owner = self.nodes[index].owner();
        let process = self.nodes[index].process.take()?;
        let node = &mut self.nodes[index];
        node.stall = None;
        (node.paused_until, node.seen_until) = (0, 0);
        node.power.restore();
        let (unflushed, unsynced) = (node.engine.unflushed(), node.logs.unsynced());
        let lost = self.rng.chance(500_000);
        let kept = if lost { 0 } else { self.rng.index(unflushed + 1) };
        self.nodes[index].engine.crash_keeping(kept);
        let kept = self.rng.index(unsynced + 1);
        self.nodes[index].logs.crash(kept);
        self.note_deeds(&process);
        let mut broken = Vec::new();
        for other in self.nodes.iter().filter(|node| node.process.is_some()) {
            let calls = other.process.iter().flat_map(|process| &process.calls);
            broken.extend(
                calls.filter(|(_, call)| call.to == index).map(|(id, _)| (other.owner(), *id)),
            );
        }
        for (caller, id) in broken {
            let noticed = self.rng.below(50_000);
            self.after(noticed, Event::CallBroken(caller, id));
        }
        Some(Outside::Ended(owner, process))
    }

    /// All replicas of a process.
    pub(crate) fn places(&self, owner: Owner) -> Vec<Place> {
        let Some(process) = &self.nodes[owner.node].process else { return Vec::new() };
        let cells = process.cells.iter();
        cells.map(|(range, cell)| Place { owner, range: *range, cell: cell.id }).collect()
    }

    /// The replica of a range, if there is one.
    pub(crate) fn place(&self, owner: Owner, range: RangeId) -> Option<Place> {
        let cell = self.nodes[owner.node].process.as_ref()?.cells.get(&range)?;
        Some(Place { owner, range, cell: cell.id })
    }

    /// Lets a replica do something. The second value says that the process was paused while it did, so
    /// that what comes of it happens when it goes on.
    pub(crate) fn call<T>(
        &mut self,
        place: Place,
        act: impl FnOnce(&mut Replica, &Ctx<'_>, &mut Vec<Effect>) -> T,
    ) -> Option<(T, Vec<Effect>, bool)> {
        self.touched += 1;
        let check = self.touched.is_multiple_of(CHECK_EVERY);
        let node = &mut self.nodes[place.owner.node];
        let now = self.now.max(node.paused_until);
        let wall_ms = node.wall_ms(now);
        let base = node.clock(now);
        let process = node.process.as_deref_mut()?;
        let cell = process.cells.get_mut(&place.range).filter(|cell| cell.id == place.cell)?;
        let (looks, stalled) = (Slot::new(0), Slot::new(0));
        let plan = node.stall;
        let clock = || {
            looks.set(looks.get() + 1);
            if let Some((at, long)) = plan
                && looks.get() == at
            {
                stalled.set(long);
            }
            base + stalled.get()
        };
        let liveness = &process.liveness;
        let ctx = Ctx { engine: &*node.engine, liveness, clock: &clock, wall_ms };
        let mut out = Vec::new();
        let result = act(&mut cell.replica, &ctx, &mut out);
        if check {
            cell.replica.check_invariants();
        }
        if stalled.get() > 0 {
            node.stall = None;
            node.paused_until = now + stalled.get();
            node.seen_until = node.paused_until;
            let numbers = [place.owner.node as u64, place.range.0, stalled.get()];
            self.trace.note(self.now, "stalled", &numbers, &[]);
        }
        let paused = self.nodes[place.owner.node].paused_until > self.now;
        Some((result, out, paused))
    }

    /// Lets a replica do something and carries out what comes of it.
    pub(crate) fn touch(
        &mut self,
        place: Place,
        act: impl FnOnce(&mut Replica, &Ctx<'_>, &mut Vec<Effect>),
    ) {
        if let Some(((), effects, paused)) = self.call(place, act) {
            self.follow(place, effects, paused);
        }
    }

    /// Carries effects out, now or when the process goes on.
    pub(crate) fn follow(&mut self, place: Place, effects: Vec<Effect>, paused: bool) {
        if effects.is_empty() {
            return;
        }
        if paused {
            let until = self.nodes[place.owner.node].paused_until;
            return self.at(until, Event::CarryOut(place, effects));
        }
        self.carry_out(place, effects);
    }
}

/// How large the data of a replica is.
pub(crate) fn size_of(engine: &dyn Engine, replica: &Replica) -> u64 {
    let spans = mvcc::range_spans(&replica.descriptor().span());
    let sizes = spans.iter().map(|(family, span)| engine.approximate_size(*family, span));
    sizes.map(|size| size.expect("memory")).sum()
}
