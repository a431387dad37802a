//! What one transaction has read, as far as it must still hold at its commit.
//!
//! Pure and bounded: with more than `max` spans, those that lie closest in the key order are merged,
//! which may make a commit fail because of a row in between, and never lets one pass.
//!
//! # Invariants
//!
//! - **S1** Every span added since the last clear is covered.
//! - **S2** Spans are sorted, disjoint and not adjacent; there are at most `max`.

use std::collections::BTreeMap;
use std::ops::Bound;

use base::{Key, KeyRange};

/// Spans that were read in one snapshot, or in snapshots that were refreshed to be one.
#[derive(Debug, Clone)]
pub struct ReadSet {
    /// Start to end; an empty end is the end of the key space.
    spans: BTreeMap<Key, Key>,
    max: usize,
}

impl ReadSet {
    /// Nothing read; at most `max` spans are kept apart.
    #[must_use]
    pub fn new(max: usize) -> Self {
        ReadSet { spans: BTreeMap::new(), max: max.max(1) }
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many spans are kept apart.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.spans.clear();
    }

    /// The key was read.
    pub fn add_key(&mut self, key: &Key) {
        if !self.covers(key.as_bytes()) {
            self.add(KeyRange::point(key.clone()));
        }
    }

    /// All of the span was read, keys that do not exist included.
    pub fn add(&mut self, span: KeyRange) {
        if span.is_empty() {
            return;
        }
        let KeyRange { mut start, mut end } = span;
        if let Some((s, e)) = self.before(start.as_bytes())
            && (e.0.is_empty() || *e >= start)
        {
            start = s.clone();
            end = later(e, &end);
        }
        // Everything that begins inside or at the end is swallowed.
        loop {
            let upper =
                if end.0.is_empty() { Bound::Unbounded } else { Bound::Included(end.as_bytes()) };
            let lower = Bound::Included(start.as_bytes());
            let Some((s, e)) = self.spans.range::<[u8], _>((lower, upper)).next() else { break };
            let s = s.clone();
            end = later(e, &end);
            self.spans.remove(&s);
        }
        self.spans.insert(start, end);
        if self.spans.len() > self.max {
            self.coarsen();
        }
    }

    /// Whether the key is covered.
    #[must_use]
    pub fn covers(&self, key: &[u8]) -> bool {
        self.before(key).is_some_and(|(_, end)| end.0.is_empty() || key < end.as_bytes())
    }

    /// The spans, in order.
    pub fn iter(&self) -> impl Iterator<Item = KeyRange> + '_ {
        self.spans.iter().map(|(start, end)| KeyRange { start: start.clone(), end: end.clone() })
    }

    fn before(&self, key: &[u8]) -> Option<(&Key, &Key)> {
        self.spans.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
    }

    /// Merges pairs of neighbours until a quarter of the places are free, those first that share the
    /// longest prefix: rows of one table before rows of two.
    fn coarsen(&mut self) {
        let goal = (self.max * 3 / 4).max(1);
        let spans: Vec<(Key, Key)> = std::mem::take(&mut self.spans).into_iter().collect();
        let mut gaps: Vec<(usize, usize)> = spans
            .windows(2)
            .enumerate()
            .map(|(at, pair)| (common(pair[0].1.as_bytes(), pair[1].0.as_bytes()), at))
            .collect();
        gaps.sort_unstable_by(|a, b| b.cmp(a));
        let mut merged = vec![false; spans.len()];
        for &(_, at) in gaps.iter().take(spans.len() - goal) {
            merged[at] = true;
        }
        let mut open: Option<Key> = None;
        for (at, (start, end)) in spans.into_iter().enumerate() {
            let start = open.take().unwrap_or(start);
            if merged[at] {
                open = Some(start);
            } else {
                self.spans.insert(start, end);
            }
        }
    }
}

fn later(a: &Key, b: &Key) -> Key {
    if a.0.is_empty() || b.0.is_empty() { Key::MIN } else { a.max(b).clone() }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
