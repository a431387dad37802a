//! Which range holds a key, as far as its leaders have told.
//!
//! The truth about a range is in its own replicated state; this is the index to it. Leaders publish
//! their descriptors after every change and again when they take office, so the directory may lag
//! but always catches up. A reader that followed a stale entry is told *wrong range* and repairs.
//!
//! # Invariants
//!
//! - **D1** No two entries overlap.
//! - **D2** Of one range, the descriptor with the highest generation published is kept.
//! - **D3** Where two ranges claimed a key, the one of the higher generation has it: it came out of
//!   a split of the other, whose own newer descriptor is still on its way.

use std::collections::BTreeMap;

use base::{Key, KeyRange, RangeId};
use proto::meta::RangeDescriptor;

/// Ranges by start key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Directory {
    by_start: BTreeMap<Key, RangeDescriptor>,
    starts: BTreeMap<RangeId, Key>,
}

/// What a publication changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Entries to store.
    pub put: Vec<RangeDescriptor>,
    /// Entries to delete.
    pub removed: Vec<RangeId>,
}

impl Directory {
    /// Takes a descriptor in, if it is newer than what is known.
    pub fn publish(&mut self, descriptor: RangeDescriptor) -> Changes {
        let mut changes = Changes::default();
        if self.get(descriptor.id()).is_some_and(|known| known.generation >= descriptor.generation)
        {
            return changes;
        }
        if self
            .overlapping(&descriptor.span())
            .any(|other| other.id() != descriptor.id() && other.generation > descriptor.generation)
        {
            // A descriptor from before a split that is known already (D3).
            return changes;
        }
        self.remove(descriptor.id());
        let others: Vec<RangeDescriptor> = self.overlapping(&descriptor.span()).cloned().collect();
        for mut other in others {
            self.remove(other.id());
            if other.start < descriptor.start {
                other.end = descriptor.start.clone();
            } else if !descriptor.end.is_empty()
                && (other.end.is_empty() || other.end > descriptor.end)
            {
                other.start = descriptor.end.clone();
            } else {
                changes.removed.push(other.id());
                continue;
            }
            changes.put.push(other.clone());
            self.insert(other);
        }
        changes.put.push(descriptor.clone());
        self.insert(descriptor);
        changes
    }

    fn insert(&mut self, descriptor: RangeDescriptor) {
        let start = Key(descriptor.start.clone());
        self.starts.insert(descriptor.id(), start.clone());
        self.by_start.insert(start, descriptor);
    }

    fn remove(&mut self, id: RangeId) {
        if let Some(start) = self.starts.remove(&id) {
            self.by_start.remove(&start);
        }
    }

    /// The descriptor of a range.
    #[must_use]
    pub fn get(&self, id: RangeId) -> Option<&RangeDescriptor> {
        self.by_start.get(self.starts.get(&id)?)
    }

    /// The range that holds a key.
    #[must_use]
    pub fn lookup(&self, key: &[u8]) -> Option<&RangeDescriptor> {
        let (_, found) = self
            .by_start
            .range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key)))
            .next_back()?;
        found.span().contains(key).then_some(found)
    }

    /// The range that holds a key and up to `count - 1` right neighbours.
    pub fn lookup_from(&self, key: &[u8], count: usize) -> Vec<RangeDescriptor> {
        let start = Key::from(
            self.lookup(key)
                .map_or_else(|| bytes::Bytes::copy_from_slice(key), |found| found.start.clone()),
        );
        self.by_start.range(start..).take(count).map(|(_, d)| d.clone()).collect()
    }

    /// All ranges in key order.
    pub fn iter(&self) -> impl Iterator<Item = &RangeDescriptor> {
        self.by_start.values()
    }

    fn overlapping<'a>(&'a self, span: &'a KeyRange) -> impl Iterator<Item = &'a RangeDescriptor> {
        let first = self
            .by_start
            .range::<Key, _>(..=&span.start)
            .next_back()
            .map_or_else(|| span.start.clone(), |(start, _)| start.clone());
        self.by_start
            .range(first..)
            .map(|(_, d)| d)
            .take_while(|d| span.end.0.is_empty() || d.start < span.end.0)
            .filter(|d| d.span().overlaps(span))
    }
}
