//! One replica: its state, how it comes into being, and what anybody may ask of it.
//!
//! ```text
//!   load ───────────┐
//!   bootstrap ──────┤            ┌─ request, step, tick       any thread, under the replica's lock
//!   open_split ─────┼─▶ Replica ─┤
//!   uninitialised ──┘            └─ ready ▶ (append) ▶ persisted ▶ apply      the store loop
//! ```
//!
//! # Invariants
//!
//! - **N1** Requests are answered by a leader with a valid lease that has applied an entry of its
//!   term; reads look at the lease again after reading.
//! - **N2** `applied` is what the engine holds: entries are applied in order, once.
//! - **N3** After the first error of the engine or the log, nothing is answered or promised any
//!   more.
//!
//! Only one store loop may drive a replica, and `ready`, the append, and `persisted` follow each
//! other.

mod apply;
mod hand_over;
mod lead;
mod ready;
mod request;

use std::collections::VecDeque;
use std::sync::Arc;

use base::{KeyRange, NodeId, RangeId};
use consensus::{Committed, Group, GroupConfig, Members, Status};
use meta::{SystemState, Wish};
use proto::meta::RangeDescriptor;
use proto::node::RaftMessage;
use proto::node::raft_message::Kind;
use storage::{Engine, EngineError, EngineRead, LogBatch, LogPosition, LogStore, WriteBatch};

use crate::closed::Promises;
use crate::eval::{self, Evaluator};
use crate::snapshot::Staged;
use crate::state::{self, Found, INIT_AT, Tombstone};
use crate::{Ctx, Effect, NewRange};

pub(crate) use lead::{Lead, Waiter};
pub(crate) use request::{invalid, not_leader, refuse, respond, unavailable};

/// Sizes and patience of a replica.
#[derive(Debug, Clone)]
pub struct Config {
    /// Above this a range asks to be split, in bytes.
    pub split_bytes: u64,
    /// Proposals are merged into one log entry up to this.
    pub entry_bytes: usize,
    /// A follower that lacks more entries than this gets a snapshot instead.
    pub log_entries_max: u64,
    /// Entries that a follower keeps behind what it has applied, in case it comes to lead.
    pub log_entries_kept: u64,
    /// Fewer entries than this are not worth truncating the log.
    pub log_entries_min: u64,
    /// How often truncation is considered, in ticks.
    pub truncate_ticks: u64,
    /// Waiting requests during a split.
    pub held_max: usize,
    /// The evaluator's.
    pub eval: eval::Config,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            split_bytes: 128 << 20,
            entry_bytes: 1 << 20,
            log_entries_max: 100_000,
            log_entries_kept: 2_000,
            log_entries_min: 256,
            truncate_ticks: 50,
            held_max: 10_000,
            eval: eval::Config::default(),
        }
    }
}

/// What a replica is opened with.
#[derive(Clone)]
pub struct Open {
    /// This node.
    pub node: NodeId,
    /// The logs of the node.
    pub logs: Arc<dyn LogStore>,
    /// Sizes.
    pub config: Arc<Config>,
}

/// What others see of a replica.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaView {
    /// The range; without replicas if it waits for its first snapshot.
    pub descriptor: RangeDescriptor,
    /// Raft's state.
    pub raft: Status,
    /// Leads, under a valid lease.
    pub leaseholder: bool,
    /// Where its requests want the leader to be.
    pub wish: Wish,
    /// About how many bytes the range holds.
    pub bytes: u64,
    /// The term and index before the first log entry kept.
    pub truncated: LogPosition,
}

/// One replica of a range.
pub struct Replica {
    pub(crate) id: RangeId,
    pub(crate) node: NodeId,
    pub(crate) config: Arc<Config>,
    pub(crate) group: Group,
    pub(crate) descriptor: RangeDescriptor,
    pub(crate) applied: LogPosition,
    pub(crate) committed: VecDeque<Committed>,
    pub(crate) lead: Option<Lead>,
    pub(crate) staged: Option<Staged>,
    /// The span of a snapshot under way.
    pub(crate) reserved: Option<KeyRange>,
    pub(crate) system: Option<SystemState>,
    /// About how many bytes the range holds.
    pub(crate) bytes: u64,
    /// What leaders have promised.
    pub(crate) closed: Promises,
    /// No split is asked for below this size.
    pub(crate) split_above: u64,
    /// Made by a split on the leader's node: what it may take over, and how often to campaign at
    /// once.
    pub(crate) inherited: Option<Box<Evaluator>>,
    pub(crate) eager: u32,
    /// What splits took from the end of this range, as long as no object stands for the new ranges; the
    /// oldest split first.
    pub(crate) unopened: VecDeque<KeyRange>,
    /// What a leader has handed over to this replica, or this one to another.
    pub(crate) handed: Option<hand_over::Handed>,
    pub(crate) ticks: u64,
    pub(crate) truncate_due: bool,
    /// Somebody was sent on to the leader since the last tick.
    pub(crate) doubted: bool,
    pub(crate) life: Life,
}

/// Whether a replica still takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Active,
    /// Removed: the log is still to be removed.
    Destroyed,
    /// Removed, log and all.
    Gone,
    /// N3.
    Stopped,
}

impl Replica {
    /// Opens all replicas found in the engine, as a process starts. Their state may be behind their
    /// logs (the engine has no log of its own): what is known to be committed is applied again.
    pub fn load(engine: &dyn EngineRead, open: &Open) -> Result<Vec<Replica>, EngineError> {
        let (ranges, removed) = state::list(engine)?;
        let mut log = LogBatch::new();
        for range in removed {
            if open.logs.state(range)?.is_some() {
                log.remove(range);
            }
        }
        if !log.is_empty() {
            open.logs.append(&log, true)?;
        }
        let missing = |range: RangeId| EngineError::malformed(format!("{range}"), "state vanished");
        let mut replicas = Vec::with_capacity(ranges.len());
        for range in ranges {
            let found = state::load(engine, range)?.ok_or_else(|| missing(range))?;
            replicas.push(Self::open(engine, open, range, found)?);
        }
        Ok(replicas)
    }

    /// Makes the first replica of a new range at the birth of a cluster. The caller flushes the
    /// engine.
    pub fn bootstrap(
        engine: &dyn Engine,
        open: &Open,
        descriptor: &RangeDescriptor,
    ) -> Result<Replica, EngineError> {
        let members = Members::voters(descriptor.voters().map(|node| node.0));
        let mut batch = WriteBatch::new();
        state::put_state(&mut batch, descriptor.id(), descriptor, &members);
        state::put_applied(&mut batch, descriptor.id(), INIT_AT);
        engine.write(&batch)?;
        let found = Found { descriptor: descriptor.clone(), members, applied: INIT_AT };
        Self::open(engine, open, descriptor.id(), found)
    }

    /// Opens a replica that a split just made.
    pub fn open_split(
        ctx: &Ctx<'_>,
        open: &Open,
        new: NewRange,
        out: &mut Vec<Effect>,
    ) -> Result<Replica, EngineError> {
        let id = new.descriptor.id();
        let lost = || EngineError::malformed(format!("{id}"), "a split left no state");
        let found = state::load(ctx.engine, id)?.ok_or_else(lost)?;
        let mut replica = Self::open(ctx.engine, open, id, found)?;
        // The others may not have applied the split yet, so one attempt may come too early.
        replica.eager = if new.inherited.is_some() { 10 } else { 0 };
        replica.inherited = new.inherited;
        replica.closed = Promises::inherited(new.closed);
        replica.campaign_eagerly(ctx, out);
        Ok(replica)
    }

    /// Makes a replica that has nothing yet, for an incoming snapshot. Refused (nothing) if a
    /// replica that was here was removed at this generation or a later one: the message is older
    /// than that.
    pub fn uninitialised(
        engine: &dyn Engine,
        open: &Open,
        range: RangeId,
        generation: u64,
    ) -> Result<Option<Replica>, EngineError> {
        let tombstone = state::tombstone(engine, range)?;
        if tombstone.is_some_and(|tombstone| tombstone.generation >= generation) {
            return Ok(None);
        }
        let mut log = LogBatch::new();
        let known = open.logs.state(range)?;
        if let Some(Tombstone { term, vote, .. }) = tombstone {
            let hard = storage::HardState { term, vote, commit: 0 };
            log.remove(range);
            log.hard_state(range, hard);
        } else if known.is_none() {
            log.hard_state(range, storage::HardState::default());
        }
        if !log.is_empty() {
            open.logs.append(&log, true)?;
        }
        // Of no key: it is in nobody's way.
        let nowhere = bytes::Bytes::from_static(&[0]);
        let descriptor = RangeDescriptor {
            range_id: range.0,
            start: nowhere.clone(),
            end: nowhere,
            ..Default::default()
        };
        let (members, applied) = (Members::default(), LogPosition::default());
        Self::open(engine, open, range, Found { descriptor, members, applied }).map(Some)
    }

    /// Makes a replica that has nothing yet, for a message to a range of which there is none here;
    /// nothing if the message is not worth it, or the replica was removed.
    ///
    /// Only for requests for votes. A split makes the replicas of a new range; but where the old
    /// range's replica got past the split by a snapshot, or was removed before it applied it,
    /// nobody makes them, and the new range might not find enough voters to elect the leader who
    /// would send them its snapshot. An empty replica may vote: it has acknowledged nothing.
    pub fn for_message(
        engine: &dyn Engine,
        open: &Open,
        message: &RaftMessage,
    ) -> Result<Option<Replica>, EngineError> {
        let is_raft = message.kind == Kind::Raft as i32;
        if !is_raft || !consensus::asks_vote(&message.message) {
            return Ok(None);
        }
        Self::uninitialised(engine, open, RangeId(message.range_id), 0)
    }

    /// Takes a replica without data out of service: another object is about to stand for it. What
    /// it has handed out and not persisted is void.
    pub fn retire(&mut self) {
        assert!(!self.is_initialised(), "{} has data", self.id);
        self.life = Life::Gone;
    }

    /// Whether the replica is gone, its log included.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.life == Life::Gone
    }

    /// The span that this replica holds or is about to hold: no other replica on this node may be
    /// given any of it. What a split took stays occupied until [`Replica::created_are_open`]: a snapshot
    /// let in between would lie inside of the new range.
    #[must_use]
    pub fn occupies(&self) -> KeyRange {
        let mut span = match &self.reserved {
            Some(reserved) if !self.is_initialised() => reserved.clone(),
            _ => self.descriptor.span(),
        };
        if let Some(taken) = self.unopened.front() {
            span.end = taken.end.clone();
        }
        span
    }

    /// The replicas of the oldest [`Effect::RangesCreated`] not yet reported are open.
    pub fn created_are_open(&mut self) {
        self.unopened.pop_front();
    }

    /// Reserves the span of a snapshot that is about to be handed over, after making sure that no
    /// other replica [`Replica::occupies`] any of it.
    pub fn reserve(&mut self, descriptor: &RangeDescriptor) {
        self.reserved = Some(descriptor.span());
    }

    fn open(
        engine: &dyn EngineRead,
        open: &Open,
        id: RangeId,
        found: Found,
    ) -> Result<Replica, EngineError> {
        let config = GroupConfig::new(id, open.node);
        let logs = Arc::clone(&open.logs);
        let group = Group::open(config, logs, found.applied, found.members)?;
        let is_system = id == RangeId::SYSTEM && !found.descriptor.replicas.is_empty();
        let system = if is_system { Some(SystemState::load(engine)?) } else { None };
        Ok(Replica {
            id,
            node: open.node,
            config: Arc::clone(&open.config),
            group,
            descriptor: found.descriptor,
            applied: found.applied,
            committed: VecDeque::new(),
            lead: None,
            staged: None,
            reserved: None,
            system,
            bytes: 0,
            closed: Promises::default(),
            split_above: open.config.split_bytes,
            inherited: None,
            eager: 0,
            unopened: VecDeque::new(),
            handed: None,
            ticks: 0,
            truncate_due: false,
            doubted: false,
            life: Life::Active,
        })
    }

    /// The range.
    #[must_use]
    pub fn id(&self) -> RangeId {
        self.id
    }

    /// The range's span and replicas, as applied here.
    #[must_use]
    pub fn descriptor(&self) -> &RangeDescriptor {
        &self.descriptor
    }

    /// Whether it has data: not while it waits for its first snapshot.
    #[must_use]
    pub fn is_initialised(&self) -> bool {
        self.applied.index > 0
    }

    /// What others see of it.
    #[must_use]
    pub fn view(&self, ctx: &Ctx<'_>) -> ReplicaView {
        ReplicaView {
            descriptor: self.descriptor.clone(),
            raft: self.group.status(),
            leaseholder: self.holds_lease(ctx),
            wish: self.lead.as_ref().map_or(Wish::Unknown, |lead| lead.demand.wish()),
            bytes: self.bytes,
            truncated: self.group.truncated(),
        }
    }

    /// Corrects the estimate of the range's size.
    pub fn set_size(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.split_above = self.config.split_bytes;
    }

    /// The state of the system range, on its replicas: may be behind anywhere but on the
    /// leaseholder.
    #[must_use]
    pub fn system(&self) -> Option<&SystemState> {
        self.system.as_ref()
    }

    /// The evaluator of the leaseholder, for people to look at.
    #[must_use]
    pub fn evaluator(&self) -> Option<&Evaluator> {
        self.lead.as_ref()?.evaluator.as_deref()
    }

    /// Whether the replica still takes part: not once it is stopped or removed.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.life == Life::Active
    }

    pub(crate) fn reload_system(&mut self, ctx: &Ctx<'_>) -> Result<(), EngineError> {
        if self.id == RangeId::SYSTEM {
            self.system = Some(SystemState::load(ctx.engine)?);
        }
        Ok(())
    }

    /// N3: stops for good, and lets the others elect another leader.
    pub(crate) fn stop(&mut self, ctx: &Ctx<'_>, error: EngineError, out: &mut Vec<Effect>) {
        if self.life != Life::Active {
            return;
        }
        self.life = Life::Stopped;
        self.step_down(ctx, out);
        self.resign(out);
        out.push(Effect::Stop { error });
    }

    /// Asserts what must hold between calls. For tests and simulation.
    pub fn check_invariants(&self) {
        assert!(self.applied.index <= self.group.status().commit, "N2: applied beyond commit");
        if let Some(evaluator) = self.evaluator() {
            evaluator.check_invariants();
        }
    }
}
