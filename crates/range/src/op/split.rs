//! Cutting a range in two or more.
//!
//! *Propose:* ids are allocated first; then the split is proposed with the descriptors after it.
//! From then on the leader answers no request and proposes no write until the split is applied:
//!
//! 1. Followers may apply the split before the leader does, and elect somebody else to lead the
//!    right-hand range, who accepts a write.
//! 2. The leader, still with the old span, would answer a read there without it.
//!
//! The hold lasts one consensus round. What waited inside the evaluator and comes awake meanwhile
//! is refused and comes back.
//!
//! *Apply:* on every replica, the descriptor shrinks and each new range gets its state: members as
//! they are, log beginning at [`INIT_AT`]. Data does not move: a range is a span.
//!
//! *After:* the replicas of the new ranges are opened. On the leader's node each inherits the locks
//! and reads of its part, and campaigns at once.
//!
//! # Crashes
//!
//! The engine loses what was not flushed; the log store loses nothing that was synced. So the
//! engine is flushed before the new replicas are opened: a replica votes and acknowledges entries
//! only if its state is durable. Without that flush:
//!
//! 1. A follower applies the split and acknowledges entries of the new range; they are committed.
//! 2. It crashes, and its engine forgets the split. The old range's log was truncated meanwhile, so
//!    it comes back by a snapshot of after the split, and does not apply it again.
//! 3. The new range comes back by a snapshot too, of before those entries. The follower's vote now
//!    counts for a log that has lost what it acknowledged.
//!
//! After a crash before the flush, the split is applied again and nothing of the new range exists
//! yet. After the flush, its state is there, and opening the group begins its log at `INIT_AT`
//! unless it has one.

use base::{Key, KeyRange, RangeId};
use consensus::Members;
use proto::kv::kv_error::Error;
use proto::kv::range_response::Response;
use proto::kv::{RangeRequest, SplitResult};
use proto::meta::RangeDescriptor;
use proto::node::{Proposal, SplitCommand};
use storage::{EngineError, WriteBatch};

use crate::eval::{Evaluator, Token, carry_gc_point};
use crate::replica::{Replica, Waiter, not_leader, refuse, respond, unavailable};
use crate::state::{self, INIT_AT, put_applied, put_state};
use crate::{Ctx, Effect, NewRange};

/// Ids that do not come in so many ticks will not come.
const PATIENCE_TICKS: u64 = 50;

/// A split that this leader was asked for.
pub(crate) struct SplitUnderWay {
    pub token: Token,
    stage: Stage,
    since: u64,
}

enum Stage {
    /// Waits for ids.
    Allocating { ticket: u64, keys: Vec<Key> },
    /// In the queue or in the log.
    Proposed,
}

impl SplitUnderWay {
    pub(crate) fn is_proposed(&self) -> bool {
        matches!(self.stage, Stage::Proposed)
    }
}

impl Replica {
    // ---- propose ----

    pub(crate) fn request_split(
        &mut self,
        token: Token,
        split: proto::kv::Split,
        out: &mut Vec<Effect>,
    ) {
        let start = &self.descriptor.start;
        let mut keys: Vec<Key> =
            split.keys.into_iter().filter(|key| key > start).map(Key).collect();
        keys.sort();
        keys.dedup();
        let ticks = self.ticks;
        let lead = self.lead.as_mut().expect("admitted under the lease");
        if keys.is_empty() {
            let result = SplitResult { ranges: vec![self.descriptor.clone()] };
            return respond(token, Response::Split(result), out);
        }
        if self.id == RangeId::SYSTEM {
            return refuse(token, crate::replica::invalid("the system range is not split"), out);
        }
        if lead.split.is_some() || lead.change.is_some() || self.group.members().is_joint() {
            return refuse(token, unavailable("another change of the range is under way"), out);
        }
        let (ticket, count) = (lead.next_proposal, keys.len() as u64);
        lead.next_proposal += 1;
        let stage = Stage::Allocating { ticket, keys };
        lead.split = Some(SplitUnderWay { token, stage, since: ticks });
        out.push(Effect::AllocateRangeIds { ticket, count });
    }

    /// The answer to [`Effect::AllocateRangeIds`]: as many ids as were asked for, from `first` on.
    pub fn range_ids(&mut self, ctx: &Ctx<'_>, ticket: u64, first: RangeId, out: &mut Vec<Effect>) {
        let Some(split) = self.lead.as_mut().and_then(|lead| lead.split.as_mut()) else { return };
        let keys = match &mut split.stage {
            Stage::Allocating { ticket: asked, keys } if *asked == ticket => std::mem::take(keys),
            Stage::Allocating { .. } | Stage::Proposed => return,
        };
        split.stage = Stage::Proposed;
        let ranges = cut(&self.descriptor, &keys, first);
        let command = Proposal { split: Some(SplitCommand { ranges }), ..Default::default() };
        self.enqueue(command, Waiter::Split, out);
        self.after_raft(ctx, out);
    }

    pub(crate) fn tick_split(&mut self, out: &mut Vec<Effect>) {
        let ticks = self.ticks;
        let Some(lead) = self.lead.as_mut() else { return };
        let overdue = lead
            .split
            .as_ref()
            .is_some_and(|split| !split.is_proposed() && ticks > split.since + PATIENCE_TICKS);
        if overdue && let Some(split) = lead.split.take() {
            refuse(split.token, unavailable("no ids for the new ranges"), out);
        }
    }

    /// Raft did not take the split.
    pub(crate) fn split_refused(&mut self, ctx: &Ctx<'_>, error: &Error, out: &mut Vec<Effect>) {
        if let Some(split) = self.lead.as_mut().and_then(|lead| lead.split.take()) {
            refuse(split.token, error.clone(), out);
        }
        self.release_held(ctx, out);
    }

    // ---- apply ----

    /// Whether the split takes effect: not if the range changed since it was proposed.
    pub(crate) fn apply_split(
        &mut self,
        ctx: &Ctx<'_>,
        split: &SplitCommand,
        batch: &mut WriteBatch,
    ) -> Result<bool, EngineError> {
        let Some((left, rest)) = split.ranges.split_first() else { return Ok(false) };
        let follows = left.range_id == self.id.0
            && left.generation == self.descriptor.generation + 1
            && left.start == self.descriptor.start
            && split.ranges.last().is_some_and(|last| last.end == self.descriptor.end);
        if !follows {
            return Ok(false);
        }
        let members = self.group.members().clone();
        for new in rest {
            create(ctx, &self.descriptor, new, &members, batch)?;
        }
        self.descriptor = left.clone();
        put_state(batch, self.id, &self.descriptor, &members);
        self.bytes /= split.ranges.len() as u64;
        self.split_above = self.config.split_bytes;
        Ok(true)
    }

    // ---- after ----

    pub(crate) fn after_split(
        &mut self,
        ctx: &Ctx<'_>,
        mine: bool,
        split: Option<SplitCommand>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(split) = &split {
            let rest = &split.ranges[1..];
            let (from, to) = (&rest[0].start, &rest[rest.len() - 1].end);
            self.unopened.push_back(KeyRange::new(from.clone(), to.clone()));
            let inherited = self.split_evaluator(ctx, rest, out);
            let closed = self.closed.closed();
            let new = rest.iter().zip(inherited).map(|(descriptor, inherited)| NewRange {
                descriptor: descriptor.clone(),
                inherited,
                closed,
            });
            out.push(Effect::RangesCreated(new.collect()));
            out.push(Effect::DescriptorChanged(self.descriptor.clone()));
        }
        if !mine {
            return;
        }
        if let Some(under_way) = self.lead.as_mut().and_then(|lead| lead.split.take()) {
            match split {
                Some(split) => {
                    let result = SplitResult { ranges: split.ranges };
                    respond(under_way.token, Response::Split(result), out);
                }
                None => {
                    let why = unavailable("the range changed at the same time");
                    refuse(under_way.token, why, out);
                }
            }
        }
        self.publish_again(ctx, out);
        self.release_held(ctx, out);
    }

    /// Cuts the evaluator from the right, so that each part is cut once.
    fn split_evaluator(
        &mut self,
        ctx: &Ctx<'_>,
        rest: &[RangeDescriptor],
        out: &mut Vec<Effect>,
    ) -> Vec<Option<Box<Evaluator>>> {
        let Some(lead) = self.lead.as_mut() else { return rest.iter().map(|_| None).collect() };
        let mut effects = Vec::new();
        let mut parts: Vec<Option<Box<Evaluator>>> = Vec::with_capacity(rest.len());
        for new in rest.iter().rev() {
            let at = Key(new.start.clone());
            let part = lead.evaluator.as_mut().map(|e| Box::new(e.split(&at, &mut effects)));
            parts.push(part);
        }
        parts.reverse();
        // What touched the part that went is refused: no lease is needed to say so.
        let refusals = effects.len();
        if let Some(evaluator) = lead.evaluator.as_mut() {
            evaluator.run_woken(ctx.engine, ctx.now(), &mut effects);
        }
        self.carry_out(ctx, effects, refusals, out);
        parts
    }

    /// Requests that came during the split are taken up again, with the new span.
    fn release_held(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        let held = self.lead.as_mut().map(|lead| std::mem::take(&mut lead.held));
        for (token, request) in held.unwrap_or_default() {
            let request: RangeRequest = request;
            self.request(ctx, token, request, out);
        }
    }

    /// Asks the driver to find a key, when the range has grown too large.
    pub(crate) fn want_split(&mut self, out: &mut Vec<Effect>) {
        let free = self.lead.as_ref().is_some_and(|lead| lead.split.is_none());
        if free && self.bytes > self.split_above && self.id != RangeId::SYSTEM {
            // The estimate counts what was overwritten, so the driver may find that it is too
            // early.
            self.split_above = self.bytes + self.config.split_bytes / 4;
            out.push(Effect::SplitWanted { bytes: self.bytes });
        }
    }

    /// For whoever needs the error of a range that is not led here any more.
    #[must_use]
    pub fn refusal(&self) -> Error {
        not_leader(self.id, self.group.leader().filter(|leader| *leader != self.node))
    }
}

/// The descriptors after a cut at `keys`: sorted, inside the span, none at its start.
fn cut(whole: &RangeDescriptor, keys: &[Key], first: RangeId) -> Vec<RangeDescriptor> {
    let ends = keys.iter().map(|key| key.0.clone()).chain([whole.end.clone()]);
    let starts = std::iter::once(whole.start.clone()).chain(keys.iter().map(|key| key.0.clone()));
    let ids = std::iter::once(whole.range_id).chain(first.0..);
    starts
        .zip(ends)
        .zip(ids)
        .map(|((start, end), range_id)| RangeDescriptor {
            range_id,
            start,
            end,
            generation: whole.generation + 1,
            replicas: whole.replicas.clone(),
        })
        .collect()
}

fn create(
    ctx: &Ctx<'_>,
    from: &RangeDescriptor,
    new: &RangeDescriptor,
    members: &Members,
    batch: &mut WriteBatch,
) -> Result<(), EngineError> {
    let id = new.id();
    let exists = state::load(ctx.engine, id)?.is_some();
    // A replica overlapping this one would have had to be refused when its snapshot came.
    assert!(!exists, "{id} exists beside {}, which is not yet split", from.id());
    put_state(batch, id, new, members);
    put_applied(batch, id, INIT_AT);
    carry_gc_point(ctx.engine, &Key(from.start.clone()), &Key(new.start.clone()), batch)?;
    debug_assert!(!KeyRange::new(new.start.clone(), new.end.clone()).is_empty());
    Ok(())
}
