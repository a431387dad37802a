//! The replicated state of the system range, as a state machine.
//!
//! ```text
//!   command ──▶ apply ──▶ result
//!                 └────▶ changes of Family::Local, in the write batch of the entry
//! ```
//!
//! The whole state is small (a descriptor per range, a record per node) and is kept in memory; the
//! engine's copy is what a restart and a snapshot read.
//!
//! - **S1** Applying is deterministic: no time, no chance, nothing that is not in the state or the
//!   command.
//! - **S2** Ids given out are never given out again.

use std::collections::BTreeMap;

use base::{KeyRange, RangeId, Timestamp};
use bytes::Bytes;
use prost::Message;
use proto::meta::allocate_ids::Kind;
use proto::meta::system_command::Command;
use proto::meta::system_query::Query;
use proto::meta::system_result::Result as Outcome;
use proto::meta::{
    AllocateIds, NodeDescriptor, PutSetting, RangeDescriptor, SystemAnswer, SystemCommand,
    SystemQuery, SystemResult,
};
use storage::{EngineError, EngineRead, Family, IterOptions, WriteBatch, local_key};

use crate::Directory;

/// Smallest id of a table of users; those below are for catalogs.
pub const FIRST_TABLE_ID: u64 = 100;
/// Right neighbours sent along with a lookup.
const NEIGHBOURS: usize = 32;

const PREFIX: u8 = b'm';
const CLUSTER: u8 = b'c';
const NODE: u8 = b'n';
const RANGE: u8 = b'r';
const IDS: u8 = b'i';
const BOUND: u8 = b'o';
const SETTING: u8 = b's';

/// The keys of the state in [`Family::Local`]: a snapshot of the system range carries them.
#[must_use]
pub fn state_prefix() -> KeyRange {
    base::Key::from(local_key(RangeId::SYSTEM, &[PREFIX])).prefix_range()
}

/// The replicated state of the system range.
#[derive(Debug, PartialEq)]
pub struct SystemState {
    cluster_id: String,
    nodes: BTreeMap<u64, NodeDescriptor>,
    directory: Directory,
    settings: BTreeMap<String, String>,
    /// The next id of each kind; the last one is for nodes.
    next: [u64; 4],
    bound: Timestamp,
}

const NODE_IDS: usize = 3;

impl Default for SystemState {
    /// Of a cluster that is not initialised.
    fn default() -> Self {
        SystemState {
            cluster_id: String::new(),
            nodes: BTreeMap::new(),
            directory: Directory::new(),
            settings: BTreeMap::new(),
            // Ranges 1 and 2 are there from birth.
            next: [3, FIRST_TABLE_ID, 1, 1],
            bound: Timestamp::ZERO,
        }
    }
}

impl SystemState {
    /// Reads the state from an engine.
    pub fn load(engine: &dyn EngineRead) -> Result<Self, EngineError> {
        let mut state = SystemState::default();
        let mut iter = engine.iter(Family::Local, &state_prefix(), IterOptions::default())?;
        let mut found = iter.seek_to_first()?;
        while found {
            let prefix = local_key(RangeId::SYSTEM, &[PREFIX]).len();
            state.read(&iter.key()[prefix..], iter.value().to_bytes(0))?;
            found = iter.next()?;
        }
        Ok(state)
    }

    fn read(&mut self, key: &[u8], value: Bytes) -> Result<(), EngineError> {
        let malformed = |what: &str| EngineError::malformed("system state", what);
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        let (tag, rest) = key.split_first().ok_or_else(|| malformed("key without a tag"))?;
        match *tag {
            CLUSTER => self.cluster_id = text(&value).ok_or_else(|| malformed("cluster id"))?,
            NODE => {
                let node = NodeDescriptor::decode(value).map_err(|_bad| malformed("node"))?;
                self.nodes.insert(node.node_id, node);
            }
            RANGE => {
                let range = RangeDescriptor::decode(value).map_err(|_bad| malformed("range"))?;
                self.directory.publish(&range);
            }
            IDS => {
                let kind = rest.first().copied().map(usize::from).filter(|&k| k < self.next.len());
                let kind = kind.ok_or_else(|| malformed("kind of id"))?;
                self.next[kind] = number(&value).ok_or_else(|| malformed("next id"))?;
            }
            BOUND => {
                self.bound = Timestamp(number(&value).ok_or_else(|| malformed("oracle bound"))?);
            }
            SETTING => {
                let name = text(rest).ok_or_else(|| malformed("name of a setting"))?;
                let value = text(&value).ok_or_else(|| malformed("setting"))?;
                self.settings.insert(name, value);
            }
            _ => return Err(malformed("unknown tag")),
        }
        Ok(())
    }

    /// Carries out a command. Its changes go into `batch`.
    pub fn apply(&mut self, command: SystemCommand, batch: &mut WriteBatch) -> SystemResult {
        let done = Outcome::Done(true);
        let result = match command.command {
            None => Outcome::Error("unknown command".to_owned()),
            Some(Command::InitCluster(init)) if self.cluster_id.is_empty() => {
                put(batch, &[CLUSTER], init.cluster_id.as_bytes());
                self.cluster_id = init.cluster_id;
                done
            }
            Some(Command::InitCluster(_)) => Outcome::Error("already initialised".to_owned()),
            Some(Command::RegisterNode(register)) => match register.node {
                Some(node) => Outcome::NodeId(self.register(node, batch)),
                None => Outcome::Error("no node given".to_owned()),
            },
            Some(Command::PublishRanges(publish)) => {
                for range in &publish.ranges {
                    self.publish(range, batch);
                }
                done
            }
            Some(Command::AllocateIds(AllocateIds { kind, count })) => match Kind::try_from(kind) {
                Ok(kind) => Outcome::FirstId(self.allocate(kind as usize, count, batch)),
                Err(_unknown) => Outcome::Error("unknown kind of id".to_owned()),
            },
            Some(Command::RaiseOracleBound(raise)) => {
                self.bound = self.bound.max(Timestamp(raise.bound));
                put(batch, &[BOUND], &self.bound.0.to_be_bytes());
                done
            }
            Some(Command::PutSetting(setting)) => {
                let key = [&[SETTING], setting.name.as_bytes()].concat();
                put(batch, &key, setting.value.as_bytes());
                self.settings.insert(setting.name, setting.value);
                done
            }
        };
        SystemResult { result: Some(result) }
    }

    fn register(&mut self, mut node: NodeDescriptor, batch: &mut WriteBatch) -> u64 {
        if node.node_id == 0 {
            node.node_id = self.allocate(NODE_IDS, 1, batch);
            self.forget_twins(&node, batch);
        } else if node.node_id >= self.next[NODE_IDS] {
            self.set_next(NODE_IDS, node.node_id + 1, batch);
        }
        let id = node.node_id;
        put(batch, &[&[NODE][..], &id.to_be_bytes()].concat(), &node.encode_to_vec());
        self.nodes.insert(id, node);
        id
    }

    /// A node without an id has no data: whoever had its address before is gone. (Or it is the same
    /// node, asking again because the answer was lost.) Those that hold replicas are the planner's.
    fn forget_twins(&mut self, node: &NodeDescriptor, batch: &mut WriteBatch) {
        let holds_nothing =
            |id: u64| !self.directory.iter().any(|r| r.has_replica(base::NodeId(id)));
        let twins: Vec<u64> = self
            .nodes
            .values()
            .filter(|old| old.rpc_address == node.rpc_address && holds_nothing(old.node_id))
            .map(|old| old.node_id)
            .collect();
        for twin in twins {
            self.nodes.remove(&twin);
            delete(batch, &[&[NODE][..], &twin.to_be_bytes()].concat());
        }
    }

    fn publish(&mut self, range: &RangeDescriptor, batch: &mut WriteBatch) {
        let Some(displaced) = self.directory.publish(range) else { return };
        let key = |id: u64| [&[RANGE][..], &id.to_be_bytes()].concat();
        for old in displaced.removed {
            delete(batch, &key(old.0));
        }
        for range in displaced.trimmed.iter().chain([range]) {
            put(batch, &key(range.range_id), &range.encode_to_vec());
        }
    }

    fn allocate(&mut self, kind: usize, count: u64, batch: &mut WriteBatch) -> u64 {
        let first = self.next[kind];
        self.set_next(kind, first + count, batch);
        first
    }

    fn set_next(&mut self, kind: usize, next: u64, batch: &mut WriteBatch) {
        assert!(next >= self.next[kind], "S2: ids of kind {kind} go back to {next}");
        self.next[kind] = next;
        put(batch, &[IDS, kind as u8], &next.to_be_bytes());
    }

    /// Answers a question about what is applied.
    #[must_use]
    pub fn query(&self, query: &SystemQuery) -> SystemAnswer {
        let mut answer = SystemAnswer { cluster_id: self.cluster_id.clone(), ..Default::default() };
        match &query.query {
            Some(Query::LookupKey(key)) => {
                answer.ranges = self.directory.from_key(key, 1 + NEIGHBOURS).cloned().collect();
            }
            Some(Query::AllRanges(_)) => answer.ranges = self.directory.iter().cloned().collect(),
            Some(Query::AllNodes(_)) => answer.nodes = self.nodes.values().cloned().collect(),
            Some(Query::Setting(name)) => {
                answer.setting = self.settings.get(name).cloned().unwrap_or_default();
            }
            Some(Query::AllSettings(_)) => {
                let all = self.settings.iter();
                answer.settings = all
                    .map(|(name, value)| PutSetting { name: name.clone(), value: value.clone() })
                    .collect();
            }
            Some(Query::Cluster(_)) | None => {}
        }
        answer
    }

    /// The oracle's bound.
    #[must_use]
    pub fn oracle_bound(&self) -> Timestamp {
        self.bound
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeDescriptor> {
        self.nodes.values()
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn put(batch: &mut WriteBatch, key: &[u8], value: &[u8]) {
    let key = [&[PREFIX], key].concat();
    batch.put(Family::Local, &local_key(RangeId::SYSTEM, &key), value);
}

fn delete(batch: &mut WriteBatch, key: &[u8]) {
    let key = [&[PREFIX], key].concat();
    batch.delete(Family::Local, &local_key(RangeId::SYSTEM, &key));
}
