//! What tests, workloads and the nemesis do with a world.

use std::sync::Arc;
use std::time::Duration;

use base::{Key, RangeId};
use futures::channel::oneshot;
use futures::future::BoxFuture;
use kv::{Db, KvError, Runtime};
use parking_lot::Mutex;
use proto::kv::RangeRequest;
use proto::kv::range_request::Request;
use proto::meta::RangeDescriptor;
use storage::{Engine, mvcc};

use super::node::Waiter;
use super::state::Event;
use super::tasks::SimRuntime;
use super::{Micros, Sim, World};
use crate::fault::Trap;
use crate::rng::Rng;
use crate::tally::Deeds;

/// The node that somebody was talking to died, or was not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Nothing was begun.
    pub before: bool,
}

/// Somebody outside of all nodes: has the world's clock, and connects to nodes.
#[derive(Clone)]
pub struct Client {
    sim: Arc<Sim>,
}

impl Client {
    /// The world's clock.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.sim.now()
    }

    /// Waits.
    pub async fn sleep(&self, micros: Micros) {
        SimRuntime::of(&self.sim, None).sleep(Duration::from_micros(micros)).await;
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.sim.state.lock().nodes.len()
    }

    /// A generator of one's own.
    #[must_use]
    pub fn rng(&self) -> Rng {
        self.sim.state.lock().rng.fork()
    }

    /// Notes a line in the log of the run.
    pub fn say(&self, what: impl FnOnce() -> String) {
        let state = self.sim.state.lock();
        state.trace.say(state.now, what);
    }

    /// Has a node do something; its answer is lost with the node.
    pub async fn on<T, F>(&self, node: usize, act: impl FnOnce(Db) -> F) -> Result<T, Lost>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (owner, db) = {
            let state = self.sim.state.lock();
            let owner = state.nodes[node].owner();
            (owner, state.db_of(owner).ok_or(Lost { before: true })?)
        };
        let (sender, receiver) = oneshot::channel();
        let work = act(db);
        let task = async move {
            // Whoever asked may have lost patience.
            drop(sender.send(work.await));
        };
        self.sim.spawn(Some(owner), Box::pin(task));
        receiver.await.map_err(|_| Lost { before: false })
    }

    /// Has some node do something, until it works; tries `first` first.
    pub async fn until_done<T: Send + 'static>(
        &self,
        first: usize,
        act: impl Fn(Db) -> BoxFuture<'static, Result<T, KvError>>,
    ) -> T {
        let nodes = self.nodes();
        for attempt in first.. {
            match self.on(attempt % nodes, &act).await {
                Ok(Ok(done)) => return done,
                Ok(Err(error)) => self.say(|| format!("again, because {error}")),
                Err(_) => {}
            }
            self.sleep(50_000).await;
        }
        unreachable!("without end")
    }
}

impl World {
    /// The time.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.sim.now()
    }

    /// The seed it was made from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Somebody outside of all nodes.
    #[must_use]
    pub fn client(&self) -> Client {
        Client { sim: Arc::clone(&self.sim) }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, micros: Micros) {
        self.sim.run_until(self.now() + micros);
    }

    /// Lets time pass until something holds, at most so long; whether it does.
    pub fn run_until(&mut self, limit: Micros, mut holds: impl FnMut(&World) -> bool) -> bool {
        let end = self.now() + limit;
        while self.now() < end {
            if holds(self) {
                return true;
            }
            self.run_for(10_000);
        }
        holds(self)
    }

    /// Runs something outside of all nodes.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_boxed(Box::pin(task));
    }

    /// Lets time pass until something outside has an answer, at most so long.
    pub fn block_on<T: Send + 'static>(
        &mut self,
        limit: Micros,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let answer: Arc<Mutex<Option<T>>> = Arc::default();
        let place = Arc::clone(&answer);
        self.spawn(async move {
            let found = task.await;
            *place.lock() = Some(found);
        });
        self.run_until(limit, |_| answer.lock().is_some());
        std::mem::take(&mut *answer.lock())
    }

    /// What happened so far, as one number; and in how many events.
    #[must_use]
    pub fn digest(&self) -> (u64, u64) {
        self.sim.state.lock().trace.digest()
    }

    /// What should not have happened.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.sim.state.lock().failures.clone()
    }

    // ---- faults ----

    /// Starts a node.
    pub fn start(&mut self, node: usize) {
        self.sim.state.lock().after(0, Event::Start(node));
        self.run_for(1);
    }

    /// Kills a node.
    pub fn kill(&mut self, node: usize) {
        self.sim.state.lock().after(0, Event::Kill(node));
        self.run_for(1);
    }

    /// Lets the power of a node fail at the write to its disks after so many more.
    pub fn cut_power(&mut self, node: usize, writes: u64) {
        self.sim.state.lock().nodes[node].power.fail_after(writes);
    }

    /// Power that has not failed yet stays.
    pub fn restore_power(&mut self, node: usize) {
        self.sim.state.lock().nodes[node].power.restore();
    }

    /// Whether a process runs on a node.
    #[must_use]
    pub fn is_up(&self, node: usize) -> bool {
        self.sim.state.lock().nodes[node].process.is_some()
    }

    /// Stops a process for a while, as a debugger does; with `looks`, in the middle of a call, at the
    /// so-many-th look at its clock.
    pub fn pause(&mut self, node: usize, micros: Micros, looks: Option<u32>) {
        let mut state = self.sim.state.lock();
        let until = state.now + micros;
        let node = &mut state.nodes[node];
        match looks {
            Some(looks) => node.stall = Some((looks, micros)),
            None => node.paused_until = node.paused_until.max(until),
        }
    }

    /// Lets a paused process go on; one that was stopped between two looks at its clock, when it is as late
    /// as the second look said.
    pub fn resume(&mut self, node: usize) {
        let mut state = self.sim.state.lock();
        let now = state.now;
        state.nodes[node].stall = None;
        if state.nodes[node].seen_until > now {
            return;
        }
        state.hasten(node);
        let node = &mut state.nodes[node];
        node.paused_until = node.paused_until.min(now);
    }

    /// No packet passes from one node to another any more.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.sim.state.lock().links.cut.insert((from, to));
    }

    /// All packets pass, as fast as usual.
    pub fn mend(&mut self) {
        let mut state = self.sim.state.lock();
        state.links.cut.clear();
        state.links.spike = 0;
    }

    /// Every packet takes up to so much longer.
    pub fn spike(&mut self, micros: Micros) {
        self.sim.state.lock().links.spike = micros;
    }

    /// Changes what the network usually does.
    pub fn set_network(&mut self, network: crate::Network) {
        self.sim.state.lock().links.usual = network;
    }

    /// Sets a node's wall clock wrong.
    pub fn jump_clock(&mut self, node: usize, error_ms: i64) {
        self.sim.state.lock().nodes[node].wall_error_ms = error_ms;
    }

    /// How long a node's log takes to sync: from, to.
    pub fn set_disk(&mut self, node: usize, disk: (Micros, Micros)) {
        self.sim.state.lock().nodes[node].disk = disk;
    }

    /// Makes durable what a node's engine holds.
    pub fn flush(&mut self, node: usize) {
        self.sim.state.lock().nodes[node].engine.flush().expect("memory");
    }

    /// Lets a gateway die in the middle of a commit.
    pub fn set_trap(&mut self, trap: Option<Trap>) {
        self.sim.state.lock().trap = trap;
    }

    /// Whether a trap is still waiting for its moment.
    #[must_use]
    pub fn trap_is_set(&self) -> bool {
        self.sim.state.lock().trap.is_some()
    }

    /// Asks a replica for something on nobody's behalf: whether it works shows later.
    pub fn order(&mut self, node: usize, range: RangeId, request: Request) {
        let mut state = self.sim.state.lock();
        let owner = state.nodes[node].owner();
        if state.alive(owner) && state.nodes[node].paused_until <= state.now {
            let request = RangeRequest { range_id: range.0, txn: None, request: Some(request) };
            drop(state.serve(owner, request, Waiter::Nobody));
        }
    }

    // ---- looking ----

    /// The ranges led under a lease, with their leaders.
    #[must_use]
    pub fn leaders(&self) -> Vec<(RangeDescriptor, usize)> {
        let mut state = self.sim.state.lock();
        let mut led = Vec::new();
        for node in 0..state.nodes.len() {
            let owner = state.nodes[node].owner();
            let paused = state.nodes[node].paused_until > state.now;
            if state.alive(owner) && !paused {
                let views = state.led_by(owner);
                led.extend(views.into_iter().map(|view| (view.descriptor, node)));
            }
        }
        led.sort_by_key(|(descriptor, _)| descriptor.range_id);
        led
    }

    /// Who leads the range that holds a key.
    #[must_use]
    pub fn leader_of(&self, key: &Key) -> Option<usize> {
        let led = self.leaders();
        led.into_iter().find(|(r, _)| r.span().contains(key.as_bytes())).map(|(_, node)| node)
    }

    /// Replicated locks, and locks in leaders' memory, as the present leaders have them.
    #[must_use]
    pub fn locks(&self) -> (usize, usize) {
        let led = self.leaders();
        let state = self.sim.state.lock();
        let (mut replicated, mut in_memory) = (0, 0);
        for (descriptor, node) in led {
            let node = &state.nodes[node];
            let span = descriptor.span();
            let found = mvcc::locks_in_span(&*node.engine, &span, usize::MAX, |_| true);
            replicated += found.expect("memory").len();
            let process = node.process.as_deref().expect("it leads");
            let evaluator = process.cells[&descriptor.id()].replica.evaluator();
            in_memory += evaluator.map_or(0, |evaluator| evaluator.lock_rows().count());
        }
        (replicated, in_memory)
    }

    /// What nodes have done so far.
    #[must_use]
    pub fn deeds(&self) -> Deeds {
        self.sim.state.lock().all_deeds()
    }

    /// Asserts what must hold of every replica.
    pub fn check_invariants(&self) {
        let state = self.sim.state.lock();
        for process in state.nodes.iter().filter_map(|node| node.process.as_deref()) {
            process.cells.values().for_each(|cell| cell.replica.check_invariants());
        }
    }
}
