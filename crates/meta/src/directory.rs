//! Which range holds a key.
//!
//! Leaders publish the descriptors of their ranges after each change, in any order and more than once.
//! A generation is raised by each change of a range, and a split raises it on both sides, so:
//!
//! - **D1** No two descriptors held overlap. Of two that do, the later generation is the newer one and
//!   the other is dropped.
//!
//! Where the newer one is narrower, a hole is left until the range that filled it is published. A
//! lookup into a hole finds nothing, and the asker tries again.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use base::{Key, RangeId};
use proto::meta::RangeDescriptor;

/// Ranges by start key.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    by_start: BTreeMap<Key, RangeDescriptor>,
    starts: BTreeMap<RangeId, Key>,
}

impl Directory {
    /// Without any range.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what is newer than what it overlaps. Answers the ids of ranges that were dropped or
    /// replaced, the given one among them if it was known; nothing if the descriptor is stale.
    pub fn publish(&mut self, descriptor: &RangeDescriptor) -> Option<Vec<RangeId>> {
        let span = descriptor.span();
        let id = descriptor.id();
        let mut displaced: Vec<RangeId> = self.overlapping(descriptor);
        if self.starts.contains_key(&id) && !displaced.contains(&id) {
            displaced.push(id);
        }
        let is_newer = displaced.iter().all(|known| {
            let known = self.get(*known).expect("both maps hold the same ranges");
            // A repeat of what is known changes nothing.
            known.generation < descriptor.generation
        });
        if !is_newer {
            return None;
        }
        for known in &displaced {
            self.remove(*known);
        }
        self.starts.insert(id, span.start.clone());
        self.by_start.insert(span.start, descriptor.clone());
        Some(displaced)
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
