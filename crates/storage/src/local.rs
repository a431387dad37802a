//! Keys of [`crate::Family::Local`]: what a node knows of itself and of each of its replicas.
//!
//! ```text
//!   00 | suffix                  the node: identity, cluster id
//!   01 | range id u64 | suffix   one replica: descriptor, applied state, state of the system range
//! ```
//!
//! Nothing here is part of a range's span of user keys: it stays when the span splits, and a
//! snapshot carries what its sender chooses to.

use base::{KeyRange, RangeId};

const NODE: u8 = 0;
const RANGE: u8 = 1;

/// A key of the node itself.
#[must_use]
pub fn node_key(suffix: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + suffix.len());
    key.push(NODE);
    key.extend_from_slice(suffix);
    key
}

/// A key of one replica.
#[must_use]
pub fn local_key(range: RangeId, suffix: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + suffix.len());
    key.push(RANGE);
    key.extend_from_slice(&range.0.to_be_bytes());
    key.extend_from_slice(suffix);
    key
}

/// All keys of one replica.
#[must_use]
pub fn local_span(range: RangeId) -> KeyRange {
    base::Key::from(local_key(range, &[])).prefix_range()
}

/// All keys of all replicas.
#[must_use]
pub fn local_ranges_span() -> KeyRange {
    KeyRange::new(vec![RANGE], vec![RANGE + 1])
}

/// The replica a key belongs to, and its suffix; nothing for a key of the node.
#[must_use]
pub fn local_range_of(key: &[u8]) -> Option<(RangeId, &[u8])> {
    let (head, suffix) = key.split_first_chunk::<9>()?;
    let (&tag, id) = head.split_first()?;
    if tag != RANGE {
        return None;
    }
    Some((RangeId(u64::from_be_bytes(id.try_into().ok()?)), suffix))
}
