//! Everything a range holds, as checksummed chunks for a snapshot to another node, and the way
//! back.
//!
//! ```text
//!   chunk   crc32c u32 | write batch of puts
//! ```
//!
//! The reader keeps only its place, so chunks can be made one at a time from an engine snapshot by
//! whoever has the time. Entries come family by family in key order, which is the order that
//! [`crate::BulkWriter`] wants.

use base::{Key, KeyRange};
use bytes::Bytes;

use super::encoding::encoded_span;
use crate::{BulkWriter, EngineError, EngineRead, Family, IterOptions, Op, WriteBatch};

const CRC_BYTES: usize = 4;

/// The spans of engine keys that hold a range's user data. State of the replica in the local family
/// is not among them: see [`crate::local_span`].
#[must_use]
pub fn range_spans(span: &KeyRange) -> Vec<(Family, KeyRange)> {
    let encoded = encoded_span(span);
    Family::KEYED.into_iter().map(|family| (family, encoded.clone())).collect()
}

/// Adds the deletion of all that lies in the spans.
pub fn clear_spans(batch: &mut WriteBatch, spans: &[(Family, KeyRange)]) {
    for (family, span) in spans {
        if !span.is_empty() {
            batch.delete_range(*family, span.start.as_bytes(), span.end.as_bytes());
        }
    }
}

/// Adds the deletion of all versions in a span of user keys.
pub fn clear_versions(batch: &mut WriteBatch, span: &KeyRange) {
    clear_spans(batch, &[(Family::Data, encoded_span(span))]);
}

/// Reads all entries of some spans, chunk by chunk.
#[derive(Debug, Clone)]
pub struct RawReader {
    /// What is left, the next first.
    rest: Vec<(Family, KeyRange)>,
}

impl RawReader {
    /// Over the spans, in the order of families and keys.
    #[must_use]
    pub fn new(mut spans: Vec<(Family, KeyRange)>) -> Self {
        spans.retain(|(_, span)| !span.is_empty());
        spans.sort();
        spans.reverse();
        RawReader { rest: spans }
    }

    /// The next chunk of about `max_bytes`, or nothing at the end. All chunks must be read from the
    /// same snapshot.
    pub fn next_chunk(
        &mut self,
        snapshot: &dyn EngineRead,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, EngineError> {
        let mut batch = WriteBatch::new();
        while let Some((family, span)) = self.rest.pop() {
            let mut iter = snapshot.iter(family, &span, IterOptions { bulk: true })?;
            let mut found = iter.seek_to_first()?;
            while found && batch.byte_size() < max_bytes {
                batch.put(family, iter.key(), iter.value().as_slice());
                found = iter.next()?;
            }
            if found {
                let start = Key(Bytes::copy_from_slice(iter.key()));
                self.rest.push((family, KeyRange { start, end: span.end.clone() }));
                break;
            }
        }
        if batch.is_empty() {
            return Ok(None);
        }
        let mut chunk = Vec::with_capacity(CRC_BYTES + batch.byte_size());
        chunk.extend_from_slice(&crc32c::crc32c(batch.as_encoded()).to_be_bytes());
        chunk.extend_from_slice(batch.as_encoded());
        Ok(Some(chunk.into()))
    }
}

/// Checks a chunk and hands its entries to a bulk writer. Nothing of a damaged chunk is handed
/// over, nor of one with entries outside of `spans`.
pub fn apply_chunk(
    chunk: &[u8],
    spans: &[(Family, KeyRange)],
    writer: &mut dyn BulkWriter,
) -> Result<(), EngineError> {
    let wrong = |why: &str| EngineError::malformed("snapshot chunk", why);
    let (crc, encoded) =
        chunk.split_first_chunk::<CRC_BYTES>().ok_or_else(|| wrong("cut short"))?;
    if u32::from_be_bytes(*crc) != crc32c::crc32c(encoded) {
        return Err(wrong("checksum does not match"));
    }
    let batch = WriteBatch::decode(encoded)?;
    for op in &batch {
        let Op::Put { family, key, .. } = op else { return Err(wrong("not only puts")) };
        let inside =
            spans.iter().any(|(in_family, span)| *in_family == family && span.contains(key));
        if !inside {
            return Err(wrong("an entry outside of the range"));
        }
    }
    for op in &batch {
        if let Op::Put { family, key, value } = op {
            writer.put(family, key, value)?;
        }
    }
    Ok(())
}
