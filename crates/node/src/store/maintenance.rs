//! What a store does by the clock: ticks, liveness, flushes, placement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use meta::Wish;
use meta::planner::{self, Goal, NodeView, Planned, RangeView, Step};
use proto::kv::range_request::Request;
use proto::kv::{ChangeReplicas, RangeRequest, TransferLeader};
use proto::meta::Replica as Member;
use proto::node::{Liveness as Message, RaftMessage, StatusRequest};
use range::Replica;
use storage::{Engine, Family};
use tokio::time::{MissedTickBehavior, interval};

use super::{Cell, Outcome, Store};
use crate::config::{LIVENESS_INTERVAL, MAINTENANCE_INTERVAL, TICK_INTERVAL};
use crate::transport::Peer;

/// The engine is flushed when this much was written since the last time, so that the log can be
/// truncated and a restart replays little.
const FLUSH_BYTES: u64 = 48 << 20;
/// ... or after this many maintenance turns, if anything was written.
const FLUSH_TURNS: u64 = 120;
/// A coordinator silent for so long has lost its in-memory locks.
const COORDINATOR_GONE_US: u64 = 5_000_000;
/// Placement looks at the whole cluster every so many maintenance turns.
const PLACEMENT_TURNS: u64 = 2;

/// Runs for as long as the node is a member.
pub(crate) async fn maintain(store: Arc<Store>) {
    let mut ticks = interval(TICK_INTERVAL);
    let mut liveness = interval(LIVENESS_INTERVAL / 4);
    let mut maintenance = interval(MAINTENANCE_INTERVAL);
    for interval in [&mut ticks, &mut liveness, &mut maintenance] {
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut state = Maintenance::default();
    while !store.is_stopping() {
        tokio::select! {
            biased;
            _ = liveness.tick() => store.exchange_liveness(&mut state),
            _ = ticks.tick() => store.tick(),
            _ = maintenance.tick() => store.maintenance_turn(&mut state),
        }
    }
}

#[derive(Default)]
struct Maintenance {
    turns: u64,
    flushed_turn: u64,
    last_heard: BTreeMap<NodeId, u64>,
    silenced: BTreeSet<NodeId>,
    placing: Option<tokio::task::JoinHandle<()>>,
    flushing: Option<tokio::task::JoinHandle<()>>,
}

impl Store {
    fn tick(self: &Arc<Self>) {
        for cell in self.all_cells() {
            self.touch(&cell, |replica, ctx, out| replica.tick(ctx, out));
        }
    }

    fn exchange_liveness(self: &Arc<Self>, state: &mut Maintenance) {
        let now = self.now();
        let asks = self.liveness.write().tick(now);
        for (to, ask) in asks {
            if let Some(peer) = self.peers.get(to) {
                peer.outbox.liveness(ask);
            }
        }
        for peer in self.peers.all() {
            if self.liveness.read().is_live(peer.id, now) {
                state.last_heard.insert(peer.id, now);
                state.silenced.remove(&peer.id);
                continue;
            }
            // Whoever waits for an answer of a silent node asks elsewhere.
            peer.calls.fail_all("the node is silent");
            let heard = *state.last_heard.entry(peer.id).or_insert(now);
            if now - heard > COORDINATOR_GONE_US && state.silenced.insert(peer.id) {
                let incarnation = peer.incarnation.load(std::sync::atomic::Ordering::Relaxed);
                self.coordinator_silent(peer.id, incarnation);
            }
        }
    }

    /// A request for support or a promise of it arrived.
    pub(crate) fn on_liveness(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        incarnation: u64,
        message: &Message,
    ) {
        let before = peer.incarnation.swap(incarnation, std::sync::atomic::Ordering::Relaxed);
        let answer = {
            let mut liveness = self.liveness.write();
            liveness.on_message(self.now(), peer.id, incarnation, message)
        };
        if let Some(answer) = answer {
            peer.outbox.liveness(answer);
        }
        if before < incarnation && incarnation > 1 {
            self.coordinator_gone(peer.id, incarnation - 1);
        }
    }

    /// Drops the in-memory locks of the transactions that a process coordinated.
    fn coordinator_gone(self: &Arc<Self>, node: NodeId, incarnation: u64) {
        for cell in self.all_cells() {
            self.touch(&cell, |replica, ctx, out| replica.node_gone(ctx, node, incarnation, out));
        }
    }

    /// The same, as long as nobody knows whether the process has ended.
    fn coordinator_silent(self: &Arc<Self>, node: NodeId, incarnation: u64) {
        for cell in self.all_cells() {
            self.touch(&cell, |r, ctx, out| r.node_silent(ctx, node, incarnation, out));
        }
    }

    /// Raft's messages from a peer.
    pub(crate) fn step(self: &Arc<Self>, messages: Vec<RaftMessage>) {
        for message in messages {
            let known = self.cell(base::RangeId(message.range_id));
            match known.or_else(|| self.open_for_message(&message)) {
                Some(cell) => {
                    self.act(&cell, |r, ctx, out| r.step(ctx, message, out));
                }
                None => self.no_replica(&message),
            }
        }
        self.drive();
    }

    /// A leader that believes in a replica here is told that there is none, and sends a snapshot.
    fn no_replica(&self, message: &RaftMessage) {
        match Replica::answer_for_missing(&*self.engine, message) {
            Ok(Some(answer)) => self.peers.raft(NodeId(message.from), [answer]),
            Ok(None) => {}
            Err(error) => self.fail("reading what is left of a replica", &error),
        }
    }

    fn maintenance_turn(self: &Arc<Self>, state: &mut Maintenance) {
        state.turns += 1;
        self.read_clock_offset();
        let finished = |task: &Option<tokio::task::JoinHandle<()>>| {
            task.as_ref().is_none_or(tokio::task::JoinHandle::is_finished)
        };
        if finished(&state.flushing) {
            let unflushed = self.engine.unflushed_bytes();
            let due = state.turns - state.flushed_turn >= FLUSH_TURNS && unflushed > 1 << 20;
            if unflushed > FLUSH_BYTES || due {
                state.flushed_turn = state.turns;
                let store = Arc::clone(self);
                state.flushing = Some(tokio::task::spawn_blocking(move || store.flush()));
            }
        }
        if state.turns.is_multiple_of(PLACEMENT_TURNS) && finished(&state.placing) {
            let (store, heard) = (Arc::clone(self), state.last_heard.clone());
            state.placing = Some(tokio::spawn(async move { store.place(&heard).await }));
        }
    }

    fn flush(&self) {
        if let Err(error) = self.engine.flush() {
            self.fail("flushing", &error);
        }
    }

    /// Carries out the next steps of the plan for the ranges led here.
    async fn place(self: &Arc<Self>, heard: &BTreeMap<NodeId, u64>) {
        let now = self.now();
        let mine: Vec<RangeView> = self
            .all_cells()
            .iter()
            .filter_map(|cell| self.view(cell))
            .filter(|view| view.leader == Some(self.me))
            .collect();
        let mut nodes = vec![NodeView { node: self.me, silent_ms: 0 }];
        for peer in self.peers.all() {
            let silent_us = now - heard.get(&peer.id).copied().unwrap_or(1).min(now);
            let live = self.liveness.read().is_live(peer.id, now);
            nodes.push(NodeView {
                node: peer.id,
                silent_ms: if live { 0 } else { silent_us / 1000 + 1 },
            });
        }
        let mut ranges = mine;
        if nodes.len() > 1 {
            self.add_ranges_of_others(&mut ranges).await;
        }
        self.remove_strays(&ranges);
        let goal = Goal { voters: self.config.copies, ..Goal::default() };
        for planned in planner::plan(goal, &nodes, &ranges, |r| r.leader == Some(self.me)) {
            self.step_plan(planned).await;
        }
    }

    /// Removes replicas whose range went on without them. They often do not hear of it: the leader stops
    /// sending as it applies the removal.
    fn remove_strays(self: &Arc<Self>, ranges: &[RangeView]) {
        for range in ranges.iter().filter(|range| range.leader.is_some_and(|n| n != self.me)) {
            let Some(cell) = self.cell(range.descriptor.id()) else { continue };
            if !range.descriptor.has_replica(self.me) {
                self.touch(&cell, |replica, ctx, out| {
                    replica.remove_if_gone(ctx, &range.descriptor, out);
                });
            }
        }
    }

    /// What the others lead, as they say: one small question each.
    async fn add_ranges_of_others(&self, ranges: &mut Vec<RangeView>) {
        let now = self.now();
        for peer in self.peers.all() {
            if !self.liveness.read().is_live(peer.id, now) {
                continue;
            }
            let asked = tokio::time::timeout(Duration::from_secs(1), led_by(&peer)).await;
            let Ok(Some(led)) = asked else { continue };
            for descriptor in led {
                if ranges.iter().all(|known| known.descriptor.range_id != descriptor.range_id) {
                    let (leader, wish) = (Some(peer.id), Wish::Unknown);
                    ranges.push(RangeView { descriptor, leader, wish });
                }
            }
        }
    }

    async fn step_plan(self: &Arc<Self>, planned: Planned) {
        let change = |add: Vec<Member>, remove: Vec<u64>| {
            Request::ChangeReplicas(ChangeReplicas { add, remove, generation: planned.generation })
        };
        let request = match planned.step {
            Step::AddLearner(node) => {
                change(vec![Member { node_id: node.0, learner: true }], Vec::new())
            }
            Step::Promote(node) => {
                change(vec![Member { node_id: node.0, learner: false }], Vec::new())
            }
            Step::Remove(node) => change(Vec::new(), vec![node.0]),
            Step::TransferLeader(node) => Request::TransferLeader(TransferLeader { to: node.0 }),
        };
        let request = RangeRequest { range_id: planned.range.0, txn: None, request: Some(request) };
        let response = match self.call(request) {
            Outcome::Ready(response) => Some(response),
            Outcome::Later(answer) => tokio::time::timeout(Duration::from_secs(10), answer)
                .await
                .ok()
                .and_then(Result::ok),
        };
        let refused = response.and_then(|r| r.error);
        match refused {
            None => tracing::info!(range = %planned.range, step = ?planned.step, "placed"),
            Some(error) => {
                tracing::debug!(range = %planned.range, step = ?planned.step, ?error, "not placed");
            }
        }
    }

    /// Gives up every lease and hands leaderships over, before the node ends.
    pub(crate) async fn hand_over_leaders(self: &Arc<Self>) {
        let now = self.now();
        for cell in self.all_cells() {
            let Some(view) = self.view(&cell) else { continue };
            let to = {
                let liveness = self.liveness.read();
                view.descriptor.voters().find(|n| *n != self.me && liveness.is_live(*n, now))
            };
            if let Some(to) = to.filter(|_| view.leader == Some(self.me)) {
                let step = Step::TransferLeader(to);
                let generation = view.descriptor.generation;
                self.step_plan(Planned { range: cell.id, generation, step }).await;
            }
        }
        let withdraw = self.liveness.write().withdraw();
        for peer in self.peers.all() {
            peer.outbox.liveness(withdraw);
        }
        // The frame leaves with the next turn of the peers' streams.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// The descriptor and leader of a replica, as it knows them.
    pub(super) fn view(&self, cell: &Arc<Cell>) -> Option<RangeView> {
        let state = cell.state.lock();
        if !state.replica.is_initialised() {
            return None;
        }
        let view = self.with_ctx(|ctx| state.replica.view(ctx));
        let leader = view.raft.leader.filter(|node| *node != self.me || view.leaseholder);
        Some(RangeView { descriptor: view.descriptor, leader, wish: view.wish })
    }

    /// Descriptors of the ranges led here, for the planners of other nodes.
    pub(crate) fn led_here(&self) -> Vec<proto::meta::RangeDescriptor> {
        self.all_cells()
            .iter()
            .filter_map(|cell| self.view(cell))
            .filter(|view| view.leader == Some(self.me))
            .map(|view| view.descriptor)
            .collect()
    }

    /// Brings the gauges up to date.
    pub(crate) fn observe(&self, db: &kv::Db) {
        let stats = self.engine.stats();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.cache_bytes.set(gauge(stats.block_cache_bytes));
        self.metrics.memtable_bytes.set(gauge(stats.write_buffer_bytes));
        self.metrics.replicas.set(gauge(self.cells.read().len() as u64));
        self.metrics.leaders.set(gauge(self.led_here().len() as u64));
        self.metrics.set("conclave_requests_waiting", self.waiting());
        for (name, value) in db.metrics().all() {
            self.metrics.set(&format!("conclave_kv_{name}"), value);
        }
    }
}

impl Store {
    /// Requests that wait in ranges led here: for locks, mostly.
    fn waiting(&self) -> u64 {
        let parked = |cell: &Arc<Cell>| {
            cell.state.lock().replica.evaluator().map_or(0, |evaluator| evaluator.load().0)
        };
        self.all_cells().iter().map(parked).sum::<usize>() as u64
    }
}

async fn led_by(peer: &Peer) -> Option<Vec<proto::meta::RangeDescriptor>> {
    let request = StatusRequest { led_only: true };
    let status = peer.asking()?.status(request).await.ok()?.into_inner();
    Some(status.ranges.into_iter().filter_map(|range| range.descriptor).collect())
}

/// How large the data of a span is on disk, for status pages.
pub(super) fn size_of(engine: &dyn Engine, span: &base::KeyRange) -> u64 {
    let spans = storage::mvcc::range_spans(span);
    let size = |(family, span): &(Family, _)| engine.approximate_size(*family, span).unwrap_or(0);
    spans.iter().map(size).sum()
}
