//! What an evaluator asks of its driver, and the names that they use.

use base::{Key, NodeId, Timestamp};
use proto::kv;
use storage::WriteBatch;
use txn::Owner;

/// Names a request: whoever asked gets the response with it. Chosen by the driver, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names a proposal of one evaluator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// Microseconds of the monotonic clock.
pub type Micros = u64;

/// What the driver must do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send the answer to whoever asked. A read's answer only if the lease still holds now.
    Respond {
        /// Who asked.
        token: Token,
        /// The answer.
        response: kv::RangeResponse,
    },
    /// Put the batch into the range's log, behind those proposed before; then call
    /// [`Evaluator::applied`] when it is in the engine, or [`Evaluator::failed`] when it never will be.
    Propose {
        /// Its name.
        proposal: ProposalId,
        /// What to apply.
        batch: WriteBatch,
    },
    /// Tell a coordinator that one of its requests waits, and for whom.
    Notice {
        /// The coordinator's node.
        to: NodeId,
        /// What it is told. `range_id` is for the driver to fill in.
        notice: kv::WaitNotice,
    },
    /// Find out what has become of another's lock (`txn::settle`), and end it here: by a Resolve request,
    /// or by [`Evaluator::pushed`].
    Settle(ForeignLock),
}

/// A replicated lock in somebody's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignLock {
    /// Where it was met.
    pub key: Key,
    /// Whose it is.
    pub owner: Owner,
    /// Where its transaction is decided.
    pub primary: Key,
    /// Part of a parallel commit: can't be pushed.
    pub parallel: bool,
    /// The transaction commits here or above.
    pub min_commit: Timestamp,
    /// A reader wants it above this; zero if a writer or locker waits for its end.
    pub push_above: Timestamp,
}
