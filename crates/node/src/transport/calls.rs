//! Calls to one peer that wait for their answers.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use proto::kv::RangeResponse;
use tokio::sync::oneshot;

/// What a call comes to: the peer's answer, or why there is none.
pub(crate) type Answer = Result<RangeResponse, String>;

#[derive(Default)]
pub(crate) struct Calls {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last_id: u64,
    by_id: BTreeMap<u64, oneshot::Sender<Answer>>,
}

impl Calls {
    /// Registers a call: its id and where its answer will come.
    pub(crate) fn open(&self) -> (u64, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.last_id += 1;
        let id = waiting.last_id;
        waiting.by_id.insert(id, sender);
        (id, receiver)
    }

    /// Delivers an answer. One whose caller has gone is dropped.
    pub(crate) fn answer(&self, id: u64, answer: Answer) {
        let caller = self.waiting.lock().by_id.remove(&id);
        if let Some(caller) = caller {
            drop(caller.send(answer));
        }
    }

    /// Forgets a call whose caller has gone.
    pub(crate) fn forget(&self, id: u64) {
        self.waiting.lock().by_id.remove(&id);
    }

    /// Tells every caller that no answer will come.
    pub(crate) fn fail_all(&self, reason: &str) {
        let callers = std::mem::take(&mut self.waiting.lock().by_id);
        for caller in callers.into_values() {
            drop(caller.send(Err(reason.to_owned())));
        }
    }
}
