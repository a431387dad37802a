//! What has to happen: messages, log changes, committed entries.

use bytes::Bytes;
use raft::eraftpb::{ConfChangeV2, Entry, EntryType};
use raft_prost::Message as _;
use storage::{HardState, LogBatch, LogPosition};

use super::Group;
use crate::convert::to_log;
use crate::message::{merge, outbound};
use crate::{Members, Outbound};

/// A committed entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its position.
    pub at: LogPosition,
    /// What it says.
    pub payload: Payload,
}

/// What a committed entry says.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Nothing: a new leader's first entry.
    Empty,
    /// A proposal, without its tag.
    Proposal(Bytes),
    /// A change of members, to be given to [`Group::apply_change`], and what was proposed beside
    /// it.
    Change {
        /// Encoded for raft-rs.
        change: Bytes,
        /// What travels beside it.
        context: Bytes,
    },
}

/// Where a received snapshot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPoint {
    /// The last entry it contains.
    pub at: LogPosition,
    /// The configuration there.
    pub members: Members,
}

/// What has to happen, in this order.
#[derive(Debug, Default)]
pub struct Ready {
    /// To be sent at once.
    pub messages: Vec<Outbound>,
    /// The state machine is replaced by the snapshot announced here, durably, before the log
    /// changes.
    pub snapshot: Option<SnapshotPoint>,
    /// Entries to apply. They are in the log and durable.
    pub committed: Vec<Committed>,
    /// The log changed: append, sync, then call [`Group::persisted`].
    pub must_persist: bool,
}

impl Group {
    /// Whether there is anything to do.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.outbox.is_empty() || self.raw.has_ready()
    }

    /// Takes what has to happen. Log changes are added to `log`.
    pub fn ready(&mut self, log: &mut LogBatch) -> Ready {
        let mut out = Ready::default();
        // They speak of terms, so they must not run ahead of the hard state.
        let mut notices = std::mem::take(&mut self.outbox);
        if !self.raw.has_ready() {
            match self.waiting.back_mut() {
                Some((_, waiting)) => waiting.append(&mut notices),
                None => out.messages = notices,
            }
            return out;
        }
        let range = self.config.range;
        let mut ready = self.raw.ready();
        let number = ready.number();
        for mut message in merge(ready.take_messages(), self.config.max_append_bytes) {
            self.raw.store().renew_snapshot(&mut message);
            out.messages.push(outbound(range, message));
        }
        let mut after: Vec<Outbound> =
            ready.take_persisted_messages().into_iter().map(|m| outbound(range, m)).collect();
        after.append(&mut notices);
        out.committed = ready.take_committed_entries().into_iter().map(committed).collect();

        if !ready.snapshot().is_empty() {
            let metadata = ready.snapshot().get_metadata();
            let at = LogPosition { index: metadata.index, term: metadata.term };
            let members = Members::from_raft(metadata.get_conf_state());
            log.reset(range, at);
            self.members = members.clone();
            let view = self.raw.mut_store();
            view.members = members.clone();
            view.reset(at);
            out.snapshot = Some(SnapshotPoint { at, members });
        }
        let entries = ready.take_entries();
        if !entries.is_empty() {
            log.append(range, entries.iter().map(to_log).collect());
            self.raw.mut_store().append(&entries);
        }
        if ready.must_sync() {
            // The commit index rides along; by itself it is not worth a write, for what is applied
            // is known to be committed.
            let raft = &self.raw.raft;
            let commit = raft.raft_log.committed;
            let hard = HardState { term: raft.term, vote: raft.vote, commit };
            log.hard_state(range, hard);
            self.written_vote = (raft.term, raft.vote);
        }
        let must_sync = ready.must_sync();
        let snapshot_at = out.snapshot.as_ref().map(|snapshot| snapshot.at.index);
        self.raw.advance_append_async(ready);
        if let Some(index) = snapshot_at {
            // The caller installs it before the log is written, and it can't be applied twice.
            self.applied_snapshot = Some((number, index));
        }
        if must_sync || !self.waiting.is_empty() {
            self.waiting.push_back((number, after));
            out.must_persist = true;
        } else {
            self.raw.on_persist_ready(number);
            out.messages.extend(after);
        }
        out
    }

    /// As [`Group::ready`], but only if that would change neither the log nor the hard state: after
    /// `persisted` it is what the new commit index brings.
    pub fn ready_without_log(&mut self) -> Option<Ready> {
        let raft = &self.raw.raft;
        let log = &raft.raft_log;
        let changes_log = !log.unstable_entries().is_empty()
            || log.unstable_snapshot().is_some()
            || self.written_vote != (raft.term, raft.vote);
        if changes_log || !self.waiting.is_empty() || !self.raw.has_ready() {
            return None;
        }
        let mut log = LogBatch::new();
        let ready = self.ready(&mut log);
        assert!(log.is_empty() && !ready.must_persist, "{}: lost {log:?}", self.config.range);
        Some(ready)
    }

    /// All log changes handed out so far are durable. Answers the messages that waited for it (R1).
    pub fn persisted(&mut self) -> Vec<Outbound> {
        let mut messages = Vec::new();
        let Some(&(number, _)) = self.waiting.back() else { return messages };
        for (_, waiting) in self.waiting.drain(..) {
            messages.extend(waiting);
        }
        self.raw.on_persist_ready(number);
        if let Some((_, index)) = self.applied_snapshot.take() {
            self.raw.advance_apply_to(index);
        }
        if self.announce_upto != 0 && self.raw.raft.raft_log.committed >= self.announce_upto {
            self.announce_upto = 0;
            self.raw.raft.skip_bcast_commit(true);
        }
        messages
    }

    /// Applies a committed change of members. Answers the configuration after it.
    pub fn apply_change(&mut self, change: &Bytes) -> &Members {
        let change = ConfChangeV2::decode(change.as_ref()).expect("raft-rs encoded the change");
        let state = self
            .raw
            .apply_conf_change(&change)
            .expect("the leader checked the change against the configuration it applies to");
        self.members = Members::from_raft(&state);
        self.raw.mut_store().members = self.members.clone();
        &self.members
    }
}

fn committed(entry: Entry) -> Committed {
    let at = LogPosition { index: entry.index, term: entry.term };
    let payload = match entry.get_entry_type() {
        EntryType::EntryNormal if entry.data.is_empty() => Payload::Empty,
        EntryType::EntryNormal => Payload::Proposal(Bytes::from(entry.data).slice(1..)),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            Payload::Change { change: entry.data.into(), context: entry.context.into() }
        }
    };
    Committed { at, payload }
}
