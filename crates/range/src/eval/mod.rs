//! How the leader of a range carries out transactional requests: answer, propose, or wait.
//!
//! Pure: one [`Evaluator`] per leader replica, given requests, the engine's present state, applied
//! proposals and the time; it answers with [`Effect`]s. It is created when the leader's lease is valid
//! and everything of earlier terms is applied, and dropped ([`Evaluator::step_down`]) when it is not.
//!
//! ```text
//!   request ──▶ evaluate ──▶ Respond                      reads, locks, refusals
//!                  │  ▲
//!                  │  └── woken: command ended, lock granted, lock of another settled
//!                  ├──▶ parked: latch, lock, another's replicated lock
//!                  └──▶ Propose ── applied ──▶ Respond, release, wake
//! ```
//!
//! A parked request holds locks, never latches, and is evaluated anew when it is woken; every evaluation
//! is idempotent.
//!
//! # Who does what
//!
//! One file per group of requests: [`read`](self) Get and Scan; `lock` LockKeys; `commit` CommitOnePhase;
//! `prewrite`; `verify` Refresh and the read spans of a commit; `settle` Resolve, EndTxn, QueryTxn,
//! CheckKeys, Heartbeat; `load` many new rows that nobody else looks at; `collect` garbage collection
//! (Collect, Clear), `garbage` when it is worth it; `close` closed timestamps; `waits` who is parked, for
//! what and how long.
//!
//! # Invariants (docs/transactions.md, section 12)
//!
//! - **E1** No version is added at or below a timestamp at which its key was read by somebody else, or
//!   that was closed; `load` relies on its sender for that.
//! - **E2** What a command in flight writes, no other command reads at or above, or writes.
//! - **E3** A replicated lock of another transaction is never overwritten.
//! - **E4** Every request is answered exactly once, at the latest by `step_down`.
//! - **E5** A parked request waits for something that exists and that will wake it.
//!
//! Scripts: `scripts/eval/`. Property test against a serial model: `tests/eval_model.rs`.

mod close;
mod collect;
mod commit;
mod common;
mod garbage;
mod load;
mod lock;
mod prewrite;
mod read;
mod settle;
mod verify;
mod waits;

use std::collections::{BTreeMap, VecDeque};

use base::{Key, KeyRange, NodeId, Timestamp, TxnId};
use proto::kv;
use storage::{EngineRead, WriteBatch};
use txn::latches::{CommandId, Latches};
use txn::lock_table::{Grant, LockTable, Obstacle, Strength};
use txn::read_cache::ReadCache;
use txn::{Owner, Rules};

use collect::Pass;
use common::{Ended, Refusal, error_response};
use garbage::Garbage;
use waits::{Parked, Wait};

pub use close::read_closed;
pub use collect::{carry_gc_point, gc_point};
pub use lock::strength_out;

/// Names a request: whoever asked gets the response with it. Chosen by the driver, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names a proposal of one evaluator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// Microseconds of the monotonic clock.
pub type Micros = u64;

/// What the driver must do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send the answer to whoever asked. A read's answer only if the lease still holds now.
    Respond {
        /// Who asked.
        token: Token,
        /// The answer.
        response: kv::RangeResponse,
    },
    /// Put the batch into the range's log, behind those proposed before; then call
    /// [`Evaluator::applied`] when it is in the engine, or [`Evaluator::failed`] when it never will be.
    Propose {
        /// Its name.
        proposal: ProposalId,
        /// What to apply.
        batch: WriteBatch,
    },
    /// Tell a coordinator that one of its requests waits, and for whom.
    Notice {
        /// The coordinator's node.
        to: NodeId,
        /// What it is told. `range_id` is for the driver to fill in.
        notice: kv::WaitNotice,
    },
    /// Find out what has become of another's lock (`txn::settle`), and end it here: by a Resolve request,
    /// or by [`Evaluator::pushed`].
    Settle(ForeignLock),
}

/// A replicated lock in somebody's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignLock {
    /// Where it was met.
    pub key: Key,
    /// Whose it is.
    pub owner: Owner,
    /// Where its transaction is decided.
    pub primary: Key,
    /// Part of a parallel commit: can't be pushed.
    pub parallel: bool,
    /// The transaction commits here or above.
    pub min_commit: Timestamp,
    /// A reader wants it above this; zero if a writer or locker waits for its end.
    pub push_above: Timestamp,
}

/// Limits and patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Holders and waiters in the lock table.
    pub lock_claims_max: usize,
    /// Requests waiting for anything.
    pub parked_max: usize,
    /// Slots of the read cache, 32 bytes each; a quiet range has none.
    pub cache_points_max: usize,
    /// Spans of the read cache.
    pub cache_spans_max: usize,
    /// How often the read cache forgets what is two of these old.
    pub cache_rotate: Micros,
    /// Waiting so long for a lock is told to the coordinator.
    pub notice_after: Micros,
    /// ... and again so often.
    pub notice_every: Micros,
    /// Waiting so long for a replicated lock starts its settlement, unless the coordinator is gone.
    pub settle_after: Micros,
    /// ... and again so often.
    pub settle_every: Micros,
    /// How long a commit or refresh waits for a replicated lock in what it verifies, and NOWAIT for one
    /// that is about to be settled.
    pub brief_wait: Micros,
    /// A transaction that shows no sign of life for so long is rolled back by who meets its locks, if no
    /// lock says otherwise.
    pub lock_ttl: Micros,
    /// Bytes of deletions in one step of garbage collection.
    pub collect_bytes: usize,
    /// Versions looked at in one step of garbage collection.
    pub collect_examined: usize,
    /// The rules of safety, for simulations that switch one off.
    pub rules: Rules,
    /// How far closed timestamps stay behind what the oracle has issued, in milliseconds of its clock. A
    /// transaction that runs longer commits above what was closed meanwhile.
    pub close_lag_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            lock_claims_max: 1_000_000,
            parked_max: 10_000,
            cache_points_max: 1 << 15,
            cache_spans_max: 4096,
            cache_rotate: 5_000_000,
            notice_after: 20_000,
            notice_every: 100_000,
            settle_after: 50_000,
            settle_every: 500_000,
            brief_wait: 100_000,
            lock_ttl: 3_000_000,
            collect_bytes: 1 << 20,
            collect_examined: 100_000,
            rules: Rules::ALL,
            close_lag_ms: 3_000,
        }
    }
}

/// Carries out the transactional requests to one range on its leader.
#[derive(Debug)]
pub struct Evaluator {
    span: KeyRange,
    config: Config,
    locks: LockTable,
    cache: ReadCache,
    latches: Latches<Token>,
    proposals: BTreeMap<ProposalId, Proposal>,
    next_proposal: u64,
    parked: BTreeMap<Token, Parked>,
    /// Who is parked for a lock that the lock table will grant.
    lock_waits: BTreeMap<(Key, TxnId), Vec<Token>>,
    /// Who is parked until another's replicated lock on a key is settled.
    foreign_waits: BTreeMap<Key, Vec<Token>>,
    /// Woken, to be evaluated anew.
    ready: VecDeque<Token>,
    /// How many replicated locks lie in the span; unknown at first, and if there are very many.
    replicated: Replicated,
    /// Transactions that were pushed: they commit at or above this.
    pushed: BTreeMap<TxnId, Timestamp>,
    /// When a transaction whose primary lies here last showed a sign of life.
    heartbeats: BTreeMap<TxnId, Micros>,
    /// Processes known to have ended: up to which incarnation.
    gone: BTreeMap<NodeId, u64>,
    ended: Ended,
    /// The highest timestamp that the oracle is known to have issued.
    issued: Timestamp,
    settling: BTreeMap<TxnId, Micros>,
    /// Nothing is placed at or below it any more.
    closed: Timestamp,
    gc_point: Option<Timestamp>,
    garbage: Garbage,
    /// A pass of garbage collection that is not through.
    pass: Option<Pass>,
    rotated_at: Micros,
    next_tick: Option<Micros>,
}

/// Knowledge of the replicated locks in the span, which spares reads looking for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replicated {
    /// Not counted yet.
    Unknown,
    /// So many.
    Count(usize),
    /// Too many to count: look every time.
    Many,
}

/// A command in flight.
#[derive(Debug)]
struct Proposal {
    token: Token,
    response: kv::RangeResponse,
    after: After,
}

/// What a command changes in memory once it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
enum After {
    /// Committed in one phase: the transaction is over in this range.
    Ended(TxnId),
    /// Locks are placed, `new` of them where there was none.
    Placed { txn: TxnId, keys: Vec<Key>, new: usize },
    /// Locks on these keys are gone, `removed` of them replicated ones.
    Settled { txn: TxnId, keys: Vec<Key>, removed: usize },
    /// Nothing.
    Nothing,
    /// Nothing: garbage is gone.
    Collected,
}

/// How an evaluation ends.
enum Step {
    /// With an answer.
    Done(kv::range_response::Response),
    /// With a change to replicate.
    Propose(Command),
    /// Not yet.
    Wait(Wait),
}

/// A change to replicate.
struct Command {
    batch: WriteBatch,
    /// Latched until it is applied.
    keys: Vec<Key>,
    /// Reads from here on wait for it.
    commits_from: Timestamp,
    response: kv::range_response::Response,
    after: After,
}

impl Evaluator {
    /// For a leader whose lease has begun. `low_water` was drawn from the oracle after that, so that no
    /// read by an earlier leader is forgotten.
    #[must_use]
    pub fn new(span: KeyRange, low_water: Timestamp, config: Config) -> Self {
        Evaluator {
            span,
            locks: LockTable::new(config.lock_claims_max),
            cache: ReadCache::new(low_water, config.cache_points_max, config.cache_spans_max),
            latches: Latches::new(),
            proposals: BTreeMap::new(),
            next_proposal: 1,
            parked: BTreeMap::new(),
            lock_waits: BTreeMap::new(),
            foreign_waits: BTreeMap::new(),
            ready: VecDeque::new(),
            replicated: Replicated::Unknown,
            pushed: BTreeMap::new(),
            heartbeats: BTreeMap::new(),
            gone: BTreeMap::new(),
            ended: Ended::default(),
            issued: low_water,
            settling: BTreeMap::new(),
            closed: Timestamp::ZERO,
            gc_point: None,
            garbage: Garbage::new(low_water),
            pass: None,
            rotated_at: 0,
            next_tick: None,
            config,
        }
    }

    /// Takes a request, with keys inside the span. It is answered by an [`Effect::Respond`], now or
    /// later; reads without conflict now.
    pub fn request(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        token: Token,
        request: kv::RangeRequest,
        out: &mut Vec<Effect>,
    ) {
        if now >= self.rotated_at + self.config.cache_rotate {
            self.rotated_at = now;
            self.cache.rotate();
            self.wants_tick(now + self.config.cache_rotate);
        }
        self.evaluate(engine, now, token, Parked::new(request, now), out);
        self.run_ready(engine, now, out);
    }

    /// A proposal's batch is in the engine.
    pub fn applied(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        proposal: ProposalId,
        out: &mut Vec<Effect>,
    ) {
        let Some(Proposal { token, response, after }) = self.proposals.remove(&proposal) else {
            return;
        };
        self.carry_out(now, after);
        out.push(Effect::Respond { token, response });
        self.end_command(proposal);
        self.run_ready(engine, now, out);
    }

    /// A proposal will never be in the engine; its request is answered with `error`.
    pub fn failed(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        proposal: ProposalId,
        error: kv::kv_error::Error,
        out: &mut Vec<Effect>,
    ) {
        let Some(Proposal { token, .. }) = self.proposals.remove(&proposal) else { return };
        out.push(Effect::Respond { token, response: error_response(error) });
        self.end_command(proposal);
        self.run_ready(engine, now, out);
    }

    /// The lease has ended: answers everything pending. Commands in flight may be applied or not, so
    /// their requests get `ambiguous`; all others were not carried out and get `error` (not leader).
    pub fn step_down(&mut self, error: &kv::kv_error::Error, out: &mut Vec<Effect>) {
        for (_, proposal) in std::mem::take(&mut self.proposals) {
            let ambiguous = kv::kv_error::Error::Ambiguous(kv::Ambiguous {
                reason: "the range changed its leader".into(),
            });
            let response = error_response(ambiguous);
            out.push(Effect::Respond { token: proposal.token, response });
        }
        for (token, _) in std::mem::take(&mut self.parked) {
            out.push(Effect::Respond { token, response: error_response(error.clone()) });
        }
        let span = self.span.clone();
        *self = Evaluator::new(span, Timestamp::MAX.prev(), self.config.clone());
    }

    /// A process has ended, `incarnation` of the node's or an earlier one: what its transactions hold in
    /// memory is free, and their replicated locks are settled without patience.
    pub fn node_gone(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        node: NodeId,
        incarnation: u64,
        out: &mut Vec<Effect>,
    ) {
        self.know_gone(node, incarnation);
        self.node_silent(engine, now, node, incarnation, out);
    }

    /// For a leader that begins: this process had ended before.
    pub fn know_gone(&mut self, node: NodeId, incarnation: u64) {
        let known = self.gone.entry(node).or_default();
        *known = (*known).max(incarnation);
    }

    /// A process was silent for long: what its transactions hold in memory is free. It may be heard
    /// again, so its replicated locks are settled with the usual patience, and its later requests are
    /// taken.
    pub fn node_silent(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        node: NodeId,
        incarnation: u64,
        out: &mut Vec<Effect>,
    ) {
        let mut grants = Vec::new();
        let gone = self.locks.release_coordinator(node, incarnation, &mut grants);
        for txn in gone {
            self.ended.add(txn);
            self.refuse_parked_of(txn, "its coordinator is gone", out);
        }
        self.wake_granted(grants);
        self.run_ready(engine, now, out);
        if !self.parked.is_empty() {
            self.wants_tick(now);
        }
    }

    /// A transaction that others wait for here was pushed: it commits at or above `min_commit`.
    pub fn pushed(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        txn: TxnId,
        min_commit: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        const PUSHED_MAX: usize = 10_000;
        let known = self.pushed.entry(txn).or_default();
        *known = (*known).max(min_commit);
        if self.pushed.len() > PUSHED_MAX {
            self.pushed.pop_first();
        }
        for tokens in std::mem::take(&mut self.foreign_waits).into_values() {
            self.ready.extend(tokens);
        }
        self.run_ready(engine, now, out);
    }

    /// When [`Evaluator::tick`] wants to be called next; never, for a quiet range.
    #[must_use]
    pub fn next_tick(&self) -> Option<Micros> {
        self.next_tick
    }

    /// The range now ends at `at`: returns an evaluator for the rest, with its locks and reads. That one
    /// may be used by the replica that leads the new range only if no other replica has led it before.
    /// Requests that wait here and touch the rest are refused; the driver fails commands in flight that
    /// were ordered behind the split.
    pub fn split(&mut self, at: &Key, out: &mut Vec<Effect>) -> Evaluator {
        let rest = KeyRange { start: at.clone(), end: self.span.end.clone() };
        self.span.end = at.clone();
        let mut right = Evaluator::new(rest, Timestamp::ZERO, self.config.clone());
        self.refuse_parked_outside(out);
        right.locks = self.locks.split_off(at);
        right.cache = self.cache.split_off(at);
        right.gone = self.gone.clone();
        right.pushed = self.pushed.clone();
        right.closed = self.closed;
        right.issued = self.issued;
        right.gc_point = self.gc_point;
        right.garbage = self.garbage.split();
        self.replicated = Replicated::Unknown;
        self.pass = None;
        right
    }

    /// Raises the low-water mark: for an evaluator that comes from a split and is to serve now.
    pub fn raise_low_water(&mut self, to: Timestamp) {
        self.cache.raise_low_water(to);
        self.note_issued(to);
    }

    /// Every holder of and waiter for a lock, for people to look at.
    pub fn lock_rows(&self) -> impl Iterator<Item = LockRow> + '_ {
        self.locks.rows().map(|(key, owner, strength, granted)| LockRow {
            key: key.clone(),
            owner,
            strength,
            granted,
        })
    }

    /// Since when a transaction waits for a key, if it does, and for whom.
    #[must_use]
    pub fn wait_of(&self, key: &Key, txn: TxnId) -> Option<(Micros, Vec<Obstacle>)> {
        let tokens = self.lock_waits.get(&(key.clone(), txn))?;
        let since =
            tokens.iter().filter_map(|t| self.parked.get(t)).map(|work| work.since).min()?;
        Some((since, self.locks.blockers(key.as_bytes(), txn)))
    }

    /// Requests waiting, and commands in flight, for metrics.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        (self.parked.len(), self.proposals.len())
    }

    /// Asserts E4, E5 and the invariants of the parts. For tests and simulation.
    pub fn check_invariants(&self) {
        self.locks.check_invariants();
        self.cache.check_invariants();
        self.latches.check_invariants();
        assert!(self.ready.is_empty(), "E5: {:?} were woken and not evaluated", self.ready);
        self.check_waits();
    }

    /// Evaluates until there is an answer, a proposal, or something to wait for.
    fn evaluate(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        token: Token,
        mut work: Parked,
        out: &mut Vec<Effect>,
    ) {
        use kv::range_request::Request;
        // Taken out so that the request can be read while the evaluator changes.
        let request = std::mem::take(&mut work.request);
        let txn = request.txn.as_ref();
        let step = match request.request.as_ref() {
            Some(Request::Get(get)) => self.get(engine, txn, get),
            Some(Request::Scan(scan)) => self.scan(engine, txn, scan),
            Some(Request::LockKeys(lock)) => self.lock_keys(engine, now, txn, lock, &mut work),
            Some(Request::CommitOnePhase(commit)) => {
                self.commit_one_phase(engine, txn, commit, &work)
            }
            Some(Request::Prewrite(prewrite)) => self.prewrite(engine, txn, prewrite),
            Some(Request::Refresh(refresh)) => self.refresh(engine, txn, refresh, &work),
            Some(Request::Resolve(resolve)) => self.resolve(engine, resolve),
            Some(Request::EndTxn(end)) => self.end_txn(engine, end),
            Some(Request::QueryTxn(query)) => self.query_txn(engine, now, query),
            Some(Request::CheckKeys(check)) => self.check_keys(engine, check),
            Some(Request::Heartbeat(beat)) => self.heartbeat(engine, now, txn, beat),
            Some(Request::ReleaseLocks(release)) => self.release_locks(txn, release, out),
            Some(Request::Load(load)) => self.load_rows(engine, txn, load),
            Some(Request::Clear(clear)) => self.clear(engine, clear),
            Some(Request::Collect(collect)) => self.collect(engine, collect),
            _ => Err(Refusal::invalid("not a request of a transaction")),
        };
        work.request = request;
        match step {
            Ok(Step::Done(response)) => {
                let response = kv::RangeResponse { error: None, response: Some(response) };
                out.push(Effect::Respond { token, response });
            }
            Ok(Step::Propose(command)) => self.propose(token, command, out),
            Ok(Step::Wait(wait)) => self.park(engine, now, token, work, wait, out),
            Err(Refusal(error)) => {
                out.push(Effect::Respond { token, response: error_response(*error) });
            }
        }
    }

    fn propose(&mut self, token: Token, command: Command, out: &mut Vec<Effect>) {
        let proposal = ProposalId(self.next_proposal);
        self.next_proposal += 1;
        let Command { batch, keys, commits_from, response, after } = command;
        if after != After::Collected {
            let lands = if commits_from == Timestamp::MAX { self.issued } else { commits_from };
            self.garbage.written(batch.byte_size() as u64, lands.max(self.issued));
        }
        self.latches.begin(CommandId(proposal.0), keys, commits_from);
        let response = kv::RangeResponse { error: None, response: Some(response) };
        self.proposals.insert(proposal, Proposal { token, response, after });
        out.push(Effect::Propose { proposal, batch });
    }

    fn end_command(&mut self, proposal: ProposalId) {
        for token in self.latches.end(CommandId(proposal.0)) {
            self.ready.push_back(token);
        }
    }

    /// Evaluates who was woken, oldest wake first. Waking more on the way is fine: each evaluation that
    /// wakes somebody has ended something.
    fn run_ready(&mut self, engine: &dyn EngineRead, now: Micros, out: &mut Vec<Effect>) {
        while let Some(token) = self.ready.pop_front() {
            if let Some(mut work) = self.parked.remove(&token) {
                work.wait = None;
                self.evaluate(engine, now, token, work, out);
            }
        }
    }

    /// Changes in memory what a command, now applied, has changed in the data.
    fn carry_out(&mut self, now: Micros, after: After) {
        let mut grants = Vec::new();
        match after {
            After::Nothing | After::Collected => {}
            After::Ended(txn) => {
                self.ended.add(txn);
                self.wake_waits_of(txn);
                self.locks.release_txn(txn, &mut grants);
            }
            After::Placed { txn, keys, new } => {
                self.add_replicated(new);
                for key in &keys {
                    self.locks.mark_replicated(key, txn);
                }
                self.heartbeats.insert(txn, now);
            }
            After::Settled { txn, keys, removed } => {
                self.remove_replicated(removed);
                self.settle_keys(txn, &keys, &mut grants);
            }
        }
        self.wake_granted(grants);
    }

    /// A transaction is decided, and its locks on some keys are over, in the data and in memory.
    fn settle_keys(&mut self, txn: TxnId, keys: &[Key], grants: &mut Vec<Grant>) {
        self.ended.add(txn);
        self.wake_waits_of(txn);
        for key in keys {
            self.locks.release(key.as_bytes(), txn, grants);
            if let Some(tokens) = self.foreign_waits.remove(key.as_bytes()) {
                self.ready.extend(tokens);
            }
        }
        self.settling.remove(&txn);
    }
}

/// One line of the lock table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRow {
    /// The key.
    pub key: Key,
    /// Who.
    pub owner: Owner,
    /// What it holds, or wishes.
    pub strength: Strength,
    /// Holds it, or waits.
    pub granted: bool,
}
