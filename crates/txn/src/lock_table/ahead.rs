//! Whom somebody would wait for: L3 and L4, asked of a key and of a span.
//!
//! A waiter that is kept waiting by what the asker holds never counts: the asker would wait for itself.

use std::ops::Bound;

use base::{Key, KeyRange, TxnId};

use super::entry::Entry;
use super::spans::SpanClaim;
use super::{LockTable, Obstacle, Strength};
use crate::Rank;

/// A holder, or an older waiter, in the way of somebody.
#[derive(Debug, Clone)]
pub(super) struct Ahead {
    rank: Rank,
    strength: Strength,
    /// Where they meet.
    key: Key,
}

impl LockTable {
    pub(super) fn obstacle(&self, ahead: Ahead) -> Obstacle {
        let Ahead { rank, strength, key } = ahead;
        Obstacle { owner: self.txns[&rank.txn].owner, strength, key }
    }

    /// Who keeps `rank` from getting `wish` of a key; `inserts`: it may, and there is no row.
    pub(super) fn ahead_of_key<'a>(
        &'a self,
        key: &'a Key,
        rank: Rank,
        wish: Strength,
        inserts: bool,
    ) -> impl Iterator<Item = Ahead> + 'a {
        let bytes = key.as_bytes();
        let holds_span = !self.spans.is_empty() && self.spans.holds_around(rank.txn, bytes);
        let entry = self.entries.get(bytes);
        let at_key = entry.into_iter().flat_map(move |e| e.blockers(rank, wish, holds_span));
        let around =
            move |c: &&SpanClaim| inserts && c.rank.txn != rank.txn && c.span.contains(bytes);
        let held = self.spans.holders.iter().filter(around);
        let older = self.spans.waiters.iter().take_while(move |w| w.rank < rank).filter(around);
        let older = older.filter(move |w| !self.is_behind(w, rank.txn));
        let spans = held.chain(older).map(|c| (c.rank, c.strength));
        at_key.chain(spans).map(|(rank, strength)| Ahead { rank, strength, key: key.clone() })
    }

    /// Who keeps `rank` from claiming a span in the mode of `wish`.
    pub(super) fn ahead_of_span<'a>(
        &'a self,
        span: &'a KeyRange,
        rank: Rank,
        wish: Strength,
    ) -> impl Iterator<Item = Ahead> + 'a {
        let keys = self.entries_in(span).flat_map(move |(key, entry)| {
            let holders = entry.holders.iter().map(|h| (h.rank, h.strength));
            let holders = holders.filter(move |(other, _)| other.txn != rank.txn);
            let older = entry.waiters.range(..rank).map(|(&other, &wish)| (other, wish));
            let older = older.filter(move |&(_, wish)| !self.keeps_waiting(rank, key, entry, wish));
            let inserting = holders.chain(older).filter(|(_, strength)| entry.inserts(*strength));
            inserting.map(|(rank, strength)| Ahead { rank, strength, key: key.clone() })
        });
        let excludes = move |c: &&SpanClaim| c.excludes(rank, span, wish);
        let held = self.spans.holders.iter().filter(excludes);
        let older = self.spans.waiters.iter().take_while(move |w| w.rank < rank).filter(excludes);
        let older = older.filter(move |w| !self.is_behind(w, rank.txn));
        keys.chain(held.chain(older).map(|c| Ahead {
            rank: c.rank,
            strength: c.strength,
            key: span.start.clone().max(c.span.start.clone()),
        }))
    }

    /// The entries of the keys of a span.
    pub(super) fn entries_in(&self, span: &KeyRange) -> impl Iterator<Item = (&Key, &Entry)> + '_ {
        let end = match span.end.0.is_empty() {
            true => Bound::Unbounded,
            false => Bound::Excluded(span.end.as_bytes()),
        };
        self.entries.range::<[u8], _>((Bound::Included(span.start.as_bytes()), end))
    }

    /// Whether what `rank` holds keeps a waiter for a key waiting that has this wish.
    fn keeps_waiting(&self, rank: Rank, key: &Key, entry: &Entry, wish: Strength) -> bool {
        entry.held(rank.txn).is_some_and(|held| held.conflicts(wish))
            || entry.inserts(wish) && self.spans.holds_around(rank.txn, key.as_bytes())
    }

    /// Whether what a transaction holds keeps a waiter for a span waiting.
    fn is_behind(&self, waiter: &SpanClaim, txn: TxnId) -> bool {
        let SpanClaim { rank, span, strength } = waiter;
        let mut holders = self.spans.holders.iter().filter(|h| h.rank.txn == txn);
        if holders.any(|h| h.excludes(*rank, span, *strength)) {
            return true;
        }
        let Some(known) = self.txns.get(&txn) else { return false };
        let from = (Bound::Included(span.start.as_bytes()), Bound::Unbounded);
        let held = known.held.range::<[u8], _>(from);
        let mut inside = held.take_while(|key| span.contains(key.as_bytes()));
        inside.any(|key| {
            let entry = &self.entries[key];
            entry.held(txn).is_some_and(|held| entry.inserts(held))
        })
    }
}
