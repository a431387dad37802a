//! Bringing a replica to a state its log no longer leads to.
//!
//! *Send:* when a leader's message announces a snapshot, an engine snapshot is taken under the same
//! lock as the message leaves, so that data and announced index agree. [`SnapshotSource`] then
//! reads chunks from it without the replica.
//!
//! *Receive:* the driver collects the chunks, makes sure that no *other* replica of this node
//! overlaps the span, and hands them over. Only if Raft takes the announcement, they are installed.
//!
//! *Install:* one write batch clears the old span and the new one, and puts the data, the
//! descriptor and the applied index; then the engine is flushed; only then the log is reset. After
//! a crash
//!
//! ```text
//!   before the flush     the old state, in full (the batch is atomic), with its log
//!   before the reset     the new state and the old log: opening the group resets the log
//!   after                the new state
//! ```
//!
//! and at no point a state that the log does not continue.

use std::sync::Arc;

use base::NodeId;
use bytes::Bytes;
use consensus::{Outbound, SnapshotPoint};
use proto::meta::RangeDescriptor;
use proto::node::{RaftMessage, SnapshotHeader};
use storage::mvcc::{RawReader, apply_chunk, clear_spans, range_spans};
use storage::{BulkWriter, EngineError, EngineRead, Family, WriteBatch};

use crate::replica::Replica;
use crate::state::{put_applied, put_state, range_state_span};
use crate::{Ctx, Effect};

/// A snapshot to send: chunk by chunk, by whoever has the time.
pub struct SnapshotSource {
    header: SnapshotHeader,
    snapshot: Arc<dyn EngineRead>,
    reader: RawReader,
}

impl SnapshotSource {
    /// What goes before the chunks.
    #[must_use]
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The next chunk of about so many bytes; nothing at the end.
    pub fn next_chunk(&mut self, max_bytes: usize) -> Result<Option<Bytes>, EngineError> {
        self.reader.next_chunk(&*self.snapshot, max_bytes)
    }
}

/// The keys of a range in all families: data, and the range's own state.
fn spans(descriptor: &RangeDescriptor) -> Vec<(Family, base::KeyRange)> {
    let mut spans = range_spans(&descriptor.span());
    spans.push((Family::Local, range_state_span(descriptor.id())));
    spans
}

/// A received snapshot, until Raft takes it.
pub(crate) struct Staged {
    descriptor: RangeDescriptor,
    data: WriteBatch,
}

/// Puts what it is given into a write batch.
struct IntoBatch(WriteBatch);

impl BulkWriter for IntoBatch {
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        self.0.put(family, key, value);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), EngineError> {
        Ok(())
    }
}

impl Replica {
    /// Leader: the data for a message that announces a snapshot.
    pub(crate) fn snapshot_source(&self, ctx: &Ctx<'_>, message: &Outbound) -> Effect {
        let header = SnapshotHeader {
            range_id: self.id.0,
            from: self.node.0,
            to: message.to.0,
            message: message.message.message.clone(),
            descriptor: Some(self.descriptor.clone()),
        };
        let reader = RawReader::new(spans(&self.descriptor));
        let source = SnapshotSource { header, snapshot: ctx.engine.snapshot(), reader };
        Effect::SendSnapshot { to: message.to, source: Box::new(source) }
    }

    /// Leader: a snapshot arrived, or did not. If not, it is tried again when the follower is next
    /// heard of.
    pub fn snapshot_sent(
        &mut self,
        ctx: &Ctx<'_>,
        to: NodeId,
        arrived: bool,
        out: &mut Vec<Effect>,
    ) {
        self.group.report_snapshot(to, arrived);
        self.after_raft(ctx, out);
    }

    /// Takes a received snapshot. An error means that it was damaged on the way, or that the
    /// replica is on its way out; the replica is as before.
    pub fn receive_snapshot(
        &mut self,
        ctx: &Ctx<'_>,
        header: SnapshotHeader,
        chunks: &[Bytes],
        out: &mut Vec<Effect>,
    ) -> Result<(), EngineError> {
        let wrong = || EngineError::malformed("snapshot header", "no descriptor");
        let descriptor = header.descriptor.ok_or_else(wrong)?;
        if !self.is_active() {
            return Err(EngineError::malformed("replica", "stopped or removed"));
        }
        let spans = spans(&descriptor);
        let mut writer = IntoBatch(WriteBatch::new());
        for chunk in chunks {
            apply_chunk(chunk, &spans, &mut writer)?;
        }
        self.staged = Some(Staged { descriptor, data: writer.0 });
        let message = RaftMessage {
            range_id: header.range_id,
            to: header.to,
            from: header.from,
            message: header.message,
            ..Default::default()
        };
        self.step(ctx, message, out);
        out.push(Effect::Schedule);
        Ok(())
    }

    /// Installs the staged snapshot, durably: the log is reset after this.
    pub(crate) fn install(
        &mut self,
        ctx: &Ctx<'_>,
        point: &SnapshotPoint,
        out: &mut Vec<Effect>,
    ) -> Result<(), EngineError> {
        let lost = || EngineError::malformed("snapshot", "announced without its data");
        let staged = self.staged.take().ok_or_else(lost)?;
        assert_eq!(staged.descriptor.id(), self.id, "a snapshot of another range");
        let mut batch = WriteBatch::with_capacity(staged.data.byte_size() + 1024);
        if self.is_initialised() {
            clear_spans(&mut batch, &spans(&self.descriptor));
        }
        clear_spans(&mut batch, &spans(&staged.descriptor));
        batch.append(&staged.data);
        put_state(&mut batch, self.id, &staged.descriptor, &point.members);
        put_applied(&mut batch, self.id, point.at);
        ctx.engine.write(&batch)?;
        ctx.engine.flush()?;
        self.applied = point.at;
        self.committed.clear();
        self.bytes = staged.data.byte_size() as u64;
        self.descriptor = staged.descriptor;
        self.reload_system(ctx)?;
        out.push(Effect::DescriptorChanged(self.descriptor.clone()));
        Ok(())
    }
}
