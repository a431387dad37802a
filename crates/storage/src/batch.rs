//! A set of changes that takes effect as a whole, in the form in which it travels in Raft entries.
//!
//! The batch *is* its encoding: operations are appended to one buffer, proposing it is handing the
//! buffer over, and applying walks the buffer without building anything.
//!
//! ```text
//!   op     kind and family u8, key, [value | end]     bytes are preceded by their length (varint)
//!   kind   0 put, 1 delete, 2 delete range
//! ```
//!
//! Operations take effect in order: a later one on the same key wins.

use bytes::Bytes;

use crate::{EngineError, Family, varint};

const PUT: u8 = 0;
const DELETE: u8 = 1;
const DELETE_RANGE: u8 = 2;

/// One change of a [`WriteBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Sets a key.
    Put {
        /// Where.
        family: Family,
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Removes a key; nothing happens if there is none.
    Delete {
        /// Where.
        family: Family,
        /// The key.
        key: &'a [u8],
    },
    /// Removes all keys from `start` up to but without `end`; an empty `end` means to the end.
    DeleteRange {
        /// Where.
        family: Family,
        /// The first key removed.
        start: &'a [u8],
        /// The first key kept.
        end: &'a [u8],
    },
}

/// Changes over all families, applied atomically and in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteBatch {
    encoded: Vec<u8>,
    ops: usize,
}

impl WriteBatch {
    /// Without any change.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Without any change, with room for some bytes of them.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        WriteBatch { encoded: Vec::with_capacity(bytes), ops: 0 }
    }

    /// Sets a key.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.encoded.reserve(key.len() + value.len() + 11);
        self.op(PUT, family, key);
        varint::put_bytes(&mut self.encoded, value);
    }

    /// Sets a key to a value in two parts, sparing the caller to join them.
    pub fn put_parts(&mut self, family: Family, key: &[u8], head: &[u8], tail: &[u8]) {
        self.encoded.reserve(key.len() + head.len() + tail.len() + 11);
        self.op(PUT, family, key);
        varint::put_u64(&mut self.encoded, (head.len() + tail.len()) as u64);
        self.encoded.extend_from_slice(head);
        self.encoded.extend_from_slice(tail);
    }

    /// Removes a key.
    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.op(DELETE, family, key);
    }

    /// Removes the keys from `start` up to but without `end`; an empty `end` means to the end.
    pub fn delete_range(&mut self, family: Family, start: &[u8], end: &[u8]) {
        self.op(DELETE_RANGE, family, start);
        varint::put_bytes(&mut self.encoded, end);
    }

    fn op(&mut self, kind: u8, family: Family, key: &[u8]) {
        self.encoded.push(kind << 4 | family.index() as u8);
        varint::put_bytes(&mut self.encoded, key);
        self.ops += 1;
    }

    /// Appends the changes of another batch.
    pub fn append(&mut self, other: &WriteBatch) {
        self.encoded.extend_from_slice(&other.encoded);
        self.ops += other.ops;
    }

    /// Appends the changes of an encoded batch, or none if it is malformed.
    pub fn append_encoded(&mut self, encoded: &[u8]) -> Result<(), EngineError> {
        let ops = count(encoded)?;
        self.encoded.extend_from_slice(encoded);
        self.ops += ops;
        Ok(())
    }

    /// Reads an encoded batch.
    pub fn decode(encoded: &[u8]) -> Result<Self, EngineError> {
        let mut batch = WriteBatch::new();
        batch.append_encoded(encoded)?;
        Ok(batch)
    }

    /// The encoded form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.encoded)
    }

    /// The encoded form, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from(self.encoded)
    }

    /// The encoded form in place.
    #[must_use]
    pub fn as_encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The changes in order.
    #[must_use]
    pub fn iter(&self) -> BatchIter<'_> {
        BatchIter { rest: &self.encoded }
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops == 0
    }

    /// The size of the encoded form.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.encoded.len()
    }

    /// Forgets all changes and keeps the memory.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.ops = 0;
    }
}

impl<'a> IntoIterator for &'a WriteBatch {
    type Item = Op<'a>;
    type IntoIter = BatchIter<'a>;

    fn into_iter(self) -> BatchIter<'a> {
        self.iter()
    }
}

/// The changes of a batch in order.
#[derive(Debug, Clone)]
pub struct BatchIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Op<'a>;

    fn next(&mut self) -> Option<Op<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        Some(take_op(&mut self.rest).expect("a batch holds only what was written or validated"))
    }
}

fn count(mut encoded: &[u8]) -> Result<usize, EngineError> {
    let mut ops = 0;
    while !encoded.is_empty() {
        take_op(&mut encoded).map_err(|detail| EngineError::malformed("write batch", detail))?;
        ops += 1;
    }
    Ok(ops)
}

fn take_op<'a>(input: &mut &'a [u8]) -> Result<Op<'a>, &'static str> {
    let (&tag, rest) = input.split_first().ok_or("operation cut short")?;
    *input = rest;
    let family = Family::from_index(usize::from(tag & 0x0F)).ok_or("unknown family")?;
    let key = varint::take_bytes(input)?;
    match tag >> 4 {
        PUT => Ok(Op::Put { family, key, value: varint::take_bytes(input)? }),
        DELETE => Ok(Op::Delete { family, key }),
        DELETE_RANGE => Ok(Op::DeleteRange { family, start: key, end: varint::take_bytes(input)? }),
        _ => Err("unknown operation"),
    }
}
