//! The past: promises of closed timestamps between nodes and garbage collection, as `node::store::closed`
//! and `node::store::garbage`; see there and `range::closed` for the reasons.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{NodeId, RangeId, Timestamp};
use futures::future::select;
use kv::{Db, Runtime};
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{Collect, Collected, RangeRequest};
use proto::node::Closed;
use range::closed::{Promise, Receiver, Sender};

use super::Sim;
use super::net::Packet;
use super::node::Process;
use super::state::{Owner, Place, State};
use super::store::index;
use super::tasks::SimRuntime;
use super::transport::SimTransport;
use crate::settings::Retention;
use crate::tally::Deeds;

/// How long the oracle is waited for. Without it nothing new can be closed.
const DRAW_PATIENCE: Duration = Duration::from_secs(2);
/// How long one step of garbage collection may take.
const STEP_PATIENCE: Duration = Duration::from_secs(3);
/// Between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(5);

/// What was said to the peers, and what they said.
#[derive(Default)]
pub(crate) struct Closing {
    senders: BTreeMap<usize, Sender>,
    receiver: Receiver,
    /// Dropped by garbage collection.
    collected: u64,
}

impl Closing {
    /// The newest promise for the range, if the request is one that any replica may answer.
    pub(crate) fn promise_for(&self, request: &RangeRequest) -> Option<Promise> {
        match request.request {
            Some(Request::Get(_) | Request::Scan(_)) if request.txn.is_none() => {
                self.receiver.lookup(RangeId(request.range_id))
            }
            _ => None,
        }
    }
}

/// Runs for as long as the process.
pub(crate) async fn keep_closed(sim: Arc<Sim>, owner: Owner, db: Db) {
    let runtime = SimRuntime::of(&sim, Some(owner));
    let every = Duration::from_millis(sim.state.lock().settings.close_every_ms);
    let mut last = Timestamp::ZERO;
    loop {
        runtime.sleep(every).await;
        if db.newest_known() == last {
            // No answer, or an error: next time.
            drop(select(Box::pin(db.now()), runtime.sleep(DRAW_PATIENCE)).await);
        }
        last = db.newest_known();
        let oldest = db.oldest_snapshot();
        sim.state.lock().close(owner, last, oldest);
    }
}

/// Runs for as long as the process, if the past is collected.
pub(crate) async fn collect_garbage(sim: Arc<Sim>, owner: Owner, db: Db) {
    let runtime = SimRuntime::of(&sim, Some(owner));
    let Some(retention) = sim.state.lock().settings.retention else { return };
    let turn = Duration::from_millis((retention.ttl_ms / 4).max(50));
    loop {
        runtime.sleep(turn).await;
        let (newest, oldest) = (db.newest_known(), db.oldest_snapshot());
        let point = sim.state.lock().safe_point(owner, retention, newest, oldest);
        let Some(point) = point else { continue };
        let records = before(newest, retention.records_ttl_ms).min(point);
        let worth = sim.state.lock().worth_collecting(owner, point, records);
        for range in worth {
            collect_range(&sim, owner, range, point, records).await;
        }
    }
}

/// One pass over a range.
async fn collect_range(
    sim: &Arc<Sim>,
    owner: Owner,
    range: RangeId,
    point: Timestamp,
    records: Timestamp,
) {
    let runtime = SimRuntime::of(sim, Some(owner));
    let transport = SimTransport { sim: Arc::clone(sim), owner };
    loop {
        let collect = Collect { safe_point: point.0, records_below: Some(records.0) };
        let request = Some(Request::Collect(collect));
        let request = RangeRequest { range_id: range.0, txn: None, request };
        let answer = transport.local(NodeId(owner.node as u64 + 1), request);
        let answer = match select(answer, runtime.sleep(STEP_PATIENCE)).await {
            futures::future::Either::Left((answer, _)) => answer.ok(),
            futures::future::Either::Right(_) => None,
        };
        // A range that has moved is its new leader's.
        let Some(Response::Collected(done)) = answer.and_then(|answer| answer.response) else {
            return;
        };
        let Collected { dropped, more } = done;
        if let Some(process) = sim.state.lock().nodes[owner.node].process.as_deref_mut() {
            process.closing.collected += dropped;
        }
        runtime.sleep(STEP_PAUSE).await;
        if !more {
            return;
        }
    }
}

impl State {
    fn close(&mut self, owner: Owner, issued: Timestamp, oldest: Option<Timestamp>) {
        let closed = before(issued, self.settings.range.eval.close_lag_ms);
        let mut led: BTreeMap<usize, BTreeMap<RangeId, u64>> = BTreeMap::new();
        for place in self.places(owner) {
            let promised = self.call(place, |replica, ctx, _| {
                let promised = replica.close(ctx, issued);
                promised.map(|(at, ts)| (at, ts, replica.descriptor().clone()))
            });
            // A range that can't promise as much as the others is left out of the message.
            let Some((Some((at, ts, descriptor)), ..)) = promised else { continue };
            if ts < closed {
                continue;
            }
            for replica in &descriptor.replicas {
                let peer = index(NodeId(replica.node_id));
                led.entry(peer).or_default().insert(place.range, at);
            }
        }
        let nothing = BTreeMap::new();
        for peer in (0..self.nodes.len()).filter(|peer| *peer != owner.node) {
            let Some(process) = self.nodes[owner.node].process.as_deref_mut() else { return };
            let sender = process.closing.senders.entry(peer).or_default();
            let message = sender.next(closed, led.get(&peer).unwrap_or(&nothing), oldest);
            let packet = Packet::Closed { incarnation: owner.incarnation, message };
            self.send(owner.node, peer, packet);
        }
    }

    pub(crate) fn on_closed(
        &mut self,
        owner: Owner,
        from: usize,
        incarnation: u64,
        message: &Closed,
    ) {
        let Some(process) = self.nodes[owner.node].process.as_deref_mut() else { return };
        let peer = NodeId(from as u64 + 1);
        let Some(due) = process.closing.receiver.receive(peer, incarnation, message) else {
            return self.send(owner.node, from, Packet::ClosedAgain);
        };
        for Promise { range, index, ts } in due {
            if let Some(place) = self.place(owner, range) {
                self.touch(place, |replica, _, _| replica.promised(index, ts));
            }
        }
    }

    pub(crate) fn closed_again(&mut self, owner: Owner, peer: usize) {
        let process = self.nodes[owner.node].process.as_deref_mut();
        if let Some(sender) = process.and_then(|process| process.closing.senders.get_mut(&peer)) {
            sender.start_over();
        }
    }

    fn safe_point(
        &self,
        owner: Owner,
        retention: Retention,
        newest: Timestamp,
        mut oldest: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let node = &self.nodes[owner.node];
        let (clock, process) = (node.clock(self.now), node.process.as_deref()?);
        if newest == Timestamp::ZERO {
            return None;
        }
        for peer in process.liveness.peers() {
            if !process.liveness.is_live(peer, clock) {
                continue;
            }
            let receiver = &process.closing.receiver;
            if !receiver.has_heard(peer) {
                return None;
            }
            oldest = [oldest, receiver.oldest_snapshot(peer)].into_iter().flatten().min();
        }
        let usual = before(newest, retention.ttl_ms);
        let least = before(usual, retention.hold_max_ms);
        Some(usual.min(oldest.unwrap_or(usual)).max(least)).filter(|ts| *ts > Timestamp::ZERO)
    }

    /// The ranges led here that are worth a pass, and some of the others: it takes much to be worth one.
    fn worth_collecting(
        &mut self,
        owner: Owner,
        point: Timestamp,
        records: Timestamp,
    ) -> Vec<RangeId> {
        let mut chosen = Vec::new();
        for Place { range, .. } in self.places(owner) {
            let anyhow = self.rng.chance(300_000);
            let Some(process) = self.nodes[owner.node].process.as_deref() else { break };
            let replica = &process.cells[&range].replica;
            if replica.evaluator().is_some()
                && (anyhow || replica.is_worth_collecting(point, records))
            {
                chosen.push(range);
            }
        }
        chosen
    }

    /// Keeps what a process that ends has counted.
    pub(crate) fn note_deeds(&mut self, process: &Process) {
        add_deeds(&mut self.deeds, process);
    }

    pub(crate) fn all_deeds(&self) -> Deeds {
        let mut deeds = self.deeds;
        for process in self.nodes.iter().filter_map(|node| node.process.as_deref()) {
            add_deeds(&mut deeds, process);
        }
        deeds
    }
}

fn add_deeds(deeds: &mut Deeds, process: &Process) {
    deeds.collected += process.closing.collected;
    if let Some(db) = &process.db {
        deeds.follower_reads += db.metrics().follower_reads.get();
        deeds.settled += db.metrics().settlements.get();
    }
}

fn before(ts: Timestamp, millis: u64) -> Timestamp {
    Timestamp::from_millis(ts.millis().saturating_sub(millis))
}
