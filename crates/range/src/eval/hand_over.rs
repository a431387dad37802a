//! What a leader that gives leadership away has in memory for its heir: the locks.
//!
//! It serves no more in its term from then on (`consensus`, P4), so what it hands over is all there ever
//! was. Requests that wait are refused and come to the heir, each to its place by age.
//!
//! Commands in flight are carried out or not; the heir knows which by what it finds in the data. So a lock
//! that the command will end is left out: if it is carried out nobody would ever release it, and if not,
//! the sender comes again and takes it anew.
//!
//! The heir must not trust what it is told, and need not: a lock only keeps others waiting. What a
//! transaction may do is decided by what is in the data when it commits. For the same reason the reads are
//! not handed over: they would have to be complete, and the heir takes for read whatever lies below a fresh
//! timestamp.

use std::collections::BTreeSet;

use base::{Key, TxnId};
use proto::kv::kv_error::Error;
use txn::lock_table::{Carried, Place};

use super::common::error_response;
use super::{After, Effect, Evaluator};

impl Evaluator {
    /// Refuses all that waits with `error` (not leader), and returns the locks, those of the oldest
    /// transaction first. From now on only [`Evaluator::applied`] and its like may be called.
    pub fn hand_over(&mut self, error: &Error, out: &mut Vec<Effect>) -> Vec<Carried> {
        let mut carried = self.locks.carried();
        let (mut ended, mut settled) = (BTreeSet::<TxnId>::new(), BTreeSet::<(TxnId, &Key)>::new());
        for proposal in self.proposals.values() {
            match &proposal.after {
                After::Ended(txn) => drop(ended.insert(*txn)),
                After::Settled { txn, keys, .. } => {
                    settled.extend(keys.iter().map(|key| (*txn, key)));
                }
                After::Placed { .. } | After::Nothing | After::Collected => {}
            }
        }
        carried.retain(|lock| {
            let txn = lock.owner.txn;
            !ended.contains(&txn) && !settled.contains(&(txn, lock.place.start()))
        });
        for (token, _) in std::mem::take(&mut self.parked) {
            out.push(Effect::Respond { token, response: error_response(error.clone()) });
        }
        self.lock_waits.clear();
        self.foreign_waits.clear();
        self.latches.unpark(|_| true);
        self.ready.clear();
        carried
    }

    /// Enters a lock that the leader of the term before has handed over, before anything is served.
    pub fn install(&mut self, lock: &Carried) {
        let owner = lock.owner;
        let inside = match &lock.place {
            Place::Key(key) => self.span.contains(key.as_bytes()),
            Place::Span(span) => self.span.contains_range(span),
        };
        let gone = self.gone.get(&owner.coordinator).is_some_and(|&i| owner.incarnation <= i);
        if inside && !gone {
            // What is not taken is lost, as without a hand-over.
            let _taken = self.locks.install(lock);
        }
    }
}
