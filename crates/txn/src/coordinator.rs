//! How one transaction commits: which message next, and what the client may be told when.
//!
//! Pure: the driver (`kv`) owns the buffer, the read spans and the routing; it carries out the
//! [`Effect`]s in order, retries below them (resending, rerouting and splitting a batch over ranges are
//! its business) and feeds back one [`Input`] for each effect that has an answer.
//!
//! ```text
//!             nothing written
//!   Open ────────────────────────────────────────────────────────────▶ Ended
//!    │ all in one range                                                  ▲
//!    ├──▶ OnePhase ──────────────── committed ───────────────────────────┤
//!    │       │ ▲ too low                                                 │
//!    │       ▼ │                                                         │
//!    │     Drawing ─▶ Refreshing ── changed ─▶ rolled back ──────────────┤
//!    │       ▲ │                                                         │
//!    │       │ ▼ too low                                                 │
//!    └──▶ Prewriting ── all placed, parallel: that is the commit ────────┤
//!              │                                                         │
//!              └─ all placed, plain ─▶ Deciding ─────────────────────────┘
//! ```
//!
//! # Exact timestamps
//!
//! A transaction with something to verify outside of its one-phase command (SERIALIZABLE reads; at any
//! level rows that it locked and did not write) commits at exactly one `C`: up to it everything was
//! verified *before* the first lock at it could exist. `C` is at first the read timestamp, at which
//! snapshot reads hold by definition. The others take the largest `min_commit_ts` they get.
//!
//! # Invariants
//!
//! - **C1** `Answer` is emitted once.
//! - **C2** A commit is answered only after every prewrite was placed and, for a plain commit, after the
//!   record was written; or after the one-phase command was applied.
//! - **C3** With something to verify, every `OnePhase` and `Prewrite` asks for a timestamp up to which a
//!   `Refresh` succeeded, or for the read timestamp if there are only snapshot reads.
//! - **C4** A transaction that may have been decided by others (a lost answer) is rolled back only by
//!   asking its primary: it may turn out to be committed. So may one whose one-phase command was refused
//!   because the timestamp that the range would have chosen was not issued yet: a late copy of the command
//!   finds it issued.
//!
//! Scripts: `scripts/coordinator/`.

use base::{Key, Timestamp};

/// Attempts to find a commit timestamp that all ranges accept, before giving up.
const ATTEMPTS_MAX: u32 = 20;

/// What the transaction has done, as far as committing it depends on that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The smallest key written: it carries the decision. None if nothing was written.
    pub primary: Option<Key>,
    /// How many keys were written.
    pub keys: usize,
    /// Bytes of keys and values written.
    pub bytes: usize,
    /// The timestamp of the newest snapshot that a statement read, at least the start timestamp.
    pub read_ts: Timestamp,
    /// Snapshot reads must hold at the commit timestamp (SERIALIZABLE, and something was read).
    pub reads: bool,
    /// Some row was locked and not written.
    pub locked_only: bool,
    /// Where all of this lies.
    pub placement: Placement,
}

/// Where a transaction's keys lie, as far as the driver's routing cache knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// One range has all that was written, and all that must be verified.
    OneRange,
    /// One range has all that was written; some of what must be verified lies elsewhere.
    OneRangeReadsElsewhere,
    /// Several ranges have what was written.
    ManyRanges,
}

impl Placement {
    /// By whether one range has all that was written, and, asked if so, all that must be verified too.
    #[must_use]
    pub fn of(written_together: bool, verified_there: impl FnOnce() -> bool) -> Placement {
        if !written_together {
            Placement::ManyRanges
        } else if verified_there() {
            Placement::OneRange
        } else {
            Placement::OneRangeReadsElsewhere
        }
    }
}

/// From which size on a commit is a plain two-phase one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Keys in the list that the primary's lock carries.
    pub parallel_keys: usize,
    /// Bytes of keys and values.
    pub parallel_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { parallel_keys: 256, parallel_bytes: 1 << 20 }
    }
}

/// A transaction's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Visible from this timestamp on.
    Commit(Timestamp),
    /// Never visible.
    Rollback,
}

/// Something happened to the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The client commits. Legal again while a one-phase command is out that was *not executed* because
    /// the range was split: routing has changed.
    Commit(Work),
    /// The client rolls back, or the transaction has to go (deadlock, timeout).
    Rollback,
    /// The answer to [`Effect::OnePhase`].
    OnePhase(Reply),
    /// The answers to [`Effect::Prewrite`], of all ranges: the worst of them, with the largest timestamp.
    Prewritten(Reply),
    /// The answer to [`Effect::Draw`].
    Drawn(Timestamp),
    /// The answers to [`Effect::Refresh`]: none, or the first refusal.
    Refreshed(Result<(), Failure>),
    /// The answer to [`Effect::Decide`].
    Decided(Decided),
}

/// The answer to a one-phase command or a prewrite; of several, the last in this order counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Committed at (one phase), or locks placed with this largest `min_commit_ts`.
    Done(Timestamp),
    /// The exact timestamp can't be had; nothing was placed there.
    TooLow,
    /// Refused, and nothing was placed there by this or an earlier sending of the request.
    Failed(Failure),
    /// Refused or not answered, and an earlier sending whose answer was lost may have been carried out.
    Unknown(Failure),
}

/// What [`Effect::Decide`] found at the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// This is the transaction's fate now, whoever decided it.
    Is(Outcome),
    /// Pushed meanwhile: it can be committed at this timestamp or above.
    TooLow(Timestamp),
    /// The primary can't be asked.
    Unknown,
}

/// Why a transaction did not commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// What it read or locked was changed by a version at this timestamp.
    Changed {
        /// Where.
        key: Key,
        /// By which version.
        version: Timestamp,
    },
    /// What it writes has a version newer than it has seen.
    WriteConflict {
        /// Where.
        key: Key,
        /// Which version.
        version: Timestamp,
    },
    /// A key that must be new exists.
    KeyExists {
        /// Which.
        key: Key,
    },
    /// Somebody else has rolled it back.
    Gone,
    /// The client, or a deadlock, ended it.
    RolledBack,
    /// No commit timestamp was accepted by all ranges, again and again.
    Contended,
    /// A range can't be reached.
    Unavailable,
    /// Anything else that a range said; the driver keeps the details.
    Refused,
}

/// What the driver must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send all writes, and all that must be verified in that range, as one command. Answer:
    /// [`Input::OnePhase`].
    OnePhase {
        /// At this commit timestamp or none.
        exact: Option<Timestamp>,
    },
    /// Place locks on all written keys. Answer: [`Input::Prewritten`].
    Prewrite {
        /// The key that carries the decision.
        primary: Key,
        /// The primary's lock lists all other keys, and the locks themselves are the decision.
        parallel: bool,
        /// At this commit timestamp or none.
        exact: Option<Timestamp>,
    },
    /// Draw a timestamp from the oracle. Answer: [`Input::Drawn`].
    Draw,
    /// Verify all snapshot reads (SERIALIZABLE) and all rows locked only, up to this timestamp; at a
    /// level without reads to verify, the locked rows only. Answer: [`Input::Refreshed`].
    Refresh {
        /// Up to here.
        to: Timestamp,
    },
    /// Write the record at the primary. Answer: [`Input::Decided`].
    Decide {
        /// Where.
        primary: Key,
        /// What it shall say.
        outcome: Outcome,
    },
    /// Tell the client.
    Answer(Answer),
    /// In the background: record the outcome at the primary, settle the locks of all written keys so,
    /// then mark the record as settled. Without this driver, settlement does it when the locks expire.
    Finish {
        /// Where the record is.
        primary: Key,
        /// The outcome.
        outcome: Outcome,
    },
    /// In the background: release the in-memory locks in all ranges where some were taken.
    Release,
}

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Committed; at no timestamp if nothing was written.
    Committed(Option<Timestamp>),
    /// Rolled back, as asked.
    RolledBack,
    /// Rolled back, for this reason.
    Failed(Failure),
    /// Nobody can tell: the cluster can't be reached.
    Ambiguous,
}

/// The commit of one transaction.
#[derive(Debug)]
pub struct Coordinator {
    limits: Limits,
    state: State,
    work: Option<Work>,
    /// Everything to verify was verified up to here.
    verified: Timestamp,
    /// Some prewrite was sent: there may be replicated locks.
    prewritten: bool,
    /// All locks of a plain commit are there; only the record is missing.
    all_placed: bool,
    /// A one-phase command that chooses its own timestamp was sent.
    chosen_there: bool,
    attempts: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Open,
    OnePhase,
    Prewriting,
    Drawing,
    Refreshing { to: Timestamp },
    Deciding(Why),
    Ended,
}

/// Why the primary is asked, which says what a rollback there means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// A plain commit.
    Commit,
    /// An answer was lost; rolling back for this reason unless it was committed.
    Rescue(Failure),
}

impl Coordinator {
    /// For a transaction that has not begun to commit.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Coordinator {
            limits,
            state: State::Open,
            work: None,
            verified: Timestamp::ZERO,
            prewritten: false,
            all_placed: false,
            chosen_there: false,
            attempts: 0,
        }
    }

    /// Whether the client has its answer.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether replicated locks may exist: the driver sends heartbeats, and a restart needs a new id.
    #[must_use]
    pub fn has_prewritten(&self) -> bool {
        self.prewritten
    }

    /// Advances by one input and returns what the driver must do, in order.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        match (state, input) {
            // A split between routing and evaluation: the command was not executed, so begin anew.
            (State::Open | State::OnePhase, Input::Commit(work)) => self.begin(work),
            (State::Open, Input::Rollback) => {
                vec![Effect::Release, Effect::Answer(Answer::RolledBack)]
            }

            (State::OnePhase, Input::OnePhase(Reply::Done(at))) => {
                vec![Effect::Answer(Answer::Committed(Some(at))), Effect::Release]
            }
            (State::Prewriting, Input::Prewritten(Reply::Done(min))) => self.placed(min),
            (State::OnePhase, Input::OnePhase(Reply::TooLow))
            | (State::Prewriting, Input::Prewritten(Reply::TooLow)) => self.draw(),
            (State::OnePhase, Input::OnePhase(Reply::Failed(failure)))
            | (State::Prewriting, Input::Prewritten(Reply::Failed(failure))) => self.fail(failure),
            (State::OnePhase, Input::OnePhase(Reply::Unknown(failure)))
            | (State::Prewriting, Input::Prewritten(Reply::Unknown(failure))) => {
                self.rescue(failure)
            }
            // What is out may still be carried out, and then it is the commit.
            (State::OnePhase | State::Prewriting, Input::Rollback) => {
                self.rescue(Failure::RolledBack)
            }

            (State::Drawing, Input::Drawn(to)) => {
                self.state = State::Refreshing { to };
                vec![Effect::Refresh { to }]
            }
            (State::Refreshing { to }, Input::Refreshed(Ok(()))) => {
                self.verified = to;
                if self.work.as_ref().is_some_and(|work| work.primary.is_none()) {
                    return vec![Effect::Answer(Answer::Committed(None)), Effect::Release];
                }
                self.attempt()
            }
            (State::Refreshing { .. }, Input::Refreshed(Err(failure))) => self.give_up(failure),
            (State::Drawing | State::Refreshing { .. }, Input::Rollback) => {
                self.give_up(Failure::RolledBack)
            }

            (State::Deciding(why), Input::Decided(decided)) => self.decided(why, decided),
            // The decision is on its way; it can't be taken back.
            (State::Deciding(why), Input::Rollback) => {
                self.state = State::Deciding(why);
                vec![]
            }

            // Answers that were overtaken: by a rollback, or by the end.
            (
                state @ (State::Ended | State::Deciding(Why::Rescue(_))),
                Input::OnePhase(_)
                | Input::Prewritten(_)
                | Input::Drawn(_)
                | Input::Refreshed(_)
                | Input::Decided(_)
                | Input::Rollback,
            ) => {
                self.state = state;
                vec![]
            }

            (state, input) => panic!("a coordinator that is {state:?} was given {input:?}"),
        }
    }

    fn begin(&mut self, work: Work) -> Vec<Effect> {
        if work.primary.is_none() {
            return self.begin_without_writes(work);
        }
        if self.work.is_none() {
            // Snapshot reads hold at the snapshot; a lock may have been lost since it was taken.
            self.verified = if work.locked_only { Timestamp::ZERO } else { work.read_ts };
        }
        self.work = Some(work);
        self.attempt()
    }

    /// Snapshot reads hold by themselves. What was read under a lock did not raise the read cache, so that
    /// somebody could commit below the snapshot once the lock is gone; and the lock may have been lost.
    fn begin_without_writes(&mut self, work: Work) -> Vec<Effect> {
        if !work.locked_only {
            self.state = State::Ended;
            return vec![Effect::Answer(Answer::Committed(None)), Effect::Release];
        }
        let to = work.read_ts;
        self.state = State::Refreshing { to };
        self.work = Some(work);
        vec![Effect::Refresh { to }]
    }

    /// Sends the writes, or first finds the timestamp for them.
    fn attempt(&mut self) -> Vec<Effect> {
        let work = self.work.as_ref().expect("committing");
        let exact = match work.placement {
            // The range verifies all by itself, and chooses the timestamp, unless the one it would
            // choose has not been issued yet.
            Placement::OneRange => (self.attempts > 0).then_some(self.verified),
            Placement::OneRangeReadsElsewhere | Placement::ManyRanges => {
                (work.reads || work.locked_only).then_some(self.verified)
            }
        };
        if exact == Some(Timestamp::ZERO) {
            return self.first_verification();
        }
        if work.placement != Placement::ManyRanges {
            self.state = State::OnePhase;
            self.chosen_there |= exact.is_none();
            return vec![Effect::OnePhase { exact }];
        }
        if self.all_placed {
            // Locks at a lower timestamp are as good in a plain commit: the record says where.
            let at = exact.unwrap_or(self.verified);
            return self.decide(Outcome::Commit(at), Why::Commit);
        }
        self.prewritten = true;
        self.state = State::Prewriting;
        vec![Effect::Prewrite { primary: self.primary(), parallel: self.parallel(), exact }]
    }

    /// Verifies locked rows. Snapshot reads make the snapshot the first candidate; without them the
    /// newest timestamp is the one that will most likely be accepted.
    fn first_verification(&mut self) -> Vec<Effect> {
        let work = self.work.as_ref().expect("committing");
        if !work.reads {
            return self.draw();
        }
        let to = work.read_ts;
        self.state = State::Refreshing { to };
        vec![Effect::Refresh { to }]
    }

    fn draw(&mut self) -> Vec<Effect> {
        self.attempts += 1;
        if self.attempts > ATTEMPTS_MAX {
            return self.give_up(Failure::Contended);
        }
        self.state = State::Drawing;
        vec![Effect::Draw]
    }

    /// All locks are there.
    fn placed(&mut self, min: Timestamp) -> Vec<Effect> {
        let work = self.work.as_ref().expect("committing");
        let at = if work.reads || work.locked_only {
            assert!(min <= self.verified, "locks at {min} lie above what was verified");
            self.verified
        } else {
            min.max(work.read_ts)
        };
        if self.parallel() {
            return self.committed(at);
        }
        self.all_placed = true;
        self.decide(Outcome::Commit(at), Why::Commit)
    }

    fn decide(&mut self, outcome: Outcome, why: Why) -> Vec<Effect> {
        self.state = State::Deciding(why);
        vec![Effect::Decide { primary: self.primary(), outcome }]
    }

    fn decided(&mut self, why: Why, decided: Decided) -> Vec<Effect> {
        match (why, decided) {
            (_, Decided::Is(Outcome::Commit(at))) => self.committed(at),
            (Why::Commit, Decided::Is(Outcome::Rollback)) => self.fail(Failure::Gone),
            (Why::Rescue(failure), Decided::Is(Outcome::Rollback)) => self.fail(failure),
            (Why::Commit, Decided::TooLow(min)) => {
                let work = self.work.as_ref().expect("committing");
                if work.reads || work.locked_only {
                    return self.draw();
                }
                self.decide(Outcome::Commit(min), Why::Commit)
            }
            (Why::Rescue(_), Decided::TooLow(min)) => panic!("a rollback was refused below {min}"),
            (_, Decided::Unknown) => {
                self.state = State::Ended;
                vec![Effect::Answer(Answer::Ambiguous), Effect::Release]
            }
        }
    }

    fn committed(&mut self, at: Timestamp) -> Vec<Effect> {
        self.state = State::Ended;
        let mut effects = vec![Effect::Answer(Answer::Committed(Some(at)))];
        if self.prewritten {
            effects.push(Effect::Finish { primary: self.primary(), outcome: Outcome::Commit(at) });
        }
        effects.push(Effect::Release);
        effects
    }

    /// Ends as rolled back, when nobody can have taken the transaction for committed.
    fn fail(&mut self, failure: Failure) -> Vec<Effect> {
        self.state = State::Ended;
        let answer = match failure {
            Failure::RolledBack => Answer::RolledBack,
            failure => Answer::Failed(failure),
        };
        let mut effects = vec![Effect::Answer(answer)];
        if self.prewritten {
            effects.push(Effect::Finish { primary: self.primary(), outcome: Outcome::Rollback });
        }
        effects.push(Effect::Release);
        effects
    }

    /// Some range refused or nothing was sent, so nobody can take it for committed; but for a late copy of
    /// a command whose refusal would not be repeated.
    fn give_up(&mut self, failure: Failure) -> Vec<Effect> {
        if self.chosen_there { self.rescue(failure) } else { self.fail(failure) }
    }

    /// Ends as rolled back, unless it turns out to be committed (C4).
    fn rescue(&mut self, failure: Failure) -> Vec<Effect> {
        self.decide(Outcome::Rollback, Why::Rescue(failure))
    }

    fn primary(&self) -> Key {
        let work = self.work.as_ref().expect("committing");
        work.primary.clone().expect("something was written")
    }

    fn parallel(&self) -> bool {
        let work = self.work.as_ref().expect("committing");
        work.keys <= self.limits.parallel_keys && work.bytes <= self.limits.parallel_bytes
    }
}
