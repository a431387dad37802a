//! What happened when: throughput per second, faults, errors by code.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use checker::Outcome;
use parking_lot::Mutex;

/// Transactions of one second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Second {
    pub(crate) ok: u32,
    pub(crate) failed: u32,
    pub(crate) unknown: u32,
}

/// A fault, from its begin to its end, in microseconds of the run.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: u64,
    pub(crate) until: Option<u64>,
    pub(crate) text: String,
    /// The nodes that it hits.
    pub(crate) nodes: Vec<usize>,
}

/// An error code, how often, and its first message.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) count: usize,
    pub(crate) first: String,
}

#[derive(Debug, Default)]
struct State {
    seconds: Vec<Second>,
    events: Vec<Event>,
    errors: BTreeMap<String, Seen>,
    /// Acknowledged: node, begin, end.
    acknowledged: Vec<(usize, u64, u64)>,
}

/// Shared by all clients of a run. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    origin: Instant,
    state: Arc<Mutex<State>>,
}

impl Timeline {
    pub(crate) fn new(origin: Instant) -> Self {
        Timeline { origin, state: Arc::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros())
            .expect("a run lasts less than 500,000 years")
    }

    pub(crate) fn count(&self, node: usize, outcome: Outcome, invoked: u64, completed: u64) {
        let second = usize::try_from(completed / 1_000_000).expect("seconds are few");
        let mut state = self.state.lock();
        if state.seconds.len() <= second {
            state.seconds.resize(second + 1, Second::default());
        }
        let counts = &mut state.seconds[second];
        match outcome {
            Outcome::Ok => counts.ok += 1,
            Outcome::Failed => counts.failed += 1,
            Outcome::Unknown => counts.unknown += 1,
        }
        if outcome == Outcome::Ok {
            state.acknowledged.push((node, invoked, completed));
        }
    }

    pub(crate) fn error(&self, code: &str, message: &str) {
        let mut state = self.state.lock();
        let first = || Seen { count: 0, first: message.to_owned() };
        state.errors.entry(code.to_owned()).or_insert_with(first).count += 1;
    }

    /// A fault begins; answers what names it at its end.
    pub(crate) fn begin(&self, text: String, nodes: Vec<usize>) -> usize {
        let at = self.now();
        let mut state = self.state.lock();
        state.events.push(Event { at, until: None, text, nodes });
        state.events.len() - 1
    }

    pub(crate) fn end(&self, event: usize) {
        let now = self.now();
        self.state.lock().events[event].until = Some(now);
    }

    pub(crate) fn seconds(&self) -> Vec<Second> {
        self.state.lock().seconds.clone()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.state.lock().events.clone()
    }

    pub(crate) fn errors(&self) -> BTreeMap<String, Seen> {
        self.state.lock().errors.clone()
    }

    /// Acknowledged transactions so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.state.lock().acknowledged.len()
    }

    /// The longest time after a fault's begin in which no node but those hit acknowledged a transaction
    /// that began after it: until the first one, and between any two, up to the next fault.
    pub(crate) fn pause_after(&self, event: usize, run: Duration) -> Duration {
        let state = self.state.lock();
        let hit = &state.events[event];
        let next = state.events.get(event + 1).map(|next| next.at);
        let run = u64::try_from(run.as_micros()).unwrap_or(u64::MAX);
        let until = next.unwrap_or(run).max(hit.at);
        let mut times: Vec<u64> = state
            .acknowledged
            .iter()
            .filter(|(node, invoked, completed)| {
                !hit.nodes.contains(node) && *invoked >= hit.at && *completed <= until
            })
            .map(|(_, _, completed)| *completed)
            .collect();
        times.extend([hit.at, until]);
        times.sort_unstable();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        Duration::from_micros(longest)
    }
}
