//! `xid8`: numbers of transactions, unsigned and of 64 bits.
//!
//! A value is kept as the signed number at the same place in the order: as [`Datum::Int8`] with the first
//! bit turned. So order, equality, hashes, keys and Arrow arrays need no rule of their own, and only who
//! reads or writes the number itself has to know.

use crate::datum::Datum;

const FIRST_BIT: u64 = 1 << 63;

/// The number as it is kept.
#[must_use]
pub fn datum(id: u64) -> Datum {
    Datum::Int8((id ^ FIRST_BIT).cast_signed())
}

/// The number that a value of this type stands for.
#[must_use]
pub fn number(kept: i64) -> u64 {
    kept.cast_unsigned() ^ FIRST_BIT
}

/// Reads a number as PostgreSQL 15 does, by `strtoull`: hexadecimal after `0x`, octal after `0`, up to the
/// first character that does not belong; a sign negates; the largest number where it is too large.
pub(crate) fn parse(text: &str) -> u64 {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let (negative, text) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let hex = |t: &str| t.bytes().next().is_some_and(|byte| byte.is_ascii_hexdigit());
    let (radix, digits) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(rest) if hex(rest) => (16, rest),
        _ if text.starts_with('0') => (8, text),
        _ => (10, text),
    };
    let mut number: u64 = 0;
    for digit in digits.chars().map_while(|c| c.to_digit(radix)) {
        let next = number.checked_mul(u64::from(radix));
        match next.and_then(|next| next.checked_add(u64::from(digit))) {
            Some(next) => number = next,
            None => return u64::MAX,
        }
    }
    if negative { number.wrapping_neg() } else { number }
}
