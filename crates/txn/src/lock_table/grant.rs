//! Handing on what became free: restores L3 and L5 after something has left the table.
//!
//! Whom a departure may set free: the waiters at the same key, waiters for spans around it, and where a
//! span went, the waiters inside. With spans one thing more: who gets something may thereby keep an older
//! waiter waiting that kept *it* waiting elsewhere (L4), so its own other waits are looked at as well; and
//! the same when an older waiter wishes more than before.

use base::{Key, KeyRange, TxnId};

use super::entry::Holder;
use super::{Grant, LockTable, Place, Strength};
use crate::Rank;

impl LockTable {
    /// Something has left a key.
    pub(super) fn regrant_key(&mut self, key: &[u8], grants: &mut Vec<Grant>) {
        if let Some((key, _)) = self.entries.get_key_value(key) {
            self.regrant(vec![key.clone()], &[], grants);
        }
    }

    /// Something has left a span.
    pub(super) fn regrant_span(&mut self, span: &KeyRange, grants: &mut Vec<Grant>) {
        self.regrant(Vec::new(), std::slice::from_ref(span), grants);
    }

    /// A transaction holds more than before without having been granted it.
    pub(super) fn regrant_waits_of(&mut self, txn: TxnId, grants: &mut Vec<Grant>) {
        if !self.spans.is_empty() {
            let keys = self.txns.get(&txn).map(|known| known.waits.iter().cloned().collect());
            self.regrant(keys.unwrap_or_default(), &[], grants);
        }
    }

    /// Something has left these keys and spans.
    pub(super) fn regrant(
        &mut self,
        mut keys: Vec<Key>,
        spans: &[KeyRange],
        grants: &mut Vec<Grant>,
    ) {
        for span in spans {
            let waited_for = self.entries_in(span).filter(|(_, entry)| !entry.waiters.is_empty());
            keys.extend(waited_for.map(|(key, _)| key.clone()));
        }
        loop {
            for key in std::mem::take(&mut keys) {
                while let Some(txn) = self.grant_key(&key, grants) {
                    keys.extend(self.other_waits_of(txn));
                }
            }
            let Some(txn) = self.grant_span(grants) else {
                if keys.is_empty() {
                    return;
                }
                continue;
            };
            keys.extend(self.other_waits_of(txn));
        }
    }

    fn other_waits_of(&self, txn: TxnId) -> Vec<Key> {
        if self.spans.is_empty() {
            return Vec::new();
        }
        self.txns.get(&txn).map_or(Vec::new(), |known| known.waits.iter().cloned().collect())
    }

    /// Grants a key to whoever is next, and returns who that is.
    fn grant_key(&mut self, key: &Key, grants: &mut Vec<Grant>) -> Option<TxnId> {
        let Some((rank, wish)) = self.next_at(key) else {
            if self.entries.get(key.as_bytes()).is_some_and(super::Entry::is_empty) {
                self.entries.remove(key.as_bytes());
            }
            return None;
        };
        let entry = self.entries.get_mut(key.as_bytes()).expect("somebody waits");
        entry.waiters.remove(&rank);
        let known = self.txns.get_mut(&rank.txn).expect("waiters are known");
        known.waits.remove(key.as_bytes());
        match entry.holders.iter_mut().find(|h| h.rank == rank) {
            Some(upgraded) => {
                upgraded.strength = wish;
                self.claims -= 1;
            }
            None => {
                entry.holders.push(Holder { rank, strength: wish, replicated: false });
                known.held.insert(key.clone());
            }
        }
        grants.push(Grant { place: Place::Key(key.clone()), txn: rank.txn });
        Some(rank.txn)
    }

    /// The upgrade, or else the oldest waiter for a key, that nothing keeps waiting.
    pub(super) fn next_at(&self, key: &Key) -> Option<(Rank, Strength)> {
        let entry = self.entries.get(key.as_bytes())?;
        if self.spans.is_empty() {
            return entry.next_grant();
        }
        let all = entry.upgrades().chain(entry.waiters.iter().map(|(&rank, &wish)| (rank, wish)));
        all.into_iter().find(|&(rank, wish)| {
            self.ahead_of_key(key, rank, wish, entry.inserts(wish)).next().is_none()
        })
    }

    /// Grants a span to the oldest waiter that nothing keeps waiting, and returns who that is.
    fn grant_span(&mut self, grants: &mut Vec<Grant>) -> Option<TxnId> {
        let at = self.next_span()?;
        let claim = self.spans.waiters.remove(at);
        let txn = claim.rank.txn;
        grants.push(Grant { place: Place::Span(claim.span.clone()), txn });
        self.spans.hold(claim);
        Some(txn)
    }

    pub(super) fn next_span(&self) -> Option<usize> {
        self.spans
            .waiters
            .iter()
            .position(|w| self.ahead_of_span(&w.span, w.rank, w.strength).next().is_none())
    }
}
