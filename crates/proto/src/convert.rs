//! Conversions between generated messages and the words of `base`.

use base::{Key, KeyRange, NodeId, RangeId, Timestamp, TxnId};

use crate::{kv, meta};

impl meta::RangeDescriptor {
    /// The id.
    #[must_use]
    pub fn id(&self) -> RangeId {
        RangeId(self.range_id)
    }

    /// The span.
    #[must_use]
    pub fn span(&self) -> KeyRange {
        KeyRange { start: Key(self.start.clone()), end: Key(self.end.clone()) }
    }

    /// The nodes that vote, in the order of the descriptor.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.iter().filter(|r| !r.learner).map(|r| NodeId(r.node_id))
    }

    /// Whether a node holds a replica, voting or not.
    #[must_use]
    pub fn has_replica(&self, node: NodeId) -> bool {
        self.replicas.iter().any(|r| r.node_id == node.0)
    }
}

impl From<KeyRange> for kv::Span {
    fn from(range: KeyRange) -> Self {
        kv::Span { start: range.start.0, end: range.end.0, ..kv::Span::default() }
    }
}

impl From<kv::Span> for KeyRange {
    fn from(span: kv::Span) -> Self {
        KeyRange { start: Key(span.start), end: Key(span.end) }
    }
}

impl kv::TxnMeta {
    /// The id.
    #[must_use]
    pub fn txn_id(&self) -> TxnId {
        TxnId(self.id)
    }

    /// The age.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        Timestamp(self.start_ts)
    }
}
