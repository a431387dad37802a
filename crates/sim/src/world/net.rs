//! The network between nodes: every packet for itself, late, lost, twice, or out of order.
//!
//! Raft's messages, liveness, notices and probes may vanish without anybody hearing of it. A call does
//! not: the stream it travels on breaks, and the caller learns, sooner or later, that the answer will
//! not come.

use std::collections::BTreeSet;

use base::NodeId;
use bytes::Bytes;
use prost::Message;
use proto::kv::range_request::Request;
use proto::{kv, node};

use super::node::Waiter;
use super::state::{Event, Micros, Outside, Owner, Place, State};
use crate::settings::Network;

/// A late copy, or one held up, comes so much later at most.
const LATE_MAX: Micros = 2_000_000;
/// A broken stream is noticed within so long.
const BROKEN_MAX: Micros = 3_000_000;

#[derive(Clone)]
pub(crate) enum Packet {
    Raft(node::RaftMessage),
    Liveness {
        incarnation: u64,
        message: node::Liveness,
    },
    Call {
        caller: Owner,
        id: u64,
        request: kv::RangeRequest,
    },
    Reply {
        caller: Owner,
        id: u64,
        response: kv::RangeResponse,
    },
    Notice(kv::WaitNotice),
    Probe(kv::Probe),
    Closed {
        incarnation: u64,
        message: node::Closed,
    },
    /// Some of the above was missed.
    ClosedAgain,
    Snapshot {
        source: Place,
        header: node::SnapshotHeader,
        chunks: Vec<Bytes>,
    },
    SnapshotAnswer {
        source: Place,
        to: NodeId,
        accepted: bool,
    },
}

impl Packet {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Packet::Raft(_) => "raft",
            Packet::Liveness { .. } => "live",
            Packet::Call { .. } => "call",
            Packet::Reply { .. } => "reply",
            Packet::Notice(_) => "wait notice",
            Packet::Probe(_) => "deadlock probe",
            Packet::Closed { .. } => "closed",
            Packet::ClosedAgain => "closed again",
            Packet::Snapshot { .. } => "snapshot",
            Packet::SnapshotAnswer { .. } => "snapshot answer",
        }
    }

    /// For people who read along.
    fn describe(&self) -> String {
        match self {
            Packet::Raft(message) => {
                let (range, kind) = (message.range_id, message.kind);
                let numbers = varints(&message.message);
                format!("r{range} n{}>n{} {kind} {numbers:?}", message.from, message.to)
            }
            Packet::Call { id, request, .. } => format!("{id} {request:?}"),
            Packet::Reply { id, response, .. } => format!("{id} {response:?}"),
            Packet::Snapshot { header, .. } => format!("{:?}", header.descriptor),
            Packet::SnapshotAnswer { accepted, .. } => format!("{accepted}"),
            Packet::Liveness { message, .. } => format!("{message:?}"),
            Packet::Notice(notice) => format!("{notice:?}"),
            Packet::Probe(probe) => format!("{probe:?}"),
            Packet::Closed { message, .. } => format!("{message:?}"),
            Packet::ClosedAgain => String::new(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Packet::Raft(message) => message.encode_to_vec(),
            Packet::Liveness { message, .. } => message.encode_to_vec(),
            Packet::Call { request, .. } => request.encode_to_vec(),
            Packet::Reply { response, .. } => response.encode_to_vec(),
            Packet::Notice(notice) => notice.encode_to_vec(),
            Packet::Probe(probe) => probe.encode_to_vec(),
            Packet::Closed { message, .. } => message.encode_to_vec(),
            Packet::ClosedAgain => Vec::new(),
            Packet::Snapshot { header, .. } => header.encode_to_vec(),
            Packet::SnapshotAnswer { accepted, .. } => vec![u8::from(*accepted)],
        }
    }
}

/// What the network does at present.
#[derive(Debug)]
pub(crate) struct Links {
    pub usual: Network,
    /// No packet passes from the one to the other.
    pub cut: BTreeSet<(usize, usize)>,
    /// Everything takes so much longer.
    pub spike: Micros,
}

impl Links {
    pub(crate) fn new(usual: Network) -> Self {
        Links { usual, cut: BTreeSet::new(), spike: 0 }
    }
}

impl State {
    pub(crate) fn send(&mut self, from: usize, to: usize, packet: Packet) {
        let usual = self.links.usual;
        if self.nodes[from].power.has_failed() {
            return;
        }
        if self.links.cut.contains(&(from, to)) || self.rng.chance(usual.loss) {
            return self.lost(packet);
        }
        // A process that was paused in the middle of something sends when it goes on.
        let from_when = self.now.max(self.nodes[from].paused_until);
        let mut delay = self.rng.between(usual.delay_min, usual.delay_max);
        if self.links.spike > 0 {
            delay += self.rng.below(self.links.spike);
        }
        if self.rng.chance(usual.straggler) {
            delay += self.rng.below(LATE_MAX);
        }
        let once = matches!(packet, Packet::Snapshot { .. } | Packet::SnapshotAnswer { .. });
        if !once && self.rng.chance(usual.duplicate) {
            let late = delay + self.rng.below(LATE_MAX);
            let packet = packet.clone();
            self.at(from_when + late, Event::Deliver { from, to, packet });
        }
        self.at(from_when + delay, Event::Deliver { from, to, packet });
    }

    /// What follows from a packet that does not arrive.
    pub(crate) fn lost(&mut self, packet: Packet) {
        let noticed = self.rng.below(BROKEN_MAX);
        match packet {
            Packet::Call { caller, id, .. } | Packet::Reply { caller, id, .. } => {
                self.after(noticed, Event::CallBroken(caller, id));
            }
            Packet::Snapshot { source, header, .. } => {
                let (to, arrived) = (NodeId(header.to), false);
                self.after(noticed, Event::SnapshotSent { place: source, to, arrived });
            }
            Packet::SnapshotAnswer { source, to, .. } => {
                self.after(noticed, Event::SnapshotSent { place: source, to, arrived: false });
            }
            Packet::Raft(_)
            | Packet::Liveness { .. }
            | Packet::Notice(_)
            | Packet::Probe(_)
            | Packet::Closed { .. }
            | Packet::ClosedAgain => {}
        }
    }

    pub(crate) fn deliver(&mut self, from: usize, to: usize, packet: Packet) -> Option<Outside> {
        let node = &self.nodes[to];
        if node.process.is_none() {
            self.lost(packet);
            return None;
        }
        if node.paused_until > self.now {
            self.at(node.paused_until, Event::Deliver { from, to, packet });
            return None;
        }
        let numbers = [from as u64, to as u64];
        self.trace.note(self.now, packet.name(), &numbers, &packet.encode());
        let owner = Owner { node: to, incarnation: node.incarnation };
        self.trace.say(self.now, || packet.describe());
        match packet {
            Packet::Raft(message) => self.step_raft(owner, message),
            Packet::Liveness { incarnation, message } => {
                self.on_liveness(owner, from, incarnation, &message);
            }
            Packet::Call { caller, id, request } => {
                if let Some(Request::Inspect(inspect)) = &request.request {
                    let (db, inspect) = (self.db_of(owner)?, inspect.clone());
                    return Some(Outside::Inspect { db, owner, caller, id, inspect });
                }
                let waiter = Waiter::Remote { caller, id };
                if let Some(response) = self.serve(owner, request, waiter) {
                    self.send(to, from, Packet::Reply { caller, id, response });
                }
            }
            Packet::Reply { caller, id, response } => {
                if caller == owner {
                    self.answer_call(owner, id, Ok(response));
                }
            }
            Packet::Notice(notice) => return Some(Outside::Notice(self.db_of(owner)?, notice)),
            Packet::Probe(probe) => return Some(Outside::Probe(self.db_of(owner)?, probe)),
            Packet::Closed { incarnation, message } => {
                self.on_closed(owner, from, incarnation, &message);
            }
            Packet::ClosedAgain => self.closed_again(owner, from),
            Packet::Snapshot { source, header, chunks } => {
                let accepted = self.receive_snapshot(owner, header, chunks);
                let packet = Packet::SnapshotAnswer { source, to: NodeId(to as u64 + 1), accepted };
                self.send(to, from, packet);
            }
            Packet::SnapshotAnswer { source, to, accepted } => {
                if source.owner == owner {
                    self.touch(source, |r, ctx, out| r.snapshot_sent(ctx, to, accepted, out));
                }
            }
        }
        None
    }

    pub(crate) fn call_broken(&mut self, owner: Owner, id: u64) {
        self.answer_call(owner, id, Err(()));
    }

    pub(crate) fn answer_call(
        &mut self,
        owner: Owner,
        id: u64,
        answer: Result<kv::RangeResponse, ()>,
    ) {
        let process = self.nodes[owner.node].process.as_mut();
        if let Some(call) = process.and_then(|process| process.calls.remove(&id)) {
            // A caller that has gone needs no answer.
            drop(call.answer.send(answer));
        }
    }
}

/// The whole numbers of an encoded message, by field: raft-rs' own are not known here.
fn varints(mut bytes: &[u8]) -> Vec<(u64, u64)> {
    use prost::encoding::decode_varint;
    let mut found = Vec::new();
    while let Ok(tag) = decode_varint(&mut bytes) {
        let Ok(number) = decode_varint(&mut bytes) else { break };
        found.push((tag >> 3, number));
        if tag & 7 == 2 {
            let length = usize::try_from(number).unwrap_or(usize::MAX).min(bytes.len());
            bytes = &bytes[length..];
        }
    }
    found
}
