//! A cluster of real replicas over in-memory engines and logs, on a simulated network. It does what
//! the driver in `node` does, in one thread and in an order that one seed decides.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test uses its part")]

pub mod client;
mod effects;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::{NodeId, RangeId, keyspace};
use bytes::Bytes;
use consensus::{Liveness, LivenessConfig};
use proto::kv::{RangeRequest, RangeResponse};
use proto::meta::{RangeDescriptor, Replica as ReplicaOf};
use proto::node;
use range::{Config, Ctx, Effect, Open, Replica, Token};
use storage::{Engine, LogBatch, LogStore, MemEngine, MemLogStore};

pub use client::Outcome;

pub const TICK: u64 = 100_000;
pub const SYSTEM: RangeId = RangeId::SYSTEM;
pub const USER: RangeId = RangeId(2);

/// A small generator: the tests need many numbers, not good ones.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
pub enum Packet {
    Raft(node::RaftMessage),
    Live { incarnation: u64, message: node::Liveness },
    Snapshot { header: node::SnapshotHeader, chunks: Vec<Bytes> },
}

pub struct Node {
    pub id: NodeId,
    pub up: bool,
    pub engine: Arc<MemEngine>,
    pub logs: Arc<MemLogStore>,
    pub replicas: BTreeMap<RangeId, Replica>,
    pub liveness: Liveness,
    pub incarnation: u64,
    pub offset: u64,
    pub paused_until: u64,
    pub stopped: BTreeSet<RangeId>,
    next_tick: u64,
    scheduled: BTreeSet<RangeId>,
}

/// What a request of the harness itself is for, by its token.
#[derive(Debug, Clone)]
pub enum Purpose {
    Client,
    Timestamp { node: NodeId, range: RangeId, term: u64 },
    RangeIds { node: NodeId, range: RangeId, ticket: u64 },
    Publish { node: NodeId, range: RangeId, generation: u64 },
}

pub struct World {
    pub now: u64,
    pub rng: Rng,
    pub nodes: Vec<Node>,
    pub config: Config,
    pub network: BTreeMap<(u64, u64), (NodeId, NodeId, Packet)>,
    sequence: u64,
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub drop_percent: u64,
    pub raft_sent: u64,
    pub snapshots_sent: u64,
    tokens: u64,
    pub purposes: BTreeMap<Token, Purpose>,
    pub answers: BTreeMap<Token, RangeResponse>,
    pub splits_wanted: Vec<RangeId>,
    /// A node dies at the so-many-th step of its store loop from now.
    pub doom: Option<(NodeId, u64)>,
    /// Steps of the store loop so far, of all nodes.
    pub steps: u64,
}

impl World {
    /// Nodes with empty disks; the first holds the two ranges of a new cluster, alone.
    pub fn new(seed: u64, nodes: u64) -> World {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let nodes = (1..=nodes)
            .map(|id| Node {
                id: NodeId(id),
                up: false,
                engine: Arc::new(MemEngine::new()),
                logs: Arc::new(MemLogStore::new()),
                replicas: BTreeMap::new(),
                liveness: Liveness::new(NodeId(id), 0, 0, LivenessConfig::default(), true),
                incarnation: 0,
                offset: 1_000_000 + rng.below(1_000_000_000),
                paused_until: 0,
                stopped: BTreeSet::new(),
                next_tick: rng.below(TICK),
                scheduled: BTreeSet::new(),
            })
            .collect();
        let mut world = World {
            now: 1_000_000,
            rng,
            nodes,
            config: Config::default(),
            network: BTreeMap::new(),
            sequence: 0,
            cut: BTreeSet::new(),
            drop_percent: 0,
            raft_sent: 0,
            snapshots_sent: 0,
            tokens: 0,
            purposes: BTreeMap::new(),
            answers: BTreeMap::new(),
            splits_wanted: Vec::new(),
            doom: None,
            steps: 0,
        };
        for index in 0..world.nodes.len() {
            world.start(index);
        }
        world.bootstrap();
        world
    }

    fn bootstrap(&mut self) {
        let open = self.open(0);
        let node = &mut self.nodes[0];
        for (id, span) in [(1, keyspace::system()), (2, keyspace::user())] {
            let descriptor = RangeDescriptor {
                range_id: id,
                start: span.start.0,
                end: span.end.0,
                generation: 1,
                replicas: vec![ReplicaOf { node_id: 1, learner: false }],
            };
            let replica = Replica::bootstrap(&*node.engine, &open, &descriptor).expect("memory");
            node.replicas.insert(RangeId(id), replica);
        }
        node.engine.flush().expect("memory");
    }

    pub fn open(&self, index: usize) -> Open {
        let node = &self.nodes[index];
        Open {
            node: node.id,
            logs: Arc::clone(&node.logs) as Arc<dyn LogStore>,
            config: Arc::new(self.config.clone()),
        }
    }

    /// Starts a node's process, from what is on its disks.
    pub fn start(&mut self, index: usize) {
        let (open, count) = (self.open(index), self.nodes.len() as u64);
        let node = &mut self.nodes[index];
        node.incarnation += 1;
        let clock = self.now + node.offset;
        let (config, fresh) = (LivenessConfig::default(), node.incarnation == 1);
        node.liveness = Liveness::new(node.id, node.incarnation, clock, config, fresh);
        node.liveness.set_peers((1..=count).map(NodeId));
        let replicas = Replica::load(&*node.engine, &open).expect("memory");
        node.scheduled = replicas.iter().map(Replica::id).collect();
        node.replicas = replicas.into_iter().map(|replica| (replica.id(), replica)).collect();
        node.up = true;
        node.paused_until = 0;
        self.run_store(index);
    }

    /// Ends a node's process. The engine loses what is not flushed; of the log's unsynced appends
    /// some prefix may have survived.
    pub fn kill(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.up = false;
        node.replicas.clear();
        node.scheduled.clear();
        node.engine.crash();
        let unsynced = node.logs.unsynced() as u64;
        let kept = self.rng.below(unsynced + 1);
        self.nodes[index].logs.crash(usize::try_from(kept).expect("small"));
    }

    pub fn restart(&mut self, index: usize) {
        self.kill(index);
        self.start(index);
    }

    /// One step of a store loop: here the process may die. Answers whether it lives.
    fn survives(&mut self, index: usize) -> bool {
        self.steps += 1;
        if let Some((doomed, left)) = &mut self.doom
            && doomed.0 == index as u64 + 1
        {
            if *left == 0 {
                self.doom = None;
                self.kill(index);
                return false;
            }
            *left -= 1;
        }
        true
    }

    pub fn send(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        match packet {
            Packet::Raft(_) => self.raft_sent += 1,
            Packet::Snapshot { .. } => self.snapshots_sent += 1,
            Packet::Live { .. } => {}
        }
        if self.cut.contains(&(from, to)) || self.rng.chance(self.drop_percent) {
            if let Packet::Snapshot { header, .. } = packet {
                self.report_snapshot(from, RangeId(header.range_id), to, false);
            }
            return;
        }
        let delay = 200 + self.rng.below(2_000);
        self.sequence += 1;
        self.network.insert((self.now + delay, self.sequence), (from, to, packet));
    }

    pub fn run_for(&mut self, micros: u64) {
        let until = self.now + micros;
        loop {
            let packet = self.network.keys().next().map_or(u64::MAX, |(at, _)| *at);
            let ticks = self.nodes.iter().enumerate().filter(|(_, node)| node.up);
            let (tick, index) = ticks
                .map(|(i, node)| (node.next_tick.max(node.paused_until), i))
                .min()
                .unwrap_or((u64::MAX, 0));
            let next = packet.min(tick);
            if next > until {
                self.now = until;
                return;
            }
            self.now = next.max(self.now);
            if tick <= packet {
                self.tick(index);
            } else if let Some((_, (from, to, packet))) = self.network.pop_first() {
                self.deliver(from, to, packet);
            }
        }
    }

    fn tick(&mut self, index: usize) {
        let (now, incarnation) = (self.now, self.nodes[index].incarnation);
        let node = &mut self.nodes[index];
        node.next_tick = now + TICK;
        let asks = node.liveness.tick(now + node.offset);
        let (id, ranges): (_, Vec<RangeId>) = (node.id, node.replicas.keys().copied().collect());
        for (to, message) in asks {
            self.send(id, to, Packet::Live { incarnation, message });
        }
        for range in ranges {
            self.with(index, range, |replica, ctx, out| replica.tick(ctx, out));
        }
        self.run_store(index);
        if let Some(node) = self.nodes.get(index) {
            for replica in node.replicas.values() {
                replica.check_invariants();
            }
        }
    }

    /// Calls a replica and carries out what it asks for.
    pub fn with<T: Default>(
        &mut self,
        index: usize,
        range: RangeId,
        call: impl FnOnce(&mut Replica, &Ctx<'_>, &mut Vec<Effect>) -> T,
    ) -> T {
        let now = self.now;
        let mut out = Vec::new();
        let node = &mut self.nodes[index];
        let Some(replica) = node.replicas.get_mut(&range) else { return T::default() };
        let clock = || now + node.offset;
        let ctx = Ctx {
            engine: &*node.engine,
            liveness: &node.liveness,
            clock: &clock,
            wall_ms: now / 1000,
        };
        let result = call(replica, &ctx, &mut out);
        self.carry_out(index, range, out);
        result
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        let index = usize::try_from(to.0 - 1).expect("small");
        let node = &mut self.nodes[index];
        if !node.up {
            if let Packet::Snapshot { header, .. } = packet {
                self.report_snapshot(from, RangeId(header.range_id), to, false);
            }
            return;
        }
        if node.paused_until > self.now {
            self.sequence += 1;
            let at = node.paused_until;
            self.network.insert((at, self.sequence), (from, to, packet));
            return;
        }
        match packet {
            Packet::Live { incarnation, message } => {
                let clock = self.now + node.offset;
                let answer = node.liveness.on_message(clock, from, incarnation, &message);
                let incarnation = node.incarnation;
                if let Some(message) = answer {
                    self.send(to, from, Packet::Live { incarnation, message });
                }
            }
            Packet::Raft(message) => self.deliver_raft(index, from, message),
            Packet::Snapshot { header, chunks } => self.deliver_snapshot(index, header, chunks),
        }
        self.run_store(index);
    }

    fn deliver_raft(&mut self, index: usize, from: NodeId, message: node::RaftMessage) {
        let range = RangeId(message.range_id);
        if self.nodes[index].replicas.contains_key(&range) {
            return self.with(index, range, |replica, ctx, out| replica.step(ctx, message, out));
        }
        let open = self.open(index);
        let node = &mut self.nodes[index];
        let made = Replica::for_message(&*node.engine, &open, &message).expect("memory");
        if let Some(replica) = made {
            node.replicas.insert(range, replica);
            return self.with(index, range, |replica, ctx, out| replica.step(ctx, message, out));
        }
        let engine = &*self.nodes[index].engine;
        let answer = Replica::answer_for_missing(engine, &message).expect("memory");
        if let Some(answer) = answer {
            let me = self.nodes[index].id;
            self.send(me, from, Packet::Raft(answer));
        }
    }

    /// The turn of the store loop, as often as there is something to do.
    pub fn run_store(&mut self, index: usize) {
        loop {
            let ranges = std::mem::take(&mut self.nodes[index].scheduled);
            if ranges.is_empty() || !self.nodes[index].up {
                return;
            }
            let mut log = LogBatch::new();
            let mut synced = Vec::new();
            for range in &ranges {
                let call = |replica: &mut Replica, ctx: &Ctx<'_>, out: &mut Vec<Effect>| {
                    replica.ready(ctx, &mut log, out)
                };
                if self.with(index, *range, call) {
                    synced.push(*range);
                }
            }
            if !self.survives(index) {
                return;
            }
            if !log.is_empty() {
                self.nodes[index].logs.append(&log, !synced.is_empty()).expect("memory");
            }
            if !self.survives(index) {
                return;
            }
            for range in synced {
                self.with(index, range, |replica, ctx, out| replica.persisted(ctx, out));
            }
            if !self.survives(index) {
                return;
            }
            for range in &ranges {
                self.with(index, *range, |replica, ctx, out| replica.apply(ctx, out));
            }
            if !self.survives(index) {
                return;
            }
        }
    }

    pub fn token(&mut self, purpose: Purpose) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.purposes.insert(token, purpose);
        token
    }

    /// Puts a request to a replica; its answer appears among `answers`.
    pub fn request(&mut self, index: usize, request: RangeRequest, purpose: Purpose) -> Token {
        let token = self.token(purpose);
        let range = RangeId(request.range_id);
        self.with(index, range, |r, ctx, out| r.request(ctx, token, request, out));
        self.run_store(index);
        token
    }

    pub fn is_running(&self, index: usize) -> bool {
        self.nodes[index].up && self.nodes[index].paused_until <= self.now
    }

    /// The node that holds the lease of a range.
    pub fn holder(&mut self, range: RangeId) -> Option<usize> {
        (0..self.nodes.len()).find(|&index| {
            self.is_running(index)
                && self.with(index, range, |replica, ctx, _| replica.view(ctx).leaseholder)
        })
    }

    pub fn schedule(&mut self, index: usize, range: RangeId) {
        self.nodes[index].scheduled.insert(range);
    }
}
