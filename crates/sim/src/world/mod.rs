//! A whole cluster in one thread, on one clock, from one seed.
//!
//! ```text
//!   World ── run_for ──▶  tasks that were woken, in an order drawn by lot     clients, kv::Txn, errands
//!                         then the next event of the queue                    packets, ticks, turns, faults
//!
//!   State (under one lock)     nodes: disks, clocks, process { replicas, liveness, calls }
//!                              network, queue of events, chance, trace
//!   Tasks (beside it)          a task polls with the lock free, so it may call its node like a function
//! ```
//!
//! # Invariants
//!
//! - **W1** Everything that happens is decided by the seed: no clock, no thread, no hash order.
//! - **W2** The process on a node sees of the world what arrives there, and nothing while it is paused.
//! - **W3** A killed process leaves what its disks hold; it sends nothing after its death, and what it
//!   sent before may still arrive. One whose power fails in the middle of a call sends nothing of what
//!   that call would have sent.

mod errands;
mod maintenance;
mod net;
mod node;
mod past;
mod state;
mod store;
mod tasks;
mod transport;
mod verbs;

use std::sync::Arc;
use std::time::Duration;

use base::{NodeId, RangeId, keyspace};
use futures::future::BoxFuture;
use kv::{Db, Runtime};
use parking_lot::Mutex;
use proto::meta::Replica as Member;
use proto::meta::system_command::Command;
use proto::meta::{InitCluster, NodeDescriptor, PublishRanges, RangeDescriptor, RegisterNode};
use range::{Open, Replica};
use storage::{Engine, LogStore};

use state::Outside;
pub use state::{Micros, Owner};
use tasks::{Ready, SimRuntime, Tasks};
use transport::SimTransport;
pub use verbs::{Client, Lost};

use crate::settings::Settings;

/// What everything in the world hangs on.
pub(crate) struct Sim {
    pub(crate) state: Mutex<state::State>,
    tasks: Mutex<Tasks>,
    ready: Arc<Ready>,
}

/// A cluster, its clients, and the time they live in.
pub struct World {
    sim: Arc<Sim>,
    seed: u64,
}

impl Sim {
    pub(crate) fn now(&self) -> Micros {
        self.state.lock().now
    }

    fn run_until(self: &Arc<Self>, until: Micros) {
        loop {
            self.run_tasks();
            self.end_without_power();
            let outside = {
                let mut state = self.state.lock();
                match state.next_at() {
                    Some(at) if at <= until => state.step(),
                    _ => {
                        state.now = until;
                        return;
                    }
                }
            };
            if let Some(outside) = outside {
                self.carry_out(outside);
            }
            self.end_without_power();
        }
    }

    fn end_without_power(self: &Arc<Self>) {
        let ended = self.state.lock().end_without_power();
        if let Some(ended) = ended {
            self.carry_out(ended);
        }
    }

    fn carry_out(self: &Arc<Self>, outside: Outside) {
        match outside {
            Outside::Errand(db, place, errand) => {
                let task = errands::run(Arc::clone(self), db, place, errand);
                self.spawn(Some(place.owner), Box::pin(task));
            }
            Outside::Notice(db, notice) => db.on_wait_notice(notice),
            Outside::Probe(db, probe) => db.on_probe(probe),
            Outside::Inspect { db, owner, caller, id, inspect } => {
                let response = self.inspected(owner, &db, &inspect);
                let packet = net::Packet::Reply { caller, id, response };
                self.state.lock().send(owner.node, caller.node, packet);
            }
            Outside::Wake(waker) => waker.wake(),
            Outside::Ended(owner, process) => {
                self.drop_tasks(Some(owner));
                drop(process);
            }
            Outside::Begun(owner) => self.begin(owner),
        }
    }

    /// Gives a new process its client, and has it enter itself into the registry.
    fn begin(self: &Arc<Self>, owner: Owner) {
        let transport = Arc::new(SimTransport { sim: Arc::clone(self), owner });
        let runtime = Arc::new(SimRuntime::of(self, Some(owner)));
        let config = self.state.lock().settings.kv.clone();
        let db = Db::with_runtime(transport, config, Arc::clone(&runtime) as Arc<dyn Runtime>);
        if let Some(process) = self.state.lock().nodes[owner.node].process.as_deref_mut() {
            process.db = Some(db.clone());
        }
        let closing = past::keep_closed(Arc::clone(self), owner, db.clone());
        self.spawn(Some(owner), Box::pin(closing));
        let collecting = past::collect_garbage(Arc::clone(self), owner, db.clone());
        self.spawn(Some(owner), Box::pin(collecting));
        if owner.incarnation > 1 {
            let task = async move {
                while register(&db, owner.node as u64 + 1, owner.incarnation).await.is_err() {
                    runtime.sleep(Duration::from_millis(100)).await;
                }
            };
            self.spawn(Some(owner), Box::pin(task));
        }
    }
}

async fn register(db: &Db, node_id: u64, incarnation: u64) -> Result<(), kv::KvError> {
    let node = NodeDescriptor { node_id, incarnation, ..Default::default() };
    db.system(Command::RegisterNode(RegisterNode { node: Some(node) })).await.map(drop)
}

impl World {
    /// A cluster that has just come up: the system range and one range for everything else, on the first
    /// three nodes.
    #[must_use]
    pub fn new(settings: Settings) -> World {
        let (seed, nodes) = (settings.seed, settings.nodes);
        let sim = Arc::new(Sim {
            state: Mutex::new(state::State::new(settings)),
            tasks: Mutex::default(),
            ready: Arc::default(),
        });
        let mut world = World { sim, seed };
        world.bootstrap();
        for node in 0..nodes {
            world.start(node);
        }
        let client = world.client();
        let up = world.block_on(60_000_000, async move {
            client.until_done(0, move |db| Box::pin(first_commands(db, nodes))).await;
        });
        assert!(up.is_some(), "the cluster did not come up: rerun with SIM_SEED={seed}");
        world
    }

    fn bootstrap(&self) {
        let state = self.sim.state.lock();
        for node in state.nodes.iter().take(3) {
            let logs = Arc::clone(&node.logs) as Arc<dyn LogStore>;
            let config = Arc::clone(&state.settings.range);
            let open = Open { node: node.id, logs, config };
            for descriptor in first_ranges(state.nodes.len()) {
                drop(Replica::bootstrap(&*node.engine, &open, &descriptor).expect("memory"));
            }
            node.engine.flush().expect("memory");
        }
    }
}

async fn first_commands(db: Db, nodes: usize) -> Result<(), kv::KvError> {
    let init = InitCluster { cluster_id: "simulated".to_owned() };
    db.system(Command::InitCluster(init)).await?;
    db.system(Command::PublishRanges(PublishRanges { ranges: first_ranges(nodes) })).await?;
    for node in 1..=nodes as u64 {
        register(&db, node, 1).await?;
    }
    Ok(())
}

fn first_ranges(nodes: usize) -> Vec<RangeDescriptor> {
    let members = nodes.min(3) as u64;
    let replicas: Vec<Member> =
        (1..=members).map(|node_id| Member { node_id, learner: false }).collect();
    [(RangeId::SYSTEM.0, keyspace::system()), (2, keyspace::user())]
        .into_iter()
        .map(|(range_id, span)| RangeDescriptor {
            range_id,
            start: span.start.0,
            end: span.end.0,
            generation: 1,
            replicas: replicas.clone(),
        })
        .collect()
}

impl Drop for World {
    #[expect(clippy::print_stderr, reason = "the one line that reruns a failed seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("rerun with SIM_SEED={}", self.seed);
            // The lock may be held by what panicked.
            return;
        }
        self.shut_down();
    }
}

impl World {
    /// Ends everything; nothing in the world refers to it any more.
    fn shut_down(&self) {
        let nodes = self.sim.state.lock().nodes.len();
        for node in 0..nodes {
            let ended = self.sim.state.lock().kill(node);
            if let Some(ended) = ended {
                self.sim.carry_out(ended);
            }
        }
        self.sim.drop_tasks(None);
        let rest = self.sim.state.lock().take_events();
        drop(rest);
    }

    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) {
        self.sim.spawn(None, task);
    }

    /// Which node that is to the others.
    #[must_use]
    pub fn node_id(node: usize) -> NodeId {
        NodeId(node as u64 + 1)
    }
}
