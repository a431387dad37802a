//! What a statement is going to lock, read and ask of whom, worked out before it runs.
//!
//! The same plans are looked at that a run would carry out: the point plan where there is one, else the
//! scans of the physical plan and the keys that the rows to be written have. Where they lie the routing
//! cache knows, and what their commit costs [`kv::Txn::forecast_commit`].
//!
//! Keys that only a run can find (rows of a scan, entries of their old values) are spans here, and said to
//! be so; rows looked for by key are taken to exist. A count that rests on such a guess, on a LIMIT, or on
//! how many pages a scan has, is `about`.

mod statement;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base::{Key, KeyRange, NodeId, RangeId};
use catalog::{Index, Table};
use kv::{CommitForecast, CommitWay, Footprint, Isolation, Part, Strength, Trips};

use super::node::Details;
use super::operator::scan_id;
use super::places;
use super::value::Value;
use crate::SqlError;
use crate::exec::scan::TableScanExec;
use crate::point::PointContext;
use crate::session::lock_mode;

/// Lines of one kind beyond this many are summed up.
const LINES_MAX: usize = 16;
/// Ranges named in one line.
const RANGES_MAX: usize = 8;

/// When a lock is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    AtCommit,
}

/// A statement that has not run, and what is known of it.
pub(crate) struct Forecast<'a> {
    cx: &'a PointContext<'a>,
    /// What EXPLAIN was asked for.
    wants: Wants,
    footprint: Footprint,
    trips: Trips,
    certain: bool,
    ranges: BTreeMap<RangeId, Option<NodeId>>,
    locks: Vec<String>,
    scans: HashMap<usize, Details>,
    /// The scan of a point plan.
    point_scan: Details,
}

/// LOCKS and RANGES.
#[derive(Clone, Copy)]
pub(crate) struct Wants {
    pub(crate) locks: bool,
    pub(crate) ranges: bool,
}

/// Said of each node, and at the end.
#[derive(Default)]
pub(crate) struct Foretold {
    pub(crate) scans: HashMap<usize, Details>,
    pub(crate) point_scan: Details,
    pub(crate) locks: Details,
    pub(crate) summary: Details,
}

impl<'a> Forecast<'a> {
    pub(crate) fn new(cx: &'a PointContext<'a>, wants: Wants) -> Self {
        Forecast {
            cx,
            wants,
            footprint: Footprint::default(),
            trips: Trips::default(),
            certain: true,
            ranges: BTreeMap::new(),
            locks: Vec::new(),
            scans: HashMap::new(),
            point_scan: Vec::new(),
        }
    }

    /// Requests that are made before the statement itself runs (subqueries that the plan depends on).
    pub(crate) fn add_trips(&mut self, made: Trips) {
        self.trips += made;
    }

    /// What is asked of ranges is known only while the statement runs.
    pub(crate) fn doubt(&mut self) {
        self.certain = false;
    }

    /// All that can be said. `alone`: the statement's transaction commits right after it.
    pub(crate) async fn told(self, alone: bool) -> Result<Foretold, SqlError> {
        let commit = self.cx.txn.forecast_commit(&self.footprint).await?;
        let mut foretold = Foretold::default();
        if self.wants.locks {
            foretold.summary.push(("Isolation Level", Value::Text(self.level().to_owned())));
            match self.locks.is_empty() {
                true => foretold.summary.push(("Locks", Value::Text("none".to_owned()))),
                false => foretold.locks.push(("Lock", Value::List(cut(self.locks.clone())))),
            }
        }
        if self.wants.ranges {
            let mut ranges = self.ranges.clone();
            if alone {
                ranges.extend(commit.visited.iter().map(|(range, leader)| (*range, *leader)));
            }
            let which = leaders(&ranges);
            let trips = Value::Trips(self.trips, self.certain);
            let certain = commit.way == CommitWay::Nothing || (commit.certain && self.certain);
            foretold.summary.extend([
                ("Expected Ranges", Value::Ranges(ranges.len() as u64, which)),
                ("Expected Round Trips", trips),
                ("Expected Commit", Value::Text(way(&commit))),
                ("Expected Commit Round Trips", Value::Trips(commit.trips, certain)),
                ("Expected Consensus Rounds", Value::Number(commit.consensus_rounds)),
            ]);
        }
        foretold.scans = self.scans;
        foretold.point_scan = self.point_scan;
        Ok(foretold)
    }

    fn level(&self) -> &'static str {
        match self.cx.txn.options().isolation {
            Isolation::ReadCommitted => "read committed",
            Isolation::RepeatableRead => "repeatable read",
            Isolation::Serializable => "serializable",
        }
    }

    /// Whether what is read has to hold at the commit.
    fn tracks_reads(&self) -> bool {
        let options = self.cx.txn.options();
        options.isolation == Isolation::Serializable && !options.read_only
    }

    /// One request for all of these, to each range that holds some.
    async fn ask(&mut self, spans: &[KeyRange]) -> Result<(), SqlError> {
        let mut asked = BTreeSet::new();
        for span in spans {
            for part in self.cx.db.parts(span).await? {
                if asked.insert(part.range) {
                    self.request(&part);
                }
            }
        }
        Ok(())
    }

    /// One request for keys that are somewhere in these spans.
    async fn guess(&mut self, spans: &[KeyRange]) -> Result<(), SqlError> {
        let mut parts = Vec::new();
        for span in spans {
            parts.extend(self.cx.db.parts(span).await?);
        }
        let ranges: BTreeSet<RangeId> = parts.iter().map(|part| part.range).collect();
        match parts.first() {
            Some(only) if ranges.len() == 1 => self.request(only),
            Some(first) => {
                self.certain = false;
                self.trips.add(self.is_here(first.leader));
            }
            None => {}
        }
        Ok(())
    }

    fn request(&mut self, part: &Part) {
        self.trips.add(self.is_here(part.leader));
        self.ranges.insert(part.range, part.leader);
    }

    fn is_here(&self, leader: Option<NodeId>) -> bool {
        leader == Some(self.cx.db.local_node())
    }

    fn lock_key(&mut self, (table, index): (&Table, &Index), key: &Key, how: (Strength, When)) {
        let span = KeyRange::point(key.clone());
        let place = places::span(table, index, &span, self.cx.env);
        self.lock_line(&place, how);
        self.footprint.locks.push(span);
    }

    fn lock_line(&mut self, place: &str, (strength, when): (Strength, When)) {
        let kind = match strength {
            Strength::KeyShare | Strength::Share => "shared",
            Strength::NoKeyUpdate | Strength::Update => "exclusive",
        };
        let mode = lock_mode(strength, false);
        let when = if when == When::AtCommit { ", at COMMIT" } else { "" };
        self.locks.push(format!("{place} {mode}, {kind}{when}"));
    }

    /// Locks on rows that the run finds somewhere in `spans`.
    fn lock_found(&mut self, table: &Table, spans: &[KeyRange], how: (Strength, When)) {
        for span in spans {
            let place = places::span(table, &table.primary, span, self.cx.env);
            let place = place.trim_end_matches(", all rows");
            self.lock_line(&format!("{place}, rows found by the scan,"), how);
        }
        self.footprint.locks.extend_from_slice(spans);
    }

    /// A lock on a key of an index that only the run knows.
    fn lock_unknown(&mut self, table: &Table, index: &Index, how: (Strength, When)) {
        let place = places::columns(table, index, usize::MAX);
        self.lock_line(&format!("{place}, keys known only at run time,"), how);
        self.footprint.locks.extend(table.codec().index(index.id).map(catalog::IndexCodec::span));
    }

    /// What a scan of the physical plan does, and what is said of it.
    async fn scan(&mut self, scan: &TableScanExec) -> Result<(), SqlError> {
        let index = scan.access.descriptor(&scan.table);
        let spans = &scan.access.spans;
        let mut ranges = BTreeMap::new();
        for span in spans {
            let parts = self.cx.db.parts(span).await?;
            ranges.extend(parts.iter().map(|part| (part.range, part.leader)));
        }
        if scan.access.points && scan.access.index.is_none() {
            self.ask(spans).await?;
        } else {
            for span in spans {
                self.ask(std::slice::from_ref(span)).await?;
            }
            // A span may have more than one page.
            self.certain = false;
        }
        self.certain &= scan.fetch.is_none();
        let rows = scan.table.codec().span();
        let looks_up = scan.access.index.is_some() && scan.alone.is_none() && !spans.is_empty();
        if looks_up {
            self.guess(std::slice::from_ref(&rows)).await?;
            self.certain = false;
        }
        let tracked = self.tracks_reads() && !scan.unchecked;
        if tracked {
            self.footprint.reads.extend(spans.iter().cloned());
            if looks_up {
                self.footprint.reads.push(rows);
            }
        }
        let said = self.said_of_scan(&scan.table, index, spans, &ranges, tracked);
        self.scans.insert(scan_id(scan), said);
        Ok(())
    }

    fn said_of_scan(
        &self,
        table: &Table,
        index: &Index,
        spans: &[KeyRange],
        ranges: &BTreeMap<RangeId, Option<NodeId>>,
        tracked: bool,
    ) -> Details {
        let mut said = Details::new();
        if self.wants.locks && tracked {
            let place = |span| places::span(table, index, span, self.cx.env);
            let places = spans.iter().map(place);
            said.push(("Tracked Read", Value::List(cut(places.collect()))));
        }
        if self.wants.ranges {
            let which = leaders(ranges);
            said.push(("Expected Ranges", Value::Ranges(ranges.len() as u64, which)));
        }
        said
    }
}

/// `3 on node 1, 5 on node 2`.
fn leaders(ranges: &BTreeMap<RangeId, Option<NodeId>>) -> String {
    let shown = ranges.iter().take(RANGES_MAX).map(|(range, leader)| match leader {
        Some(node) => format!("{} on node {}", range.0, node.0),
        None => format!("{} on an unknown node", range.0),
    });
    let mut shown: Vec<String> = shown.collect();
    if ranges.len() > RANGES_MAX {
        shown.push(format!("and {} more", ranges.len() - RANGES_MAX));
    }
    shown.join(", ")
}

fn cut(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn way(commit: &CommitForecast) -> String {
    let ranges: Vec<String> = commit.ranges.iter().map(|range| range.0.to_string()).collect();
    let over = match ranges.as_slice() {
        [one] => format!("range {one}"),
        _ => format!("ranges {}", ranges.join(", ")),
    };
    let way = match commit.way {
        CommitWay::Nothing => return "nothing to do".to_owned(),
        CommitWay::Verification => return "verification of what is locked".to_owned(),
        CommitWay::OnePhase => format!("one phase (1PC) in {over}"),
        CommitWay::Parallel => format!("parallel over {over}"),
        CommitWay::TwoPhase => format!("two phases over {over}"),
    };
    if commit.certain { way } else { format!("{way}, as far as keys are known") }
}
