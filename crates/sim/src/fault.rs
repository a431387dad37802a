//! Points at which a gateway dies in the middle of what it sends.

use proto::kv::RangeRequest;
use proto::kv::range_request::Request;

/// What a coordinator sends on the way of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The whole transaction as one command.
    OnePhase,
    /// A lock to be placed.
    Prewrite,
    /// Reads to be verified.
    Refresh,
    /// The record.
    Record,
    /// Locks to be turned into versions.
    Resolve,
}

impl Step {
    /// All of them, in the order in which they happen.
    pub const ALL: [Step; 5] =
        [Step::OnePhase, Step::Prewrite, Step::Refresh, Step::Record, Step::Resolve];

    fn of(request: &RangeRequest) -> Option<Step> {
        Some(match request.request.as_ref()? {
            Request::CommitOnePhase(_) => Step::OnePhase,
            Request::Prewrite(_) => Step::Prewrite,
            Request::Refresh(_) => Step::Refresh,
            Request::EndTxn(_) => Step::Record,
            Request::Resolve(_) => Step::Resolve,
            _ => return None,
        })
    }
}

/// When, with respect to a request, the gateway dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before it is sent.
    Before,
    /// When it was sent.
    Sent,
    /// When its answer has come.
    Answered,
}

impl Moment {
    /// All of them.
    pub const ALL: [Moment; 3] = [Moment::Before, Moment::Sent, Moment::Answered];
}

/// A node dies at one of its requests.
#[derive(Debug, Clone, Copy)]
pub struct Trap {
    /// Which node.
    pub node: usize,
    /// At which kind of request.
    pub step: Step,
    /// At the so-many-th of them, from zero.
    pub nth: u32,
    /// Before, after, or when it is answered.
    pub moment: Moment,
}

impl Trap {
    /// Counts a request; whether this is the one.
    pub(crate) fn springs(&mut self, node: usize, request: &RangeRequest) -> bool {
        if node != self.node || Step::of(request) != Some(self.step) {
            return false;
        }
        if self.nth == 0 {
            return true;
        }
        self.nth -= 1;
        false
    }
}
