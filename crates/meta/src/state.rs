//! The replicated state of the system range.
//!
//! Commands are applied in the order of range 1's log on each of its replicas; every one is
//! idempotent, or answers what it gave out. What changes goes into the write batch of the entry, so
//! memory and store agree after any crash.
//!
//! ```text
//!   local key of r1 | m/cluster       cluster id
//!                   | m/node/ID       NodeDescriptor
//!                   | m/range/ID      RangeDescriptor
//!                   | m/id/KIND       next id
//!                   | m/bound         the oracle's bound
//!                   | m/set/NAME      a setting
//! ```

use std::collections::BTreeMap;

use base::{NodeId, RangeId, Timestamp};
use prost::Message;
use proto::meta::allocate_ids::Kind;
use proto::meta::system_command::Command;
use proto::meta::system_query::Query;
use proto::meta::system_result::Result as Outcome;
use proto::meta::{
    NodeDescriptor, RangeDescriptor, SystemAnswer, SystemCommand, SystemQuery, SystemResult,
};
use storage::{EngineError, EngineRead, Family, IterOptions, WriteBatch, local_key, local_span};

use crate::Directory;

/// The first id given out of each kind: 1 and 2 are the ranges a cluster is born with; tables below
/// 100 and rows below 1 are the system's own.
const FIRST_IDS: [(Kind, u64); 3] = [(Kind::Range, 3), (Kind::Table, 100), (Kind::Row, 1)];
/// Neighbours sent along with a looked-up range: scans go on to the right.
const NEIGHBOURS: usize = 16;

/// The replicated state of the system range, in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SystemState {
    cluster_id: String,
    nodes: BTreeMap<NodeId, NodeDescriptor>,
    directory: Directory,
    next_ids: BTreeMap<i32, u64>,
    settings: BTreeMap<String, String>,
    bound: Timestamp,
}

impl SystemState {
    /// Reads the state a replica of range 1 has stored.
    pub fn load(engine: &dyn EngineRead) -> Result<Self, EngineError> {
        let mut state = SystemState::default();
        let span = local_span(RangeId::SYSTEM);
        let mut iter = engine.iter(Family::Local, &span, IterOptions::default())?;
        let prefix = local_key(RangeId::SYSTEM, b"m/");
        let mut found = iter.seek(&prefix)?;
        while found && iter.key().starts_with(&prefix) {
            state.load_entry(&iter.key()[prefix.len()..], iter.value().as_slice())?;
            found = iter.next()?;
        }
        Ok(state)
    }

    fn load_entry(&mut self, name: &[u8], value: &[u8]) -> Result<(), EngineError> {
        let corrupt = |detail: &str| EngineError::malformed("system range", detail);
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_bad| corrupt("text is not UTF-8"))
        };
        let number = |bytes: &[u8]| {
            bytes.try_into().map(u64::from_be_bytes).map_err(|_bad| corrupt("number cut short"))
        };
        if name == b"cluster" {
            self.cluster_id = text(value)?;
        } else if name == b"bound" {
            self.bound = Timestamp(number(value)?);
        } else if let Some(kind) = name.strip_prefix(b"id/") {
            let [kind] = kind else { return Err(corrupt("unknown kind of id")) };
            self.next_ids.insert(i32::from(*kind), number(value)?);
        } else if let Some(setting) = name.strip_prefix(b"set/") {
            self.settings.insert(text(setting)?, text(value)?);
        } else if name.starts_with(b"node/") {
            let node = NodeDescriptor::decode(value).map_err(|_bad| corrupt("node descriptor"))?;
            self.nodes.insert(NodeId(node.node_id), node);
        } else if name.starts_with(b"range/") {
            let range =
                RangeDescriptor::decode(value).map_err(|_bad| corrupt("range descriptor"))?;
            self.directory.publish(range);
        } else {
            return Err(corrupt("unknown entry"));
        }
        Ok(())
    }

    /// Applies one command of the log and adds what it changes to the entry's batch.
    pub fn apply(&mut self, command: &SystemCommand, batch: &mut WriteBatch) -> SystemResult {
        let outcome = match &command.command {
            Some(Command::InitCluster(init)) => {
                if self.cluster_id.is_empty() {
                    self.cluster_id.clone_from(&init.cluster_id);
                    put(batch, b"cluster", init.cluster_id.as_bytes());
                }
                Outcome::Done(true)
            }
            Some(Command::RegisterNode(register)) => {
                self.register(register.node.clone().unwrap_or_default(), batch)
            }
            Some(Command::PublishRanges(publish)) => {
                for range in &publish.ranges {
                    self.publish(range, batch);
                }
                Outcome::Done(true)
            }
            Some(Command::AllocateIds(allocate)) => {
                let next =
                    self.next_ids.entry(allocate.kind).or_insert_with(|| first_id(allocate.kind()));
                let first = *next;
                *next += allocate.count;
                let key = [b"id/", &[allocate.kind.to_le_bytes()[0]][..]].concat();
                put(batch, &key, &next.to_be_bytes());
                Outcome::FirstId(first)
            }
            Some(Command::RaiseOracleBound(raise)) => {
                self.bound = self.bound.max(Timestamp(raise.bound));
                put(batch, b"bound", &self.bound.0.to_be_bytes());
                Outcome::Done(true)
            }
            Some(Command::PutSetting(setting)) => {
                self.settings.insert(setting.name.clone(), setting.value.clone());
                let key = [b"set/", setting.name.as_bytes()].concat();
                put(batch, &key, setting.value.as_bytes());
                Outcome::Done(true)
            }
            None => Outcome::Error("a command of a newer version".to_owned()),
        };
        SystemResult { result: Some(outcome) }
    }

    fn register(&mut self, mut node: NodeDescriptor, batch: &mut WriteBatch) -> Outcome {
        if node.node_id == 0 {
            // A joiner that asks again because the answer was lost gets a second id; the first one
            // stays unused, which harms nobody.
            node.node_id = self.nodes.keys().next_back().map_or(1, |last| last.0 + 1);
        }
        let id = NodeId(node.node_id);
        let known = self.nodes.get(&id);
        if known.is_some_and(|known| known.incarnation > node.incarnation) {
            return Outcome::NodeId(id.0);
        }
        put(batch, &entry_key(b"node/", id.0), &node.encode_to_vec());
        self.nodes.insert(id, node);
        Outcome::NodeId(id.0)
    }

    fn publish(&mut self, range: &RangeDescriptor, batch: &mut WriteBatch) {
        let changes = self.directory.publish(range.clone());
        for removed in changes.removed {
            let key = entry_key(b"range/", removed.0);
            batch.delete(Family::Local, &local_key(RangeId::SYSTEM, &[b"m/", &key[..]].concat()));
        }
        for changed in changes.put {
            put(batch, &entry_key(b"range/", changed.range_id), &changed.encode_to_vec());
        }
    }

    /// Answers a read.
    #[must_use]
    pub fn query(&self, query: &SystemQuery) -> SystemAnswer {
        let mut answer = SystemAnswer { cluster_id: self.cluster_id.clone(), ..Default::default() };
        match &query.query {
            Some(Query::LookupKey(key)) => {
                answer.ranges = self.directory.lookup_from(key, NEIGHBOURS);
            }
            Some(Query::AllRanges(_)) => answer.ranges = self.directory.iter().cloned().collect(),
            Some(Query::AllNodes(_)) => answer.nodes = self.nodes.values().cloned().collect(),
            Some(Query::Setting(name)) => {
                answer.setting = self.settings.get(name).cloned().unwrap_or_default();
            }
            Some(Query::Cluster(_)) | None => {}
        }
        answer
    }

    /// The bound that the oracle's leaders have raised so far.
    #[must_use]
    pub fn oracle_bound(&self) -> Timestamp {
        self.bound
    }

    /// The ranges known.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }
}

fn first_id(kind: Kind) -> u64 {
    FIRST_IDS.iter().find(|(k, _)| *k == kind).map_or(1, |(_, first)| *first)
}

fn entry_key(prefix: &[u8], id: u64) -> Vec<u8> {
    [prefix, &id.to_be_bytes()].concat()
}

fn put(batch: &mut WriteBatch, name: &[u8], value: &[u8]) {
    let key = local_key(RangeId::SYSTEM, &[b"m/", name].concat());
    batch.put(Family::Local, &key, value);
}
