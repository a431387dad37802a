//! What replicas have done over their node's own client, as `node::store::effects`.

use std::sync::Arc;
use std::time::Duration;

use base::RangeId;
use kv::{Db, IdKind, KvError, Runtime, Settled};
use proto::meta::system_command::Command;
use proto::meta::{PublishRanges, RangeDescriptor};
use range::eval::ForeignLock;
use range::{Ctx, Effect, Replica};
use storage::{Engine, mvcc};

use super::Sim;
use super::state::Place;
use super::tasks::SimRuntime;

/// Pause before an errand is tried again.
const RETRY: Duration = Duration::from_millis(50);

pub(crate) enum Errand {
    DrawTimestamp { term: u64 },
    AllocateRangeIds { ticket: u64, count: u64 },
    Publish(Vec<RangeDescriptor>),
    Settle(ForeignLock),
    SplitBySize,
}

impl Errand {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Errand::DrawTimestamp { .. } => "draw timestamp",
            Errand::AllocateRangeIds { .. } => "allocate ids",
            Errand::Publish(_) => "publish",
            Errand::Settle(_) => "settle",
            Errand::SplitBySize => "split by size",
        }
    }
}

/// Runs an errand to its end.
pub(crate) async fn run(sim: Arc<Sim>, db: Db, place: Place, errand: Errand) {
    match errand {
        Errand::DrawTimestamp { term } => {
            let ask = || db.now();
            errand_for(&sim, place, ask, move |replica, ctx, ts, out| {
                replica.timestamp_drawn(ctx, term, ts, out);
            })
            .await;
        }
        Errand::AllocateRangeIds { ticket, count } => {
            let ask = || db.allocate_ids(IdKind::Range, count);
            errand_for(&sim, place, ask, move |replica, ctx, first, out| {
                replica.range_ids(ctx, ticket, RangeId(first), out);
            })
            .await;
        }
        Errand::Publish(ranges) => {
            let generation = ranges.iter().map(|r| r.generation).max().unwrap_or_default();
            let command = PublishRanges { ranges };
            let ask = || db.system(Command::PublishRanges(command.clone()));
            errand_for(&sim, place, ask, move |replica, _, _, _| replica.published(generation))
                .await;
        }
        Errand::Settle(lock) => settle(&sim, &db, place, lock).await,
        Errand::SplitBySize => split_by_size(&sim, &db, place).await,
    }
}

async fn errand_for<T, F>(
    sim: &Arc<Sim>,
    place: Place,
    ask: impl Fn() -> F,
    done: impl FnOnce(&mut Replica, &Ctx<'_>, T, &mut Vec<Effect>),
) where
    F: Future<Output = Result<T, KvError>>,
{
    let runtime = SimRuntime::of(sim, Some(place.owner));
    loop {
        if let Ok(result) = ask().await {
            let mut state = sim.state.lock();
            return state.touch(place, |replica, ctx, out| done(replica, ctx, result, out));
        }
        runtime.sleep(RETRY).await;
    }
}

async fn settle(sim: &Arc<Sim>, db: &Db, place: Place, lock: ForeignLock) {
    let txn = lock.owner.txn;
    let foreign = kv::ForeignLock {
        key: lock.key,
        txn,
        coordinator: lock.owner.coordinator,
        incarnation: lock.owner.incarnation,
        primary: lock.primary,
        push_above: lock.push_above,
    };
    if let Settled::Pushed(min_commit) = db.settle(foreign).await {
        let mut state = sim.state.lock();
        state.touch(place, |replica, ctx, out| replica.pushed(ctx, txn, min_commit, out));
    }
}

async fn split_by_size(sim: &Arc<Sim>, db: &Db, place: Place) {
    let key = {
        let mut state = sim.state.lock();
        let Some(span) = state.view(place).map(|view| view.descriptor.span()) else { return };
        let engine = Arc::clone(&state.nodes[place.owner.node].engine);
        let (stats, key) = mvcc::split_point(&*engine.snapshot(), &span).expect("memory");
        if key.is_none() {
            state.touch(place, |replica, _, _| replica.set_size(stats.bytes));
        }
        key
    };
    if let Some(key) = key {
        // If it does not work, the range asks again when it has grown.
        drop(db.split(&[key]).await);
    }
}
