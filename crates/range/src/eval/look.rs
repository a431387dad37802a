//! What others may see of an evaluator.

use base::{RangeId, TxnId};
use proto::kv;
use txn::Owner;
use txn::lock_table::{Obstacle, Place, Strength};

use super::common::meta_of;
use super::{Evaluator, Micros, strength_out};

impl Evaluator {
    /// Every holder of and waiter for a lock, for people to look at.
    pub fn lock_rows(&self) -> impl Iterator<Item = LockRow> + '_ {
        self.locks.rows().map(|(place, owner, strength, granted)| LockRow {
            place,
            owner,
            strength,
            granted,
        })
    }

    /// Since when a transaction waits for a place, if it does, and for whom.
    #[must_use]
    pub fn wait_of(&self, place: &Place, txn: TxnId) -> Option<(Micros, Vec<Obstacle>)> {
        let tokens = self.lock_waits.get(&(place.clone(), txn))?;
        let since =
            tokens.iter().filter_map(|t| self.parked.get(t)).map(|work| work.since).min()?;
        Some((since, self.locks.blockers(place, txn)))
    }

    /// Requests waiting, and commands in flight, for metrics.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        (self.parked.len(), self.proposals.len())
    }

    /// Asserts E4, E5 and the invariants of the parts. For tests and simulation.
    pub fn check_invariants(&self) {
        self.locks.check_invariants();
        self.cache.check_invariants();
        self.latches.check_invariants();
        assert!(self.ready.is_empty(), "E5: {:?} were woken and not evaluated", self.ready);
        self.check_waits();
    }
}

/// One line of the lock table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRow {
    /// A key, or a span.
    pub place: Place,
    /// Who.
    pub owner: Owner,
    /// What it holds, or wishes.
    pub strength: Strength,
    /// Holds it, or waits.
    pub granted: bool,
}

/// The lock table of a range as messages: who holds what, who waits since when, and behind whom.
pub fn lock_infos(
    evaluator: &Evaluator,
    range: RangeId,
    now: Micros,
) -> impl Iterator<Item = kv::LockInfo> + '_ {
    evaluator.lock_rows().map(move |row| {
        let wait = evaluator.wait_of(&row.place, row.owner.txn).filter(|_| !row.granted);
        let (since, behind) = wait.unwrap_or((now, Vec::new()));
        let obstacle = |ahead: Obstacle| kv::Obstacle {
            txn: Some(meta_of(ahead.owner)),
            strength: strength_out(ahead.strength) as i32,
        };
        kv::LockInfo {
            key: row.place.start().0.clone(),
            span: span_of(row.place),
            txn: Some(meta_of(row.owner)),
            strength: strength_out(row.strength) as i32,
            granted: row.granted,
            range_id: range.0,
            waited_ms: now.saturating_sub(since) / 1000,
            behind: behind.into_iter().map(obstacle).collect(),
        }
    })
}

fn span_of(place: Place) -> Option<kv::Span> {
    match place {
        Place::Key(_) => None,
        Place::Span(span) => Some(span.into()),
    }
}
