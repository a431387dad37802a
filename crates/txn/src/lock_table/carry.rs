//! What a leader that gives leadership away tells its heir: who holds what.
//!
//! Waiters stay behind: they ask the heir anew, and find their place by age. Nothing depends on it that
//! the holders find their locks again: a lock that was lost is noticed at the commit.

use super::spans::SpanClaim;
use super::{LockTable, Place, Strength};
use crate::Owner;

/// A lock that is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Of what.
    pub place: Place,
    /// Whose.
    pub owner: Owner,
    /// What it holds.
    pub strength: Strength,
    /// Of a key: there is no row.
    pub vacant: bool,
}

impl LockTable {
    /// Every lock that is held, those of the oldest transaction first.
    #[must_use]
    pub fn carried(&self) -> Vec<Carried> {
        let held = self.rows().filter(|(_, _, _, granted)| *granted);
        let carried = held.map(|(place, owner, strength, _)| {
            let vacant = match &place {
                Place::Key(key) => self.entries[key].vacant,
                Place::Span(_) => false,
            };
            Carried { place, owner, strength, vacant }
        });
        let mut all: Vec<Carried> = carried.collect();
        all.sort_by_key(|carried| carried.owner.rank());
        all
    }

    /// Enters a lock that was handed over, unless something here excludes it. Nobody waits yet.
    pub fn install(&mut self, carried: &Carried) -> bool {
        let Carried { place, owner, strength, vacant } = carried;
        if self.is_full() {
            return false;
        }
        match place {
            Place::Key(key) => {
                let known = self.held(key.as_bytes(), owner.txn).is_some();
                let inserts = *vacant && strength.may_write();
                let mut ahead = self.ahead_of_key(key, owner.rank(), *strength, inserts);
                if known || ahead.next().is_some() {
                    return false;
                }
                drop(ahead);
                self.insert_holder(key, *owner, *strength, false);
                self.entries.get_mut(key.as_bytes()).expect("it holds").vacant = *vacant;
            }
            Place::Span(span) => {
                let crowded = self.spans.is_crowded(owner.txn, span, *strength);
                let taken = self.ahead_of_span(span, owner.rank(), *strength).next().is_some();
                if span.is_empty() || crowded || taken {
                    return false;
                }
                self.txn(*owner);
                let (rank, span) = (owner.rank(), span.clone());
                self.spans.hold(SpanClaim { rank, span, strength: *strength });
            }
        }
        true
    }
}
