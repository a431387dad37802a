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
use storage::LogPosition;

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

/// Joins appends to the same replica of which one continues the other, up to so many bytes of entries.
///
/// raft-rs can do so itself (`batch_append`), and gets it wrong: it compares with the last entry of the
/// earlier append, and where that has none, with nothing.
///
/// 1. An append without entries is in line, at 16: it tells of a new commit index.
/// 2. A refusal of long ago arrives: the leader turns back to 14, and has 15 and 16 to send.
/// 3. They are put into the append at 16. The follower finds that it has them, and acknowledges 18.
pub(crate) fn merge(messages: Vec<Message>, max_bytes: u64) -> Vec<Message> {
    let mut merged: Vec<Message> = Vec::with_capacity(messages.len());
    for mut message in messages {
        let appends = message.get_msg_type() == MessageType::MsgAppend;
        let earlier = merged.iter_mut().rev().find(|earlier| earlier.to == message.to);
        match earlier.filter(|earlier| appends && continues(earlier, &message, max_bytes)) {
            Some(earlier) => {
                earlier.entries.append(&mut message.entries);
                earlier.commit = message.commit;
            }
            None => merged.push(message),
        }
    }
    for message in merged.iter().filter(|m| m.get_msg_type() == MessageType::MsgAppend) {
        assert!(is_whole(message), "an append with a gap: {message:?}");
    }
    merged
}

fn continues(earlier: &Message, later: &Message, max_bytes: u64) -> bool {
    let bytes = |m: &Message| m.entries.iter().map(|e| e.data.len() as u64).sum::<u64>();
    earlier.get_msg_type() == MessageType::MsgAppend
        && earlier.term == later.term
        && earlier.index + earlier.entries.len() as u64 == later.index
        && bytes(earlier) + bytes(later) <= max_bytes
}

/// Whether the entries of an append follow the one that it names, and each other.
pub(crate) fn is_whole(append: &Message) -> bool {
    append.entries.iter().zip(append.index + 1..).all(|(entry, index)| entry.index == index)
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
/// that believes in one here must send a snapshot, and whoever is pledged to it is free. `committed`
/// is known of the log from a replica that was removed: who asks for its vote is told of that.
#[must_use]
pub fn answer_for_missing(
    message: &RaftMessage,
    committed: Option<LogPosition>,
) -> Option<RaftMessage> {
    let (kind, content) = match Kind::try_from(message.kind) {
        Ok(Kind::Raft) if asks_vote(&message.message) => {
            let refusal = refuse_vote(&decode(&message.message)?, committed?);
            (Kind::Raft, Bytes::from(refusal.encode_to_vec()))
        }
        Ok(Kind::Raft) if wants_replica(&message.message) => (Kind::NoReplica, Bytes::new()),
        Ok(Kind::StillLeading) => (Kind::Resigned, message.message.clone()),
        Ok(Kind::Raft | Kind::Resigned | Kind::NoReplica | Kind::Removed | Kind::HandOver)
        | Err(_) => return None,
    };
    Some(RaftMessage {
        range_id: message.range_id,
        to: message.from,
        from: message.to,
        kind: kind as i32,
        message: content,
        ..Default::default()
    })
}

/// A refusal by which raft-rs' candidates learn what is committed.
fn refuse_vote(asked: &Message, committed: LogPosition) -> Message {
    let before = asked.get_msg_type() == MessageType::MsgRequestPreVote;
    let kind = match before {
        true => MessageType::MsgRequestPreVoteResponse,
        false => MessageType::MsgRequestVoteResponse,
    };
    let mut refusal = Message {
        to: asked.from,
        from: asked.to,
        // The candidate's own.
        term: asked.term - u64::from(before),
        commit: committed.index,
        commit_term: committed.term,
        reject: true,
        ..Default::default()
    };
    refusal.set_msg_type(kind);
    refusal
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
