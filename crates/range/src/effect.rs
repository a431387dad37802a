//! What a replica asks of its driver, and what it is given to work with.

use base::{NodeId, Timestamp};
use consensus::Liveness;
use proto::kv;
use proto::meta::RangeDescriptor;
use proto::node::RaftMessage;
use storage::{Engine, EngineError};

use crate::SnapshotSource;
use crate::eval::{Evaluator, ForeignLock, Token};

/// What a replica is given with every call.
pub struct Ctx<'a> {
    /// The engine of the node.
    pub engine: &'a dyn Engine,
    /// The promises between nodes.
    pub liveness: &'a Liveness,
    /// The monotonic clock of the node, in microseconds. Asked again after each read.
    pub clock: &'a dyn Fn() -> u64,
    /// The wall clock, in milliseconds since the Unix epoch. Only the oracle looks at it.
    pub wall_ms: u64,
}

impl Ctx<'_> {
    /// The time.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.clock)()
    }
}

/// What the driver must do, in order.
pub enum Effect {
    /// Answer whoever asked.
    Respond {
        /// Who asked.
        token: Token,
        /// The answer.
        response: kv::RangeResponse,
    },
    /// Send a message to a replica on another node (`to`).
    Send(RaftMessage),
    /// Stream a snapshot, then report with [`crate::Replica::snapshot_sent`].
    SendSnapshot {
        /// To which node.
        to: NodeId,
        /// What to send. It pins an engine snapshot: drop it when done.
        source: Box<SnapshotSource>,
    },
    /// The store loop has something to do for this replica: `ready`, or `apply`.
    Schedule,
    /// Draw a timestamp from the oracle, after this effect, and hand it to
    /// [`crate::Replica::timestamp_drawn`] with the same term.
    DrawTimestamp {
        /// The term of leadership it is for.
        term: u64,
    },
    /// Allocate ids of ranges and hand them to [`crate::Replica::range_ids`].
    AllocateRangeIds {
        /// To be handed back.
        ticket: u64,
        /// How many.
        count: u64,
    },
    /// Publish descriptors to the directory, then call [`crate::Replica::published`]. Repeated
    /// until then.
    PublishRanges(Vec<RangeDescriptor>),
    /// A split made these replicas here. Open each with [`crate::Replica::open_split`], before anything
    /// else: it replaces an uninitialised replica of that range, if there is one. Then call
    /// [`crate::Replica::created_are_open`].
    RangesCreated(Vec<NewRange>),
    /// The descriptor changed: the span, or who holds it.
    DescriptorChanged(RangeDescriptor),
    /// The range is larger than it should be. Find a key (`storage::mvcc::split_key`) and ask for a
    /// split, or correct the size with [`crate::Replica::set_size`].
    SplitWanted {
        /// The size as estimated.
        bytes: u64,
    },
    /// Tell a coordinator that its request waits.
    Notice {
        /// The coordinator's node.
        to: NodeId,
        /// What to tell it.
        notice: kv::WaitNotice,
    },
    /// Find out what has become of a transaction that left a lock, and end the lock here.
    Settle(ForeignLock),
    /// The replica is no longer a member. Its data is gone; let `ready` put the removal of its log
    /// into the next append, then drop it.
    Destroyed,
    /// The replica can't go on. Its engine or log is broken; it answers nothing any more.
    Stop {
        /// Why.
        error: EngineError,
    },
}

/// A range that a split made.
pub struct NewRange {
    /// What it is.
    pub descriptor: RangeDescriptor,
    /// This node led the range that was split: locks and reads of the part, and reason to campaign.
    pub inherited: Option<Box<Evaluator>>,
    /// Up to where the past of the range that was split is settled here, and so that of this one.
    pub closed: Timestamp,
}
