//! Timestamps for this node: one call in flight, all that arrive meanwhile share the next.
//!
//! A caller must not share the call that is already under way: its numbers may have been drawn before
//! the caller's transaction began, and an older snapshot would miss what was acknowledged in between.
//!
//! # What is known to be issued
//!
//! A row that many queue for gets versions above each other, each one above the last, and so a
//! transaction may commit above all that the oracle has issued. Told so at once, its client could begin
//! another one below it and miss its own write. So a commit is acknowledged, and a snapshot read, only
//! when the oracle is known to have come that far ([`Oracle::until_issued`]). What this node has drawn
//! itself is its knowledge; a call is needed only where transactions of several nodes meet.
//!
//! Nobody is spawned. The right to call (`Lead`) belongs to one of the callers; when it is done, or
//! dropped, the right passes to whoever waits.

use std::collections::VecDeque;
use std::sync::Arc;

use base::Timestamp;
use futures::channel::oneshot;
use parking_lot::Mutex;
use proto::kv;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;

use crate::error::KvError;
use crate::router::{Router, unexpected};
use crate::stats;

#[derive(Debug, Default)]
struct State {
    calling: bool,
    /// The largest timestamp drawn here.
    issued: Timestamp,
    waiting: VecDeque<oneshot::Sender<Wake>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Oracle {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum Wake {
    Drawn(Result<Timestamp, KvError>),
    Lead(Lead),
}

/// The right to make the next call.
#[derive(Debug)]
struct Lead(Oracle);

impl Oracle {
    /// A timestamp drawn after this call began, never given to anybody else.
    pub(crate) async fn draw(&self, router: &Router) -> Result<Timestamp, KvError> {
        loop {
            let wait = {
                let mut state = self.state.lock();
                if state.calling {
                    let (sender, receiver) = oneshot::channel();
                    state.waiting.push_back(sender);
                    Some(receiver)
                } else {
                    state.calling = true;
                    None
                }
            };
            let lead = match wait {
                None => Lead(self.clone()),
                Some(receiver) => match receiver.await {
                    Ok(Wake::Drawn(result)) => {
                        // The call was another's; the wait for it was ours.
                        let leader = router.directory.lookup(&[]).and_then(|route| route.leader());
                        let local = leader == Some(router.transport.local_node().0);
                        stats::note(|stats| stats.trip(local));
                        return result;
                    }
                    Ok(Wake::Lead(lead)) => lead,
                    // The leader of our batch was dropped in the middle of its call.
                    Err(oneshot::Canceled) => continue,
                },
            };
            return lead.call(router).await;
        }
    }

    /// The largest timestamp drawn here.
    pub(crate) fn newest_known(&self) -> Timestamp {
        self.state.lock().issued
    }

    /// Returns once the oracle has issued `ts` or more: no transaction that begins later starts below.
    pub(crate) async fn until_issued(&self, router: &Router, ts: Timestamp) -> Result<(), KvError> {
        let mut draws = 0;
        while self.state.lock().issued < ts {
            // An oracle that a simulation has turned back may not come that far for hours.
            if !router.config.rules.oracle_bounds_are_replicated && draws > 100 {
                break;
            }
            draws += 1;
            self.draw(router).await?;
        }
        Ok(())
    }
}

impl Lead {
    /// Draws for itself and all who wait by now.
    async fn call(self, router: &Router) -> Result<Timestamp, KvError> {
        let batch = std::mem::take(&mut self.0.state.lock().waiting);
        let count = batch.len() as u32 + 1;
        let gateway = router.transport.local_node().0.0;
        router.metrics.oracle_calls.inc();
        router.metrics.oracle_timestamps.add(u64::from(count));
        let drawn = match router.call_system(Request::Oracle(kv::Oracle { count, gateway })).await {
            Ok(Response::Oracle(result)) if result.count >= count => Ok(Timestamp(result.first)),
            Ok(other) => Err(unexpected("the oracle", &other)),
            Err(error) => Err(error),
        };
        if let Ok(first) = drawn {
            let mut state = self.0.state.lock();
            state.issued = state.issued.max(Timestamp(first.0 + u64::from(count) - 1));
        }
        for (place, waiter) in batch.into_iter().enumerate() {
            let ts = drawn.clone().map(|first| Timestamp(first.0 + place as u64 + 1));
            // A waiter that has gone leaves a gap in the numbers, which is harmless.
            drop(waiter.send(Wake::Drawn(ts)));
        }
        drawn
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state.lock();
            loop {
                match state.waiting.pop_front() {
                    Some(waiter) if waiter.is_canceled() => {}
                    Some(waiter) => break Some(waiter),
                    None => {
                        state.calling = false;
                        break None;
                    }
                }
            }
        };
        if let Some(waiter) = next {
            // If the waiter goes in this moment, the right comes back, is dropped, and passes on.
            drop(waiter.send(Wake::Lead(Lead(self.0.clone()))));
        }
    }
}
