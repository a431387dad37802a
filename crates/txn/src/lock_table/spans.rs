//! Spans of keys: who keeps others from inserting into them.
//!
//! ```text
//!   acct/1   acct/4   acct/7        U t10 holds [acct/1, acct/9)
//!   ╰──────────────────────────╯    t20 wants to insert acct/5: waits for t10
//!                                   t30 wants to update acct/7: does not, unless t10 has locked that row
//! ```
//!
//! Between a key and a span counts only whether there is no row, and the key is to be written. Rows have
//! locks of their own, and one that is in the span but was not what its holder looked for is free, as in
//! PostgreSQL. Between two spans it is the table of the strengths, as between two locks on one key. So two
//! transactions that look for a row that is not there, each to insert it, take turns; if both held the
//! span, each would wait for the other.
//!
//! Whether there is a row the caller tells, when it asks for a key, and before it asks for a span of those
//! that are locked in it ([`super::LockTable::to_judge`]). What is not told counts as no row.
//!
//! # Bounds
//!
//! Spans of one transaction that touch are joined. Beyond [`SPANS_PER_TXN`] of one transaction and
//! [`SPANS_MAX`] of all, in one range, a span is not claimed: what was read there is verified at the
//! commit as ever, only that nobody was kept from changing it. Each key that somebody wants to write is
//! compared with all spans, which is why there are few.

use base::{Key, KeyRange, TxnId};

use super::Strength;
use crate::Rank;

/// Spans held and waited for in one range.
pub const SPANS_MAX: usize = 1024;
/// Spans that one transaction holds or waits for in one range.
pub const SPANS_PER_TXN: usize = 64;

/// A span that a transaction holds or waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpanClaim {
    pub(super) rank: Rank,
    pub(super) span: KeyRange,
    pub(super) strength: Strength,
}

impl SpanClaim {
    /// Whether it keeps `rank` from claiming `span` in the mode of `wish`, were it held.
    pub(super) fn excludes(&self, rank: Rank, span: &KeyRange, wish: Strength) -> bool {
        self.rank.txn != rank.txn && self.strength.conflicts(wish) && self.span.overlaps(span)
    }
}

/// The spans of one lock table.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// By span, then by age.
    pub(super) holders: Vec<SpanClaim>,
    /// By age, then by span.
    pub(super) waiters: Vec<SpanClaim>,
}

impl Spans {
    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.waiters.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.holders.len() + self.waiters.len()
    }

    /// Spans that a transaction holds or waits for.
    pub(super) fn count_of(&self, txn: TxnId) -> usize {
        self.of(txn).count()
    }

    fn of(&self, txn: TxnId) -> impl Iterator<Item = &SpanClaim> {
        self.holders.iter().chain(&self.waiters).filter(move |c| c.rank.txn == txn)
    }

    /// Whether any span is around a key, held or waited for.
    pub(super) fn is_around(&self, key: &[u8]) -> bool {
        self.holders.iter().chain(&self.waiters).any(|claim| claim.span.contains(key))
    }

    /// Whether a transaction holds a span around a key.
    pub(super) fn holds_around(&self, txn: TxnId, key: &[u8]) -> bool {
        self.holders.iter().any(|h| h.rank.txn == txn && h.span.contains(key))
    }

    /// Whether a transaction holds all of a span, in the mode of `wish` or a stronger one.
    pub(super) fn covers(&self, txn: TxnId, span: &KeyRange, wish: Strength) -> bool {
        let enough =
            |h: &SpanClaim| h.rank.txn == txn && h.strength >= wish && h.span.contains_range(span);
        self.holders.iter().any(enough)
    }

    /// Whether there is no room for one more span, unless it is joined with one that is there.
    pub(super) fn is_crowded(&self, txn: TxnId, span: &KeyRange, wish: Strength) -> bool {
        (self.len() >= SPANS_MAX || self.count_of(txn) >= SPANS_PER_TXN)
            && !self.holders.iter().any(|h| joins(h, txn, span, wish))
    }

    /// Enters a holder; its spans that touch become one, and weaker ones inside go.
    pub(super) fn hold(&mut self, mut claim: SpanClaim) {
        while let Some(at) =
            self.holders.iter().position(|h| joins(h, claim.rank.txn, &claim.span, claim.strength))
        {
            claim.span = claim.span.hull(&self.holders.remove(at).span);
        }
        let SpanClaim { rank, span, strength } = &claim;
        self.holders.retain(|h| {
            h.rank.txn != rank.txn || h.strength > *strength || !span.contains_range(&h.span)
        });
        let place = |h: &SpanClaim| (h.span.clone(), h.rank) < (span.clone(), *rank);
        let at = self.holders.partition_point(place);
        self.holders.insert(at, claim);
    }

    /// Enters a waiter, or makes one stronger.
    pub(super) fn wait(&mut self, claim: SpanClaim) {
        if let Some(waiting) = self.waiter_mut(claim.rank.txn, &claim.span) {
            waiting.strength = waiting.strength.max(claim.strength);
            return;
        }
        let place = |w: &SpanClaim| (w.rank, w.span.clone()) < (claim.rank, claim.span.clone());
        let at = self.waiters.partition_point(place);
        self.waiters.insert(at, claim);
    }

    pub(super) fn waiter(&self, txn: TxnId, span: &KeyRange) -> Option<&SpanClaim> {
        self.waiters.iter().find(|w| w.rank.txn == txn && w.span == *span)
    }

    fn waiter_mut(&mut self, txn: TxnId, span: &KeyRange) -> Option<&mut SpanClaim> {
        self.waiters.iter_mut().find(|w| w.rank.txn == txn && w.span == *span)
    }

    /// Ends a transaction's wait for a span.
    pub(super) fn end_wait(&mut self, txn: TxnId, span: &KeyRange) {
        self.waiters.retain(|w| w.rank.txn != txn || w.span != *span);
    }

    /// Takes `part` out of all that a transaction holds, and ends its waits for spans inside of it.
    pub(super) fn cut_out(&mut self, txn: TxnId, part: &KeyRange) {
        self.waiters.retain(|w| w.rank.txn != txn || !part.contains_range(&w.span));
        let (touched, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.holders)
            .into_iter()
            .partition(|h| h.rank.txn == txn && h.span.overlaps(part));
        self.holders = rest;
        for held in touched {
            for span in held.span.without(part) {
                self.hold(SpanClaim { span, ..held.clone() });
            }
        }
    }

    /// Takes out all of a transaction, and returns where it was.
    pub(super) fn remove(&mut self, txn: TxnId) -> Vec<KeyRange> {
        let gone = self.of(txn).map(|c| c.span.clone()).collect();
        self.holders.retain(|h| h.rank.txn != txn);
        self.waiters.retain(|w| w.rank.txn != txn);
        gone
    }

    /// Moves what lies at or behind `at` away; a span around it is divided. No waiter may be around it.
    pub(super) fn split_off(&mut self, at: &Key) -> Spans {
        let mut right = Spans::default();
        let behind = KeyRange { start: at.clone(), end: Key::MIN };
        for claim in std::mem::take(&mut self.holders) {
            let inside = claim.span.intersect(&behind);
            let left = claim.span.without(&behind);
            for (side, spans) in [(&mut *self, left), (&mut right, inside.into_iter().collect())] {
                for span in spans {
                    side.hold(SpanClaim { span, ..claim.clone() });
                }
            }
        }
        let waiters = std::mem::take(&mut self.waiters);
        (right.waiters, self.waiters) = waiters.into_iter().partition(|w| w.span.start >= *at);
        right
    }
}

/// Whether a holder and a new claim of its transaction become one span.
fn joins(holder: &SpanClaim, txn: TxnId, span: &KeyRange, wish: Strength) -> bool {
    let meet = |a: &KeyRange, b: &KeyRange| !a.end.0.is_empty() && a.end == b.start;
    holder.rank.txn == txn
        && holder.strength == wish
        && (holder.span.overlaps(span) || meet(&holder.span, span) || meet(span, &holder.span))
}
