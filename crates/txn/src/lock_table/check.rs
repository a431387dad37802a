//! The invariants, executable. Linear in the table at least, so for tests and simulation.

use base::Key;

use super::entry::Entry;
use super::{LockTable, Place};

impl LockTable {
    /// Asserts L1 to L5 and the counts.
    pub fn check_invariants(&self) {
        let mut claims = 0;
        for (key, entry) in &self.entries {
            claims += entry.holders.len() + entry.waiters.len();
            self.check_key(key, entry);
        }
        assert_eq!(claims, self.claims, "the count of claims is wrong");
        self.check_spans();
        for (txn, known) in &self.txns {
            let idle = known.held.is_empty() && known.waits.is_empty();
            assert!(!idle || self.spans.count_of(*txn) > 0, "{txn} has no claim");
            for key in &known.held {
                assert!(self.held(key.as_bytes(), *txn).is_some(), "{txn} does not hold {key}");
            }
        }
    }

    fn check_key(&self, key: &Key, entry: &Entry) {
        for holder in &entry.holders {
            let excluded = entry.holders.iter().any(|h| h.excludes(holder.rank, holder.strength));
            assert!(!excluded, "L1: {holder:?} of {key} is excluded by another: {entry:?}");
            let known = &self.txns[&holder.rank.txn];
            assert!(known.held.contains(key), "{key} is not among the keys of {holder:?}");
            let around = self
                .spans
                .holders
                .iter()
                .find(|h| h.rank.txn != holder.rank.txn && h.span.contains(key.as_bytes()));
            let free = around.is_none() || holder.replicated || !entry.inserts(holder.strength);
            assert!(free, "L1: {holder:?} inserts {key}, which is in {around:?}");
        }
        for (rank, &wish) in &entry.waiters {
            let known = &self.txns[&rank.txn];
            assert!(known.waits.contains(key), "L2: {key} is not among the waits of {rank:?}");
            assert_eq!(known.owner.rank(), *rank, "L2: {rank:?} queues at another's place");
            let inserts = entry.inserts(wish);
            let blocked = self.ahead_of_key(key, *rank, wish, inserts).next().is_some();
            assert!(blocked, "L3: {rank:?} waits at {key} behind nobody: {entry:?}");
        }
        assert!(self.next_at(key).is_none(), "L3: {key} owes a grant: {entry:?}");
        assert!(!entry.is_empty(), "L5: {key} is empty");
    }

    fn check_spans(&self) {
        let (holders, waiters) = (&self.spans.holders, &self.spans.waiters);
        for holder in holders {
            let excluded =
                holders.iter().find(|h| h.excludes(holder.rank, &holder.span, holder.strength));
            assert!(excluded.is_none(), "L1: {holder:?} is excluded by {excluded:?}");
            assert!(self.txns.contains_key(&holder.rank.txn), "nobody knows {holder:?}");
        }
        let sorted = waiters.windows(2).all(|w| (w[0].rank, &w[0].span) < (w[1].rank, &w[1].span));
        assert!(sorted, "L2: {waiters:?}");
        for waiter in waiters {
            let place = Place::Span(waiter.span.clone());
            let blocked = !self.blockers(&place, waiter.rank.txn).is_empty();
            assert!(blocked, "L3: {waiter:?} waits behind nobody");
        }
    }
}
