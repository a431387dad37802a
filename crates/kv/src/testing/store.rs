//! The fake cluster's data and its ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant, SystemTime};

use base::{Key, KeyRange, NodeId, RangeId, Timestamp};
use bytes::Bytes;
use proto::kv::kv_error::Error as RangeError;
use proto::{kv, meta};

#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) value: Option<Bytes>,
    pub(super) by: u64,
}

/// A replicated lock.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) owner: kv::TxnMeta,
    pub(super) write: kv::Write,
    pub(super) primary: Bytes,
    pub(super) secondaries: Vec<Bytes>,
    pub(super) parallel: bool,
    pub(super) min_commit_ts: u64,
    pub(super) expires: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Committed(u64),
    RolledBack,
}

/// A lock in memory.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) holders: BTreeMap<u64, (kv::TxnMeta, kv::Strength)>,
    /// By age: who, and what it wishes.
    pub(super) waiters: BTreeMap<(u64, u64), (kv::TxnMeta, kv::Strength)>,
}

/// A span that others are kept from inserting into, or that somebody waits for.
#[derive(Debug, Clone)]
pub(super) struct SpanClaim {
    pub(super) owner: kv::TxnMeta,
    pub(super) span: KeyRange,
    pub(super) strength: kv::Strength,
    pub(super) granted: bool,
}

#[derive(Debug)]
pub(super) struct Read {
    pub(super) span: KeyRange,
    pub(super) ts: u64,
    pub(super) by: u64,
}

pub(super) struct Range {
    pub(super) descriptor: meta::RangeDescriptor,
    pub(super) leader: NodeId,
}

pub(super) struct Store {
    pub(super) rows: BTreeMap<Bytes, BTreeMap<u64, Version>>,
    pub(super) placed: BTreeMap<Bytes, Placed>,
    pub(super) claims: BTreeMap<Bytes, Claims>,
    pub(super) spans: Vec<SpanClaim>,
    pub(super) records: BTreeMap<(Bytes, u64), Fate>,
    /// Transactions that are over in a range.
    pub(super) over: BTreeSet<(u64, u64)>,
    pub(super) reads: Vec<Read>,
    pub(super) low_water: u64,
    /// Nothing is placed at or below it.
    pub(super) closed: u64,
    /// Nothing below it can be read.
    pub(super) safe_point: u64,
    pub(super) ranges: BTreeMap<Bytes, Range>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) ids: BTreeMap<i32, u64>,
    down: BTreeSet<NodeId>,
    pub(super) newest: u64,
    /// Time stands still: the oracle counts up by ones.
    pub(super) frozen: bool,
    next_range: u64,
}

const READS_MAX: usize = 10_000;

impl Store {
    pub(super) fn new(nodes: &[NodeId]) -> Store {
        let replicas: Vec<_> =
            nodes.iter().map(|n| meta::Replica { node_id: n.0, learner: false }).collect();
        let range = |id, span: KeyRange| {
            let descriptor = meta::RangeDescriptor {
                range_id: id,
                start: span.start.0.clone(),
                end: span.end.0,
                generation: 1,
                replicas: replicas.clone(),
            };
            (span.start.0, Range { descriptor, leader: nodes[0] })
        };
        Store {
            rows: BTreeMap::new(),
            placed: BTreeMap::new(),
            claims: BTreeMap::new(),
            spans: Vec::new(),
            records: BTreeMap::new(),
            over: BTreeSet::new(),
            reads: Vec::new(),
            low_water: 0,
            closed: 0,
            safe_point: 0,
            ranges: [range(1, base::keyspace::system()), range(2, base::keyspace::user())].into(),
            settings: BTreeMap::new(),
            ids: BTreeMap::new(),
            down: BTreeSet::new(),
            newest: 0,
            frozen: false,
            next_range: 3,
        }
    }

    pub(super) fn draw(&mut self, count: u32) -> u64 {
        if self.frozen {
            self.newest += u64::from(count);
            return self.newest + 1 - u64::from(count);
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = since.unwrap_or(Duration::ZERO).as_millis() as u64;
        let first = Timestamp::from_millis(now).0.max(self.newest + 1);
        self.newest = first + u64::from(count) - 1;
        first
    }

    pub(super) fn newest_timestamp(&self) -> Timestamp {
        Timestamp(self.newest)
    }

    pub(super) fn lock_counts(&self) -> (usize, usize) {
        (self.placed.len(), self.claims.values().filter(|c| !c.holders.is_empty()).count())
    }

    pub(super) fn waiting(&self) -> usize {
        let spans = self.spans.iter().filter(|claim| !claim.granted).count();
        self.claims.values().map(|claims| claims.waiters.len()).sum::<usize>() + spans
    }

    pub(super) fn describe_locks(&self) -> String {
        let claims = self.claims.iter().map(|(key, claims)| {
            let holders: Vec<_> = claims.holders.keys().map(|id| Timestamp(*id)).collect();
            let waiters: Vec<_> = claims.waiters.keys().map(|(_, id)| Timestamp(*id)).collect();
            format!("{} held by {holders:?}, waiting {waiters:?}\n", Key(key.clone()))
        });
        let placed = self.placed.iter().map(|(key, lock)| {
            format!("{} replicated by {}\n", Key(key.clone()), Timestamp(lock.owner.id))
        });
        claims.chain(placed).collect()
    }

    /// The lock table of the ranges that a node leads, for people to look at.
    pub(super) fn inspect_locks(&self, node: NodeId) -> Vec<kv::LockInfo> {
        let mut rows = Vec::new();
        for (key, claims) in &self.claims {
            let range = self.ranges.values().find(|r| r.descriptor.span().contains(key));
            let Some(range) = range.filter(|r| r.leader == node) else { continue };
            let row = |txn, strength: kv::Strength, granted| kv::LockInfo {
                key: key.clone(),
                txn: Some(txn),
                strength: strength as i32,
                granted,
                range_id: range.descriptor.range_id,
                waited_ms: 0,
                behind: Vec::new(),
                span: None,
            };
            let holders: Vec<_> = claims.holders.values().copied().collect();
            rows.extend(holders.iter().map(|&(txn, strength)| row(txn, strength, true)));
            for &(txn, wish) in claims.waiters.values() {
                let ahead = holders.iter().filter(|(other, held)| {
                    other.id != txn.id && *held as i32 + wish as i32 >= kv::Strength::Update as i32
                });
                let around = self.spans.iter().filter(|claim| {
                    claim.granted && claim.owner.id != txn.id && claim.span.contains(key)
                });
                let ahead = ahead.copied().chain(around.map(|c| (c.owner, c.strength)));
                let behind = ahead
                    .map(|(txn, strength)| kv::Obstacle {
                        txn: Some(txn),
                        strength: strength as i32,
                    })
                    .collect();
                rows.push(kv::LockInfo { behind, ..row(txn, wish, false) });
            }
        }
        for claim in &self.spans {
            let start = &claim.span.start;
            let holds = |r: &&Range| r.descriptor.span().contains(start.as_bytes());
            let range = self.ranges.values().find(holds).filter(|r| r.leader == node);
            let Some(range) = range else { continue };
            rows.push(kv::LockInfo {
                key: start.0.clone(),
                txn: Some(claim.owner),
                strength: claim.strength as i32,
                granted: claim.granted,
                range_id: range.descriptor.range_id,
                waited_ms: 0,
                behind: Vec::new(),
                span: Some(claim.span.clone().into()),
            });
        }
        rows
    }

    pub(super) fn leaders(&self) -> Vec<(RangeId, NodeId)> {
        self.ranges.values().map(|r| (r.descriptor.id(), r.leader)).collect()
    }

    pub(super) fn set_down(&mut self, node: NodeId, down: bool) {
        if down {
            self.down.insert(node);
        } else {
            self.down.remove(&node);
        }
    }

    pub(super) fn is_down(&self, node: NodeId) -> bool {
        self.down.contains(&node)
    }

    pub(super) fn move_leader(&mut self, id: RangeId, to: NodeId) {
        let Some(range) = self.ranges.values_mut().find(|r| r.descriptor.id() == id) else {
            return;
        };
        if range.leader == to {
            return;
        }
        range.leader = to;
        let span = range.descriptor.span();
        self.claims.retain(|key, _| !span.contains(key));
        self.cut_spans(&span, |_| true);
        // The new leader knows nothing of earlier reads.
        self.low_water = self.newest;
    }

    pub(super) fn split_at(&mut self, keys: &[Key]) -> Vec<meta::RangeDescriptor> {
        let mut changed = Vec::new();
        for key in keys {
            let (start, left) = self.holding(key.as_bytes());
            if start == key.0 {
                continue;
            }
            let mut right = left.descriptor.clone();
            let leader = left.leader;
            left.descriptor.end = key.0.clone();
            left.descriptor.generation += 1;
            right.generation += 1;
            right.start = key.0.clone();
            changed.push(left.descriptor.clone());
            right.range_id = self.next_range;
            self.next_range += 1;
            changed.push(right.clone());
            self.ranges.insert(key.0.clone(), Range { descriptor: right, leader });
        }
        changed
    }

    fn holding(&mut self, key: &[u8]) -> (Bytes, &mut Range) {
        let bounds = (Bound::Unbounded, Bound::Included(key));
        let (start, range) =
            self.ranges.range_mut::<[u8], _>(bounds).next_back().expect("ranges cover all keys");
        (start.clone(), range)
    }

    /// Whether a node may serve a request over these keys.
    pub(super) fn check_range(
        &self,
        id: u64,
        node: NodeId,
        spans: &[KeyRange],
    ) -> Result<(), RangeError> {
        let range = self.ranges.values().find(|r| r.descriptor.range_id == id);
        let Some(range) = range else {
            let reason = format!("no range {id}");
            return Err(RangeError::Unavailable(kv::Unavailable { reason }));
        };
        if range.leader != node {
            let leader = range.leader.0;
            return Err(RangeError::NotLeader(kv::NotLeader { range_id: id, leader }));
        }
        let own = range.descriptor.span();
        if spans.iter().all(|span| own.contains_range(span)) {
            return Ok(());
        }
        let descriptors = self.ranges.values().map(|r| &r.descriptor);
        let ranges = descriptors
            .filter(|d| d.range_id == id || spans.iter().any(|span| d.span().overlaps(span)))
            .cloned()
            .collect();
        Err(RangeError::WrongRange(kv::WrongRange { ranges }))
    }

    pub(super) fn close(&mut self, ts: u64) {
        assert!(ts <= self.newest, "{ts} was not issued yet");
        self.closed = self.closed.max(ts);
    }

    pub(super) fn collect(&mut self, ts: u64) {
        self.safe_point = self.safe_point.max(ts);
        for versions in self.rows.values_mut() {
            let Some((&kept, newest)) = versions.range(..=ts).next_back() else { continue };
            let gone = newest.value.is_none();
            versions.retain(|&at, _| at > kept || (at == kept && !gone));
        }
        self.rows.retain(|_, versions| !versions.is_empty());
    }

    pub(super) fn newest_version(&self, key: &[u8]) -> Option<(u64, &Version)> {
        self.rows.get(key)?.last_key_value().map(|(ts, version)| (*ts, version))
    }

    pub(super) fn value_at(&self, key: &[u8], ts: u64) -> Option<Bytes> {
        self.rows.get(key)?.range(..=ts).next_back()?.1.value.clone()
    }

    pub(super) fn note_read(&mut self, span: KeyRange, ts: u64, by: u64) {
        self.reads.push(Read { span, ts, by });
        if self.reads.len() > READS_MAX {
            let old = self.reads.drain(..READS_MAX / 2).map(|r| r.ts).max();
            self.low_water = self.low_water.max(old.unwrap_or(0));
        }
    }

    /// The lowest timestamp at which a transaction may write a key.
    pub(super) fn min_commit_ts(&self, key: &[u8], owner: &kv::TxnMeta, read_ts: u64) -> u64 {
        let version = self.newest_version(key).map_or(0, |(ts, _)| ts + 1);
        let foreign = self.reads.iter().filter(|r| r.by != owner.id && r.span.contains(key));
        let read = foreign.map(|r| r.ts + 1).max().unwrap_or(0);
        // What fell out of the list may have been a read by anybody, at the newest timestamp at most.
        let forgotten = if self.low_water == 0 { 0 } else { self.low_water + 1 };
        owner.id.max(read_ts).max(version).max(read).max(forgotten).max(self.closed + 1)
    }

    /// Installs a version (a lock-only write leaves none). It may lie above all that was issued; no
    /// commit may be acknowledged before that has changed.
    pub(super) fn install(&mut self, write: &kv::Write, ts: u64, by: u64) {
        let value = match write.kind() {
            kv::write::Kind::Put => Some(write.value.clone()),
            kv::write::Kind::Delete => None,
            kv::write::Kind::LockOnly => return,
        };
        let versions = self.rows.entry(write.key.clone()).or_default();
        let newest = versions.last_key_value().map_or(0, |(ts, _)| *ts);
        assert!(newest < ts, "a version at {ts} below the newest, {newest}");
        versions.insert(ts, Version { value, by });
    }
}
