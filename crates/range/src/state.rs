//! What a replica keeps of itself in the engine, beside the data and in the same batches.
//!
//! ```text
//!   local | range | 00 'a'    applied index and term: written with every batch of entries
//!   local | range | 00 's'    descriptor and members: written when they change
//!   local | range | 00 't'    tombstone: the replica was removed
//!   local | range | 01..      state of the range itself (system state, GC point): travels in snapshots
//! ```
//!
//! # Invariants
//!
//! - **A1** Applied index, members, descriptor and data come from the same entry: they are written
//!   in one batch, so after a crash they are all as old as each other.
//! - **A2** A replica has state or a tombstone or neither, never both.

use base::{KeyRange, RangeId};
use consensus::Members;
use prost::Message;
use proto::meta::RangeDescriptor;
use storage::{
    EngineError, EngineRead, Family, IterOptions, LogPosition, WriteBatch, local_key,
    local_range_of, local_ranges_span, local_span,
};

/// Where the log of every new range begins. Not zero, so that an empty replica can't be mistaken
/// for one that has the initial state: it needs a snapshot.
pub const INIT_AT: LogPosition = LogPosition { index: 10, term: 5 };

const OWN: u8 = 0;
const APPLIED: [u8; 2] = [OWN, b'a'];
const STATE: [u8; 2] = [OWN, b's'];
const TOMBSTONE: [u8; 2] = [OWN, b't'];

/// Descriptor and members, as stored.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(message, optional, tag = "1")]
    descriptor: Option<RangeDescriptor>,
    #[prost(uint64, repeated, tag = "2")]
    voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    learners: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    outgoing: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    learners_next: Vec<u64>,
    #[prost(bool, tag = "6")]
    auto_leave: bool,
}

/// What is left of a removed replica.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Tombstone {
    /// The generation of the range as of the removal: only a later one may come back.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Its last term.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// Its vote in that term: not even a replica that comes back may vote twice.
    #[prost(uint64, tag = "3")]
    pub vote: u64,
    /// What it had applied, so that it is committed: index and term.
    #[prost(uint64, tag = "4")]
    pub applied_index: u64,
    /// See `applied_index`.
    #[prost(uint64, tag = "5")]
    pub applied_term: u64,
}

/// The state of one replica as found in the engine.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub descriptor: RangeDescriptor,
    pub members: Members,
    pub applied: LogPosition,
}

/// The key under which the applied index is found: the log may be dropped up to its durable value.
pub(crate) fn applied_key(range: RangeId) -> Vec<u8> {
    local_key(range, &APPLIED)
}

pub(crate) fn put_applied(batch: &mut WriteBatch, range: RangeId, at: LogPosition) {
    let value = [at.index.to_be_bytes(), at.term.to_be_bytes()].concat();
    batch.put(Family::Local, &applied_key(range), &value);
}

pub(crate) fn decode_applied(value: &[u8]) -> Option<LogPosition> {
    let (index, term) = value.split_first_chunk::<8>()?;
    let term = u64::from_be_bytes(term.try_into().ok()?);
    Some(LogPosition { index: u64::from_be_bytes(*index), term })
}

pub(crate) fn put_state(
    batch: &mut WriteBatch,
    range: RangeId,
    descriptor: &RangeDescriptor,
    members: &Members,
) {
    let stored = Stored {
        descriptor: Some(descriptor.clone()),
        voters: members.voters.clone(),
        learners: members.learners.clone(),
        outgoing: members.outgoing.clone(),
        learners_next: members.learners_next.clone(),
        auto_leave: members.auto_leave,
    };
    batch.put(Family::Local, &local_key(range, &STATE), &stored.encode_to_vec());
    batch.delete(Family::Local, &local_key(range, &TOMBSTONE));
}

/// Removes all that is known of a replica, and leaves a tombstone.
pub(crate) fn put_tombstone(batch: &mut WriteBatch, range: RangeId, tombstone: Tombstone) {
    let span = local_span(range);
    batch.delete_range(Family::Local, span.start.as_bytes(), span.end.as_bytes());
    batch.put(Family::Local, &local_key(range, &TOMBSTONE), &tombstone.encode_to_vec());
}

/// The keys in the local family that belong to the range and not to the replica.
pub(crate) fn range_state_span(range: RangeId) -> KeyRange {
    KeyRange::new(local_key(range, &[OWN + 1]), local_span(range).end)
}

/// The state of a replica, if the engine has one.
pub(crate) fn load(engine: &dyn EngineRead, range: RangeId) -> Result<Option<Found>, EngineError> {
    let malformed = |what: &str| EngineError::malformed(format!("state of {range}"), what);
    let Some(stored) = engine.get(Family::Local, &local_key(range, &STATE))? else {
        return Ok(None);
    };
    let stored = Stored::decode(stored).map_err(|_bad| malformed("replica state"))?;
    let applied = engine
        .get(Family::Local, &applied_key(range))?
        .and_then(|value| decode_applied(&value))
        .ok_or_else(|| malformed("applied index"))?;
    let descriptor = stored.descriptor.ok_or_else(|| malformed("no descriptor"))?;
    let members = Members {
        voters: stored.voters,
        learners: stored.learners,
        outgoing: stored.outgoing,
        learners_next: stored.learners_next,
        auto_leave: stored.auto_leave,
    };
    Ok(Some(Found { descriptor, members, applied }))
}

/// The tombstone of a replica that was removed from this node.
pub fn tombstone(
    engine: &dyn EngineRead,
    range: RangeId,
) -> Result<Option<Tombstone>, EngineError> {
    let Some(value) = engine.get(Family::Local, &local_key(range, &TOMBSTONE))? else {
        return Ok(None);
    };
    let malformed = |_bad| EngineError::malformed(format!("tombstone of {range}"), "malformed");
    Tombstone::decode(value).map(Some).map_err(malformed)
}

/// All replicas in the engine, and all tombstones' ranges.
pub(crate) fn list(engine: &dyn EngineRead) -> Result<(Vec<RangeId>, Vec<RangeId>), EngineError> {
    let (mut replicas, mut removed) = (Vec::new(), Vec::new());
    let mut iter = engine.iter(Family::Local, &local_ranges_span(), IterOptions::default())?;
    let mut found = iter.seek_to_first()?;
    while found {
        match local_range_of(iter.key()) {
            Some((range, suffix)) if suffix == STATE => replicas.push(range),
            Some((range, suffix)) if suffix == TOMBSTONE => removed.push(range),
            _ => {}
        }
        found = iter.next()?;
    }
    Ok((replicas, removed))
}
