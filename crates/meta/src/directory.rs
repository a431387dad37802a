//! Which range holds a key.
//!
//! Leaders publish the descriptors of their ranges after each change, in any order and more than
//! once. A generation is raised by each change of a range, and a split raises it on both sides, so:
//!
//! - **D1** No two descriptors held overlap. Of two that do, the later generation is the newer one;
//!   of the other, what lies to the left of it is kept: the left part of a split keeps the id.
//!
//! A lookup into what is not covered for the moment finds nothing, and the asker tries again.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use base::{Key, RangeId};
use proto::meta::RangeDescriptor;

/// Ranges by start key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Directory {
    by_start: BTreeMap<Key, RangeDescriptor>,
    starts: BTreeMap<RangeId, Key>,
}

/// What a publication changed besides adding the range.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Displaced {
    /// Ranges that are not held any more.
    pub removed: Vec<RangeId>,
    /// Ranges that are held with less of their span.
    pub trimmed: Vec<RangeDescriptor>,
}

impl Directory {
    /// Without any range.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what is newer than what it overlaps; nothing happens if it is stale.
    pub fn publish(&mut self, descriptor: &RangeDescriptor) -> Option<Displaced> {
        let (span, id) = (descriptor.span(), descriptor.id());
        let mut known: Vec<RangeId> = self.overlapping(descriptor);
        if self.starts.contains_key(&id) && !known.contains(&id) {
            known.push(id);
        }
        let generation =
            |id: &RangeId| self.get(*id).expect("both maps hold the same ranges").generation;
        // A repeat of what is known changes nothing.
        if known.iter().any(|id| generation(id) >= descriptor.generation) {
            return None;
        }
        let mut displaced = Displaced::default();
        for known in known {
            let mut old = self.remove(known).expect("both maps hold the same ranges");
            // The left part of a split keeps the id, so that much of it is still right.
            if known != id && old.start < span.start.0 {
                old.end = span.start.0.clone();
                self.insert(old.clone());
                displaced.trimmed.push(old);
            } else if known != id {
                displaced.removed.push(known);
            }
        }
        self.insert(descriptor.clone());
        Some(displaced)
    }

    fn insert(&mut self, descriptor: RangeDescriptor) {
        let start = Key(descriptor.start.clone());
        self.starts.insert(descriptor.id(), start.clone());
        self.by_start.insert(start, descriptor);
    }

    fn overlapping(&self, descriptor: &RangeDescriptor) -> Vec<RangeId> {
        let span = descriptor.span();
        let before = self.by_start.range(..=span.start.clone()).next_back().into_iter();
        let inside = self
            .by_start
            .range((Excluded(span.start.clone()), Unbounded))
            .take_while(|(start, _)| span.end.0.is_empty() || **start < span.end);
        before
            .chain(inside)
            .filter(|(_, known)| known.span().overlaps(&span))
            .map(|(_, known)| known.id())
            .collect()
    }

    /// Forgets a range.
    pub fn remove(&mut self, id: RangeId) -> Option<RangeDescriptor> {
        let start = self.starts.remove(&id)?;
        self.by_start.remove(&start)
    }

    /// The range that holds a key, if it is known.
    #[must_use]
    pub fn lookup(&self, key: &[u8]) -> Option<&RangeDescriptor> {
        let (_, found) = self.by_start.range::<[u8], _>((Unbounded, Included(key))).next_back()?;
        found.span().contains(key).then_some(found)
    }

    /// The range that holds a key, and what follows it, as far as known and at most `limit`.
    pub fn from_key<'a>(
        &'a self,
        key: &'a [u8],
        limit: usize,
    ) -> impl Iterator<Item = &'a RangeDescriptor> + 'a {
        let first = self.lookup(key);
        let start = first.map_or(key, |range| &range.start[..]);
        self.by_start
            .range::<[u8], _>((Included(start), Unbounded))
            .map(|(_, range)| range)
            .take(limit)
    }

    /// A range by its id.
    #[must_use]
    pub fn get(&self, id: RangeId) -> Option<&RangeDescriptor> {
        self.by_start.get(self.starts.get(&id)?)
    }

    /// All ranges, in key order.
    pub fn iter(&self) -> impl Iterator<Item = &RangeDescriptor> {
        self.by_start.values()
    }

    /// How many ranges are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_start.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// Asserts D1.
    pub fn check_invariants(&self) {
        assert_eq!(self.by_start.len(), self.starts.len(), "both maps hold the same ranges");
        let mut ranges = self.by_start.values().peekable();
        while let (Some(a), Some(b)) = (ranges.next(), ranges.peek()) {
            assert!(!a.span().overlaps(&b.span()), "D1: {a:?} overlaps {b:?}");
        }
    }
}
