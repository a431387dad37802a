//! The range, the network between it and the clients, and time.

use std::collections::{BTreeMap, VecDeque};

use base::{Key, KeyRange, NodeId, RangeId, Timestamp, TxnId};
use proto::kv::{self, kv_error::Error, range_request::Request, range_response::Response};
use range::eval::{Config, Effect, Evaluator, ForeignLock, ProposalId, Token, read_closed};
use storage::{Engine, MemEngine, WriteBatch};
use txn::coordinator::Outcome;
use txn::deadlock::{self, Detector};
use txn::lock_table::Strength;
use txn::settle::{self, Checked, Settle};
use txn::{Owner, Rules};

use super::client::{Client, Fate};

pub(crate) const CLIENTS: usize = 24;
pub(crate) const CONCURRENT: usize = 6;
pub(crate) const KEYS: u64 = 6;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub duplicates: bool,
    pub leaders: bool,
    pub deaths: bool,
    pub closing: bool,
}

/// Who gets an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum For {
    Client(usize, u64),
    Settle(TxnId),
    Nobody,
}

pub(crate) struct World {
    pub rng: u64,
    pub now: u64,
    pub issued: u64,
    pub faults: Faults,
    pub engine: MemEngine,
    pub clients: Vec<Client>,
    pub trace: Vec<String>,
    evaluator: Evaluator,
    next_token: u64,
    asked: BTreeMap<Token, (For, kv::RangeRequest)>,
    /// On their way to the range: when they arrive at the earliest.
    requests: Vec<(u64, For, kv::RangeRequest)>,
    answers: Vec<(For, kv::RangeRequest, kv::RangeResponse)>,
    log: VecDeque<(ProposalId, WriteBatch, u64)>,
    epoch: u64,
    /// The highest timestamp that any leader has promised for what is applied.
    closed: Timestamp,
    /// Reads that a follower has answered.
    pub followed: u64,
    settles: BTreeMap<TxnId, (Settle, Owner)>,
    detector: Detector,
    verbose: bool,
}

pub(crate) fn key(n: u64) -> Key {
    Key::from(format!("k{n}").into_bytes())
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let span = KeyRange::ALL;
        let config = Config { lock_ttl: 300_000, ..Config::default() };
        World {
            rng: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now: 1_000_000,
            issued: 100,
            faults,
            engine: MemEngine::new(),
            clients: (0..CLIENTS).map(Client::new).collect(),
            trace: Vec::new(),
            evaluator: Evaluator::new(span, Timestamp(100), config),
            next_token: 1,
            asked: BTreeMap::new(),
            requests: Vec::new(),
            answers: Vec::new(),
            log: VecDeque::new(),
            epoch: 0,
            closed: Timestamp::ZERO,
            followed: 0,
            settles: BTreeMap::new(),
            detector: Detector::new(NodeId(0), 1, deadlock::Config::default()),
            verbose: std::env::var("SEED").is_ok(),
        }
    }

    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.rng = self.rng.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.random(100) < percent
    }

    pub(crate) fn draw(&mut self) -> Timestamp {
        self.issued += 1;
        Timestamp(self.issued)
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.verbose {
            let line = format!("{} {}", self.now, line());
            eprintln!("{line}");
            self.trace.push(line);
        }
    }

    pub(crate) fn send(&mut self, to: For, request: kv::RangeRequest) {
        if self.faults.duplicates && self.chance(10) {
            let late = self.now + self.random(400_000);
            self.requests.push((late, For::Nobody, request.clone()));
        }
        self.requests.push((self.now, to, request));
    }

    pub(crate) fn run(&mut self) {
        let mut steps = 0;
        while !self.is_over() {
            steps += 1;
            assert!(steps < 60_000, "no end: {}", self.why());
            self.now += self.random(2_000);
            match self.random(10) {
                0..=2 => self.move_a_client(),
                3..=5 => self.deliver_a_request(),
                6..=7 => self.deliver_an_answer(),
                8 => self.apply_one(),
                _ => self.something_else(),
            }
            self.evaluator.check_invariants();
        }
        while !self.log.is_empty() {
            self.apply_one();
        }
        self.sweep();
    }

    fn why(&self) -> String {
        let open: Vec<String> =
            self.clients.iter().filter(|c| !c.is_over()).map(|c| format!("{c:?}")).collect();
        let pending: Vec<_> = self.asked.values().collect();
        format!("seed run: {open:#?} pending {pending:?} {} in log", self.log.len())
    }

    fn is_over(&self) -> bool {
        self.clients.iter().all(Client::is_over) && self.settles.is_empty()
    }

    fn move_a_client(&mut self) {
        let first = self.clients.iter().position(|c| !c.is_over()).unwrap_or(0);
        let at = first + self.random(CONCURRENT as u64) as usize;
        if at >= CLIENTS || self.clients[at].is_over() {
            return;
        }
        let mut client = std::mem::replace(&mut self.clients[at], Client::new(at));
        client.go_on(self);
        if self.faults.deaths && client.has_begun() && self.chance(1) {
            self.note(|| format!("c{at} dies"));
            client.die();
            if self.chance(50) {
                let mut out = Vec::new();
                let node = client.owner().coordinator;
                self.evaluator.node_gone(&self.engine, self.now, node, 1, &mut out);
                self.take(out);
            }
        }
        self.clients[at] = client;
    }

    fn deliver_a_request(&mut self) {
        let due: Vec<usize> =
            (0..self.requests.len()).filter(|&i| self.requests[i].0 <= self.now).collect();
        if due.is_empty() {
            return;
        }
        let at = due[self.random(due.len() as u64) as usize];
        let (_, to, request) = self.requests.swap_remove(at);
        let token = Token(self.next_token);
        self.next_token += 1;
        self.note(|| {
            format!("{token:?} {to:?} {:?} {:?}", request.txn.map(|t| t.id), request.request)
        });
        self.asked.insert(token, (to, request.clone()));
        let mut out = Vec::new();
        self.evaluator.request(&self.engine, self.now, token, request, &mut out);
        self.take(out);
    }

    fn deliver_an_answer(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let at = self.random(self.answers.len() as u64) as usize;
        let (to, request, response) = self.answers.swap_remove(at);
        match to {
            For::Nobody => {}
            For::Settle(txn) => self.settle_answer(txn, request, response),
            For::Client(at, serial) => {
                let mut client = std::mem::replace(&mut self.clients[at], Client::new(at));
                client.answered(self, serial, request, response);
                self.clients[at] = client;
            }
        }
    }

    fn apply_one(&mut self) {
        let Some((proposal, batch, epoch)) = self.log.pop_front() else { return };
        self.engine.write(&batch).expect("memory");
        if epoch == self.epoch {
            let mut out = Vec::new();
            self.evaluator.applied(&self.engine, self.now, proposal, &mut out);
            self.take(out);
        }
    }

    fn something_else(&mut self) {
        if self.faults.leaders && self.chance(3) {
            return self.change_leader();
        }
        if self.faults.closing && self.chance(30) {
            self.close();
        }
        // A snapshot read by nobody in particular, checked at the end.
        if self.chance(20) {
            let ts = if self.chance(50) {
                self.draw()
            } else {
                Timestamp(self.issued - self.random(20))
            };
            let keys = (0..KEYS).map(|n| key(n).0).collect();
            let get = kv::Get { keys, read_ts: ts.0 };
            self.send(For::Nobody, request(None, Request::Get(get)));
        }
        self.now += 5_000;
        let mut out = Vec::new();
        self.evaluator.tick(&self.engine, self.now, &mut out);
        self.take(out);
    }

    /// The leader promises, or a follower reads what was promised: by this leader or any before it.
    fn close(&mut self) {
        if self.chance(50) {
            let wanted = Timestamp(self.issued.saturating_sub(self.random(12)));
            let closed = self.evaluator.close_at(wanted);
            self.note(|| format!("closed at {closed}"));
            self.closed = self.closed.max(closed);
        }
        if self.closed == Timestamp::ZERO {
            return;
        }
        let ts = self.closed.0 - self.random(8).min(self.closed.0 - 1);
        let keys = (0..KEYS).map(|n| key(n).0).collect();
        let get = request(None, Request::Get(kv::Get { keys, read_ts: ts }));
        let answer =
            read_closed(&self.engine, &Key::MIN, self.closed, &Rules::ALL, &get).expect("memory");
        if let Some(response) = answer {
            self.note(|| format!("a follower at {ts} -> {response:?}"));
            super::verdict::remember(self, &get, &response);
            self.followed += 1;
        }
    }

    /// The old leader's proposals are applied or lost, from some point of the log on; then a new leader
    /// starts with nothing in memory.
    fn change_leader(&mut self) {
        let kept = self.random(self.log.len() as u64 + 1);
        for _ in 0..kept {
            let (_, batch, _) = self.log.pop_front().expect("counted");
            self.engine.write(&batch).expect("memory");
        }
        self.log.clear();
        self.epoch += 1;
        self.note(|| "new leader".into());
        let error = Error::NotLeader(kv::NotLeader { range_id: 1, leader: 0 });
        let mut out = Vec::new();
        self.evaluator.step_down(&error, &mut out);
        self.take(out);
        let low_water = self.draw();
        let config = Config { lock_ttl: 300_000, ..Config::default() };
        self.evaluator = Evaluator::new(KeyRange::ALL, low_water, config);
    }

    fn take(&mut self, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Respond { token, response } => {
                    let (to, request) = self.asked.remove(&token).expect("E4: answered twice");
                    self.note(|| format!("{token:?} -> {response:?}"));
                    if to == For::Nobody {
                        super::verdict::remember(self, &request, &response);
                    }
                    self.answers.push((to, request, response));
                }
                Effect::Propose { proposal, batch } => {
                    self.log.push_back((proposal, batch, self.epoch));
                }
                Effect::Notice { notice, .. } => self.notice(notice),
                Effect::Settle(lock) => self.settle(lock),
            }
        }
    }

    fn notice(&mut self, notice: kv::WaitNotice) {
        let as_local = |owner: Owner| Owner { coordinator: NodeId(0), incarnation: 1, ..owner };
        let waiter = Owner {
            txn: TxnId(notice.waiter),
            start: Timestamp(notice.waiter_start_ts),
            coordinator: NodeId(0),
            incarnation: 1,
        };
        let blockers = notice.blockers.iter().map(|b| {
            let meta = b.txn.expect("blockers have a transaction");
            let owner = Owner {
                txn: TxnId(meta.id),
                start: Timestamp(meta.start_ts),
                coordinator: NodeId(0),
                incarnation: 1,
            };
            deadlock::Blocker {
                holder: as_local(owner),
                key: Key(b.key.clone()),
                wish: Strength::Update,
                held: Strength::Update,
                waited: 0,
            }
        });
        let blockers = blockers.collect();
        let alive: Vec<TxnId> = self
            .clients
            .iter()
            .filter(|c| c.has_begun() && !c.is_over())
            .map(|c| c.owner().txn)
            .collect();
        let effects = self.detector.notice(self.now, waiter, RangeId(1), blockers, &|txn| {
            alive.iter().copied().filter(|&known| known == txn).collect()
        });
        for effect in effects {
            if let deadlock::Effect::Victim { txn, cycle } = effect {
                self.detector.ended(txn);
                self.note(|| format!("{txn} is a victim: {cycle:?}"));
                let at = self.clients.iter().position(|c| c.has_begun() && c.owner().txn == txn);
                self.clients[at.expect("it is alive")].doom();
            }
        }
    }

    fn settle(&mut self, lock: ForeignLock) {
        if self.settles.contains_key(&lock.owner.txn) {
            return;
        }
        let (machine, effects) =
            Settle::new(lock.primary.clone(), lock.key.clone(), lock.push_above);
        self.note(|| format!("settle {lock:?}"));
        self.settles.insert(lock.owner.txn, (machine, lock.owner));
        self.settle_effects(lock.owner, &lock.primary, effects);
    }

    fn settle_effects(&mut self, owner: Owner, primary: &Key, effects: Vec<settle::Effect>) {
        let txn_id = owner.txn.0;
        let primary = primary.0.clone();
        for effect in effects {
            let ask = match effect {
                settle::Effect::Query { push_above } => Request::QueryTxn(kv::QueryTxn {
                    txn_id,
                    primary: primary.clone(),
                    push_above_ts: push_above.0,
                    coordinator: owner.coordinator.0,
                    incarnation: owner.incarnation,
                }),
                settle::Effect::Check { keys } => Request::CheckKeys(kv::CheckKeys {
                    txn_id,
                    keys: keys.into_iter().map(|k| k.0).collect(),
                    prevent: true,
                }),
                settle::Effect::Decide(outcome) => end(txn_id, &primary, outcome, false),
                settle::Effect::Resolve { keys, outcome } => resolve(txn_id, keys, outcome),
                settle::Effect::MarkSettled(outcome) => {
                    let settled = end(txn_id, &primary, outcome, true);
                    self.send(For::Nobody, request(None, settled));
                    continue;
                }
                settle::Effect::Over(verdict) => {
                    self.settles.remove(&owner.txn);
                    if let settle::Verdict::Pushed(min) = verdict {
                        let mut out = Vec::new();
                        self.evaluator.pushed(&self.engine, self.now, owner.txn, min, &mut out);
                        self.take(out);
                    }
                    continue;
                }
            };
            self.send(For::Settle(owner.txn), request(None, ask));
        }
    }

    fn settle_answer(
        &mut self,
        txn: TxnId,
        request: kv::RangeRequest,
        response: kv::RangeResponse,
    ) {
        use kv::checked_key::State as Key;
        use kv::txn_state::State;
        let Some((mut machine, owner)) = self.settles.remove(&txn) else { return };
        let primary = match &request.request {
            Some(Request::QueryTxn(query)) => query.primary.clone(),
            Some(Request::EndTxn(end)) => end.primary.clone(),
            _ => machine_primary(&machine),
        };
        let deciding = matches!(request.request, Some(Request::EndTxn(_)));
        let input = match (response.error.and_then(|e| e.error), response.response) {
            (Some(Error::TimestampTooLow(_)), _) => settle::Input::TooLow,
            (Some(_), _) => settle::Input::Failed,
            (None, Some(Response::TxnState(state))) => {
                let outcome = match state.state() {
                    State::Committed => Some(Outcome::Commit(Timestamp(state.commit_ts))),
                    State::RolledBack => Some(Outcome::Rollback),
                    State::Unknown | State::Pending | State::Staging => None,
                };
                match (deciding, outcome) {
                    (true, Some(outcome)) => settle::Input::Decided(outcome),
                    (false, Some(outcome)) => settle::Input::State(settle::State::Decided(outcome)),
                    (_, None) => settle::Input::State(match state.state() {
                        State::Pending => settle::State::Pending(Timestamp(state.min_commit_ts)),
                        State::Staging => settle::State::Staging {
                            min_commit: Timestamp(state.min_commit_ts),
                            secondaries: state.secondaries.into_iter().map(base::Key).collect(),
                        },
                        _ => settle::State::Unknown,
                    }),
                }
            }
            (None, Some(Response::CheckKeys(checked))) => settle::Input::Checked(
                checked
                    .keys
                    .iter()
                    .map(|key| match key.state() {
                        Key::Locked => Checked::Locked(Timestamp(key.ts)),
                        Key::Committed => Checked::Committed(Timestamp(key.ts)),
                        Key::Prevented => Checked::Prevented,
                        Key::Missing => panic!("asked to prevent"),
                    })
                    .collect(),
            ),
            (None, Some(Response::Done(_))) => settle::Input::Resolved,
            other => panic!("settlement was told {other:?}"),
        };
        let effects = machine.step(input);
        self.settles.insert(txn, (machine, owner));
        self.settle_effects(owner, &base::Key(primary), effects);
    }

    /// Reads everything until the locks of the dead have expired: nothing may be left in the way.
    fn sweep(&mut self) {
        self.faults = Faults::default();
        // In-memory locks end with the news that the process is gone; replicated ones by themselves.
        for at in 0..CLIENTS {
            let client = &self.clients[at];
            if client.fate == Some(Fate::Dead) {
                let node = client.owner().coordinator;
                let mut out = Vec::new();
                self.evaluator.node_gone(&self.engine, self.now, node, 1, &mut out);
                self.take(out);
            }
        }
        for _ in 0..3 {
            self.read_everything();
            self.now += 400_000;
        }
    }

    fn read_everything(&mut self) {
        let ts = self.draw();
        let keys = (0..KEYS).map(|n| key(n).0).collect();
        let get = kv::Get { keys, read_ts: ts.0 };
        self.send(For::Nobody, request(None, Request::Get(get)));
        for _ in 0..5_000 {
            self.now += 2_000;
            self.deliver_a_request();
            self.apply_one();
            self.deliver_an_answer();
            let mut out = Vec::new();
            self.evaluator.tick(&self.engine, self.now, &mut out);
            self.take(out);
            if self.requests.is_empty() && self.asked.is_empty() && self.settles.is_empty() {
                return;
            }
        }
        panic!("locks are never settled: {:?} {:?}", self.asked, self.settles);
    }
}

/// The model asks with the primary in hand; the machine keeps it to itself.
fn machine_primary(machine: &Settle) -> bytes::Bytes {
    machine.primary().0.clone()
}

pub(crate) fn request(txn: Option<kv::TxnMeta>, request: Request) -> kv::RangeRequest {
    kv::RangeRequest { range_id: 1, txn, request: Some(request) }
}

pub(crate) fn end(txn_id: u64, primary: &bytes::Bytes, outcome: Outcome, settled: bool) -> Request {
    let commit_ts = match outcome {
        Outcome::Commit(at) => at.0,
        Outcome::Rollback => 0,
    };
    Request::EndTxn(kv::EndTxn { txn_id, primary: primary.clone(), commit_ts, settled })
}

pub(crate) fn resolve(txn_id: u64, keys: Vec<Key>, outcome: Outcome) -> Request {
    let commit_ts = match outcome {
        Outcome::Commit(at) => at.0,
        Outcome::Rollback => 0,
    };
    Request::Resolve(kv::Resolve {
        txn_id,
        keys: keys.into_iter().map(|k| k.0).collect(),
        commit_ts,
    })
}
