//! A client that retries as `kv` does, and checks what it is told.

use base::{NodeId, RangeId};
use bytes::Bytes;
use proto::kv::kv_error::Error;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::write::Kind;
use proto::kv::{
    ChangeReplicas, CommitOnePhase, Get, Oracle, RangeRequest, RangeResponse, Split,
    TransferLeader, TxnMeta, Write,
};
use proto::meta::Replica as ReplicaOf;

use super::{Purpose, SYSTEM, World};

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It may have happened.
    Unknown,
}

/// How long the client tries, in microseconds.
const PATIENCE: u64 = 60_000_000;
const PAUSE: u64 = 20_000;

pub fn key(name: &str) -> Bytes {
    Bytes::from([&[0x10], name.as_bytes()].concat())
}

impl World {
    /// Sends a request to whoever holds the range's lease, until it is answered by something other
    /// than "not here" or "not now". Nothing, if the node died with the request.
    pub fn ask(&mut self, locate: impl Fn(&World) -> RangeId, request: Request) -> RangeResponse {
        self.try_ask(locate, request).expect("answered in the end")
    }

    pub fn try_ask(
        &mut self,
        locate: impl Fn(&World) -> RangeId,
        request: Request,
    ) -> Option<RangeResponse> {
        let deadline = self.now + PATIENCE;
        let txn = self.txn_of(&request);
        while self.now < deadline {
            let range = locate(self);
            if let Some(index) = self.holder(range) {
                let request =
                    RangeRequest { range_id: range.0, txn, request: Some(request.clone()) };
                let incarnation = self.nodes[index].incarnation;
                let token = self.request(index, request, Purpose::Client);
                let wait_until = self.now + 10_000_000;
                while !self.answers.contains_key(&token) && self.now < wait_until {
                    let node = &self.nodes[index];
                    if !node.up || node.incarnation != incarnation {
                        return None;
                    }
                    self.run_for(1_000);
                }
                let answer = self.answers.remove(&token)?;
                if !is_transient(&answer) {
                    return Some(answer);
                }
            }
            self.run_for(PAUSE);
            // Time heals: what is still not answered then hangs.
            if self.now + PATIENCE > deadline + 15_000_000 {
                self.heal();
            }
        }
        panic!("no answer to {request:?} in a minute: {}", self.describe());
    }

    /// Ends all faults.
    pub fn heal(&mut self) {
        self.doom = None;
        self.drop_percent = 0;
        self.cut.clear();
        for index in 0..self.nodes.len() {
            if !self.nodes[index].up {
                self.start(index);
            }
        }
    }

    fn describe(&mut self) -> String {
        let mut text = String::new();
        for index in 0..self.nodes.len() {
            let ranges: Vec<RangeId> = self.nodes[index].replicas.keys().copied().collect();
            for range in ranges {
                let view = self.with(index, range, |r, ctx, _| Some(r.view(ctx)));
                let Some(view) = view else { continue };
                let (raft, lease) = (view.raft, view.leaseholder);
                let members: Vec<(u64, bool)> =
                    view.descriptor.replicas.iter().map(|r| (r.node_id, r.learner)).collect();
                text += &format!("\nn{} {range} lease {lease} {raft:?} {members:?}", index + 1);
            }
        }
        text
    }

    fn txn_of(&self, request: &Request) -> Option<TxnMeta> {
        let ts = match request {
            Request::CommitOnePhase(commit) => commit.read_ts,
            Request::Get(get) => get.read_ts,
            _ => return None,
        };
        Some(TxnMeta { id: ts, start_ts: ts, isolation: 2, coordinator: 1, incarnation: 1 })
    }

    pub fn timestamp(&mut self) -> u64 {
        let response = self.retry(|_| SYSTEM, Request::Oracle(Oracle { count: 1, gateway: 0 }));
        match response.response {
            Some(Response::Oracle(drawn)) => drawn.first,
            other => panic!("the oracle answered {other:?} {:?}", response.error),
        }
    }

    /// For requests that may be repeated.
    pub fn retry(&mut self, locate: impl Fn(&World) -> RangeId, request: Request) -> RangeResponse {
        loop {
            if let Some(answer) = self.try_ask(&locate, request.clone()) {
                return answer;
            }
            self.run_for(PAUSE);
        }
    }

    /// The range that holds a key, as a node that has it sees it.
    pub fn locate(&self, key: &[u8]) -> RangeId {
        let newest = self
            .nodes
            .iter()
            .flat_map(|node| node.replicas.values())
            .map(range::Replica::descriptor)
            .filter(|d| !d.replicas.is_empty() && d.span().contains(key))
            .max_by_key(|d| (d.generation, d.range_id));
        newest.map_or(super::USER, |descriptor| descriptor.id())
    }

    pub fn put(&mut self, name: &str, value: &str) -> Outcome {
        let read_ts = self.timestamp();
        let write = Write {
            kind: Kind::Put as i32,
            key: key(name),
            value: Bytes::copy_from_slice(value.as_bytes()),
            ..Default::default()
        };
        let commit = CommitOnePhase { writes: vec![write], read_ts, ..Default::default() };
        let at = key(name);
        let answer = self.try_ask(|world| world.locate(&at), Request::CommitOnePhase(commit));
        let Some(answer) = answer else { return Outcome::Unknown };
        match (answer.response, answer.error.and_then(|e| e.error)) {
            (Some(Response::Committed(_)), None) => Outcome::Done,
            (_, Some(Error::Ambiguous(_) | Error::TxnGone(_))) => Outcome::Unknown,
            // An earlier attempt of unknown outcome landed above our timestamp.
            (_, Some(Error::WriteConflict(_))) => Outcome::Unknown,
            other => panic!("put {name}: {other:?}"),
        }
    }

    pub fn get(&mut self, name: &str) -> Option<String> {
        let at = key(name);
        loop {
            let read_ts = self.timestamp();
            let get = Request::Get(Get { keys: vec![at.clone()], read_ts });
            let answer = self.retry(|world| world.locate(&at), get);
            match (answer.response, answer.error.and_then(|e| e.error)) {
                (Some(Response::Get(found)), None) => {
                    let value = found.values.into_iter().next().expect("one key");
                    let text = || String::from_utf8(value.value.to_vec()).expect("text");
                    return value.present.then(text);
                }
                (_, Some(Error::Ambiguous(_))) => {}
                other => panic!("get {name}: {other:?}"),
            }
        }
    }

    pub fn split(&mut self, names: &[&str]) -> RangeResponse {
        let at = key(names[0]);
        let split = Split { keys: names.iter().map(|name| key(name)).collect() };
        self.retry(|world| world.locate(&at), Request::Split(split))
    }

    pub fn change(&mut self, range: RangeId, add: &[(u64, bool)], remove: &[u64]) -> RangeResponse {
        let add = add.iter().map(|&(node_id, learner)| ReplicaOf { node_id, learner }).collect();
        let change = ChangeReplicas { add, remove: remove.to_vec(), generation: 0 };
        self.retry(|_| range, Request::ChangeReplicas(change))
    }

    pub fn transfer(&mut self, range: RangeId, to: u64) -> RangeResponse {
        self.retry(|_| range, Request::TransferLeader(TransferLeader { to }))
    }

    /// Adds a replica and lets it vote.
    pub fn add_voter(&mut self, range: RangeId, node: u64) {
        expect_done(&self.change(range, &[(node, true)], &[]));
        expect_done(&self.change(range, &[(node, false)], &[]));
    }

    /// Both ranges of a new cluster on three nodes.
    pub fn spread(&mut self) {
        self.run_for(1_000_000);
        for range in [SYSTEM, super::USER] {
            for node in [2, 3] {
                self.add_voter(range, node);
            }
        }
        self.run_for(500_000);
    }

    /// Every replica of a range has the same data as the leader, once things are calm.
    pub fn check_replicas_agree(&mut self) {
        use storage::mvcc::{RawReader, range_spans};
        self.run_for(3_000_000);
        self.collect_garbage();
        let mut newest: std::collections::BTreeMap<RangeId, (u64, Vec<u64>)> =
            std::collections::BTreeMap::new();
        for replica in self.nodes.iter().flat_map(|node| node.replicas.values()) {
            let descriptor = replica.descriptor();
            let entry = newest.entry(replica.id()).or_default();
            if descriptor.generation > entry.0 {
                let nodes = descriptor.replicas.iter().map(|r| r.node_id).collect();
                *entry = (descriptor.generation, nodes);
            }
        }
        let mut seen: std::collections::BTreeMap<RangeId, (NodeId, Vec<Bytes>)> =
            std::collections::BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.up) {
            for replica in node.replicas.values().filter(|r| r.is_initialised()) {
                let descriptor = replica.descriptor();
                // One that was removed need not know it.
                if !newest[&replica.id()].1.contains(&node.id.0) {
                    continue;
                }
                let mut reader = RawReader::new(range_spans(&descriptor.span()));
                let mut chunks = Vec::new();
                while let Some(chunk) = reader.next_chunk(&*node.engine, 1 << 20).expect("memory") {
                    chunks.push(chunk);
                }
                let (first, data) =
                    seen.entry(replica.id()).or_insert_with(|| (node.id, chunks.clone()));
                assert_eq!(*data, chunks, "{} differs on {} and {first}", replica.id(), node.id);
            }
        }
    }
}

pub fn expect_done(answer: &RangeResponse) {
    assert!(answer.error.is_none(), "refused: {:?}", answer.error);
}

fn is_transient(answer: &RangeResponse) -> bool {
    let error = answer.error.as_ref().and_then(|e| e.error.as_ref());
    matches!(
        error,
        Some(
            Error::NotLeader(_)
                | Error::WrongRange(_)
                | Error::Unavailable(_)
                | Error::Overloaded(_)
        )
    )
}
