//! Three nodes of real groups on a simulated network, with clocks that disagree: one seed decides
//! everything. Used by the tests beside it.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::{NodeId, RangeId};
use consensus::{Group, GroupConfig, Liveness, LivenessConfig, Members, Payload, Role};
use proto::node;
use storage::{LogBatch, LogPosition, LogStore, MemLogStore};

pub const INIT: LogPosition = LogPosition { index: 10, term: 5 };
pub const TICK: u64 = 100_000;

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

#[derive(Debug, Clone)]
pub enum Packet {
    Raft(node::RaftMessage),
    Live { incarnation: u64, message: node::Liveness },
}

pub struct Node {
    pub id: NodeId,
    pub liveness: Liveness,
    pub groups: BTreeMap<RangeId, Group>,
    pub logs: Arc<MemLogStore>,
    pub incarnation: u64,
    pub applied: BTreeMap<RangeId, Vec<(u64, Vec<u8>)>>,
    pub members: Members,
    offset: u64,
    /// Parts per thousand by which the clock is fast or slow.
    rate: i64,
    pub paused_until: u64,
    next_tick: u64,
}

impl Node {
    pub fn clock(&self, real: u64) -> u64 {
        let real = i128::from(real);
        let local = i128::from(self.offset) + real + real * i128::from(self.rate) / 1000;
        u64::try_from(local).expect("clocks begin far from zero")
    }
}

pub struct World {
    pub now: u64,
    pub rng: Rng,
    pub nodes: Vec<Node>,
    pub ranges: Vec<RangeId>,
    /// By time of delivery.
    network: BTreeMap<(u64, u64), (NodeId, NodeId, Packet)>,
    sequence: u64,
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub drop_percent: u64,
    pub slow_percent: u64,
    pub raft_sent: u64,
    pub leases_seen: u64,
}

impl World {
    pub fn new(seed: u64, nodes: u64, ranges: u64) -> World {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let members = Members::voters(1..=nodes);
        let ranges: Vec<RangeId> = (1..=ranges).map(RangeId).collect();
        let nodes = (1..=nodes)
            .map(|id| Node {
                id: NodeId(id),
                liveness: Liveness::new(NodeId(id), 1, 0, LivenessConfig::default(), true),
                groups: BTreeMap::new(),
                logs: Arc::new(MemLogStore::new()),
                incarnation: 0,
                applied: BTreeMap::new(),
                members: members.clone(),
                offset: 1_000_000 + rng.below(100_000_000_000),
                rate: rng.below(9) as i64 - 4,
                paused_until: 0,
                next_tick: rng.below(TICK),
            })
            .collect();
        let mut world = World {
            now: 1_000_000,
            rng,
            nodes,
            ranges,
            network: BTreeMap::new(),
            sequence: 0,
            cut: BTreeSet::new(),
            drop_percent: 0,
            slow_percent: 0,
            raft_sent: 0,
            leases_seen: 0,
        };
        for node in 0..world.nodes.len() {
            world.start(node);
        }
        world
    }

    /// Starts or restarts a node's process.
    pub fn start(&mut self, index: usize) {
        let (ranges, count) = (self.ranges.clone(), self.nodes.len() as u64);
        let now = self.now;
        let node = &mut self.nodes[index];
        node.incarnation += 1;
        node.groups.clear();
        node.logs.crash(0);
        let (incarnation, clock) = (node.incarnation, node.clock(now));
        let config = LivenessConfig::default();
        node.liveness = Liveness::new(node.id, incarnation, clock, config, incarnation == 1);
        node.liveness.set_peers((1..=count).map(NodeId));
        for range in ranges {
            let applied = node.applied.get(&range).and_then(|a| a.last()).map(|(i, _)| *i);
            let at = match applied {
                None => INIT,
                Some(index) => {
                    let term = node.logs.term(range, index).expect("memory").expect("in the log");
                    LogPosition { index, term }
                }
            };
            let config = GroupConfig::new(range, node.id);
            let logs: Arc<dyn LogStore> = node.logs.clone();
            let group = Group::open(config, logs, at, node.members.clone()).expect("opens");
            node.groups.insert(range, group);
        }
        node.paused_until = 0;
    }

    pub fn send(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        if let Packet::Raft(_) = packet {
            self.raft_sent += 1;
        }
        if self.cut.contains(&(from, to)) || self.rng.chance(self.drop_percent) {
            return;
        }
        let copies = 1 + u64::from(self.drop_percent > 0 && self.rng.chance(3));
        for _ in 0..copies {
            let mut delay = 200 + self.rng.below(2_000);
            if self.rng.chance(self.slow_percent) {
                delay += self.rng.below(6_000_000);
            }
            self.sequence += 1;
            self.network.insert((self.now + delay, self.sequence), (from, to, packet.clone()));
        }
    }

    /// Lets everything happen up to a time, in order.
    pub fn run_until(&mut self, until: u64) {
        loop {
            let packet = self.network.keys().next().map(|(at, _)| *at).unwrap_or(u64::MAX);
            let due = |node: &Node| node.next_tick.max(node.paused_until);
            let (tick, index) = (0..self.nodes.len())
                .map(|i| (due(&self.nodes[i]), i))
                .min()
                .expect("there are nodes");
            let next = packet.min(tick);
            if next > until {
                self.now = until;
                return self.check();
            }
            self.now = next.max(self.now);
            if tick <= packet {
                self.tick(index);
            } else if let Some((_, (from, to, packet))) = self.network.pop_first() {
                self.deliver(from, to, packet);
            }
            self.check();
        }
    }

    pub fn run_for(&mut self, micros: u64) {
        self.run_until(self.now + micros);
    }

    fn tick(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let clock = node.clock(self.now);
        node.next_tick = self.now + TICK;
        let asks = node.liveness.tick(clock);
        let (id, incarnation) = (node.id, node.incarnation);
        for group in node.groups.values_mut() {
            group.tick(clock, &node.liveness);
        }
        for (to, message) in asks {
            self.send(id, to, Packet::Live { incarnation, message });
        }
        self.drain(index);
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        let index = usize::try_from(to.0 - 1).expect("small");
        if self.nodes[index].paused_until > self.now {
            // It waits in the socket.
            let at = self.nodes[index].paused_until;
            self.sequence += 1;
            self.network.insert((at, self.sequence), (from, to, packet));
            return;
        }
        let node = &mut self.nodes[index];
        let clock = node.clock(self.now);
        match packet {
            Packet::Raft(message) => {
                if let Some(group) = node.groups.get_mut(&RangeId(message.range_id)) {
                    group.step(clock, &node.liveness, &message);
                } else if let Some(answer) = consensus::answer_for_missing(&message, None) {
                    self.send(to, from, Packet::Raft(answer));
                }
                self.drain(index);
            }
            Packet::Live { incarnation, message } => {
                let answer = node.liveness.on_message(clock, from, incarnation, &message);
                let incarnation = node.incarnation;
                if let Some(message) = answer {
                    self.send(to, from, Packet::Live { incarnation, message });
                }
            }
        }
    }

    /// One turn of the store loop, as often as there is something to do.
    pub fn drain(&mut self, index: usize) {
        let mut messages = Vec::new();
        let node = &mut self.nodes[index];
        loop {
            let mut log = LogBatch::new();
            let mut sync = false;
            let mut worked = false;
            for (range, group) in &mut node.groups {
                if !group.has_ready() {
                    continue;
                }
                worked = true;
                let ready = group.ready(&mut log);
                sync |= ready.must_persist;
                messages.extend(ready.messages);
                apply(node.applied.entry(*range).or_default(), group, ready.committed);
            }
            if !worked {
                break;
            }
            node.logs.append(&log, sync).expect("memory");
            for (range, group) in &mut node.groups {
                messages.extend(group.persisted());
                if let Some(ready) = group.ready_without_log() {
                    messages.extend(ready.messages);
                    apply(node.applied.entry(*range).or_default(), group, ready.committed);
                }
            }
        }
        let id = node.id;
        for message in messages {
            self.send(id, message.to, Packet::Raft(message.message));
        }
    }

    /// The claim: nowhere two leases at one time, paused processes included.
    pub fn check(&mut self) {
        for range in &self.ranges {
            let holders: Vec<String> = self
                .nodes
                .iter()
                .filter_map(|node| {
                    let group = node.groups.get(range)?;
                    let until = group.lease_until(&node.liveness);
                    (until > node.clock(self.now))
                        .then(|| format!("{} at term {}", node.id, group.term()))
                })
                .collect();
            assert!(holders.len() <= 1, "{range}: two leases at {}: {holders:?}", self.now);
            self.leases_seen += holders.len() as u64;
        }
    }

    pub fn holder(&self, range: RangeId) -> Option<NodeId> {
        let holds = |node: &&Node| {
            let until = node.groups.get(&range).map(|group| group.lease_until(&node.liveness));
            until > Some(node.clock(self.now))
        };
        self.nodes.iter().find(holds).map(|node| node.id)
    }

    pub fn group(&mut self, node: NodeId, range: RangeId) -> &mut Group {
        let index = usize::try_from(node.0 - 1).expect("small");
        self.nodes[index].groups.get_mut(&range).expect("every node has every group")
    }

    pub fn propose(&mut self, node: NodeId, range: RangeId, data: &[u8]) -> bool {
        let taken = self.group(node, range).propose([&[Group::PROPOSAL], data].concat()).is_ok();
        self.drain(usize::try_from(node.0 - 1).expect("small"));
        taken
    }

    pub fn leader(&self, range: RangeId) -> Option<NodeId> {
        let leads = |node: &&Node| node.groups[&range].role() == Role::Leader;
        self.nodes.iter().filter(leads).max_by_key(|n| n.groups[&range].term()).map(|n| n.id)
    }

    /// Everybody applied the same entries, as far as each got.
    pub fn check_logs(&self) {
        for range in &self.ranges {
            let mut longest: &[(u64, Vec<u8>)] = &[];
            for node in &self.nodes {
                let Some(mine) = node.applied.get(range) else { continue };
                let common = mine.len().min(longest.len());
                assert_eq!(mine[..common], longest[..common], "{range} differs on {}", node.id);
                if mine.len() > longest.len() {
                    longest = mine;
                }
            }
        }
    }
}

fn apply(
    applied: &mut Vec<(u64, Vec<u8>)>,
    group: &mut Group,
    committed: Vec<consensus::Committed>,
) {
    for entry in committed {
        match entry.payload {
            Payload::Empty => applied.push((entry.at.index, Vec::new())),
            Payload::Proposal(data) => applied.push((entry.at.index, data.to_vec())),
            Payload::Change { change, .. } => {
                group.apply_change(&change);
                applied.push((entry.at.index, Vec::new()));
            }
        }
        group.applied(entry.at.index);
    }
}
