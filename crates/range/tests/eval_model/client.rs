//! One SERIALIZABLE transaction: a few statements, then a commit driven by the real coordinator.

use std::collections::{BTreeMap, VecDeque};

use base::{Key, NodeId, Timestamp, TxnId};
use bytes::Bytes;
use proto::kv::{self, kv_error::Error, range_request::Request, range_response::Response};
use txn::Owner;
use txn::coordinator::{
    Answer, Coordinator, Decided, Effect, Failure, Input, Limits, Outcome, Placement, Reply, Work,
};

use super::world::{For, KEYS, World, end, key, request, resolve};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Committed(Option<Timestamp>),
    RolledBack,
    Dead,
}

#[derive(Debug, Clone)]
enum Op {
    Read(Key),
    Write(Key, bool),
    LockOnly(Key, bool),
}

#[derive(Debug, Clone, PartialEq)]
enum Purpose {
    Read(Key),
    Lock(Key),
    MoveTo(Timestamp),
    OnePhase,
    Prewrite,
    Refresh,
    Decide,
    FinishEnd(Outcome),
    FinishResolve,
}

#[derive(Debug)]
pub(crate) struct Client {
    at: usize,
    id: u64,
    pub read_ts: Timestamp,
    plan: VecDeque<Op>,
    /// What was seen of a key: the value, as a snapshot read or under a lock.
    pub seen: BTreeMap<Key, Option<Bytes>>,
    snapshot_reads: Vec<Key>,
    /// Version timestamp under the lock.
    locked: BTreeMap<Key, u64>,
    pub writes: BTreeMap<Key, Bytes>,
    coordinator: Option<Coordinator>,
    effects: VecDeque<Effect>,
    outstanding: BTreeMap<u64, (Purpose, bool)>,
    replies: Vec<Reply>,
    next_serial: u64,
    doomed: bool,
    pub fate: Option<Fate>,
}

impl Client {
    pub(crate) fn new(at: usize) -> Self {
        Client {
            at,
            id: 0,
            read_ts: Timestamp::ZERO,
            plan: VecDeque::new(),
            seen: BTreeMap::new(),
            snapshot_reads: Vec::new(),
            locked: BTreeMap::new(),
            writes: BTreeMap::new(),
            coordinator: None,
            effects: VecDeque::new(),
            outstanding: BTreeMap::new(),
            replies: Vec::new(),
            next_serial: 1,
            doomed: false,
            fate: None,
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.id != 0
    }

    pub(crate) fn owner(&self) -> Owner {
        Owner {
            txn: TxnId(self.id),
            start: Timestamp(self.id),
            coordinator: NodeId(self.at as u64 + 1),
            incarnation: 1,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        match &self.fate {
            Some(Fate::Dead) => true,
            Some(_) => self.outstanding.is_empty() && self.effects.is_empty(),
            None => false,
        }
    }

    pub(crate) fn doom(&mut self) {
        self.doomed = true;
    }

    pub(crate) fn die(&mut self) {
        if self.fate.is_none() {
            self.fate = Some(Fate::Dead);
        }
    }

    fn meta(&self) -> kv::TxnMeta {
        let owner = self.owner();
        kv::TxnMeta {
            id: owner.txn.0,
            start_ts: owner.start.0,
            isolation: 0,
            coordinator: owner.coordinator.0,
            incarnation: 1,
        }
    }

    fn ask(&mut self, world: &mut World, purpose: Purpose, ask: Request) {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.outstanding.insert(serial, (purpose, false));
        world.send(For::Client(self.at, serial), request(Some(self.meta()), ask));
    }

    pub(crate) fn go_on(&mut self, world: &mut World) {
        if self.fate == Some(Fate::Dead) {
            return;
        }
        if self.id == 0 {
            return self.begin(world);
        }
        if self.coordinator.is_none() {
            if self.doomed {
                return self.abort(world);
            }
            if !self.outstanding.is_empty() {
                return;
            }
            return self.next_statement(world);
        }
        self.carry_out(world);
    }

    fn begin(&mut self, world: &mut World) {
        self.read_ts = world.draw();
        self.id = self.read_ts.0;
        for _ in 0..1 + world.random(4) {
            let key = key(world.random(KEYS));
            self.plan.push_back(match world.random(4) {
                0 | 1 => Op::Read(key),
                2 => Op::Write(key, world.chance(70)),
                _ => Op::LockOnly(key, world.chance(50)),
            });
        }
    }

    fn next_statement(&mut self, world: &mut World) {
        match self.plan.pop_front() {
            Some(Op::Read(key)) => {
                if self.writes.contains_key(&key) {
                    return;
                }
                let get = kv::Get { keys: vec![key.0.clone()], read_ts: self.read_ts.0 };
                self.snapshot_reads.push(key.clone());
                self.ask(world, Purpose::Read(key), Request::Get(get));
            }
            Some(Op::Write(key, locks)) => {
                let value = Bytes::from(format!("{}of{}", key, self.id));
                self.writes.insert(key.clone(), value);
                if locks {
                    self.lock(world, key, false);
                }
            }
            Some(Op::LockOnly(key, shared)) => self.lock(world, key, shared),
            None => self.commit(world),
        }
    }

    fn lock(&mut self, world: &mut World, key: Key, shared: bool) {
        let strength = if shared { kv::Strength::Share } else { kv::Strength::Update };
        let lock = kv::LockKeys {
            keys: vec![key.0.clone()],
            strength: strength as i32,
            wait: kv::WaitPolicy::Block as i32,
            want_values: true,
            timeout_ms: 0,
        };
        self.ask(world, Purpose::Lock(key), Request::LockKeys(lock));
    }

    fn commit(&mut self, world: &mut World) {
        let limits =
            Limits { parallel_keys: if world.chance(50) { 256 } else { 0 }, ..Limits::default() };
        let placement = match world.random(3) {
            0 => Placement::OneRange,
            1 => Placement::OneRangeReadsElsewhere,
            _ => Placement::ManyRanges,
        };
        let work = Work {
            primary: self.writes.keys().next().cloned(),
            keys: self.writes.len(),
            bytes: 100,
            read_ts: self.read_ts,
            reads: !self.snapshot_reads.is_empty(),
            locked_only: self.locked.keys().any(|key| !self.writes.contains_key(key)),
            placement,
        };
        world.note(|| format!("c{} t{} commits {work:?}", self.at, self.id));
        let mut coordinator = Coordinator::new(limits);
        self.effects.extend(coordinator.step(Input::Commit(work)));
        self.coordinator = Some(coordinator);
        self.carry_out(world);
    }

    fn abort(&mut self, world: &mut World) {
        let mut coordinator = Coordinator::new(Limits::default());
        self.effects.extend(coordinator.step(Input::Rollback));
        self.coordinator = Some(coordinator);
        self.outstanding.clear();
        self.carry_out(world);
    }

    fn input(&mut self, world: &mut World, input: Input) {
        let coordinator = self.coordinator.as_mut().expect("committing");
        world.note(|| format!("c{} t{} {input:?}", self.at, self.id));
        self.effects.extend(coordinator.step(input));
        self.carry_out(world);
    }

    fn carry_out(&mut self, world: &mut World) {
        let deciding = self.outstanding.values().any(|(p, _)| *p == Purpose::Decide);
        if self.doomed && self.fate.is_none() && !self.outstanding.is_empty() && !deciding {
            self.doomed = false;
            self.outstanding.clear();
            self.replies.clear();
            return self.input(world, Input::Rollback);
        }
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::OnePhase { exact } => self.one_phase(world, exact),
                Effect::Prewrite { primary, parallel, exact } => {
                    self.prewrite(world, &primary, parallel, exact);
                }
                Effect::Draw => {
                    let ts = world.draw();
                    return self.input(world, Input::Drawn(ts));
                }
                Effect::Refresh { to } => {
                    let spans = self.spans();
                    let refresh = kv::Refresh { spans, from_ts: self.read_ts.0, to_ts: to.0 };
                    self.ask(world, Purpose::Refresh, Request::Refresh(refresh));
                }
                Effect::Decide { primary, outcome } => {
                    let ask = end(self.id, &primary.0, outcome, false);
                    self.ask(world, Purpose::Decide, ask);
                }
                Effect::Answer(answer) => {
                    world.note(|| format!("c{} t{} is told {answer:?}", self.at, self.id));
                    self.fate = Some(match answer {
                        Answer::Committed(at) => Fate::Committed(at),
                        Answer::RolledBack | Answer::Failed(_) => Fate::RolledBack,
                        Answer::Ambiguous => panic!("the primary can always be asked"),
                    });
                }
                Effect::Finish { primary, outcome } => {
                    let ask = end(self.id, &primary.0, outcome, false);
                    self.ask(world, Purpose::FinishEnd(outcome), ask);
                }
                Effect::Release => {
                    let release = Request::ReleaseLocks(kv::ReleaseLocks {
                        ended: true,
                        ..kv::ReleaseLocks::default()
                    });
                    world.send(For::Nobody, request(Some(self.meta()), release));
                }
            }
        }
    }

    fn writes(&self, wanted: impl Fn(usize) -> bool) -> Vec<kv::Write> {
        self.writes
            .iter()
            .enumerate()
            .filter(|(n, _)| wanted(*n))
            .map(|(_, (key, value))| kv::Write {
                kind: kv::write::Kind::Put as i32,
                key: key.0.clone(),
                value: value.clone(),
                seen_ts: self.locked.get(key).copied(),
            })
            .collect()
    }

    fn spans(&self) -> Vec<kv::Span> {
        let point = |key: &Key, from_ts| kv::Span {
            start: key.0.clone(),
            end: key.next().0,
            from_ts,
            may_change: false,
        };
        let reads = self.snapshot_reads.iter().map(|key| point(key, None));
        let locked = self.locked.iter().filter(|(key, _)| !self.writes.contains_key(*key));
        reads.chain(locked.map(|(key, &ts)| point(key, Some(ts)))).collect()
    }

    fn one_phase(&mut self, world: &mut World, exact: Option<Timestamp>) {
        let commit = kv::CommitOnePhase {
            writes: self.writes(|_| true),
            read_spans: if exact.is_none() { self.spans() } else { vec![] },
            read_ts: self.read_ts.0,
            exact_ts: exact.map_or(0, |ts| ts.0),
            locked: vec![],
            locked_span: None,
            must_not_exist: vec![],
        };
        self.ask(world, Purpose::OnePhase, Request::CommitOnePhase(commit));
    }

    fn prewrite(
        &mut self,
        world: &mut World,
        primary: &Key,
        parallel: bool,
        exact: Option<Timestamp>,
    ) {
        self.replies.clear();
        for half in 0..2 {
            let writes = self.writes(|n| n % 2 == half);
            if writes.is_empty() {
                continue;
            }
            let secondaries = self.writes.keys().skip(1).map(|key| key.0.clone()).collect();
            let prewrite = kv::Prewrite {
                secondaries: if half == 0 && parallel { secondaries } else { vec![] },
                writes,
                primary: primary.0.clone(),
                parallel,
                exact_ts: exact.map_or(0, |ts| ts.0),
                read_ts: self.read_ts.0,
                ttl_ms: 300,
                must_not_exist: vec![],
            };
            self.ask(world, Purpose::Prewrite, Request::Prewrite(prewrite));
        }
    }

    pub(crate) fn answered(
        &mut self,
        world: &mut World,
        serial: u64,
        asked: kv::RangeRequest,
        response: kv::RangeResponse,
    ) {
        if self.fate == Some(Fate::Dead) {
            return;
        }
        let Some((purpose, resent)) = self.outstanding.get_mut(&serial) else { return };
        let error = response.error.and_then(|e| e.error);
        match &error {
            Some(Error::NotLeader(_)) => {
                return world.send(For::Client(self.at, serial), asked);
            }
            Some(Error::Ambiguous(_)) => {
                *resent = true;
                return world.send(For::Client(self.at, serial), asked);
            }
            _ => {}
        }
        let (purpose, resent) = (purpose.clone(), *resent);
        self.outstanding.remove(&serial);
        match purpose {
            Purpose::Read(_) | Purpose::Lock(_) | Purpose::MoveTo(_) => {
                self.statement_answered(world, purpose, error, response.response);
            }
            Purpose::OnePhase => {
                let reply = reply(error, response.response, resent);
                self.input(world, Input::OnePhase(reply));
            }
            Purpose::Prewrite => {
                self.replies.push(reply(error, response.response, resent));
                if !self.outstanding.values().any(|(p, _)| *p == Purpose::Prewrite) {
                    let worst = worst(std::mem::take(&mut self.replies));
                    self.input(world, Input::Prewritten(worst));
                }
            }
            Purpose::Refresh => {
                let result = error.map_or(Ok(()), |error| Err(failure(error)));
                self.input(world, Input::Refreshed(result));
            }
            Purpose::Decide => {
                let decided = decided(error, response.response);
                self.input(world, Input::Decided(decided));
            }
            Purpose::FinishEnd(outcome) => {
                assert_eq!(
                    decided(error, response.response),
                    Decided::Is(outcome),
                    "t{} was told otherwise",
                    self.id
                );
                let keys = self.writes.keys().cloned().collect();
                self.ask(world, Purpose::FinishResolve, resolve(self.id, keys, outcome));
            }
            Purpose::FinishResolve => assert_eq!(error, None),
        }
    }

    fn statement_answered(
        &mut self,
        world: &mut World,
        purpose: Purpose,
        error: Option<Error>,
        response: Option<Response>,
    ) {
        if error.is_some() || self.doomed {
            return self.abort(world);
        }
        match (purpose, response.expect("an answer")) {
            (Purpose::Read(key), Response::Get(get)) => {
                let value = get.values[0].present.then(|| get.values[0].value.clone());
                let before = self.seen.insert(key.clone(), value.clone());
                assert!(before.is_none_or(|b| b == value), "t{} sees {key} change", self.id);
            }
            (Purpose::Lock(key), Response::LockKeys(locked)) => {
                let locked = &locked.keys[0];
                let value = locked.value.clone().expect("asked for");
                self.locked.entry(key.clone()).or_insert(locked.version_ts);
                let value = value.present.then_some(value.value);
                // What was read before must be the same, or the refresh below fails.
                self.seen.entry(key).or_insert(value);
                if locked.version_ts > self.read_ts.0 {
                    let to = world.draw();
                    let spans = self.spans();
                    let refresh = kv::Refresh { spans, from_ts: self.read_ts.0, to_ts: to.0 };
                    self.ask(world, Purpose::MoveTo(to), Request::Refresh(refresh));
                }
            }
            (Purpose::MoveTo(to), Response::Done(_)) => self.read_ts = to,
            other => panic!("a statement was told {other:?}"),
        }
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::RefreshFailed(e) => {
            Failure::Changed { key: Key(e.key), version: Timestamp(e.version_ts) }
        }
        Error::WriteConflict(e) => {
            Failure::WriteConflict { key: Key(e.key), version: Timestamp(e.version_ts) }
        }
        Error::TxnGone(_) => Failure::Gone,
        other => panic!("refused: {other:?}"),
    }
}

fn reply(error: Option<Error>, response: Option<Response>, resent: bool) -> Reply {
    match (error, response) {
        (Some(Error::TimestampTooLow(_)), _) => Reply::TooLow,
        (Some(error), _) if resent => Reply::Unknown(failure(error)),
        (Some(error), _) => Reply::Failed(failure(error)),
        (None, Some(Response::Committed(done))) => Reply::Done(Timestamp(done.commit_ts)),
        (None, Some(Response::Prewritten(done))) => Reply::Done(Timestamp(done.min_commit_ts)),
        other => panic!("a commit was told {other:?}"),
    }
}

fn worst(replies: Vec<Reply>) -> Reply {
    let rank = |reply: &Reply| match reply {
        Reply::Done(_) => 0,
        Reply::TooLow => 1,
        Reply::Failed(_) => 2,
        Reply::Unknown(_) => 3,
    };
    replies
        .into_iter()
        .reduce(|a, b| match (&a, &b) {
            (Reply::Done(x), Reply::Done(y)) => Reply::Done(*x.max(y)),
            _ if rank(&a) >= rank(&b) => a,
            _ => b,
        })
        .expect("some reply")
}

fn decided(error: Option<Error>, response: Option<Response>) -> Decided {
    use kv::txn_state::State;
    match (error, response) {
        (Some(Error::TimestampTooLow(e)), _) => Decided::TooLow(Timestamp(e.min_ts)),
        (None, Some(Response::TxnState(state))) => match state.state() {
            State::Committed => Decided::Is(Outcome::Commit(Timestamp(state.commit_ts))),
            State::RolledBack => Decided::Is(Outcome::Rollback),
            other => panic!("a decision was told {other:?}"),
        },
        other => panic!("a decision was told {other:?}"),
    }
}
