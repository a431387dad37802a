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
//! One file per group of requests: [`read`](self) Get and Scan; `lock` LockKeys and ReleaseLocks;
//! `lock_spans` LockSpans; `commit` CommitOnePhase; `prewrite`; `verify` Refresh and the read spans of a
//! commit; `settle` Resolve, EndTxn, QueryTxn, CheckKeys, Heartbeat; `load` many new rows that nobody else
//! looks at; `collect` garbage collection (Collect, Clear), `garbage` when it is worth it. Besides: `command`
//! what is proposed and what follows from it; `waits` who is parked, for what and how long; `close` closed
//! timestamps; `outside` what happens besides requests; `hand_over` what a leader tells its heir; `look` what
//! others may see.
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
mod command;
mod commit;
mod common;
mod config;
mod effect;
mod garbage;
mod hand_over;
mod load;
mod lock;
mod lock_spans;
mod look;
mod outside;
mod prewrite;
mod read;
mod settle;
mod verify;
mod waits;

use std::collections::{BTreeMap, VecDeque};

use base::{Key, KeyRange, NodeId, Timestamp, TxnId};
use proto::kv;
use storage::EngineRead;
use txn::latches::Latches;
use txn::lock_table::{LockTable, Place};
use txn::read_cache::ReadCache;

use collect::Pass;
use command::{After, Command, Proposal, Step};
use common::{Ended, Refusal, error_response};
use garbage::Garbage;
use waits::Parked;

pub use close::read_closed;
pub use collect::{carry_gc_point, gc_point};
pub use config::Config;
pub use effect::{Effect, ForeignLock, Micros, ProposalId, Token};
pub use lock::{strength_in, strength_out};
pub use look::{LockRow, lock_infos};

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
    lock_waits: BTreeMap<(Place, TxnId), Vec<Token>>,
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

    /// When [`Evaluator::tick`] wants to be called next; never, for a quiet range.
    #[must_use]
    pub fn next_tick(&self) -> Option<Micros> {
        self.next_tick
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
            Some(Request::LockSpans(lock)) => self.lock_spans(engine, now, txn, lock, &mut work),
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
}
