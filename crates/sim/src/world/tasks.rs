//! Futures in one thread, in an order that the seed decides, on the world's clock.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::Sim;
use super::state::{Event, Micros, Owner};

/// All tasks of the world.
#[derive(Default)]
pub(crate) struct Tasks {
    next: u64,
    tasks: BTreeMap<u64, Task>,
}

struct Task {
    owner: Option<Owner>,
    /// Away while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    waker: Arc<TaskWaker>,
}

/// Tasks that were woken.
#[derive(Default)]
pub(crate) struct Ready(Mutex<Vec<u64>>);

struct TaskWaker {
    id: u64,
    woken: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.woken.swap(true, Ordering::Relaxed) {
            self.ready.0.lock().push(self.id);
        }
    }
}

impl Sim {
    /// Runs a task in the background, on a node or outside of them all. A task of a process that has
    /// ended is dropped.
    pub(crate) fn spawn(&self, owner: Option<Owner>, future: BoxFuture<'static, ()>) {
        if owner.is_some_and(|owner| !self.state.lock().alive(owner)) {
            return;
        }
        let waker = {
            let mut tasks = self.tasks.lock();
            let id = tasks.next;
            tasks.next += 1;
            let ready = Arc::clone(&self.ready);
            let waker = Arc::new(TaskWaker { id, woken: AtomicBool::new(false), ready });
            let task = Task { owner, future: Some(future), waker: Arc::clone(&waker) };
            tasks.tasks.insert(id, task);
            waker
        };
        waker.wake();
    }

    /// Polls what was woken, until nobody is.
    pub(crate) fn run_tasks(self: &Arc<Self>) {
        while let Some(id) = self.next_ready() {
            let Some((owner, future, waker)) = self.take(id) else { continue };
            if owner.is_some_and(|owner| !self.state.lock().alive(owner)) {
                // It has just lost its power, and goes with its process.
                self.put_back(id, future);
                continue;
            }
            if let Some(until) = self.paused(owner) {
                self.put_back(id, future);
                let again = Waker::from(waker);
                self.state.lock().at(until, Event::Wake(again));
                continue;
            }
            self.poll(id, owner, future, &waker);
        }
    }

    fn next_ready(&self) -> Option<u64> {
        let mut ready = self.ready.0.lock();
        if ready.len() < 2 {
            return ready.pop();
        }
        let at = self.state.lock().rng.index(ready.len());
        Some(ready.swap_remove(at))
    }

    fn take(&self, id: u64) -> Option<(Option<Owner>, BoxFuture<'static, ()>, Arc<TaskWaker>)> {
        let mut tasks = self.tasks.lock();
        let task = tasks.tasks.get_mut(&id)?;
        task.waker.woken.store(false, Ordering::Relaxed);
        Some((task.owner, task.future.take()?, Arc::clone(&task.waker)))
    }

    fn paused(&self, owner: Option<Owner>) -> Option<Micros> {
        let state = self.state.lock();
        let until = state.nodes[owner?.node].paused_until;
        (until > state.now).then_some(until)
    }

    fn put_back(&self, id: u64, future: BoxFuture<'static, ()>) {
        let gone = match self.tasks.lock().tasks.get_mut(&id) {
            Some(task) => {
                task.future = Some(future);
                None
            }
            None => Some(future),
        };
        drop(gone);
    }

    fn poll(
        &self,
        id: u64,
        owner: Option<Owner>,
        mut future: BoxFuture<'static, ()>,
        waker: &Arc<TaskWaker>,
    ) {
        let (node, now) = (owner.map_or(u64::MAX, |owner| owner.node as u64), self.now());
        self.state.lock().trace.note(now, "poll", &[id, node], &[]);
        let waker = Waker::from(Arc::clone(waker));
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => {
                let ended = self.tasks.lock().tasks.remove(&id);
                drop(ended);
            }
            Poll::Pending => self.put_back(id, future),
        }
    }

    /// Drops the tasks of a process that has ended, or all of them.
    pub(crate) fn drop_tasks(&self, of: Option<Owner>) {
        loop {
            let ended: Vec<Task> = {
                let mut tasks = self.tasks.lock();
                let theirs = |task: &Task| of.is_none() || task.owner == of;
                let ids: Vec<u64> =
                    tasks.tasks.iter().filter(|(_, t)| theirs(t)).map(|(id, _)| *id).collect();
                ids.iter().filter_map(|id| tasks.tasks.remove(id)).collect()
            };
            if ended.is_empty() {
                return;
            }
            // What they drop may call the world.
            drop(ended);
        }
    }
}

/// Tasks and time for the client of one process, or for somebody outside.
pub(crate) struct SimRuntime {
    sim: Arc<Sim>,
    owner: Option<Owner>,
}

impl SimRuntime {
    pub(crate) fn of(sim: &Arc<Sim>, owner: Option<Owner>) -> SimRuntime {
        SimRuntime { sim: Arc::clone(sim), owner }
    }
}

/// Midnight before 2026, in microseconds since 1970: every world begins then.
const UNIX_START: u64 = 1_767_225_600_000_000;

impl kv::Runtime for SimRuntime {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.sim.spawn(self.owner, task);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4);
        let sim = Arc::clone(&self.sim);
        let until = sim.now() + micros;
        Box::pin(Sleep { sim, until, asked: None })
    }

    fn now(&self) -> Duration {
        let state = self.sim.state.lock();
        let micros = match self.owner {
            Some(owner) => {
                let node = &state.nodes[owner.node];
                node.clock(state.now.max(node.paused_until))
            }
            None => state.now,
        };
        Duration::from_micros(micros)
    }

    fn unix_micros(&self) -> u64 {
        UNIX_START + u64::try_from(self.now().as_micros()).unwrap_or(0)
    }
}

struct Sleep {
    sim: Arc<Sim>,
    until: Micros,
    asked: Option<Waker>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker();
        let asked = self.asked.as_ref().is_some_and(|asked| asked.will_wake(waker));
        {
            let mut state = self.sim.state.lock();
            if state.now >= self.until {
                return Poll::Ready(());
            }
            if asked {
                return Poll::Pending;
            }
            state.at(self.until, Event::Wake(waker.clone()));
        }
        self.asked = Some(waker.clone());
        Poll::Pending
    }
}
