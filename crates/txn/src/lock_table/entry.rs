//! One key: its holders and its queue.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::Strength;
use crate::Rank;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) holders: SmallVec<[Holder; 1]>,
    pub(super) waiters: BTreeMap<Rank, Strength>,
    /// There is no row, as far as known: who writes here inserts. Counts only for spans around it.
    pub(super) vacant: bool,
}

impl Default for Entry {
    fn default() -> Self {
        Entry { holders: SmallVec::new(), waiters: BTreeMap::new(), vacant: true }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    pub(super) rank: Rank,
    pub(super) strength: Strength,
    pub(super) replicated: bool,
}

impl Holder {
    pub(super) fn excludes(&self, rank: Rank, wish: Strength) -> bool {
        self.rank.txn != rank.txn && self.strength.conflicts(wish)
    }
}

impl Entry {
    /// What a transaction holds.
    pub(super) fn held(&self, txn: base::TxnId) -> Option<Strength> {
        self.holders.iter().find(|h| h.rank.txn == txn).map(|h| h.strength)
    }

    /// Whether who has this strength here may insert, which whoever holds a span around it excludes.
    pub(super) fn inserts(&self, strength: Strength) -> bool {
        self.vacant && strength.may_write()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.waiters.is_empty()
    }

    /// Who keeps `rank` from getting `wish` here: conflicting holders, and conflicting waiters that are
    /// older, unless it upgrades or holds a span around the key.
    pub(super) fn blockers(
        &self,
        rank: Rank,
        wish: Strength,
        holds_span: bool,
    ) -> impl Iterator<Item = (Rank, Strength)> + '_ {
        let upgrades = self.holders.iter().any(|h| h.rank == rank);
        let holders = self.holders.iter().filter(move |h| h.excludes(rank, wish));
        let holders = holders.map(|h| (h.rank, h.strength));
        let older = self
            .waiters
            .range(..rank)
            .filter(move |(_, other)| !upgrades && !holds_span && other.conflicts(wish))
            .map(|(&rank, &strength)| (rank, strength));
        holders.chain(older)
    }

    /// The upgrade, or else the oldest waiter, that nothing at this key keeps waiting.
    pub(super) fn next_grant(&self) -> Option<(Rank, Strength)> {
        if self.waiters.is_empty() {
            return None;
        }
        let upgrade = self.upgrades().find(|&(rank, wish)| {
            let excluded = self.holders.iter().any(|h| h.excludes(rank, wish));
            !excluded
        });
        if upgrade.is_some() {
            return upgrade;
        }
        // What conflicts with a strength conflicts with all above it, so the strongest ahead decides.
        let mut ahead = self.holders.iter().map(|h| h.strength).max();
        for (&rank, &wish) in &self.waiters {
            match ahead {
                // Not even an upgrade gets past it.
                Some(Strength::Update) => return None,
                Some(strongest) if strongest.conflicts(wish) => {}
                Some(_) | None => return Some((rank, wish)),
            }
            ahead = ahead.max(Some(wish));
        }
        None
    }

    /// Waiters that hold the key already and want more.
    pub(super) fn upgrades(&self) -> impl Iterator<Item = (Rank, Strength)> + '_ {
        self.holders.iter().filter_map(|holder| {
            let &wish = self.waiters.get(&holder.rank)?;
            Some((holder.rank, wish))
        })
    }
}
