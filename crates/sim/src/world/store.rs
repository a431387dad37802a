//! The store of a node: requests in, effects out, and the loop that makes progress durable. What it does
//! and in which order is `node::store`'s; see there for the reasons.
//!
//! ```text
//!   turn:    ready of all that are queued ─▶ send ─▶ one append          (a crash here may lose it)
//!     ...    time of the disk: requests and messages are taken meanwhile
//!   synced:  persisted, apply, answer
//! ```

use base::{KeyRange, NodeId, RangeId};
use bytes::Bytes;
use proto::kv::{self, RangeRequest, RangeResponse, kv_error};
use proto::node::{RaftMessage, SnapshotHeader};
use range::eval::lock_infos;
use range::{Effect, NewRange, Replica, SnapshotSource, Token};
use storage::{LogBatch, LogOp, LogStore};

use super::errands::Errand;
use super::net::Packet;
use super::node::Waiter;
use super::state::{Event, Owner, Place, State};

/// Replicas taken into one turn.
const TURN_MAX: usize = 1024;
/// From being scheduled to the turn, in microseconds, at most.
const TURN_DELAY: u64 = 40;
/// From a split to the objects of its new ranges, in microseconds.
const OPEN_DELAY: u64 = 2_000;
/// Bytes of one chunk of a snapshot.
const CHUNK_BYTES: usize = 1 << 20;

impl State {
    /// The lock tables of the ranges that a process leads.
    pub(crate) fn lock_infos(&self, owner: Owner) -> Vec<kv::LockInfo> {
        let node = &self.nodes[owner.node];
        let now = node.clock(self.now);
        let process = node.process.as_deref().filter(|_| self.alive(owner));
        let cells = process.into_iter().flat_map(|process| &process.cells);
        let led = cells.filter_map(|(range, cell)| Some((*range, cell.replica.evaluator()?)));
        led.flat_map(|(range, evaluator)| lock_infos(evaluator, range, now)).collect()
    }

    /// Serves a request; the answer if there is one at once.
    pub(crate) fn serve(
        &mut self,
        owner: Owner,
        request: RangeRequest,
        waiter: Waiter,
    ) -> Option<RangeResponse> {
        let range = RangeId(request.range_id);
        let Some(place) = self.place(owner, range) else { return Some(no_replica(range)) };
        let process = self.nodes[owner.node].process.as_deref_mut()?;
        process.tokens += 1;
        let token = Token(process.tokens);
        let promise = process.closing.promise_for(&request);
        let served = self.call(place, |replica, ctx, out| {
            if let Some(promise) = promise {
                replica.promised(promise.index, promise.ts);
            }
            replica.request(ctx, token, request, out);
        });
        let ((), mut effects, paused) = served?;
        let mut answer = None;
        if !paused {
            effects.retain_mut(|effect| match effect {
                Effect::Respond { token: whose, response } if *whose == token => {
                    answer = Some(std::mem::take(response));
                    false
                }
                _ => true,
            });
        }
        if answer.is_none()
            && let Some(cell) = self.nodes[owner.node].process.as_deref_mut()?.cells.get_mut(&range)
        {
            cell.waiters.insert(token, waiter);
        }
        self.follow(place, effects, paused);
        answer
    }

    fn respond(&mut self, place: Place, token: Token, response: RangeResponse) {
        let process = self.nodes[place.owner.node].process.as_deref_mut();
        let cell = process.and_then(|process| process.cells.get_mut(&place.range));
        match cell.and_then(|cell| cell.waiters.remove(&token)) {
            // A caller that has gone needs no answer.
            Some(Waiter::Local(sender)) => drop(sender.send(response)),
            Some(Waiter::Remote { caller, id }) => {
                let from = place.owner.node;
                self.send(from, caller.node, Packet::Reply { caller, id, response });
            }
            Some(Waiter::Nobody) | None => {}
        }
    }

    pub(crate) fn carry_out(&mut self, place: Place, effects: Vec<Effect>) {
        let owner = place.owner;
        let errand = |state: &mut State, errand| state.after(0, Event::Errand(place, errand));
        for effect in effects {
            match effect {
                Effect::Respond { token, response } => self.respond(place, token, response),
                Effect::Send(message) => {
                    let to = index(NodeId(message.to));
                    self.send(owner.node, to, Packet::Raft(message));
                }
                Effect::SendSnapshot { to, source } => self.send_snapshot(place, to, *source),
                Effect::Schedule => self.schedule(place),
                Effect::DrawTimestamp { term } => {
                    errand(self, Errand::DrawTimestamp { term });
                }
                Effect::AllocateRangeIds { ticket, count } => {
                    errand(self, Errand::AllocateRangeIds { ticket, count });
                }
                Effect::PublishRanges(ranges) => errand(self, Errand::Publish(ranges)),
                Effect::RangesCreated(created) => {
                    // Other threads of a process come in between, other splits do not.
                    self.after(OPEN_DELAY, Event::Created(place, created));
                }
                Effect::DescriptorChanged(descriptor) => {
                    if let Some(db) = self.db_of(owner) {
                        db.learn_range(descriptor);
                    }
                }
                Effect::SplitWanted { .. } => errand(self, Errand::SplitBySize),
                Effect::Notice { to, notice } => self.send_notice(owner, to, notice),
                Effect::Settle(lock) => errand(self, Errand::Settle(lock)),
                Effect::Destroyed => {
                    if let Some(cell) = self.cell(place) {
                        cell.retired = true;
                    }
                    self.schedule(place);
                }
                Effect::Stop { error } => {
                    self.fail(format!("{} on {:?} stopped: {error}", place.range, owner));
                }
            }
        }
    }

    fn cell(&mut self, place: Place) -> Option<&mut super::node::Cell> {
        let process = self.nodes[place.owner.node].process.as_deref_mut()?;
        process.cells.get_mut(&place.range).filter(|cell| cell.id == place.cell)
    }

    pub(crate) fn send_notice(&mut self, owner: Owner, to: NodeId, notice: kv::WaitNotice) {
        match index(to) {
            me if me == owner.node => self.after(0, Event::Notice(owner, notice)),
            to => self.send(owner.node, to, Packet::Notice(notice)),
        }
    }

    fn send_snapshot(&mut self, place: Place, to: NodeId, mut source: SnapshotSource) {
        let mut chunks = Vec::new();
        while let Some(chunk) = source.next_chunk(CHUNK_BYTES).expect("memory") {
            chunks.push(chunk);
        }
        let header = source.header().clone();
        let packet = Packet::Snapshot { source: place, header, chunks };
        self.send(place.owner.node, index(to), packet);
    }

    /// Puts a replica into the loop's queue, once.
    pub(crate) fn schedule(&mut self, place: Place) {
        let delay = self.rng.below(TURN_DELAY);
        let Some(process) = self.nodes[place.owner.node].process.as_deref_mut() else { return };
        let cell = process.cells.get_mut(&place.range).filter(|cell| cell.id == place.cell);
        let Some(cell) = cell.filter(|cell| !cell.queued) else { return };
        cell.queued = true;
        process.queue.push_back((place.range, place.cell));
        if process.turning.is_none() && !process.turn_due {
            process.turn_due = true;
            self.after(delay, Event::Turn(place.owner));
        }
    }

    pub(crate) fn turn(&mut self, owner: Owner) {
        let process = self.nodes[owner.node].process.as_deref_mut().expect("it lives");
        process.turn_due = false;
        // What is scheduled from here on is for the turn after this one.
        process.turning = Some(Vec::new());
        let many = process.queue.len().min(TURN_MAX);
        let cells: Vec<(RangeId, u64)> = process.queue.drain(..many).collect();
        let mut log = LogBatch::new();
        let mut touched = Vec::with_capacity(cells.len());
        for (range, id) in cells {
            let place = Place { owner, range, cell: id };
            let Some(cell) = self.cell(place) else { continue };
            cell.queued = false;
            let ready = self.call(place, |replica, ctx, out| replica.ready(ctx, &mut log, out));
            let Some((persists, effects, paused)) = ready else { continue };
            self.follow(place, effects, paused);
            touched.push((range, id, persists));
        }
        let node = &mut self.nodes[owner.node];
        let process = node.process.as_deref_mut().expect("it lives");
        process.turning = Some(touched);
        let (least, most) = node.disk;
        let disk = if log.is_empty() { 0 } else { self.rng.between(least, most) };
        self.trace.say(self.now, || describe(&log));
        if !log.is_empty() {
            self.nodes[owner.node].logs.append(&log, false).expect("memory");
        }
        if !self.settings.duties.syncs_first {
            self.persisted(owner, false);
        }
        let begun = self.now.max(self.nodes[owner.node].paused_until);
        self.at(begun + disk, Event::Synced(owner));
    }

    pub(crate) fn synced(&mut self, owner: Owner) {
        let node = &mut self.nodes[owner.node];
        node.logs.sync().expect("memory");
        self.persisted(owner, true);
    }

    /// What was appended is durable, or taken for it.
    fn persisted(&mut self, owner: Owner, ends: bool) {
        let process = self.nodes[owner.node].process.as_deref_mut().expect("it lives");
        let turning = process.turning.as_mut().expect("a turn was begun");
        let touched = std::mem::take(turning);
        if ends {
            process.turning = None;
        }
        for (range, cell, persists) in touched {
            let place = Place { owner, range, cell };
            self.touch(place, |replica, ctx, out| {
                if persists {
                    replica.persisted(ctx, out);
                }
                replica.apply(ctx, out);
            });
            let gone = self.cell(place).is_some_and(|c| c.retired && c.replica.is_gone());
            if gone {
                let process = self.nodes[owner.node].process.as_deref_mut().expect("it lives");
                process.cells.remove(&range);
            }
        }
        let process = self.nodes[owner.node].process.as_deref_mut().expect("it lives");
        if ends && !process.queue.is_empty() && !process.turn_due {
            process.turn_due = true;
            self.after(1, Event::Turn(owner));
        }
    }

    /// Opens what a split has made.
    pub(crate) fn created(&mut self, place: Place, created: Vec<NewRange>) {
        for new in created {
            self.open_split(place.owner, new);
        }
        if let Some(cell) = self.cell(place) {
            cell.replica.created_are_open();
        }
    }

    fn open_split(&mut self, owner: Owner, new: NewRange) {
        let (id, mut out) = (new.descriptor.id(), Vec::new());
        let node = &mut self.nodes[owner.node];
        let now = node.clock(self.now);
        let wall_ms = node.wall_ms(self.now);
        let Some(process) = node.process.as_deref_mut() else { return };
        if let Some(mut empty) = process.cells.remove(&id) {
            empty.replica.retire();
        }
        let clock = || now;
        let (engine, liveness) = (&*node.engine, &process.liveness);
        let ctx = range::Ctx { engine, liveness, clock: &clock, wall_ms };
        let replica = match Replica::open_split(&ctx, &process.open, new, &mut out) {
            Ok(replica) => replica,
            Err(error) => return self.fail(format!("a new range: {error}")),
        };
        let (range, cell) = process.add_cell(replica);
        let place = Place { owner, range, cell };
        self.carry_out(place, out);
        self.schedule(place);
    }

    pub(crate) fn step_raft(&mut self, owner: Owner, message: RaftMessage) {
        let range = RangeId(message.range_id);
        if let Some(place) = self.place(owner, range) {
            return self.touch(place, |replica, ctx, out| replica.step(ctx, message, out));
        }
        let node = &mut self.nodes[owner.node];
        let process = node.process.as_deref_mut().expect("it lives");
        match Replica::for_message(&*node.engine, &process.open, &message) {
            Ok(Some(replica)) => {
                let (range, cell) = process.add_cell(replica);
                let place = Place { owner, range, cell };
                self.touch(place, |replica, ctx, out| replica.step(ctx, message, out));
            }
            Ok(None) => {
                let answer = Replica::answer_for_missing(&*node.engine, &message);
                if let Some(answer) = answer.expect("memory") {
                    let to = index(NodeId(message.from));
                    self.send(owner.node, to, Packet::Raft(answer));
                }
            }
            Err(error) => self.fail(format!("no replica of {range} could be made: {error}")),
        }
    }

    /// Hands a received snapshot to its replica, which is made when there is none; false if refused.
    pub(crate) fn receive_snapshot(
        &mut self,
        owner: Owner,
        header: SnapshotHeader,
        chunks: Vec<Bytes>,
    ) -> bool {
        let range = RangeId(header.range_id);
        let descriptor = header.descriptor.clone().expect("sent with one");
        let node = &mut self.nodes[owner.node];
        let process = node.process.as_deref_mut().expect("it lives");
        let in_the_way = process.cells.iter().any(|(other, cell)| {
            let occupied = cell.replica.occupies();
            *other != range && occupied != KeyRange::ALL && occupied.overlaps(&descriptor.span())
        });
        if in_the_way {
            return false;
        }
        if !process.cells.contains_key(&range) {
            let generation = descriptor.generation;
            let engine = &*node.engine;
            let made = Replica::uninitialised(engine, &process.open, range, generation);
            let Some(replica) = made.expect("memory") else { return false };
            process.add_cell(replica);
        }
        let cell = process.cells.get_mut(&range).expect("just made");
        cell.replica.reserve(&descriptor);
        let place = Place { owner, range, cell: cell.id };
        let mut accepted = false;
        self.touch(place, |replica, ctx, out| {
            accepted = replica.receive_snapshot(ctx, header, &chunks, out).is_ok();
        });
        accepted
    }
}

pub(crate) fn index(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).expect("small")
}

/// For people who read along.
fn describe(log: &LogBatch) -> String {
    let ops = log.ops.iter().map(|(range, op)| match op {
        LogOp::Append(entries) => {
            let at: Vec<_> = entries.iter().map(|entry| (entry.term, entry.index)).collect();
            format!("{range} append {at:?}")
        }
        other => format!("{range} {other:?}"),
    });
    ops.collect::<Vec<_>>().join(", ")
}

fn no_replica(range: RangeId) -> RangeResponse {
    let error = kv_error::Error::NotLeader(kv::NotLeader { range_id: range.0, leader: 0 });
    RangeResponse { error: Some(kv::KvError { error: Some(error) }), response: None }
}
