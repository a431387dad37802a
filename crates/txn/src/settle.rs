//! What has become of a transaction whose replicated lock is in somebody's way.
//!
//! Pure: the driver (`kv`) sends what the [`Effect`]s say and feeds the answers back. Anybody may run
//! this, any number of times and at the same time: every step is idempotent, and the one decision is made
//! by the record on the primary.
//!
//! ```text
//!             committed, rolled back
//!   Asking ───────────────────────────────────────────▶ Resolving ──▶ over
//!    │  │  alive, unknown yet: over, ask again later         ▲
//!    │  └─ pushed: over, the reader may pass                 │
//!    │ staging: parallel, and its coordinator is silent      │
//!    ▼                                                       │
//!   Checking ── every key ──▶ Deciding ──────────────────────┘
//! ```
//!
//! # Why a parallel commit is recovered by looking at every key
//!
//! All keys locked *is* the commit, and the client may have been told. A key without lock and version gets
//! a mark that stops its prewrite for good, and only then is the transaction rolled back: nobody can find
//! all keys locked afterwards. The coordinator may be alive after all; then one of the two writes the
//! record first, and the other is told.
//!
//! # Invariants
//!
//! - **T1** Rolled back is proposed for a parallel commit only after a key was found or made prevented.
//! - **T2** Locks are resolved only by what the primary's record says.
//!
//! Scripts: `scripts/settle/`.

use base::{Key, Timestamp};

use crate::coordinator::Outcome;

/// What the primary's range knows of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Decided.
    Decided(Outcome),
    /// Undecided and alive; commits at this timestamp or above.
    Pending(Timestamp),
    /// Nothing is known yet: its prewrite of the primary may be on its way.
    Unknown,
    /// A parallel commit without a sign of life: its locks are the decision.
    Staging {
        /// The least commit timestamp of the primary.
        min_commit: Timestamp,
        /// All other keys.
        secondaries: Vec<Key>,
    },
}

/// What a key holds of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// Its lock, with this least commit timestamp.
    Locked(Timestamp),
    /// Its version, at this timestamp.
    Committed(Timestamp),
    /// Neither, and never will.
    Prevented,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// To [`Effect::Query`].
    State(State),
    /// To [`Effect::Check`]: one for each key, in their order.
    Checked(Vec<Checked>),
    /// To [`Effect::Decide`]: what stands, whoever decided it.
    Decided(Outcome),
    /// To [`Effect::Decide`]: the primary's lock lies higher than it did.
    TooLow,
    /// To [`Effect::Resolve`].
    Resolved,
    /// To anything: a range can't be reached. Somebody will try again.
    Failed,
}

/// What the driver must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// QueryTxn at the primary, pushing it above the timestamp unless that is zero.
    Query {
        /// Above here.
        push_above: Timestamp,
    },
    /// CheckKeys with `prevent`, in the ranges of these keys.
    Check {
        /// Which.
        keys: Vec<Key>,
    },
    /// EndTxn at the primary.
    Decide(Outcome),
    /// Resolve these keys.
    Resolve {
        /// Which.
        keys: Vec<Key>,
        /// As what.
        outcome: Outcome,
    },
    /// EndTxn with `settled`, in the background: no lock of the transaction is left.
    MarkSettled(Outcome),
    /// The end.
    Over(Verdict),
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The lock is gone, with this outcome.
    Settled(Outcome),
    /// The lock stays, but commits at this timestamp or above: a reader below may pass.
    Pushed(Timestamp),
    /// The transaction is alive, or can't be asked: wait, and ask again.
    Waits,
}

/// The settlement of one lock.
#[derive(Debug)]
pub struct Settle {
    primary: Key,
    met: Key,
    push_above: Timestamp,
    step: Step,
    /// All other keys, of a parallel commit that is being recovered.
    secondaries: Vec<Key>,
    min_commit: Timestamp,
    attempts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Asking,
    Checking,
    Deciding,
    Resolving { outcome: Outcome, complete: bool },
    Over,
}

/// How often a parallel commit that is being raised under our eyes is looked at anew.
const ATTEMPTS_MAX: u32 = 5;

impl Settle {
    /// Of the lock met on `met`. A reader at `push_above` would be content to see the transaction
    /// pushed; zero if only its end will do. Parallel commits are not pushed by the primary's range.
    #[must_use]
    pub fn new(primary: Key, met: Key, push_above: Timestamp) -> (Self, Vec<Effect>) {
        let settle = Settle {
            primary,
            met,
            push_above,
            step: Step::Asking,
            secondaries: Vec::new(),
            min_commit: Timestamp::ZERO,
            attempts: 0,
        };
        (settle, vec![Effect::Query { push_above }])
    }

    /// Where the transaction is decided.
    #[must_use]
    pub fn primary(&self) -> &Key {
        &self.primary
    }

    /// Advances by one answer.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        match (self.step, input) {
            (Step::Asking, Input::State(state)) => self.told(state),
            (Step::Checking, Input::Checked(checked)) => self.checked(&checked),
            (Step::Deciding, Input::Decided(outcome)) => {
                let mut keys = self.secondaries.clone();
                // The primary is settled with its record.
                if self.met != self.primary && !keys.contains(&self.met) {
                    keys.push(self.met.clone());
                }
                self.resolve(keys, outcome, true)
            }
            (Step::Deciding, Input::TooLow) => {
                self.attempts += 1;
                if self.attempts > ATTEMPTS_MAX {
                    return self.over(Verdict::Waits);
                }
                self.step = Step::Asking;
                vec![Effect::Query { push_above: self.push_above }]
            }
            (Step::Resolving { outcome, complete }, Input::Resolved) => {
                let mut effects = Vec::new();
                if complete {
                    effects.push(Effect::MarkSettled(outcome));
                }
                effects.extend(self.over(Verdict::Settled(outcome)));
                effects
            }
            (
                Step::Asking | Step::Checking | Step::Deciding | Step::Resolving { .. },
                Input::Failed,
            ) => self.over(Verdict::Waits),
            (step, input) => panic!("a settlement that is {step:?} was given {input:?}"),
        }
    }

    fn told(&mut self, state: State) -> Vec<Effect> {
        match state {
            State::Decided(outcome) => self.resolve(vec![self.met.clone()], outcome, false),
            State::Pending(min_commit) => {
                if self.push_above > Timestamp::ZERO && min_commit > self.push_above {
                    return self.over(Verdict::Pushed(min_commit));
                }
                self.over(Verdict::Waits)
            }
            State::Unknown => self.over(Verdict::Waits),
            State::Staging { min_commit, secondaries } => {
                self.min_commit = min_commit;
                self.secondaries = secondaries;
                if self.secondaries.is_empty() {
                    return self.checked(&[]);
                }
                self.step = Step::Checking;
                vec![Effect::Check { keys: self.secondaries.clone() }]
            }
        }
    }

    fn checked(&mut self, checked: &[Checked]) -> Vec<Effect> {
        assert_eq!(checked.len(), self.secondaries.len(), "an answer for each key");
        let decided = checked.iter().find_map(|checked| match *checked {
            Checked::Committed(at) => Some(Outcome::Commit(at)),
            Checked::Locked(_) | Checked::Prevented => None,
        });
        let outcome = decided.unwrap_or_else(|| {
            checked.iter().fold(Outcome::Commit(self.min_commit), |outcome, checked| {
                match (outcome, *checked) {
                    (Outcome::Rollback, _) | (_, Checked::Prevented) => Outcome::Rollback,
                    (Outcome::Commit(at), Checked::Locked(min) | Checked::Committed(min)) => {
                        Outcome::Commit(at.max(min))
                    }
                }
            })
        });
        self.step = Step::Deciding;
        vec![Effect::Decide(outcome)]
    }

    fn resolve(&mut self, keys: Vec<Key>, outcome: Outcome, complete: bool) -> Vec<Effect> {
        self.step = Step::Resolving { outcome, complete };
        if keys.is_empty() {
            return self.step(Input::Resolved);
        }
        vec![Effect::Resolve { keys, outcome }]
    }

    fn over(&mut self, verdict: Verdict) -> Vec<Effect> {
        self.step = Step::Over;
        vec![Effect::Over(verdict)]
    }
}
