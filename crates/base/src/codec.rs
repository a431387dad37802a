//! Order-preserving encoding: comparing encoded bytes gives the order of the values.
//!
//! Each encoding is self-delimiting, so encoded values can be strung together to one key and the
//! order is that of the tuples. `descending` turns any encoding around by inverting its bytes.
//!
//! ```text
//!   u64, i64   8 bytes big-endian, sign bit flipped for signed
//!   f64        IEEE bits; sign flipped for positive, all flipped for negative; NaN after all, as in
//!              PostgreSQL
//!   bytes      00 -> 00 FF, ended by 00 01
//! ```

use bytes::BufMut;

/// The bytes end early or hold what no encoder writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed key encoding: {0}")]
pub struct DecodeError(pub &'static str);

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xFF;
const TERMINATOR: u8 = 0x01;

/// Appends an unsigned integer.
pub fn put_u64(out: &mut impl BufMut, value: u64) {
    out.put_u64(value);
}

/// Takes an unsigned integer off the front.
pub fn take_u64(input: &mut &[u8]) -> Result<u64, DecodeError> {
    let (head, rest) = input.split_first_chunk::<8>().ok_or(DecodeError("integer cut short"))?;
    *input = rest;
    Ok(u64::from_be_bytes(*head))
}

/// Appends a signed integer.
pub fn put_i64(out: &mut impl BufMut, value: i64) {
    out.put_u64((value as u64) ^ (1 << 63));
}

/// Takes a signed integer off the front.
pub fn take_i64(input: &mut &[u8]) -> Result<i64, DecodeError> {
    Ok((take_u64(input)? ^ (1 << 63)) as i64)
}

/// Appends a float. Negative zero is encoded as zero, every NaN as the same greatest value.
pub fn put_f64(out: &mut impl BufMut, value: f64) {
    let bits = match value {
        v if v.is_nan() => u64::MAX,
        0.0 => 1 << 63,
        v if v.is_sign_negative() => !v.to_bits(),
        v => v.to_bits() | (1 << 63),
    };
    out.put_u64(bits);
}

/// Takes a float off the front.
pub fn take_f64(input: &mut &[u8]) -> Result<f64, DecodeError> {
    Ok(match take_u64(input)? {
        u64::MAX => f64::NAN,
        bits if bits >> 63 == 1 => f64::from_bits(bits & !(1 << 63)),
        bits => f64::from_bits(!bits),
    })
}

/// Appends a byte string.
pub fn put_bytes(out: &mut impl BufMut, mut value: &[u8]) {
    while let Some(zero) = value.iter().position(|&b| b == ESCAPE) {
        out.put_slice(&value[..zero]);
        out.put_slice(&[ESCAPE, ESCAPED_ZERO]);
        value = &value[zero + 1..];
    }
    out.put_slice(value);
    out.put_slice(&[ESCAPE, TERMINATOR]);
}

/// Takes a byte string off the front.
pub fn take_bytes(input: &mut &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut value = Vec::new();
    loop {
        let zero = input
            .iter()
            .position(|&b| b == ESCAPE)
            .ok_or(DecodeError("byte string without an end"))?;
        value.extend_from_slice(&input[..zero]);
        let marker = *input.get(zero + 1).ok_or(DecodeError("byte string cut short"))?;
        *input = &input[zero + 2..];
        match marker {
            TERMINATOR => return Ok(value),
            ESCAPED_ZERO => value.push(0),
            _ => return Err(DecodeError("unknown escape in a byte string")),
        }
    }
}

/// Turns the order of what was written since `start` around, in place.
pub fn invert(out: &mut [u8]) {
    for byte in out {
        *byte = !*byte;
    }
}
