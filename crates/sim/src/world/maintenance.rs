//! What a node does by the clock, as `node::store::maintenance`: ticks, liveness, flushes, placement.
//!
//! The planner is told what other nodes lead as it is at the moment, by all that can be reached; the
//! process asks them, which takes a moment. A plan is advice, and every step of it is checked by the
//! range, so that what it was based on is of no consequence to safety.

use base::NodeId;
use meta::planner::{self, Goal, NodeView, Planned, RangeView, Step};
use proto::kv::range_request::Request;
use proto::kv::{ChangeReplicas, RangeRequest, TransferLeader};
use proto::meta::Replica as Member;
use proto::node::Liveness as Message;
use storage::Engine;

use super::net::Packet;
use super::node::Waiter;
use super::state::{Event, Owner, Place, State};

const TICK: u64 = 100_000;
const LIVENESS: u64 = 100_000;
const MAINTENANCE: u64 = 500_000;
/// A coordinator silent for so long has lost its in-memory locks.
const COORDINATOR_GONE: u64 = 5_000_000;
/// Placement looks at the whole cluster every so many maintenance turns.
const PLACEMENT_TURNS: u64 = 2;

impl State {
    pub(crate) fn tick(&mut self, owner: Owner) {
        for place in self.places(owner) {
            self.touch(place, |replica, ctx, out| {
                replica.tick(ctx, out);
                replica.check_invariants();
            });
        }
        self.after(TICK, Event::Tick(owner));
    }

    pub(crate) fn exchange_liveness(&mut self, owner: Owner) {
        let node = &mut self.nodes[owner.node];
        let clock = node.clock(self.now);
        let process = node.process.as_deref_mut().expect("it lives");
        let asks = process.liveness.tick(clock);
        let (mut silent, mut gone) = (Vec::new(), Vec::new());
        let peers: Vec<NodeId> = process.liveness.peers().collect();
        for peer in peers {
            let index = super::store::index(peer);
            let heard = process.heard.entry(index).or_default();
            if process.liveness.is_live(peer, clock) {
                (heard.last, heard.silenced) = (clock, false);
                continue;
            }
            silent.push(index);
            if heard.last == 0 {
                heard.last = clock;
            }
            if clock - heard.last > COORDINATOR_GONE && !heard.silenced {
                heard.silenced = true;
                gone.push((peer, heard.incarnation));
            }
        }
        // Whoever waits for an answer of a silent node asks elsewhere.
        let calls = process.calls.iter();
        let broken: Vec<u64> =
            calls.filter(|(_, call)| silent.contains(&call.to)).map(|(id, _)| *id).collect();
        for id in broken {
            self.call_broken(owner, id);
        }
        for (to, message) in asks {
            let packet = Packet::Liveness { incarnation: owner.incarnation, message };
            self.send(owner.node, super::store::index(to), packet);
        }
        for (node, incarnation) in gone {
            for place in self.places(owner) {
                self.touch(place, |r, ctx, out| r.node_silent(ctx, node, incarnation, out));
            }
        }
        self.after(LIVENESS, Event::Liveness(owner));
    }

    pub(crate) fn on_liveness(
        &mut self,
        owner: Owner,
        from: usize,
        incarnation: u64,
        message: &Message,
    ) {
        let node = &mut self.nodes[owner.node];
        let clock = node.clock(self.now);
        let process = node.process.as_deref_mut().expect("it lives");
        let heard = process.heard.entry(from).or_default();
        let before = heard.incarnation;
        // As in the process, where the newest frame counts: a late one must not turn it back.
        heard.incarnation = before.max(incarnation);
        let peer = NodeId(from as u64 + 1);
        let answer = process.liveness.on_message(clock, peer, incarnation, message);
        if let Some(message) = answer {
            let packet = Packet::Liveness { incarnation: owner.incarnation, message };
            self.send(owner.node, from, packet);
        }
        if before < incarnation && incarnation > 1 {
            self.coordinator_gone(owner, peer, incarnation - 1);
        }
    }

    fn coordinator_gone(&mut self, owner: Owner, node: NodeId, incarnation: u64) {
        for place in self.places(owner) {
            self.touch(place, |r, ctx, out| r.node_gone(ctx, node, incarnation, out));
        }
    }

    pub(crate) fn maintenance(&mut self, owner: Owner) {
        if self.rng.chance(self.settings.flush_chance) {
            self.nodes[owner.node].engine.flush().expect("memory");
        }
        let process = self.nodes[owner.node].process.as_deref_mut().expect("it lives");
        process.turns += 1;
        if process.turns.is_multiple_of(PLACEMENT_TURNS) {
            self.place_replicas(owner);
        }
        self.after(MAINTENANCE, Event::Maintenance(owner));
    }

    fn place_replicas(&mut self, owner: Owner) {
        let me = self.nodes[owner.node].id;
        let ranges = self.known_leaders(owner);
        self.remove_strays(owner, &ranges);
        let nodes = self.node_views(owner);
        let goal =
            Goal { voters: self.settings.copies, dead_after_ms: self.settings.dead_after_ms };
        for planned in planner::plan(goal, &nodes, &ranges, |r| r.leader == Some(me)) {
            self.step_plan(owner, planned);
        }
    }

    /// What this node leads, and what those say that it can reach.
    fn known_leaders(&mut self, owner: Owner) -> Vec<RangeView> {
        let mut ranges: Vec<RangeView> = Vec::new();
        let mut others: Vec<usize> = (0..self.nodes.len()).filter(|n| *n != owner.node).collect();
        others.insert(0, owner.node);
        for index in others {
            let reached = !self.links.cut.contains(&(owner.node, index))
                && !self.links.cut.contains(&(index, owner.node))
                && self.nodes[index].paused_until <= self.now;
            if !reached || self.nodes[index].process.is_none() {
                continue;
            }
            for view in self.led_by(self.nodes[index].owner()) {
                let known = |r: &RangeView| r.descriptor.range_id == view.descriptor.range_id;
                if !ranges.iter().any(known) {
                    ranges.push(view);
                }
            }
        }
        ranges
    }

    /// The ranges that a node leads, under a valid lease.
    pub(crate) fn led_by(&mut self, owner: Owner) -> Vec<RangeView> {
        let me = self.nodes[owner.node].id;
        let views = self.places(owner).into_iter().filter_map(|place| self.view(place));
        let led = views.filter(|view| view.leaseholder);
        led.map(|view| RangeView { descriptor: view.descriptor, leader: Some(me), wish: view.wish })
            .collect()
    }

    /// What others see of a replica that has data.
    pub(crate) fn view(&self, place: Place) -> Option<range::ReplicaView> {
        let node = &self.nodes[place.owner.node];
        let process = node.process.as_deref()?;
        let cell = process.cells.get(&place.range)?;
        if !cell.replica.is_initialised() {
            return None;
        }
        let now = node.clock(self.now.max(node.paused_until));
        let clock = || now;
        let wall_ms = node.wall_ms(self.now);
        let (engine, liveness) = (&*node.engine, &process.liveness);
        Some(cell.replica.view(&range::Ctx { engine, liveness, clock: &clock, wall_ms }))
    }

    fn node_views(&self, owner: Owner) -> Vec<NodeView> {
        let node = &self.nodes[owner.node];
        let clock = node.clock(self.now);
        let process = node.process.as_deref().expect("it lives");
        let views = self.nodes.iter().enumerate().map(|(index, other)| {
            let live = process.liveness.is_live(other.id, clock);
            let last = process.heard.get(&index).map_or(1, |heard| heard.last);
            let silent_ms = if live { 0 } else { (clock - last.min(clock)) / 1000 + 1 };
            NodeView { node: other.id, silent_ms }
        });
        views.collect()
    }

    fn remove_strays(&mut self, owner: Owner, ranges: &[RangeView]) {
        let me = self.nodes[owner.node].id;
        for range in ranges.iter().filter(|range| range.leader != Some(me)) {
            if range.descriptor.has_replica(me) {
                continue;
            }
            if let Some(place) = self.place(owner, range.descriptor.id()) {
                self.touch(place, |r, ctx, out| r.remove_if_gone(ctx, &range.descriptor, out));
            }
        }
    }

    fn step_plan(&mut self, owner: Owner, planned: Planned) {
        let change = |add: Vec<Member>, remove: Vec<u64>| {
            Request::ChangeReplicas(ChangeReplicas { add, remove, generation: planned.generation })
        };
        let member = |node: NodeId, learner| vec![Member { node_id: node.0, learner }];
        let request = match planned.step {
            Step::AddLearner(node) => change(member(node, true), Vec::new()),
            Step::Promote(node) => change(member(node, false), Vec::new()),
            Step::Remove(node) => change(Vec::new(), vec![node.0]),
            Step::TransferLeader(node) => Request::TransferLeader(TransferLeader { to: node.0 }),
        };
        self.trace.say(self.now, || format!("plan {planned:?}"));
        let request = RangeRequest { range_id: planned.range.0, txn: None, request: Some(request) };
        // Whether it worked shows in the next plan.
        drop(self.serve(owner, request, Waiter::Nobody));
    }
}
