//! Up to which timestamp each key of one range has been read, and by whom.
//!
//! Pure state, on the path of every read. A write must land above every read of its key by others, or it
//! would change what was answered. Answers are upper bounds: never below the truth, sometimes above it,
//! which costs a writer a higher timestamp and nothing else.
//!
//! ```text
//!   points   a table of slots, by hash of the key; keys that meet in a slot share it
//!   spans    a step function over the key space: from this key on, up to the next, read at ...
//!   low water   everything was read up to here: what is forgotten raises it
//! ```
//!
//! Each mark keeps the highest read and its reader, and the highest read by anybody else: a
//! transaction's own reads do not count against its own writes.
//!
//! # Bounds
//!
//! Points: the table doubles while it fills up, to at most `points_max` slots; beyond, keys share slots.
//! Spans: with more than `spans_max` steps, the older half is forgotten into the low-water mark.
//! [`ReadCache::rotate`] forgets what is older than the last rotation but one.
//!
//! # Invariants
//!
//! - **R1** `get(key, t)` is at least every timestamp at which somebody other than `t` has read `key`.
//! - **R2** Marks never sink; the low-water mark never sinks.
//! - **R3** Neighbouring steps differ, and there are at most `spans_max` of them.
//!
//! Property test: `tests/read_cache.rs`. Scripts: `scripts/read_cache/`.

use std::collections::BTreeMap;
use std::ops::Bound;

use base::{Key, KeyRange, Timestamp, TxnId};
use bytes::Bytes;

const SLOTS_MIN: usize = 64;

/// Reads of one range.
#[derive(Debug, Clone)]
pub struct ReadCache {
    low_water: Timestamp,
    /// The highest timestamp read since the last rotation, and before it.
    newest: Timestamp,
    rotated: Timestamp,
    slots: Vec<Slot>,
    /// Keys that took a free slot, since the table last grew.
    filled: usize,
    slots_max: usize,
    steps: BTreeMap<Key, Mark>,
    steps_max: usize,
}

/// The highest read of something and, if that was by one transaction, the highest by any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mark {
    ts: Timestamp,
    /// Zero stands for readers that are not transactions; they never write.
    reader: TxnId,
    others: Timestamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The hash of the only key in here, or zero if several share the slot.
    hash: u64,
    mark: Mark,
}

impl ReadCache {
    /// As if everything had been read at `low_water`.
    #[must_use]
    pub fn new(low_water: Timestamp, points_max: usize, spans_max: usize) -> Self {
        ReadCache {
            low_water,
            newest: low_water,
            rotated: low_water,
            slots: Vec::new(),
            filled: 0,
            slots_max: points_max.next_power_of_two().max(SLOTS_MIN),
            steps: BTreeMap::new(),
            steps_max: spans_max.max(4),
        }
    }

    /// Everything counts as read up to here.
    #[must_use]
    pub fn low_water(&self) -> Timestamp {
        self.low_water
    }

    /// Whether nothing but the low-water mark is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.steps.is_empty()
    }

    /// Everything counts as read up to here from now on.
    pub fn raise_low_water(&mut self, to: Timestamp) {
        self.low_water = self.low_water.max(to);
        self.newest = self.newest.max(to);
    }

    /// `reader` reads `key` at `ts`; a reader that is no transaction passes `TxnId(0)`.
    pub fn read(&mut self, key: &[u8], ts: Timestamp, reader: TxnId) {
        if ts <= self.low_water {
            return;
        }
        self.newest = self.newest.max(ts);
        if self.filled * 2 >= self.slots.len() && self.slots.len() < self.slots_max {
            self.grow();
        }
        let hash = hash(key);
        let at = self.slot_of(hash);
        let low_water = self.low_water;
        let slot = &mut self.slots[at];
        if slot.mark.ts <= low_water {
            *slot = Slot { hash, mark: Mark { ts, reader, others: Timestamp::ZERO } };
            self.filled += 1;
            return;
        }
        if slot.hash != hash && slot.hash != 0 {
            slot.hash = 0;
            self.filled += 1;
        }
        slot.mark.raise(ts, reader);
    }

    /// `reader` reads all of `span` at `ts`.
    pub fn read_span(&mut self, span: &KeyRange, ts: Timestamp, reader: TxnId) {
        if ts <= self.low_water || span.is_empty() {
            return;
        }
        self.newest = self.newest.max(ts);
        self.cut(&span.start);
        if !span.end.0.is_empty() {
            self.cut(&span.end);
        }
        for (_, mark) in self.steps.range_mut::<[u8], _>(bounds(span)) {
            mark.raise(ts, reader);
        }
        self.join(span);
        if self.steps.len() > self.steps_max {
            self.forget_half();
        }
    }

    /// The highest timestamp at which `key` may have been read by anybody but `writer`.
    #[must_use]
    pub fn get(&self, key: &[u8], writer: TxnId) -> Timestamp {
        let mut highest = self.low_water;
        if !self.slots.is_empty() {
            let hash = hash(key);
            let slot = &self.slots[self.slot_of(hash)];
            if slot.hash == hash || slot.hash == 0 {
                highest = highest.max(slot.mark.by_others(writer));
            }
        }
        if let Some((_, mark)) =
            self.steps.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
        {
            highest = highest.max(mark.by_others(writer));
        }
        highest
    }

    /// Forgets what was read before the last rotation. Called every so often (seconds), it keeps the
    /// structure small and keys from sharing slots, at the price that transactions older than that
    /// write above the low-water mark.
    pub fn rotate(&mut self) {
        self.raise_low_water(self.rotated);
        self.rotated = self.newest;
        self.drop_low();
        let low_water = self.low_water;
        self.filled = self.slots.iter().filter(|slot| slot.mark.ts > low_water).count();
        if self.steps.is_empty() && self.newest <= self.low_water {
            // Nothing was read for two rotations: a quiet range costs no memory.
            self.slots = Vec::new();
            self.filled = 0;
        }
    }

    /// A cache for the right-hand side of a split; this one goes on for the left-hand side.
    #[must_use]
    pub fn split_off(&mut self, at: &Key) -> ReadCache {
        let before = self
            .steps
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(at.as_bytes())))
            .next_back();
        let mark = before.map_or(Mark::default(), |(_, &mark)| mark);
        let mut right = self.clone();
        right.steps = self.steps.split_off(at.as_bytes());
        if mark == Mark::default() {
            // A step that ends a span exactly here says nothing on this side (R3).
            right.steps.remove(at);
        } else {
            right.steps.insert(at.clone(), mark);
        }
        right
    }

    /// Steps and slots in use, for metrics and tests.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.slots.len(), self.steps.len())
    }

    fn slot_of(&self, hash: u64) -> usize {
        // The upper bits, so that a table twice as large splits each slot in two neighbours.
        (hash >> (64 - self.slots.len().trailing_zeros())) as usize
    }

    fn grow(&mut self) {
        self.filled = 0;
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); SLOTS_MIN];
            return;
        }
        let mut doubled = Vec::with_capacity(self.slots.len() * 2);
        let shift = 64 - (self.slots.len() * 2).trailing_zeros();
        for (at, &slot) in self.slots.iter().enumerate() {
            for half in [2 * at, 2 * at + 1] {
                let stays = slot.hash == 0 || (slot.hash >> shift) as usize == half;
                let taken = stays && slot.mark.ts > self.low_water;
                doubled.push(if taken { slot } else { Slot::default() });
                self.filled += usize::from(taken);
            }
        }
        self.slots = doubled;
    }

    /// Makes a step begin at `key`.
    fn cut(&mut self, key: &Key) {
        let before = self
            .steps
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key.as_bytes())))
            .next_back();
        match before {
            Some((start, _)) if start == key => {}
            // A copy: a key may be a slice of a whole network frame, which it would keep in memory.
            Some((_, &mark)) => {
                self.steps.insert(own(key), mark);
            }
            None => {
                self.steps.insert(own(key), Mark::default());
            }
        }
    }

    /// Removes the steps around and inside `span` that say what the one before says (R3).
    fn join(&mut self, span: &KeyRange) {
        let mut said = self
            .steps
            .range::<[u8], _>((Bound::Unbounded, Bound::Excluded(span.start.as_bytes())))
            .next_back()
            .map_or(Mark::default(), |(_, &mark)| mark);
        let end = if span.end.0.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Included(span.end.as_bytes())
        };
        let mut gone: Vec<Key> = Vec::new();
        for (key, &mark) in
            self.steps.range::<[u8], _>((Bound::Included(span.start.as_bytes()), end))
        {
            if mark == said {
                gone.push(key.clone());
            }
            said = mark;
        }
        for key in gone {
            self.steps.remove(&key);
        }
    }

    /// Raises the low-water mark so far that half of the steps go.
    fn forget_half(&mut self) {
        let mut marks: Vec<Timestamp> = self.steps.values().map(|mark| mark.ts).collect();
        let middle = marks.len() / 2;
        let (_, &mut median, _) = marks.select_nth_unstable(middle);
        self.raise_low_water(median);
        self.drop_low();
        if self.steps.len() > self.steps_max {
            // More than half are the newest; then all go.
            let newest = self.steps.values().map(|m| m.ts).max().unwrap_or_default();
            self.raise_low_water(newest);
            self.drop_low();
        }
    }

    /// Drops what the low-water mark says as well.
    fn drop_low(&mut self) {
        let mut said = Mark::default();
        let low_water = self.low_water;
        self.steps.retain(|_, mark| {
            if mark.ts <= low_water {
                *mark = Mark::default();
            }
            let differs = *mark != said;
            said = *mark;
            differs
        });
    }

    /// Asserts R3. Linear, so for tests and simulation.
    pub fn check_invariants(&self) {
        let mut said = Mark::default();
        for (key, &mark) in &self.steps {
            assert!(mark != said, "R3: the step at {key} says what the one before says: {mark:?}");
            assert!(mark.others <= mark.ts, "R1: {key} {mark:?}");
            said = mark;
        }
        assert!(self.steps.len() <= self.steps_max, "R3: {} steps", self.steps.len());
        assert!(self.slots.len() <= self.slots_max, "{} slots", self.slots.len());
    }
}

impl Mark {
    fn raise(&mut self, ts: Timestamp, reader: TxnId) {
        if reader == self.reader {
            self.ts = self.ts.max(ts);
        } else if ts > self.ts {
            *self = Mark { ts, reader, others: self.ts };
        } else {
            self.others = self.others.max(ts);
        }
    }

    fn by_others(&self, writer: TxnId) -> Timestamp {
        if self.reader == writer && writer != TxnId(0) { self.others } else { self.ts }
    }
}

fn bounds(span: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end =
        if span.end.0.is_empty() { Bound::Unbounded } else { Bound::Excluded(span.end.as_bytes()) };
    (Bound::Included(span.start.as_bytes()), end)
}

fn own(key: &Key) -> Key {
    Key(Bytes::copy_from_slice(key.as_bytes()))
}

/// Never zero. Not keyed: who floods one slot only makes writers of its keys commit a little higher.
fn hash(key: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = key.len() as u64;
    let mut chunks = key.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks of 8"));
        hash = (hash.rotate_left(29) ^ word).wrapping_mul(MULTIPLIER);
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    hash = (hash.rotate_left(29) ^ u64::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    hash ^= hash >> 32;
    (hash.wrapping_mul(MULTIPLIER) ^ (hash >> 29)).max(1)
}
