//! The order-preserving form of a numeric: what Arrow arrays and index keys hold.
//!
//! ```text
//!   key                                             suffix
//!   class and exponent | base-100 digits            display scale, 2 bytes big-endian
//! ```
//!
//! A finite value other than 0 is `0.D1 D2 D3… * 100^e` with digits D to base 100, the first and
//! the last not 0. Positive: a class byte that contains `e` if it is small (else `e` follows), then
//! each digit as `2D + 1`, the last as `2D`; so the end of the digits needs no length and a prefix
//! sorts first. Negative: all bytes of the positive form inverted.
//!
//! ```text
//!   08 -Infinity | 10..6f negative | 80 zero | 90..ef positive | f0 Infinity | f8 NaN
//!   positive: 90 e as u32 below | 91..ee e from -23 to 70 | ef e as u32 above
//! ```
//!
//! # Invariants
//!
//! - **K1** Comparing keys as bytes is [`Numeric::cmp_value`]; equal values have equal keys.
//! - **K2** No key is a prefix of another, so whatever follows (the suffix, the next index column)
//!   decides only between equal values.

use num_bigint::BigInt;

use super::arith::stored_scale;
use super::{Mantissa, Numeric, Repr, pow10_big, scale_up};

const NEG_INFINITY: u8 = 0x08;
const ZERO: u8 = 0x80;
const POSITIVE_SMALL: u8 = 0x90;
const POSITIVE_MID: u8 = 0x91;
const POSITIVE_LARGE: u8 = 0xef;
const INFINITY: u8 = 0xf0;
const NAN: u8 = 0xf8;
const EXPONENT_MIN: i64 = -23;
const EXPONENT_MAX: i64 = 70;
/// Makes a wide exponent unsigned.
const EXPONENT_BIAS: i64 = 1 << 20;

impl Numeric {
    /// Appends the key: compares as bytes like the value, knows its own end.
    pub fn encode_key(&self, out: &mut Vec<u8>) {
        let (mantissa, scale) = match &self.0 {
            Repr::NaN => return out.push(NAN),
            Repr::Infinity => return out.push(INFINITY),
            Repr::NegInfinity => return out.push(NEG_INFINITY),
            Repr::Small { .. } | Repr::Big(_) => self.parts().expect("finite"),
        };
        let mut buffer = [0u8; 40];
        let text;
        let (negative, digits): (bool, &[u8]) = match mantissa {
            Mantissa::Small(0) => return out.push(ZERO),
            Mantissa::Small(value) => {
                (value < 0, decimal_digits(value.unsigned_abs(), &mut buffer))
            }
            Mantissa::Big(value) => {
                text = value.magnitude().to_string();
                (value.sign() == num_bigint::Sign::Minus, text.as_bytes())
            }
        };
        let start = out.len();
        let before = i64::try_from(digits.len()).expect("short") - i64::from(scale);
        push_positive(digits, before, out);
        if negative {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    /// Key and display scale: the value as it is in Arrow.
    pub fn encode_sortable(&self, out: &mut Vec<u8>) {
        self.encode_key(out);
        let scale = stored_scale(self.scale());
        out.extend_from_slice(&scale.to_be_bytes());
    }

    /// Reads what [`Self::encode_sortable`] wrote; `None` if it is not that.
    pub fn decode_sortable(bytes: &[u8]) -> Option<Self> {
        let at = bytes.len().checked_sub(2)?;
        let scale = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let (value, used) = Self::decode_key(bytes, scale)?;
        (used == at).then_some(value)
    }

    /// Whether [`Self::decode_sortable`] can read it: for most, without doing so.
    #[must_use]
    pub fn is_sortable(bytes: &[u8]) -> bool {
        let Some(([class, digits @ ..], scale)) = bytes.split_last_chunk::<2>() else {
            return false;
        };
        let flip = if *class < ZERO { 0xff } else { 0 };
        let is_digit = |byte: u8, more: u8| (byte ^ flip) & 1 == more && (byte ^ flip) >> 1 < 100;
        match (class ^ flip, digits) {
            (POSITIVE_MID..POSITIVE_LARGE, [digits @ .., last])
                if digits.len() < 32 && scale[0] < 0x80 =>
            {
                is_digit(*last, 0) && digits.iter().all(|digit| is_digit(*digit, 1))
            }
            _ => Self::decode_sortable(bytes).is_some(),
        }
    }

    /// Reads a key from the front of `bytes`, to be shown with `scale` fraction digits (or as many
    /// as it has, if more). Returns the bytes used.
    pub fn decode_key(bytes: &[u8], scale: u16) -> Option<(Self, usize)> {
        let class = *bytes.first()?;
        match class {
            NAN => return Some((Self::NAN, 1)),
            INFINITY => return Some((Self::INFINITY, 1)),
            NEG_INFINITY => return Some((Self::NEG_INFINITY, 1)),
            ZERO => return Some((Self::from_parts(0, scale), 1)),
            _ => {}
        }
        let negative = class < ZERO;
        let flip = if negative { 0xff } else { 0 };
        let (exponent, mut used) = match class ^ flip {
            POSITIVE_SMALL | POSITIVE_LARGE => {
                let wide: [u8; 4] = bytes.get(1..5)?.try_into().ok()?;
                (i64::from(u32::from_be_bytes(wide.map(|b| b ^ flip))) - EXPONENT_BIAS, 5)
            }
            class @ POSITIVE_MID..POSITIVE_LARGE => {
                (i64::from(class) - i64::from(POSITIVE_MID) + EXPONENT_MIN, 1)
            }
            _ => return None,
        };
        let digits_at = used;
        let mut small: Option<i128> = Some(0);
        loop {
            let byte = *bytes.get(used)? ^ flip;
            used += 1;
            let digit = i128::from(byte >> 1);
            small = small.and_then(|value| value.checked_mul(100)?.checked_add(digit));
            if byte & 1 == 0 {
                break;
            }
        }
        let count = i64::try_from(used - digits_at).ok()?;
        // value = digits * 100^(exponent - count)
        let shift = (exponent - count) * 2 + i64::from(scale);
        let value = match small.and_then(|value| apply_shift(value, shift, scale)) {
            Some((value, scale)) => Self::from_parts(if negative { -value } else { value }, scale),
            None => decode_big(&bytes[digits_at..used], flip, shift, scale, negative)?,
        };
        Some((value, used))
    }
}

/// `value * 10^shift` at `scale`; where that loses digits, the scale grows instead.
fn apply_shift(value: i128, shift: i64, scale: u16) -> Option<(i128, u16)> {
    if let Ok(up) = u32::try_from(shift) {
        return Some((scale_up(value, up)?, scale));
    }
    let mut value = value;
    let mut drop = -shift;
    while drop > 0 && value % 10 == 0 {
        value /= 10;
        drop -= 1;
    }
    Some((value, scale.checked_add(u16::try_from(drop).ok()?)?))
}

fn decode_big(bytes: &[u8], flip: u8, shift: i64, scale: u16, negative: bool) -> Option<Numeric> {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let digit = (byte ^ flip) >> 1;
        text.push(char::from(b'0' + digit / 10));
        text.push(char::from(b'0' + digit % 10));
    }
    let mut value: BigInt = text.parse().ok()?;
    let mut scale = scale;
    if let Ok(up) = u32::try_from(shift) {
        value *= pow10_big(up);
    } else {
        let zeros = text.len() - text.trim_end_matches('0').len();
        let drop = u32::try_from(-shift).ok()?.min(u32::try_from(zeros).ok()?);
        value /= pow10_big(drop);
        scale = scale.checked_add(u16::try_from(-shift - i64::from(drop)).ok()?)?;
    }
    Some(Numeric::from_big(if negative { -value } else { value }, scale))
}

fn push_positive(digits: &[u8], before: i64, out: &mut Vec<u8>) {
    let end = digits.iter().rposition(|&b| b != b'0').expect("not zero") + 1;
    let digits = &digits[..end];
    // An odd number of digits before the point starts with half a pair.
    let odd = before.rem_euclid(2) == 1;
    let exponent = (before + i64::from(odd)) / 2;
    if !(EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent) {
        out.push(if exponent < 0 { POSITIVE_SMALL } else { POSITIVE_LARGE });
        let wide = u32::try_from(exponent + EXPONENT_BIAS).expect("digits are limited");
        out.extend_from_slice(&wide.to_be_bytes());
    } else {
        let offset = u8::try_from(exponent - EXPONENT_MIN).expect("in range");
        out.push(POSITIVE_MID + offset);
    }
    let (head, rest) = if odd { digits.split_at(1) } else { digits.split_at(0) };
    if let [first] = head {
        out.push((first - b'0') << 1 | 1);
    }
    for pair in rest.chunks(2) {
        let high = (pair[0] - b'0') * 10;
        let low = pair.get(1).map_or(0, |b| b - b'0');
        out.push((high + low) << 1 | 1);
    }
    let last = out.len() - 1;
    out[last] &= !1;
}

fn decimal_digits(mut value: u128, buffer: &mut [u8; 40]) -> &[u8] {
    let mut at = buffer.len();
    while value > u128::from(u64::MAX) {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    // 64-bit division is several times faster than 128-bit.
    let mut value = value as u64;
    while value > 0 {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    &buffer[at..]
}
