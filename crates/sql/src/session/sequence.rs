//! Values of sequences: `nextval` and its kin.
//!
//! ```text
//!   sessions ── requests ──▶ queue of the sequence ── one transaction for all that wait ──▶ its key
//!        │                    (`Sequences`, one per node)
//!        └ values taken ahead (CACHE), currval, lastval (`SessionSequences`)
//! ```
//!
//! As in PostgreSQL, what has been given stays given, whatever becomes of the transaction that asked.
//! Each batch of requests is a transaction of its own that is committed before anybody gets a value:
//! no value is given twice, on whatever node and after whatever crash, and the surrounding transaction
//! has nothing to conflict about. Requests that come while one is under way share the next.
//!
//! With CACHE above 1 a session takes that many values at a time, as PostgreSQL does; values are unique
//! then, but rise within the session only.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::store::SequenceState;
use catalog::{Sequence, store};
use futures::channel::oneshot;
use kv::{Db, KvError, Strength, TxnOptions, WaitPolicy};
use parking_lot::Mutex;

use super::catalog_error;
use crate::{SqlError, SqlState};

/// What is asked of a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// So many values; fewer if it ends before.
    Next(usize),
    Set(SequenceState),
}

struct Request {
    sequence: Arc<Sequence>,
    wanted: Wanted,
    answer: oneshot::Sender<Result<Vec<i64>, SqlError>>,
}

/// Requests that wait for the one under way.
#[derive(Default)]
struct Queue {
    waiting: Vec<Request>,
    running: bool,
}

/// The sequences of a node.
#[derive(Clone, Default)]
pub(crate) struct Sequences {
    queues: Arc<Mutex<HashMap<u32, Queue, ahash::RandomState>>>,
}

impl Sequences {
    pub(super) async fn ask(
        &self,
        db: &Db,
        sequence: &Arc<Sequence>,
        wanted: Wanted,
    ) -> Result<Vec<i64>, SqlError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { sequence: sequence.clone(), wanted, answer };
        let starts = {
            let mut queues = self.queues.lock();
            let queue = queues.entry(sequence.values).or_default();
            queue.waiting.push(request);
            !std::mem::replace(&mut queue.running, true)
        };
        if starts {
            // A task of its own: whoever asked may be cancelled, the others wait on.
            db.spawn(self.clone().work(db.clone(), sequence.values));
        }
        answered.await.unwrap_or_else(|_| Err(SqlError::internal("a sequence did not answer")))
    }

    async fn work(self, db: Db, values: u32) {
        loop {
            let batch = {
                let mut queues = self.queues.lock();
                let Some(queue) = queues.get_mut(&values) else { return };
                if queue.waiting.is_empty() {
                    queues.remove(&values);
                    return;
                }
                std::mem::take(&mut queue.waiting)
            };
            match serve(&db, values, &batch).await {
                Ok(answers) => {
                    for (request, answer) in batch.into_iter().zip(answers) {
                        // Who is gone leaves a gap.
                        drop(request.answer.send(answer));
                    }
                }
                Err(error) => {
                    for request in batch {
                        drop(request.answer.send(Err(error.clone())));
                    }
                }
            }
        }
    }
}

/// The state of a sequence as it is now.
pub(crate) async fn state(db: &Db, sequence: &Sequence) -> Result<SequenceState, SqlError> {
    let txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
    txn.begin_statement().await?;
    let stored = txn.get(&store::sequence_key(sequence.values)).await?;
    txn.rollback().await;
    decode(sequence, stored.as_ref())
}

fn decode(sequence: &Sequence, stored: Option<&bytes::Bytes>) -> Result<SequenceState, SqlError> {
    match stored {
        Some(stored) => SequenceState::decode(sequence.values, stored).map_err(catalog_error),
        None => Ok(SequenceState { last: sequence.start, called: false }),
    }
}

type Answers = Vec<Result<Vec<i64>, SqlError>>;

/// Answers requests in one transaction.
async fn serve(db: &Db, values: u32, batch: &[Request]) -> Result<Answers, SqlError> {
    let key = store::sequence_key(values);
    loop {
        let txn = db.begin(TxnOptions::default());
        txn.begin_statement().await?;
        let keys = std::slice::from_ref(&key);
        let locked = txn.lock(keys, Strength::Update, WaitPolicy::Block).await?;
        let stored = locked.first().and_then(|l| l.value.as_ref());
        let mut answers = Vec::with_capacity(batch.len());
        let before = stored.cloned();
        let mut now = decode(&batch[0].sequence, stored)?;
        for Request { sequence, wanted, .. } in batch {
            answers.push(match wanted {
                Wanted::Set(state) => {
                    now = *state;
                    Ok(Vec::new())
                }
                Wanted::Next(count) => advance(sequence, &mut now, *count),
            });
        }
        let after = now.encode();
        if before.as_ref() == Some(&after) {
            txn.rollback().await;
            return Ok(answers);
        }
        txn.put(key.clone(), after)?;
        match txn.commit().await {
            Ok(_) => return Ok(answers),
            // Values of a commit that did happen are a gap.
            Err(
                KvError::Serialization { .. } | KvError::Restatement | KvError::Ambiguous { .. },
            ) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next value, of a sequence that nobody else uses.
pub(crate) fn next_of(sequence: &Sequence, state: &mut SequenceState) -> Result<i64, SqlError> {
    let next = if state.called { following(sequence, state.last) } else { Some(state.last) };
    let next = next.ok_or_else(|| exhausted(sequence))?;
    *state = SequenceState { last: next, called: true };
    Ok(next)
}

/// The next `count` values, or those that are left; an error if there are none.
fn advance(
    sequence: &Sequence,
    state: &mut SequenceState,
    count: usize,
) -> Result<Vec<i64>, SqlError> {
    let cache = usize::try_from(sequence.cache).unwrap_or(1).max(1);
    let wanted = count.div_ceil(cache) * cache;
    let mut values = Vec::with_capacity(wanted);
    while values.len() < wanted {
        match next_of(sequence, state) {
            Ok(next) => values.push(next),
            Err(error) if values.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(values)
}

fn following(sequence: &Sequence, last: i64) -> Option<i64> {
    let next = last.checked_add(sequence.increment);
    let inside = next.filter(|next| (sequence.min..=sequence.max).contains(next));
    match inside {
        None if sequence.cycle && sequence.increment > 0 => Some(sequence.min),
        None if sequence.cycle => Some(sequence.max),
        inside => inside,
    }
}

pub(super) fn exhausted(sequence: &Sequence) -> SqlError {
    let (which, bound) = match sequence.increment > 0 {
        true => ("maximum", sequence.max),
        false => ("minimum", sequence.min),
    };
    SqlError::new(
        SqlState("2200H"),
        format!("nextval: reached {which} value of sequence \"{}\" ({bound})", sequence.name),
    )
}
