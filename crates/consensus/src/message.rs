//! Raft messages on the wire: raft-rs' own encoding inside [`proto::node::RaftMessage`].
//!
//! The epoch of support travels beside the message. Inside the group it rides in the message's
//! `context`, which answers do not otherwise use.

use base::{NodeId, RangeId};
use bytes::Bytes;
use proto::node::RaftMessage;
use proto::node::raft_message::Kind;
use raft::eraftpb::{Message, MessageType};
use raft_prost::Message as _;

use crate::Epoch;

/// A message to another replica of the group.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// Whom to send it to.
    pub to: NodeId,
    /// The message.
    pub message: RaftMessage,
    /// Whether it announces a snapshot: then the message travels with the snapshot's data.
    pub snapshot: bool,
}

/// Puts a message into its envelope.
pub(crate) fn outbound(range: RangeId, mut message: Message) -> Outbound {
    let support_epoch =
        if is_answer(message.get_msg_type()) { take_epoch(&mut message) } else { 0 };
    let snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
    Outbound {
        to: NodeId(message.to),
        snapshot,
        message: RaftMessage {
            range_id: range.0,
            to: message.to,
            from: message.from,
            message: Bytes::from(message.encode_to_vec()),
            support_epoch,
            kind: 0,
        },
    }
}

/// Answers of a follower to its leader: they carry the epoch of support.
pub(crate) fn is_answer(kind: MessageType) -> bool {
    matches!(kind, MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse)
}

/// What only a leader sends.
pub(crate) fn is_leaders(kind: MessageType) -> bool {
    matches!(kind, MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot)
}

pub(crate) fn put_epoch(message: &mut Message, epoch: Epoch) {
    message.context = epoch.to_be_bytes().to_vec();
}

fn take_epoch(message: &mut Message) -> Epoch {
    let context = std::mem::take(&mut message.context);
    context.try_into().map_or(0, Epoch::from_be_bytes)
}

/// Reads a message; nothing if it is malformed.
pub(crate) fn decode(bytes: &[u8]) -> Option<Message> {
    Message::decode(bytes).ok()
}

/// What a node answers to a message for a range of which it has no replica, if anything: a leader
/// that believes in one here must send a snapshot, and whoever is pledged to it is free.
#[must_use]
pub fn answer_for_missing(message: &RaftMessage) -> Option<RaftMessage> {
    let (kind, term) = match Kind::try_from(message.kind) {
        Ok(Kind::Raft) if wants_replica(&message.message) => (Kind::NoReplica, Bytes::new()),
        Ok(Kind::StillLeading) => (Kind::Resigned, message.message.clone()),
        Ok(Kind::Raft | Kind::Resigned | Kind::NoReplica | Kind::Removed) | Err(_) => return None,
    };
    Some(RaftMessage {
        range_id: message.range_id,
        to: message.from,
        from: message.to,
        kind: kind as i32,
        message: term,
        ..Default::default()
    })
}

fn wants_replica(message: &[u8]) -> bool {
    decode(message).is_some_and(|m| is_leaders(m.get_msg_type()))
}

/// Whether an encoded message announces a snapshot.
#[must_use]
pub fn is_snapshot(message: &[u8]) -> bool {
    decode(message).is_some_and(|m| m.get_msg_type() == MessageType::MsgSnapshot)
}

/// Whether an encoded message asks for a vote, or whether one would be given.
#[must_use]
pub fn asks_vote(message: &[u8]) -> bool {
    let kind = decode(message).map(|m| m.get_msg_type());
    matches!(kind, Some(MessageType::MsgRequestVote | MessageType::MsgRequestPreVote))
}
