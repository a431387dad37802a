//! Commands: changes to replicate, from the proposal to what they change in memory once applied.

use base::{Key, Timestamp, TxnId};
use proto::kv;
use storage::WriteBatch;
use txn::latches::CommandId;
use txn::lock_table::Grant;

use super::waits::Wait;
use super::{Effect, Evaluator, Micros, ProposalId, Token};

/// A command in flight.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) token: Token,
    pub(super) response: kv::RangeResponse,
    pub(super) after: After,
}

/// What a command changes in memory once it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    /// Committed in one phase: the transaction is over in this range.
    Ended(TxnId),
    /// Locks are placed, `new` of them where there was none.
    Placed { txn: TxnId, keys: Vec<Key>, new: usize },
    /// Locks on these keys are gone, `removed` of them replicated ones.
    Settled { txn: TxnId, keys: Vec<Key>, removed: usize },
    /// Nothing.
    Nothing,
    /// Nothing: garbage is gone.
    Collected,
}

/// How an evaluation ends.
pub(super) enum Step {
    /// With an answer.
    Done(kv::range_response::Response),
    /// With a change to replicate.
    Propose(Command),
    /// Not yet.
    Wait(Wait),
}

/// A change to replicate.
pub(super) struct Command {
    pub(super) batch: WriteBatch,
    /// Latched until it is applied.
    pub(super) keys: Vec<Key>,
    /// Reads from here on wait for it.
    pub(super) commits_from: Timestamp,
    pub(super) response: kv::range_response::Response,
    pub(super) after: After,
}

impl Evaluator {
    pub(super) fn propose(&mut self, token: Token, command: Command, out: &mut Vec<Effect>) {
        let proposal = ProposalId(self.next_proposal);
        self.next_proposal += 1;
        let Command { batch, keys, commits_from, response, after } = command;
        if after != After::Collected {
            let lands = if commits_from == Timestamp::MAX { self.issued } else { commits_from };
            self.garbage.written(batch.byte_size() as u64, lands.max(self.issued));
        }
        self.latches.begin(CommandId(proposal.0), keys, commits_from);
        let response = kv::RangeResponse { error: None, response: Some(response) };
        self.proposals.insert(proposal, Proposal { token, response, after });
        out.push(Effect::Propose { proposal, batch });
    }

    pub(super) fn end_command(&mut self, proposal: ProposalId) {
        for token in self.latches.end(CommandId(proposal.0)) {
            self.ready.push_back(token);
        }
    }

    /// Changes in memory what a command, now applied, has changed in the data.
    pub(super) fn carry_out(&mut self, now: Micros, after: After) {
        let mut grants = Vec::new();
        match after {
            After::Nothing | After::Collected => {}
            After::Ended(txn) => {
                self.ended.add(txn);
                self.wake_waits_of(txn);
                self.locks.release_txn(txn, &mut grants);
            }
            After::Placed { txn, keys, new } => {
                self.add_replicated(new);
                for key in &keys {
                    self.locks.mark_replicated(key, txn);
                }
                self.heartbeats.insert(txn, now);
            }
            After::Settled { txn, keys, removed } => {
                self.remove_replicated(removed);
                self.settle_keys(txn, &keys, &mut grants);
            }
        }
        self.wake_granted(grants);
    }

    /// A transaction is decided, and its locks on some keys are over, in the data and in memory.
    pub(super) fn settle_keys(&mut self, txn: TxnId, keys: &[Key], grants: &mut Vec<Grant>) {
        self.ended.add(txn);
        self.wake_waits_of(txn);
        for key in keys {
            self.locks.release(key.as_bytes(), txn, grants);
            if let Some(tokens) = self.foreign_waits.remove(key.as_bytes()) {
                self.ready.extend(tokens);
            }
        }
        self.settling.remove(&txn);
    }
}
