//! How user keys, timestamps and transaction ids become engine keys.
//!
//! A user key is encoded so that encoded order is key order, no encoded key is a prefix of another,
//! and runs of zero bytes, of which table keys consist for the most part, shrink to two bytes:
//!
//! ```text
//!   a byte other than 0                         itself
//!   n zeros (1..=99), then another byte         00 FF-n
//!   100 zeros, whatever follows                 00 80
//!   n zeros (0..=99), then the end of the key   00 n
//! ```
//!
//! Why the order holds: where two keys differ first, one has a zero or its end, the other something
//! greater. Codes grow in this order: an earlier end, a later end, a full hundred, then shorter and
//! shorter runs before a nonzero byte; and `00` is below every byte that stands for itself.
//!
//! ```text
//!   data   key | !ts u64          newest version first
//!   lock   key
//!   txn    key | txn id u64
//! ```

use base::{Key, KeyRange, Timestamp, TxnId};
use bytes::Bytes;
use smallvec::SmallVec;

use crate::{EngineError, Family};

/// An engine key under construction: on the stack unless it is long.
pub type KeyBuf = SmallVec<[u8; 96]>;

const RUN: usize = 100;
const FULL_RUN: u8 = 0x80;
const LONGEST_END: u8 = RUN as u8 - 1;
const LONGEST_BEFORE_BYTE: u8 = 0xFF - LONGEST_END;

const _: () = assert!(LONGEST_END < FULL_RUN && FULL_RUN < LONGEST_BEFORE_BYTE);

/// The bytes that a timestamp adds to a data key.
pub const TS_BYTES: usize = 8;

/// Appends an encoded user key.
pub fn put_user_key(out: &mut KeyBuf, mut key: &[u8]) {
    while let Some(zero) = key.iter().position(|&b| b == 0) {
        out.extend_from_slice(&key[..zero]);
        key = &key[zero..];
        let mut zeros = key.iter().position(|&b| b != 0).unwrap_or(key.len());
        key = &key[zeros..];
        while zeros >= RUN {
            out.extend_from_slice(&[0, FULL_RUN]);
            zeros -= RUN;
        }
        if key.is_empty() {
            out.extend_from_slice(&[0, zeros as u8]);
            return;
        }
        if zeros > 0 {
            out.extend_from_slice(&[0, 0xFF - zeros as u8]);
        }
    }
    out.extend_from_slice(key);
    out.extend_from_slice(&[0, 0]);
}

/// The encoded form of a user key: its key in the lock family.
#[must_use]
pub fn encode_user_key(key: &[u8]) -> KeyBuf {
    let mut out = KeyBuf::new();
    put_user_key(&mut out, key);
    out
}

/// Appends the user key that `encoded` stands for, all of it.
pub fn decode_user_key(mut encoded: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    loop {
        let zero = encoded.iter().position(|&b| b == 0).ok_or("user key without an end")?;
        out.extend_from_slice(&encoded[..zero]);
        let code = *encoded.get(zero + 1).ok_or("user key cut short")?;
        encoded = &encoded[zero + 2..];
        let (zeros, more) = match code {
            0..=LONGEST_END => (usize::from(code), false),
            FULL_RUN => (RUN, true),
            LONGEST_BEFORE_BYTE..=0xFE => (usize::from(0xFF - code), true),
            _ => return Err("unknown escape in a user key"),
        };
        out.resize(out.len() + zeros, 0);
        if !more {
            return if encoded.is_empty() { Ok(()) } else { Err("bytes after a user key") };
        }
    }
}

/// The key of one version.
#[must_use]
pub fn data_key(key: &[u8], ts: Timestamp) -> KeyBuf {
    let mut out = encode_user_key(key);
    out.extend_from_slice(&(!ts.0).to_be_bytes());
    out
}

/// Takes a data key apart: the encoded user key and the timestamp.
pub fn split_data_key(key: &[u8]) -> Result<(&[u8], Timestamp), EngineError> {
    let (user, ts) = key
        .split_last_chunk::<TS_BYTES>()
        .ok_or_else(|| malformed_key(Family::Data, key, "timestamp cut short"))?;
    Ok((user, Timestamp(!u64::from_be_bytes(*ts))))
}

/// The key of a transaction's record on a user key.
#[must_use]
pub fn txn_key(key: &[u8], txn: TxnId) -> KeyBuf {
    let mut out = encode_user_key(key);
    out.extend_from_slice(&txn.0.to_be_bytes());
    out
}

/// Takes a key of the txn family apart: the encoded user key and the transaction.
pub fn split_txn_key(key: &[u8]) -> Result<(&[u8], TxnId), EngineError> {
    let (user, txn) = key
        .split_last_chunk::<8>()
        .ok_or_else(|| malformed_key(Family::Txn, key, "transaction id cut short"))?;
    Ok((user, TxnId(u64::from_be_bytes(*txn))))
}

/// The span of engine keys that belongs to a span of user keys, in each of [`Family::KEYED`].
#[must_use]
pub fn encoded_span(span: &KeyRange) -> KeyRange {
    let encode = |key: &Key| Key(Bytes::copy_from_slice(&encode_user_key(key.as_bytes())));
    let end = if span.end.0.is_empty() { Key::MIN } else { encode(&span.end) };
    KeyRange { start: encode(&span.start), end }
}

/// Decodes an encoded user key that was found in a family.
pub(crate) fn user_key(family: Family, encoded: &[u8]) -> Result<Key, EngineError> {
    let mut key = Vec::with_capacity(encoded.len() + 16);
    decode_user_key(encoded, &mut key).map_err(|why| malformed_key(family, encoded, why))?;
    Ok(Key(key.into()))
}

/// The error for a key that no encoder writes.
pub(crate) fn malformed_key(family: Family, key: &[u8], detail: &str) -> EngineError {
    let place = format!("family {}, key {}", family.name(), key.escape_ascii());
    EngineError::malformed(place, detail)
}
