//! Identities. Each is its own type, so that a signature never holds two bare integers.

use std::fmt;

use crate::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id! {
    /// A node of the cluster, given out once at its first join and never reused. Zero is no node.
    NodeId, "n"
}
id! {
    /// A range: one contiguous span of keys, one Raft group. Never reused. Zero is no range.
    RangeId, "r"
}
id! {
    /// A transaction. It is a timestamp drawn from the oracle, so ids are unique over the life of
    /// the cluster and a smaller id was drawn earlier.
    TxnId, "t"
}

impl RangeId {
    /// The system range: directory, node registry, oracle bound, settings.
    pub const SYSTEM: RangeId = RangeId(1);
}

impl From<Timestamp> for TxnId {
    fn from(ts: Timestamp) -> Self {
        TxnId(ts.0)
    }
}
