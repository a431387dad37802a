//! Who is parked, for what and how long.
//!
//! ```text
//!   latch      until a command in flight ends                 always soon
//!   lock       until the lock table grants a key or span      notices to the coordinator after 20 ms,
//!   foreign    until another's replicated lock is settled     settlement of replicated locks after 50
//! ```
//!
//! A transaction never dies because it waits: what ends a wait early is its own lock timeout, and for
//! verification the brief wait of `verify`. Deadlocks are the coordinators' to find, from the notices.
//!
//! A wait is registered with what will end it; waking removes the registration and puts the token among
//! the ready. So a token is among the ready, or registered once, or neither parked (E5).

use base::{Key, NodeId, Timestamp, TxnId};
use proto::kv::{self, kv_error::Error, range_request::Request};
use storage::{EngineRead, mvcc};
use txn::latches::CommandId;
use txn::lock_table::{Grant, Obstacle, Place, Strength};

use super::common::{Refusal, error_response, foreign_lock, meta_of, reader_of};
use super::lock::{conflict, strength_out};
use super::{Effect, Evaluator, ForeignLock, Micros, Token};
use crate::route::is_inside;

/// A notice names so many: who waits for a span may wait for all that are writing there.
const BLOCKERS_MAX: usize = 64;

/// What a parked request waits for.
#[derive(Debug, Clone)]
pub(super) enum Wait {
    /// A command in flight.
    Latch(CommandId),
    /// A key or span in the lock table.
    Lock(Place),
    /// Another's replicated lock, met by a read.
    Foreign(Box<ForeignLock>),
}

/// A request being evaluated or parked, with the progress it has made.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) request: kv::RangeRequest,
    pub(super) since: Micros,
    /// LockKeys: the order in which keys are taken, how many were, and which were skipped.
    pub(super) order: Vec<u32>,
    pub(super) next: usize,
    pub(super) skipped: Vec<bool>,
    /// When to stop waiting.
    pub(super) deadline: Option<Micros>,
    /// The brief wait is over: refuse or skip instead of waiting.
    pub(super) impatient: bool,
    pub(super) wait: Option<Wait>,
    /// It has waited at least once.
    pub(super) was_parked: bool,
    waiting_since: Micros,
    noticed: Option<Micros>,
}

impl Parked {
    pub(super) fn new(request: kv::RangeRequest, now: Micros) -> Self {
        Parked {
            request,
            since: now,
            order: Vec::new(),
            next: 0,
            skipped: Vec::new(),
            deadline: None,
            impatient: false,
            wait: None,
            was_parked: false,
            waiting_since: now,
            noticed: None,
        }
    }

    fn txn(&self) -> TxnId {
        reader_of(self.request.txn.as_ref())
    }

    /// Whether it is the transaction's own doing, and pointless once the transaction is over. Settling
    /// what it leaves behind is not.
    fn ends_with_txn(&self) -> bool {
        matches!(
            self.request.request,
            Some(
                Request::Get(_)
                    | Request::Scan(_)
                    | Request::LockKeys(_)
                    | Request::LockSpans(_)
                    | Request::CommitOnePhase(_)
                    | Request::Prewrite(_)
                    | Request::Refresh(_)
            )
        )
    }

    fn verifies(&self) -> bool {
        matches!(self.request.request, Some(Request::CommitOnePhase(_) | Request::Refresh(_)))
    }
}

impl Evaluator {
    pub(super) fn park(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        token: Token,
        mut work: Parked,
        wait: Wait,
        out: &mut Vec<Effect>,
    ) {
        match &wait {
            Wait::Latch(command) => self.latches.park(*command, token),
            Wait::Lock(place) => {
                self.lock_waits.entry((place.clone(), work.txn())).or_default().push(token);
            }
            Wait::Foreign(lock) => {
                self.foreign_waits.entry(lock.key.clone()).or_default().push(token);
                if work.verifies() && !work.impatient {
                    work.deadline = Some(now + self.config.brief_wait);
                }
            }
        }
        work.was_parked = true;
        work.waiting_since = now;
        work.noticed = None;
        if self.parked.len() >= self.config.parked_max {
            self.unregister(token, work.txn(), &wait);
            let Refusal(error) = Refusal::overloaded("too many requests wait in this range");
            out.push(Effect::Respond { token, response: error_response(*error) });
            return;
        }
        work.wait = Some(wait);
        self.settle_if_due(engine, now, &work, out);
        self.wants_tick(now + self.config.notice_after.min(self.config.settle_after));
        if let Some(deadline) = work.deadline {
            self.wants_tick(deadline);
        }
        self.parked.insert(token, work);
    }

    /// Passes time: deadlines, notices, settlement, forgetting.
    pub fn tick(&mut self, engine: &dyn EngineRead, now: Micros, out: &mut Vec<Effect>) {
        self.next_tick = None;
        self.forget(now);
        let due: Vec<Token> = self
            .parked
            .iter()
            .filter(|(_, work)| work.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(&token, _)| token)
            .collect();
        for token in due {
            self.expire(engine, now, token, out);
        }
        self.run_ready(engine, now, out);
        let parked = std::mem::take(&mut self.parked);
        let mut kept = parked;
        for work in kept.values_mut() {
            self.give_notice(now, work, out);
            self.settle_if_due(engine, now, work, out);
            if let Some(deadline) = work.deadline {
                self.wants_tick(deadline);
            }
        }
        if !kept.is_empty() {
            self.wants_tick(now + self.config.notice_after);
        }
        self.parked = kept;
    }

    /// Wakes who was waiting for what the lock table has granted.
    pub(super) fn wake_granted(&mut self, grants: Vec<Grant>) {
        for Grant { place, txn } in grants {
            if let Some(tokens) = self.lock_waits.remove(&(place, txn)) {
                self.ready.extend(tokens);
            }
        }
    }

    /// Wakes what a transaction that is over waits for in the lock table, to be refused: its waits there
    /// are about to end without a grant.
    pub(super) fn wake_waits_of(&mut self, txn: TxnId) {
        for place in self.locks.waits_of(txn) {
            if let Some(tokens) = self.lock_waits.remove(&(place, txn)) {
                self.ready.extend(tokens);
            }
        }
    }

    /// Refuses what a transaction that is over still waits for.
    pub(super) fn refuse_parked_of(&mut self, txn: TxnId, reason: &str, out: &mut Vec<Effect>) {
        if self.parked.is_empty() {
            return;
        }
        let Refusal(error) = Refusal::gone(txn, reason);
        self.refuse(&error, out, |work| work.txn() == txn && work.ends_with_txn());
    }

    /// Refuses what waits here and belongs elsewhere since the range was split.
    pub(super) fn refuse_parked_outside(&mut self, out: &mut Vec<Effect>) {
        let error = Error::WrongRange(kv::WrongRange { ranges: Vec::new() });
        let span = self.span.clone();
        self.refuse(&error, out, |work| !is_inside(&span, &work.request));
    }

    fn refuse(&mut self, error: &Error, out: &mut Vec<Effect>, whom: impl Fn(&Parked) -> bool) {
        let tokens: Vec<Token> =
            self.parked.iter().filter(|(_, work)| whom(work)).map(|(&token, _)| token).collect();
        for token in tokens {
            let work = self.parked.remove(&token).expect("found just now");
            if let Some(wait) = &work.wait {
                self.unregister(token, work.txn(), wait);
            }
            out.push(Effect::Respond { token, response: error_response(error.clone()) });
        }
    }

    /// Ends a wait whose time is up.
    fn expire(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        token: Token,
        out: &mut Vec<Effect>,
    ) {
        // Woken in the meantime by the end of another's wait.
        let Some(mut work) = self.parked.remove(&token) else { return };
        let Some(wait) = work.wait.take() else { return };
        let (holder, wish) = match &wait {
            Wait::Lock(place) => (
                self.locks.blockers(place, work.txn()).into_iter().next(),
                self.locks.wish(place, work.txn()),
            ),
            Wait::Foreign(_) | Wait::Latch(_) => (None, None),
        };
        self.unregister(token, work.txn(), &wait);
        let blocks = match &work.request.request {
            Some(Request::LockKeys(lock)) => lock.wait() == kv::WaitPolicy::Block,
            Some(Request::LockSpans(lock)) => lock.wait() == kv::WaitPolicy::Block,
            Some(_) | None => false,
        };
        if let (true, Some(holder), Some(wish)) = (blocks, holder, wish) {
            let Refusal(error) = conflict(wish, &holder, now - work.since, true);
            out.push(Effect::Respond { token, response: error_response(*error) });
            return;
        }
        work.deadline = None;
        work.impatient = true;
        self.evaluate(engine, now, token, work, out);
    }

    /// Takes a token out of what would wake it. A wait in the lock table ends with its last token.
    fn unregister(&mut self, token: Token, txn: TxnId, wait: &Wait) {
        match wait {
            Wait::Latch(_) => self.latches.unpark(|&parked| parked == token),
            Wait::Lock(place) => {
                let waiter = (place.clone(), txn);
                let Some(tokens) = self.lock_waits.get_mut(&waiter) else { return };
                tokens.retain(|&parked| parked != token);
                if tokens.is_empty() {
                    self.lock_waits.remove(&waiter);
                    let mut grants = Vec::new();
                    self.locks.cancel(place, txn, &mut grants);
                    self.wake_granted(grants);
                }
            }
            Wait::Foreign(lock) => {
                let Some(tokens) = self.foreign_waits.get_mut(lock.key.as_bytes()) else { return };
                tokens.retain(|&parked| parked != token);
                if tokens.is_empty() {
                    self.foreign_waits.remove(lock.key.as_bytes());
                }
            }
        }
    }

    /// Tells the coordinator of a request that has waited for a while whom it waits for.
    fn give_notice(&self, now: Micros, work: &mut Parked, out: &mut Vec<Effect>) {
        let Some(meta) = work.request.txn.as_ref().filter(|meta| meta.id != 0) else { return };
        let due = match work.noticed {
            None => work.waiting_since + self.config.notice_after,
            Some(last) => last + self.config.notice_every,
        };
        let (wish, blockers) = match &work.wait {
            _ if now < due => return,
            Some(Wait::Lock(place)) => {
                let blockers = self.locks.blockers(place, TxnId(meta.id));
                let wish = self.locks.wish(place, TxnId(meta.id));
                (wish.unwrap_or(Strength::Update), blockers)
            }
            // A reader waits for no lock but this one.
            Some(Wait::Foreign(lock)) => {
                let (owner, key) = (lock.owner, lock.key.clone());
                (Strength::KeyShare, vec![Obstacle { owner, strength: Strength::Update, key }])
            }
            Some(Wait::Latch(_)) | None => return,
        };
        work.noticed = Some(now);
        let notice = kv::WaitNotice {
            waiter: meta.id,
            waiter_start_ts: meta.start_ts,
            blockers: blockers.iter().take(BLOCKERS_MAX).map(blocker).collect(),
            range_id: 0,
            wish: strength_out(wish) as i32,
            waited_ms: (now - work.since) / 1000,
        };
        out.push(Effect::Notice { to: NodeId(meta.coordinator), notice });
    }

    /// Has a replicated lock that is waited for settled: after some patience, because most are about to
    /// go by themselves, and at once if the coordinator is gone.
    fn settle_if_due(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        work: &Parked,
        out: &mut Vec<Effect>,
    ) {
        let found = match &work.wait {
            Some(Wait::Foreign(lock)) => (**lock).clone(),
            Some(Wait::Lock(place)) => {
                let Some(key) = self.replicated_in(place, work.txn()) else { return };
                // Damage shows when the lock is evaluated; here it only delays.
                let Ok(Some(lock)) = mvcc::get_lock(engine, key.as_bytes()) else { return };
                foreign_lock(key, &lock, Timestamp::ZERO)
            }
            Some(Wait::Latch(_)) | None => return,
        };
        let owner = found.owner;
        let gone = self.gone.get(&owner.coordinator).is_some_and(|&i| owner.incarnation <= i);
        let due = if gone { now } else { work.waiting_since + self.config.settle_after };
        let last = self.settling.get(&owner.txn);
        if now < due || last.is_some_and(|last| now < last + self.config.settle_every) {
            return;
        }
        self.settling.insert(owner.txn, now);
        out.push(Effect::Settle(found));
    }

    /// The key of a replicated lock that keeps a transaction waiting for a place.
    fn replicated_in(&self, place: &Place, txn: TxnId) -> Option<Key> {
        let is_replicated = |key: &Key| self.locks.replicated_holder(key.as_bytes()).is_some();
        match place {
            Place::Key(key) => is_replicated(key).then(|| key.clone()),
            Place::Span(_) => {
                let blockers = self.locks.blockers(place, txn).into_iter();
                blockers.map(|ahead| ahead.key).find(is_replicated)
            }
        }
    }

    /// Forgets what is old enough to be of no use.
    fn forget(&mut self, now: Micros) {
        const KEEP: Micros = 60_000_000;
        self.heartbeats.retain(|_, last| now < *last + KEEP);
        self.settling.retain(|_, last| now < *last + KEEP);
        if now >= self.rotated_at + self.config.cache_rotate {
            self.rotated_at = now;
            self.cache.rotate();
        }
        if !self.cache.is_empty() {
            self.wants_tick(self.rotated_at + self.config.cache_rotate);
        }
    }

    pub(super) fn wants_tick(&mut self, at: Micros) {
        self.next_tick = Some(self.next_tick.map_or(at, |next| next.min(at)));
    }

    /// Asserts E5.
    pub(super) fn check_waits(&self) {
        for (token, work) in &self.parked {
            let registered = match &work.wait {
                Some(Wait::Latch(command)) => {
                    self.proposals.contains_key(&super::ProposalId(command.0))
                }
                Some(Wait::Lock(place)) => {
                    let waits = !self.locks.blockers(place, work.txn()).is_empty();
                    let waiter = (place.clone(), work.txn());
                    waits && self.lock_waits.get(&waiter).is_some_and(|t| t.contains(token))
                }
                Some(Wait::Foreign(lock)) => self
                    .foreign_waits
                    .get(lock.key.as_bytes())
                    .is_some_and(|tokens| tokens.contains(token)),
                None => false,
            };
            assert!(registered, "E5: nothing will wake {token:?}, which waits for {:?}", work.wait);
        }
        let registered: usize = self.lock_waits.values().map(Vec::len).sum::<usize>()
            + self.foreign_waits.values().map(Vec::len).sum::<usize>()
            + self.latches.parked();
        assert_eq!(registered, self.parked.len(), "E5: registrations of requests long gone");
    }
}

fn blocker(ahead: &Obstacle) -> kv::Blocker {
    let Obstacle { owner, strength, key } = ahead;
    let held = strength_out(*strength) as i32;
    kv::Blocker { txn: Some(meta_of(*owner)), key: key.0.clone(), held }
}
