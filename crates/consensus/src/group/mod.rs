//! One Raft group on one node: raft-rs behind an interface of values.
//!
//! It never sends, writes or reads a clock. What has to happen, and in which order:
//!
//! ```text
//!   propose, step, tick       change the state in memory
//!   ready(&mut log)           at once:  send `messages` (a leader's appends leave before its own log is
//!                                       durable), install `snapshot` into the engine, apply `committed`
//!                             then:     append `log` and sync, shared with all other groups
//!   persisted()               now send what it returns: votes and acknowledgements are promises
//!   applied(index)            the engine has it
//! ```
//!
//! # Invariants
//!
//! - **R1** A message that depends on the log or hard state leaves only after `persisted`.
//! - **R2** Entries are handed out as committed once, in order, and only when they are in the own
//!   log.
//! - **R3** Pledges are kept as in [`crate::liveness`]: P1 in `tick.rs`, P2 in `step.rs`, P3 and P4
//!   in `lease.rs`.
//! - **R4** Timeouts depend on node, range and term only, never on chance; two voters of one group
//!   never share one, so nobody has to be lucky to be elected.

mod lease;
mod ready;
mod status;
mod step;
mod tick;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base::{NodeId, RangeId};
use raft::{Config, RawNode, StateRole};
use storage::{EngineError, LogPosition, LogStore};

use crate::log_view::LogView;
use crate::members::{MemberChange, Members, conf_change};
use crate::{Epoch, Outbound};

pub use ready::{Committed, Payload, Ready, SnapshotPoint};
pub use status::{PeerStatus, Role, Status};

/// Ticks without a leader before the first voter campaigns.
const ELECTION_TICKS: usize = 5;
/// Room for one timeout per voter, two ticks apart.
const MAX_ELECTION_TICKS: usize = ELECTION_TICKS + 32;

/// What a group is made of.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The range it replicates.
    pub range: RangeId,
    /// This node: the replica's identity in the group.
    pub node: NodeId,
    /// The largest append message, in bytes of entries.
    pub max_append_bytes: u64,
    /// How many append messages to one follower may be under way.
    pub max_inflight: usize,
    /// Most bytes of entries handed out as committed at once.
    pub max_committed_bytes: u64,
}

impl GroupConfig {
    /// With the usual sizes.
    #[must_use]
    pub fn new(range: RangeId, node: NodeId) -> Self {
        GroupConfig {
            range,
            node,
            max_append_bytes: 1 << 20,
            max_inflight: 256,
            max_committed_bytes: 16 << 20,
        }
    }
}

/// Why a proposal was not taken. Nothing of it will happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica doesn't lead, or is handing over.
    #[error("not the leader, which is {leader:?}")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Another change of members is under way.
    #[error("a change of members is under way")]
    ChangePending,
}

/// A promise to the leader of a term, while its node is supported under an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pledge {
    to: NodeId,
    term: u64,
    epoch: Epoch,
}

/// One Raft group on one node.
pub struct Group {
    config: GroupConfig,
    raw: RawNode<LogView>,
    members: Members,
    /// Messages that wait for the log, by the number of the ready they came with.
    waiting: VecDeque<(u64, Vec<Outbound>)>,
    /// The term and vote last written.
    written_vote: (u64, u64),
    /// Leader: the epochs under which voters answered, at this term.
    acks: BTreeMap<u64, Epoch>,
    acks_term: u64,
    /// Leader: the term in which leadership was offered to another.
    surrendered: u64,
    /// Follower: whom it promised not to replace.
    pledge: Option<Pledge>,
    /// Messages that are not raft-rs'.
    outbox: Vec<Outbound>,
    /// Leader: tell followers of the commit of this entry at once.
    announce_upto: u64,
    /// A snapshot handed out and not yet durable: the ready it came with, and its index.
    applied_snapshot: Option<(u64, u64)>,
    /// Leader: a member asked for votes; it does not know of us.
    nudge: bool,
}

impl Group {
    /// Opens a group at what its state machine has applied. A log that ends before that is reset
    /// (the crash came between installing a snapshot and resetting the log); likewise one that does
    /// not exist yet.
    pub fn open(
        config: GroupConfig,
        store: Arc<dyn LogStore>,
        applied: LogPosition,
        members: Members,
    ) -> Result<Self, EngineError> {
        repair(&config, &*store, applied)?;
        let view = LogView::open(config.range, store, applied, members.clone())?;
        let raft_config = Config {
            id: config.node.0,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: 1,
            min_election_tick: ELECTION_TICKS,
            max_election_tick: MAX_ELECTION_TICKS,
            applied: applied.index,
            max_size_per_msg: config.max_append_bytes,
            max_inflight_msgs: config.max_inflight,
            max_committed_size_per_ready: config.max_committed_bytes,
            check_quorum: true,
            pre_vote: true,
            // It puts entries into an append that they do not follow: see `crate::message::merge`.
            batch_append: false,
            skip_bcast_commit: true,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft_config, view, &logger)
            .map_err(|e| EngineError::malformed("raft state", e.to_string()))?;
        let written_vote = (raw.raft.term, raw.raft.vote);
        Ok(Group {
            config,
            raw,
            members,
            waiting: VecDeque::new(),
            written_vote,
            acks: BTreeMap::new(),
            acks_term: 0,
            surrendered: 0,
            pledge: None,
            outbox: Vec::new(),
            announce_upto: 0,
            applied_snapshot: None,
            nudge: false,
        })
    }

    /// Proposes an entry: `data` begins with the byte [`crate::Group::PROPOSAL`]. Many proposals
    /// before one `ready` leave as one append. Answers its index.
    pub fn propose(&mut self, data: Vec<u8>) -> Result<u64, ProposeError> {
        assert_eq!(data.first(), Some(&Self::PROPOSAL), "a proposal begins with its tag");
        if !self.is_leader() || self.raw.raft.lead_transferee.is_some() {
            return Err(ProposeError::NotLeader { leader: self.leader_other() });
        }
        match self.raw.propose(Vec::new(), data) {
            Ok(()) => Ok(self.raw.raft.raft_log.last_index()),
            Err(_dropped) => Err(ProposeError::NotLeader { leader: self.leader_other() }),
        }
    }

    /// The first byte of every proposal.
    pub const PROPOSAL: u8 = crate::convert::NORMAL;

    /// Proposes a change of members, with data that travels beside it.
    pub fn propose_change(
        &mut self,
        changes: &[MemberChange],
        context: Vec<u8>,
    ) -> Result<u64, ProposeError> {
        if !self.is_leader() || self.raw.raft.lead_transferee.is_some() {
            return Err(ProposeError::NotLeader { leader: self.leader_other() });
        }
        if self.raw.raft.has_pending_conf() || self.members.is_joint() {
            return Err(ProposeError::ChangePending);
        }
        match self.raw.propose_conf_change(context, conf_change(changes)) {
            Ok(()) => Ok(self.raw.raft.raft_log.last_index()),
            Err(_dropped) => Err(ProposeError::NotLeader { leader: self.leader_other() }),
        }
    }

    /// Makes followers learn at once that the newest entry is committed, not with the next append
    /// or tick.
    pub fn announce_commit(&mut self) {
        self.announce_upto = self.raw.raft.raft_log.last_index();
        self.raw.raft.skip_bcast_commit(false);
    }

    /// The engine has all entries up to `index`.
    pub fn applied(&mut self, index: u64) {
        self.raw.mut_store().set_applied(index);
        self.raw.advance_apply_to(index);
    }

    /// Drops the log up to an applied entry, durable in the engine. Nothing if it is gone already.
    pub fn compact(&mut self, upto: u64, log: &mut storage::LogBatch) {
        if let Some(at) = self.raw.mut_store().compact(upto) {
            log.compact(self.config.range, at);
        }
    }

    /// A snapshot that this leader sent arrived, or did not.
    pub fn report_snapshot(&mut self, to: NodeId, arrived: bool) {
        let status = match arrived {
            true => raft::SnapshotStatus::Finish,
            false => raft::SnapshotStatus::Failure,
        };
        self.raw.report_snapshot(to.0, status);
    }

    /// Leader: sends a snapshot to a replica, whatever is known of its log.
    pub fn force_snapshot(&mut self, to: NodeId) {
        let applied = self.raw.store().applied.index;
        let raft = &mut self.raw.raft;
        if raft.state != StateRole::Leader {
            return;
        }
        let Some(progress) = raft.mut_prs().get_mut(to.0) else { return };
        if progress.state == raft::ProgressState::Snapshot {
            return;
        }
        progress.become_probe();
        progress.recent_active = true;
        progress.pending_request_snapshot = applied;
        raft.send_append(to.0);
    }

    /// The log store failed while raft-rs read it: the replica must stop.
    pub fn take_failure(&mut self) -> Option<EngineError> {
        self.raw.store().take_failure()
    }
}

/// Resets a log that ends before what is applied.
fn repair(
    config: &GroupConfig,
    store: &dyn LogStore,
    applied: LogPosition,
) -> Result<(), EngineError> {
    let state = store.state(config.range)?.unwrap_or_default();
    // A log that was truncated past the state machine has lost entries that nobody applied here.
    if state.truncated.index > applied.index {
        let detail =
            format!("{}: truncated {:?}, applied {applied:?}", config.range, state.truncated);
        return Err(EngineError::malformed("raft log", detail));
    }
    let same = store.term(config.range, applied.index)? == Some(applied.term);
    if applied.index == 0 || (state.last.index >= applied.index && same) {
        return Ok(());
    }
    let mut log = storage::LogBatch::new();
    log.reset(config.range, applied);
    let term = state.hard.term.max(applied.term);
    let vote = if term == state.hard.term { state.hard.vote } else { 0 };
    log.hard_state(config.range, storage::HardState { term, vote, commit: applied.index });
    store.append(&log, true)
}
