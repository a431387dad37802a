//! The smallest cycles of forbidden orders, the worst class first.
//!
//! One pass per class, each over the edges that the class may use:
//!
//! | pass | edges | must contain |
//! |---|---|---|
//! | G0 | ww | ww |
//! | G1c | ww wr | wr |
//! | G-single | ww wr, one rw | rw |
//! | G2-item | ww wr rw | rw |
//! | G2 | all dependencies | a predicate's rw |
//! | the same, by real time | and acknowledgement before begin | |
//!
//! A pass finds the strongly connected components (Tarjan) of the points over its edges, and in each the
//! shortest cycle by breadth-first search from the edges that it must contain. A component in which a
//! cycle was reported is left alone by later passes: one cause makes many cycles.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::edge::{Edge, Index, Kind, Proof};
use crate::history::{Level, Txn};
use crate::order::{Link, Order, Point, ends};
use crate::trace::Trace;

/// Searches that start in one component, at most. With real time, one stale read makes a component of all
/// that happened since, with thousands of edges, of which only those that lead back in time can be to
/// blame; so those come first.
const SEEDS: usize = 300;

struct Pass {
    allowed: &'static [Kind],
    /// What a cycle must contain; elsewhere in it this kind occurs only if `again`.
    seed: &'static [Kind],
    again: bool,
    real_time: bool,
}

const RW: &[Kind] = &[Kind::Rw, Kind::RwPredicate];

const fn pass(allowed: &'static [Kind], seed: &'static [Kind], again: bool) -> Pass {
    Pass { allowed, seed, again, real_time: false }
}

const PASSES: [Pass; 5] = [
    pass(&[Kind::Ww], &[Kind::Ww], true),
    pass(&[Kind::Ww, Kind::Wr], &[Kind::Wr], true),
    pass(&[Kind::Ww, Kind::Wr, Kind::Rw, Kind::RwPredicate], RW, false),
    pass(&[Kind::Ww, Kind::Wr, Kind::Rw], &[Kind::Rw], true),
    pass(&[Kind::Ww, Kind::Wr, Kind::Rw, Kind::RwPredicate], &[Kind::RwPredicate], true),
];

/// The cycles that the levels forbid, one per component.
pub(crate) fn find(order: &Order, edges: &[Edge], trace: &Trace<'_>) -> Vec<Vec<Edge>> {
    let (levels, txns) = (&trace.levels, &trace.history.txns);
    let (reported, found) = (BTreeSet::new(), Vec::new());
    let mut search = Search { order, edges, levels, txns, reported, found };
    for real_time in [false, true] {
        for pass in PASSES {
            search.run(&Pass { real_time, ..pass });
        }
    }
    search.found
}

struct Search<'a> {
    order: &'a Order,
    edges: &'a [Edge],
    levels: &'a [Level],
    txns: &'a [Txn],
    reported: BTreeSet<Index>,
    found: Vec<Vec<Edge>>,
}

impl Search<'_> {
    fn run(&mut self, pass: &Pass) {
        let (component, reported) = self.components(pass);
        let mut seeds: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (n, edge) in self.edges.iter().enumerate() {
            let (from, to) = ends(edge, self.levels);
            let inside = component[from.at()];
            if pass.seed.contains(&edge.kind)
                && inside == component[to.at()]
                && !reported.contains(&inside)
            {
                seeds.entry(inside).or_default().push(n);
            }
        }
        let mut finder = Finder::new(self.order.points());
        for (inside, mut seeds) in seeds {
            seeds.sort_by_key(|&n| Reverse(self.back_in_time(n)));
            let mut best: Option<Vec<Edge>> = None;
            for &seed in seeds.iter().take(SEEDS) {
                let limit = best.as_ref().map_or(usize::MAX, Vec::len);
                if limit <= 2 {
                    break;
                }
                let usable = |point: Point| component[point.at()] == inside;
                if let Some(cycle) = finder.close(self, pass, seed, limit, usable) {
                    best = Some(cycle);
                }
            }
            if let Some(cycle) = best.map(|cycle| simple(cycle, self.levels)) {
                self.reported.extend(cycle.iter().map(|edge| edge.from));
                self.found.push(cycle);
            }
        }
    }

    /// How long before the begin of what comes first the end of what comes after it lies.
    fn back_in_time(&self, edge: usize) -> i128 {
        let Edge { from, to, .. } = self.edges[edge];
        let end = self.txns[to.0].acknowledged().unwrap_or(u64::MAX);
        i128::from(self.txns[from.0].invoked) - i128::from(end)
    }

    fn usable(&self, pass: &Pass, link: Link) -> bool {
        match link {
            Link::Edge(n) => pass.allowed.contains(&self.edges[n as usize].kind),
            Link::Within => true,
            Link::Acknowledged | Link::Chain => pass.real_time,
        }
    }

    /// The component of each point, and those with a cycle that was reported.
    fn components(&self, pass: &Pass) -> (Vec<u32>, BTreeSet<u32>) {
        let component = Tarjan::new(self.order.points()).run(self.order, |l| self.usable(pass, l));
        let reported = self
            .reported
            .iter()
            .flat_map(|&txn| [Point::begin(txn), Point::commit(txn)])
            .map(|point| component[point.at()])
            .collect();
        (component, reported)
    }
}

/// The part of a cycle in which no transaction occurs twice. One that does was passed at its begin and at
/// its commit, and what leads from the commit to the begin is a cycle already.
fn simple(mut cycle: Vec<Edge>, levels: &[Level]) -> Vec<Edge> {
    'again: loop {
        for i in 0..cycle.len() {
            let Some(j) = (i + 1..cycle.len()).find(|&j| cycle[j].from == cycle[i].from) else {
                continue;
            };
            if ends(&cycle[j - 1], levels).1 == Point::begin(cycle[i].from) {
                cycle = cycle[i..j].to_vec();
            } else {
                cycle.drain(i..j);
            }
            continue 'again;
        }
        return cycle;
    }
}

/// Shortest paths, with memory that is used again.
struct Finder {
    /// Length of the shortest path so far, valid where `round` is the current one.
    length: Vec<(u32, usize)>,
    came: Vec<(Point, Link)>,
    round: u32,
}

impl Finder {
    fn new(points: usize) -> Self {
        Finder {
            length: vec![(0, 0); points],
            came: vec![(Point(0), Link::Within); points],
            round: 0,
        }
    }

    /// The shortest cycle through an edge, if it has less than `limit` edges.
    fn close(
        &mut self,
        search: &Search<'_>,
        pass: &Pass,
        seed: usize,
        limit: usize,
        inside: impl Fn(Point) -> bool,
    ) -> Option<Vec<Edge>> {
        self.round += 1;
        let (goal, start) = ends(&search.edges[seed], search.levels);
        let mut queue = VecDeque::from([start]);
        self.length[start.at()] = (self.round, 0);
        // Steps that are no edges cost nothing and go to the front, so the first arrival is the shortest.
        while let Some(point) = queue.pop_front() {
            let so_far = self.length[point.at()].1;
            if point == goal {
                return Some(self.cycle(search, seed, start));
            }
            for &(to, link) in search.order.steps(point) {
                let cost = usize::from(matches!(link, Link::Edge(_) | Link::Acknowledged));
                if !search.usable(pass, link) || !inside(to) || so_far + cost + 1 >= limit {
                    continue;
                }
                if let Link::Edge(n) = link
                    && !pass.again
                    && pass.seed.contains(&search.edges[n as usize].kind)
                {
                    continue;
                }
                let (round, length) = self.length[to.at()];
                if round == self.round && length <= so_far + cost {
                    continue;
                }
                self.length[to.at()] = (self.round, so_far + cost);
                self.came[to.at()] = (point, link);
                if cost == 0 { queue.push_front(to) } else { queue.push_back(to) }
            }
        }
        None
    }

    /// The path found, as edges between transactions, behind the edge it closes.
    fn cycle(&self, search: &Search<'_>, seed: usize, start: Point) -> Vec<Edge> {
        let seed = search.edges[seed];
        let mut at = ends(&seed, search.levels).0;
        let mut back = Vec::new();
        let mut entered: Option<Index> = None;
        while at != start {
            let (before, link) = self.came[at.at()];
            match link {
                Link::Edge(n) => back.push(search.edges[n as usize]),
                Link::Within => {}
                Link::Chain => {
                    // Walked backwards: first comes who left the chain.
                    entered = entered.or(search.order.txn(at));
                }
                Link::Acknowledged => {
                    let from = search.order.txn(before).expect("commits enter the chain");
                    let to = entered.take().expect("a path leaves the chain at a begin");
                    back.push(Edge { from, to, kind: Kind::RealTime, proof: Proof::Clock });
                }
            }
            at = before;
        }
        back.push(seed);
        back.reverse();
        back
    }
}

/// Strongly connected components, without recursion.
struct Tarjan {
    index: Vec<u32>,
    low: Vec<u32>,
    component: Vec<u32>,
    stack: Vec<Point>,
}

const NONE: u32 = u32::MAX;

impl Tarjan {
    fn new(points: usize) -> Self {
        Tarjan {
            index: vec![NONE; points],
            low: vec![0; points],
            component: vec![NONE; points],
            stack: Vec::new(),
        }
    }

    fn run(mut self, order: &Order, usable: impl Fn(Link) -> bool) -> Vec<u32> {
        let (mut clock, mut components) = (0, 0);
        let mut calls: Vec<(Point, usize)> = Vec::new();
        for root in 0..order.points() {
            let root = Point(u32::try_from(root).expect("checked where points are made"));
            if self.index[root.at()] != NONE {
                continue;
            }
            calls.push((root, 0));
            while let Some(&mut (point, ref mut next)) = calls.last_mut() {
                let at = point.at();
                if *next == 0 && self.index[at] == NONE {
                    self.index[at] = clock;
                    self.low[at] = clock;
                    clock += 1;
                    self.stack.push(point);
                }
                if let Some(&(to, link)) = order.steps(point).get(*next) {
                    *next += 1;
                    if usable(link) {
                        if self.index[to.at()] == NONE {
                            calls.push((to, 0));
                        } else if self.component[to.at()] == NONE {
                            self.low[at] = self.low[at].min(self.index[to.at()]);
                        }
                    }
                    continue;
                }
                calls.pop();
                if let Some((caller, _)) = calls.last() {
                    self.low[caller.at()] = self.low[caller.at()].min(self.low[at]);
                }
                if self.low[at] == self.index[at] {
                    self.pop(point, components);
                    components += 1;
                }
            }
        }
        self.component
    }

    fn pop(&mut self, root: Point, component: u32) {
        while let Some(point) = self.stack.pop() {
            self.component[point.at()] = component;
            if point == root {
                return;
            }
        }
        unreachable!("the root of a component is on the stack");
    }
}
