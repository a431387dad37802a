//! Which range holds a key, as far as this node has heard.
//!
//! Pure cache, never an authority: a range that is asked for a key which it doesn't hold answers with
//! the descriptors that it knows, and those are put in here.
//!
//! # Invariants
//!
//! - **D1** Cached spans don't overlap.
//! - **D2** A descriptor never replaces an overlapping one of a later generation.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Key, KeyRange, NodeId, RangeId};
use parking_lot::RwLock;
use proto::meta::RangeDescriptor;

/// One range as it is known here, and who was last seen leading it.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) id: RangeId,
    pub(crate) span: KeyRange,
    pub(crate) descriptor: RangeDescriptor,
    leader: AtomicU64,
}

impl Route {
    fn new(descriptor: RangeDescriptor, leader: Option<NodeId>) -> Self {
        Route {
            id: descriptor.id(),
            span: descriptor.span(),
            leader: AtomicU64::new(leader.map_or(0, |n| n.0)),
            descriptor,
        }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        match self.leader.load(Ordering::Relaxed) {
            0 => None,
            node => Some(NodeId(node)),
        }
    }

    pub(crate) fn set_leader(&self, leader: Option<NodeId>) {
        self.leader.store(leader.map_or(0, |n| n.0), Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Directory {
    by_start: RwLock<BTreeMap<Key, Arc<Route>>>,
}

impl Directory {
    /// Knows the span of the system range, and not yet who holds it.
    pub(crate) fn new() -> Self {
        let directory = Directory::default();
        let system = base::keyspace::system();
        directory.insert(RangeDescriptor {
            range_id: RangeId::SYSTEM.0,
            start: system.start.0,
            end: system.end.0,
            generation: 0,
            replicas: vec![],
        });
        directory
    }

    pub(crate) fn lookup(&self, key: &[u8]) -> Option<Arc<Route>> {
        let ranges = self.by_start.read();
        let (_, route) =
            ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        route.span.contains(key).then(|| route.clone())
    }

    /// The range that holds the keys just below `end` (empty: the end of the key space).
    pub(crate) fn lookup_before(&self, end: &[u8]) -> Option<Arc<Route>> {
        let ranges = self.by_start.read();
        let route = if end.is_empty() {
            ranges.last_key_value()?.1
        } else {
            ranges.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(end))).next_back()?.1
        };
        let limit = &route.span.end.0;
        (limit.is_empty() || (!end.is_empty() && end <= &limit[..])).then(|| route.clone())
    }

    /// Takes a descriptor in. Answers whether the cache changed.
    pub(crate) fn insert(&self, descriptor: RangeDescriptor) -> bool {
        let span = descriptor.span();
        let mut ranges = self.by_start.write();
        let overlapping = overlapping(&ranges, &span);
        let known = overlapping.iter().any(|old| {
            old.descriptor.generation > descriptor.generation || old.descriptor == descriptor
        });
        if known {
            return false;
        }
        // The right half of a split is led by the node that led the whole, at first.
        let leader = overlapping
            .iter()
            .find(|old| old.id == descriptor.id())
            .or(overlapping.first())
            .and_then(|old| old.leader());
        for old in &overlapping {
            ranges.remove(&old.span.start);
        }
        ranges.insert(span.start.clone(), Arc::new(Route::new(descriptor, leader)));
        true
    }

    /// Forgets a range that turned out to be wrong, so that it is looked up. The system range is
    /// never forgotten: it is where one looks things up.
    pub(crate) fn evict(&self, route: &Route) {
        if route.id == RangeId::SYSTEM {
            return;
        }
        let mut ranges = self.by_start.write();
        if ranges.get(&route.span.start).is_some_and(|r| r.descriptor == route.descriptor) {
            ranges.remove(&route.span.start);
        }
    }

    /// Every range known here, in key order.
    pub(crate) fn all(&self) -> Vec<Arc<Route>> {
        self.by_start.read().values().cloned().collect()
    }
}

fn overlapping(ranges: &BTreeMap<Key, Arc<Route>>, span: &KeyRange) -> Vec<Arc<Route>> {
    let before = ranges
        .range::<[u8], _>((Bound::Unbounded, Bound::Excluded(span.start.as_bytes())))
        .next_back();
    let from = ranges.range::<[u8], _>((Bound::Included(span.start.as_bytes()), Bound::Unbounded));
    before
        .into_iter()
        .chain(from.take_while(|(start, _)| span.end.0.is_empty() || **start < span.end))
        .filter(|(_, route)| route.span.overlaps(span))
        .map(|(_, route)| route.clone())
        .collect()
}
