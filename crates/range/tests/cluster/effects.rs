//! Carrying out what replicas ask for, as `node` does.

use std::collections::BTreeSet;

use base::{NodeId, RangeId, Timestamp};
use bytes::Bytes;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{Oracle, RangeRequest};
use proto::meta::system_command::Command;
use proto::meta::system_result::Result as Outcome;
use proto::meta::{AllocateIds, PublishRanges, RangeDescriptor, SystemCommand};
use proto::node::SnapshotHeader;
use range::{Effect, NewRange, Replica, Token};

use super::{Ctx, Packet, Purpose, SYSTEM, World};

impl World {
    pub fn carry_out(&mut self, index: usize, range: RangeId, effects: Vec<Effect>) {
        let id = self.nodes[index].id;
        for effect in effects {
            match effect {
                Effect::Respond { token, response } => self.answered(index, token, response),
                Effect::Send(message) => {
                    self.send(id, NodeId(message.to), Packet::Raft(message));
                }
                Effect::SendSnapshot { to, mut source } => {
                    let header = source.header().clone();
                    let mut chunks = Vec::new();
                    while let Some(chunk) = source.next_chunk(200).expect("memory") {
                        chunks.push(chunk);
                    }
                    self.send(id, to, Packet::Snapshot { header, chunks });
                }
                Effect::Schedule => self.schedule(index, range),
                Effect::DrawTimestamp { term } => {
                    self.ask_oracle(Purpose::Timestamp { node: id, range, term });
                }
                Effect::AllocateRangeIds { ticket, count } => {
                    let ids = AllocateIds { kind: 0, count };
                    let purpose = Purpose::RangeIds { node: id, range, ticket };
                    self.command(Command::AllocateIds(ids), purpose);
                }
                Effect::PublishRanges(ranges) => {
                    let generation = ranges.iter().map(|r| r.generation).max().unwrap_or(0);
                    let purpose = Purpose::Publish { node: id, range, generation };
                    self.command(Command::PublishRanges(PublishRanges { ranges }), purpose);
                }
                Effect::RangesCreated(new) => {
                    self.check_room(index, range, &new);
                    self.open_new(index, new);
                    let replica = self.nodes[index].replicas.get_mut(&range);
                    replica.expect("it has split").created_are_open();
                }
                Effect::DescriptorChanged(_) | Effect::Notice { .. } | Effect::Settle(_) => {}
                Effect::SplitWanted { .. } => self.splits_wanted.push(range),
                Effect::Destroyed => self.schedule(index, range),
                Effect::Stop { error } => panic!("{range} on {id} stopped: {error}"),
            }
        }
        let gone = self.nodes[index].replicas.get(&range).is_some_and(|replica| {
            !replica.is_active() && !self.nodes[index].scheduled.contains(&range)
        });
        if gone {
            self.nodes[index].replicas.remove(&range);
        }
    }

    /// Until it is said that they are open, new ranges are covered by the one they were a part of.
    fn check_room(&self, index: usize, split: RangeId, new: &[NewRange]) {
        let occupied = self.nodes[index].replicas[&split].occupies();
        for new in new {
            let span = new.descriptor.span();
            assert!(occupied.contains_range(&span), "{occupied:?} leaves room in {span:?}");
        }
    }

    fn open_new(&mut self, index: usize, new: Vec<NewRange>) {
        let open = self.open(index);
        for new in new {
            let range = new.descriptor.id();
            let mut out = Vec::new();
            let now = self.now;
            let node = &mut self.nodes[index];
            let clock = || now + node.offset;
            let ctx = Ctx {
                engine: &*node.engine,
                liveness: &node.liveness,
                clock: &clock,
                wall_ms: now / 1000,
            };
            if let Some(mut empty) = node.replicas.remove(&range) {
                empty.retire();
            }
            let replica = Replica::open_split(&ctx, &open, new, &mut out).expect("memory");
            node.replicas.insert(range, replica);
            self.schedule(index, range);
            self.carry_out(index, range, out);
        }
    }

    /// Asks the system range's leader, wherever it is; without an answer the replica asks again.
    fn ask_oracle(&mut self, purpose: Purpose) {
        self.ask_system(Request::Oracle(Oracle { count: 1, gateway: 0 }), purpose);
    }

    fn command(&mut self, command: Command, purpose: Purpose) {
        let command = SystemCommand { command: Some(command) };
        self.ask_system(Request::SystemCommand(command), purpose);
    }

    pub fn ask_system(&mut self, request: Request, purpose: Purpose) -> Option<Token> {
        let index = self.holder(SYSTEM)?;
        let request =
            RangeRequest { range_id: SYSTEM.0, request: Some(request), ..Default::default() };
        let token = self.token(purpose);
        self.with(index, SYSTEM, |r, ctx, out| r.request(ctx, token, request, out));
        Some(token)
    }

    fn answered(&mut self, _index: usize, token: Token, response: proto::kv::RangeResponse) {
        let purpose = self.purposes.remove(&token).expect("answered once, and asked before");
        let index_of = |node: NodeId| usize::try_from(node.0 - 1).expect("small");
        match (purpose, response.response.clone()) {
            (Purpose::Client, _) => {
                self.answers.insert(token, response);
            }
            (Purpose::Timestamp { node, range, term }, Some(Response::Oracle(drawn))) => {
                let ts = Timestamp(drawn.first);
                self.with(index_of(node), range, |replica, ctx, out| {
                    replica.timestamp_drawn(ctx, term, ts, out);
                });
            }
            (
                Purpose::RangeIds { node, range, ticket },
                Some(Response::SystemResult(proto::meta::SystemResult {
                    result: Some(Outcome::FirstId(first)),
                })),
            ) => self.with(index_of(node), range, |replica, ctx, out| {
                replica.range_ids(ctx, ticket, RangeId(first), out);
            }),
            (Purpose::Publish { node, range, generation }, Some(_)) => {
                self.with(index_of(node), range, |replica, _, _| replica.published(generation));
            }
            // A refusal: the replica asks again by itself.
            (Purpose::Timestamp { .. } | Purpose::RangeIds { .. } | Purpose::Publish { .. }, _) => {
            }
        }
    }

    pub fn report_snapshot(&mut self, from: NodeId, range: RangeId, to: NodeId, arrived: bool) {
        let index = usize::try_from(from.0 - 1).expect("small");
        if self.nodes[index].up {
            self.with(index, range, |r, ctx, out| r.snapshot_sent(ctx, to, arrived, out));
        }
    }

    pub fn deliver_snapshot(&mut self, index: usize, header: SnapshotHeader, chunks: Vec<Bytes>) {
        let range = RangeId(header.range_id);
        let (from, to) = (NodeId(header.from), NodeId(header.to));
        let descriptor = header.descriptor.clone().expect("sent with one");
        let accepted = self.make_room(index, &descriptor);
        if accepted {
            self.with(index, range, |replica, ctx, out| {
                // It may be on its way out.
                let _refused = replica.receive_snapshot(ctx, header, &chunks, out);
            });
            self.run_store(index);
        }
        self.report_snapshot(from, range, to, accepted && self.nodes[index].up);
    }

    /// Whether a snapshot may be installed: no other replica overlaps, and it is not of before a
    /// removal.
    fn make_room(&mut self, index: usize, descriptor: &RangeDescriptor) -> bool {
        let span = descriptor.span();
        let open = self.open(index);
        let node = &mut self.nodes[index];
        let overlaps = node
            .replicas
            .values()
            .any(|other| other.id() != descriptor.id() && other.occupies().overlaps(&span));
        if overlaps {
            return false;
        }
        let range = descriptor.id();
        if !node.replicas.contains_key(&range) {
            let generation = descriptor.generation;
            let made = Replica::uninitialised(&*node.engine, &open, range, generation);
            let Some(replica) = made.expect("memory") else { return false };
            node.replicas.insert(range, replica);
        }
        node.replicas.get_mut(&range).expect("just made").reserve(descriptor);
        true
    }

    /// Compares with the directory, as the driver does now and then.
    pub fn collect_garbage(&mut self) {
        let Some(holder) = self.holder(SYSTEM) else { return };
        let system = self.nodes[holder].replicas[&SYSTEM].system().expect("its own state");
        let known: Vec<RangeDescriptor> = system.directory().iter().cloned().collect();
        for index in 0..self.nodes.len() {
            let ranges: BTreeSet<RangeId> = self.nodes[index].replicas.keys().copied().collect();
            for descriptor in known.iter().filter(|d| ranges.contains(&d.id())) {
                self.with(index, descriptor.id(), |replica, ctx, out| {
                    replica.remove_if_gone(ctx, descriptor, out);
                });
            }
            self.run_store(index);
        }
    }
}
