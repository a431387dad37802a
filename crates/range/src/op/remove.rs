//! The end of a replica that is no longer a member.
//!
//! 1. One batch clears its data and state and leaves a tombstone: generation, last term, and vote.
//! 2. The engine is flushed: from here on neither a crash nor an old message brings it back.
//! 3. The driver's next append removes the log. If the crash comes before, opening does it.
//!
//! What a replica has acknowledged must not be lost while it counts, and it may have been added
//! again since the news of its removal were written: so it obeys only if it has nothing in its log
//! that could have come after. News from a member name the index they are of; the directory's name
//! none, so there the log must hold nothing that is not applied.
//!
//! Its vote may be missed: to those who do not know yet that the removal is committed it is still a voter,
//! and the leader who knew may be gone. So whoever asks it for one is told how far the log is committed,
//! as far as it had applied it ([`Replica::answer_for_missing`]), the removal included.
//!
//! A removed replica often does not hear of it: the leader stops sending as it applies the removal.
//! So the leader tells it once, members tell strangers that ask for votes, and the driver compares
//! with the directory now and then ([`Replica::is_removed_by`]).

use base::{NodeId, RangeId};
use bytes::Bytes;
use proto::meta::RangeDescriptor;
use proto::node::RaftMessage;
use proto::node::raft_message::Kind;
use storage::mvcc::{clear_spans, range_spans};
use storage::{EngineError, EngineRead, LogPosition, WriteBatch};

use crate::replica::{Life, Replica};
use crate::state::{Tombstone, put_tombstone, tombstone};
use crate::{Ctx, Effect};

impl Replica {
    /// Whether the range went on without this replica: `descriptor` comes from the directory, or
    /// from the range's leader.
    #[must_use]
    pub fn is_removed_by(&self, descriptor: &RangeDescriptor) -> bool {
        self.is_initialised()
            && descriptor.range_id == self.id.0
            && descriptor.generation > self.descriptor.generation
            && !descriptor.has_replica(self.node)
            && self.group.status().last == self.applied.index
    }

    /// Removes this replica, if [`Replica::is_removed_by`] says so.
    pub fn remove_if_gone(
        &mut self,
        ctx: &Ctx<'_>,
        descriptor: &RangeDescriptor,
        out: &mut Vec<Effect>,
    ) {
        if self.life == Life::Active && self.is_removed_by(descriptor) {
            let generation = descriptor.generation;
            self.destroy_or_stop(ctx, generation, out);
        }
    }

    /// A member says that this replica is none.
    pub(crate) fn told_removed(&mut self, ctx: &Ctx<'_>, at: &Bytes, out: &mut Vec<Effect>) {
        let Some((generation, index)) = at.split_first_chunk::<8>() else { return };
        let generation = u64::from_be_bytes(*generation);
        let index = index.try_into().map_or(0, u64::from_be_bytes);
        let nothing_after = self.group.status().last <= index;
        if self.is_initialised() && generation > self.descriptor.generation && nothing_after {
            self.destroy_or_stop(ctx, generation, out);
        }
    }

    fn destroy_or_stop(&mut self, ctx: &Ctx<'_>, generation: u64, out: &mut Vec<Effect>) {
        self.descriptor.generation = generation;
        if let Err(error) = self.destroy(ctx, out) {
            self.stop(ctx, error, out);
        }
    }

    /// Removes data and state.
    pub(crate) fn destroy(
        &mut self,
        ctx: &Ctx<'_>,
        out: &mut Vec<Effect>,
    ) -> Result<(), EngineError> {
        self.step_down(ctx, out);
        // It may have been the leader: a removal proposed by its predecessor.
        self.resign(out);
        let status = self.group.status();
        let left = Tombstone {
            generation: self.descriptor.generation,
            term: status.term,
            vote: self.group.vote(),
            applied_index: self.applied.index,
            applied_term: self.applied.term,
        };
        let mut batch = WriteBatch::new();
        clear_spans(&mut batch, &range_spans(&self.descriptor.span()));
        put_tombstone(&mut batch, self.id, left);
        ctx.engine.write(&batch)?;
        ctx.engine.flush()?;
        self.life = Life::Destroyed;
        out.push(Effect::Destroyed);
        out.push(Effect::Schedule);
        Ok(())
    }

    /// What a node answers to a message for a range of which it has no replica, if anything.
    pub fn answer_for_missing(
        engine: &dyn EngineRead,
        message: &RaftMessage,
    ) -> Result<Option<RaftMessage>, EngineError> {
        let removed = tombstone(engine, RangeId(message.range_id))?;
        let committed = removed.map(|removed| LogPosition {
            index: removed.applied_index,
            term: removed.applied_term,
        });
        Ok(consensus::answer_for_missing(message, committed))
    }

    /// Answers a replica that is not a member, as far as is known here, and asks for votes.
    pub(crate) fn tell_stranger(&self, message: &RaftMessage, out: &mut Vec<Effect>) {
        let stranger = self.is_initialised()
            && message.kind == Kind::Raft as i32
            && !self.group.members().contains(message.from);
        if stranger && consensus::asks_vote(&message.message) {
            out.push(self.removed_notice(NodeId(message.from)));
        }
    }

    /// Tells a node that it is no member as of what is applied here.
    pub(crate) fn removed_notice(&self, to: NodeId) -> Effect {
        let generation = self.descriptor.generation.to_be_bytes();
        let at = [generation, self.applied.index.to_be_bytes()].concat();
        Effect::Send(RaftMessage {
            range_id: self.id.0,
            to: to.0,
            from: self.node.0,
            kind: Kind::Removed as i32,
            message: Bytes::from(at),
            ..Default::default()
        })
    }
}
