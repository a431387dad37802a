//! PostgreSQL's binary format: count, weight, sign, display scale, digits to base 10,000.

use bytes::{Buf, BufMut, BytesMut};
use num_bigint::BigInt;

use super::arith::stored_scale;
use super::{MAX_SCALE, Mantissa, Numeric, Repr, pow10_big};
use crate::error::{Result, TypeError, sqlstate};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEG_INFINITY: u16 = 0xF000;

impl Numeric {
    /// Appends the binary wire form.
    pub fn to_wire(&self, out: &mut BytesMut) {
        let special = match &self.0 {
            Repr::NaN => Some(NAN),
            Repr::Infinity => Some(INFINITY),
            Repr::NegInfinity => Some(NEG_INFINITY),
            Repr::Small { .. } | Repr::Big(_) => None,
        };
        if let Some(sign) = special {
            out.put_u32(0);
            out.put_u16(sign);
            // PostgreSQL sends a bit of its infinities' header here.
            out.put_u16(if sign == NAN { 0 } else { 0x20 });
            return;
        }
        let (mantissa, scale) = self.parts().expect("finite");
        let (negative, text) = match mantissa {
            Mantissa::Small(value) => (value < 0, value.unsigned_abs().to_string()),
            Mantissa::Big(value) => {
                (value.sign() == num_bigint::Sign::Minus, value.magnitude().to_string())
            }
        };
        let (weight, digits) = base_10000(text.trim_start_matches('0'), scale as usize);
        out.put_i16(i16::try_from(digits.len()).expect("numerics have at most 32767 groups"));
        out.put_i16(weight);
        out.put_u16(if negative { NEGATIVE } else { POSITIVE });
        out.put_u16(stored_scale(scale));
        for digit in digits {
            out.put_u16(digit);
        }
    }

    /// Reads the binary wire form.
    pub fn from_wire(mut bytes: &[u8]) -> Result<Self> {
        let bad = |what: &str| {
            TypeError::new(
                sqlstate::INVALID_BINARY,
                format!("invalid {what} in external \"numeric\" value"),
            )
        };
        if bytes.len() < 8 {
            return Err(TypeError::new(
                sqlstate::PROTOCOL_VIOLATION,
                "insufficient data left in message",
            ));
        }
        let count = usize::from(bytes.get_u16());
        let weight = bytes.get_i16();
        let sign = bytes.get_u16();
        let scale = bytes.get_u16();
        match sign {
            NAN => return Ok(Self::NAN),
            INFINITY => return Ok(Self::INFINITY),
            NEG_INFINITY => return Ok(Self::NEG_INFINITY),
            POSITIVE | NEGATIVE => {}
            _ => return Err(bad("sign")),
        }
        if u32::from(scale) > MAX_SCALE {
            return Err(bad("scale"));
        }
        if bytes.len() != count * 2 {
            return Err(TypeError::new(
                sqlstate::PROTOCOL_VIOLATION,
                "insufficient data left in message",
            ));
        }
        let mut text = String::with_capacity(count * 4 + 1);
        text.push('0');
        for _ in 0..count {
            let digit = bytes.get_u16();
            if digit >= 10_000 {
                return Err(bad("digit"));
            }
            text.push_str(&format!("{digit:04}"));
        }
        let mut value: BigInt = text.parse().expect("digits");
        if sign == NEGATIVE {
            value = -value;
        }
        // value * 10000^(weight - count + 1), with `scale` digits after the point, cut not rounded.
        let exponent = (i64::from(weight) - i64::try_from(count).expect("16 bits") + 1) * 4;
        let shift = exponent + i64::from(scale);
        let by = u32::try_from(shift.unsigned_abs()).expect("18 bits");
        let value = if shift >= 0 { value * pow10_big(by) } else { value / pow10_big(by) };
        Ok(Self::from_big(value, scale))
    }
}

/// Groups of four digits around the decimal point, zero groups at either end left out.
fn base_10000(digits: &str, scale: usize) -> (i16, Vec<u16>) {
    if digits.is_empty() {
        return (0, Vec::new());
    }
    let before = digits.len() as i64 - scale as i64;
    let weight = (before - 1).div_euclid(4);
    let lead = usize::try_from((weight + 1) * 4 - before).expect("0 to 3");
    let padded = format!("{}{digits}", "000".get(..lead).expect("0 to 3"));
    let mut groups: Vec<u16> = padded
        .as_bytes()
        .chunks(4)
        .map(|chunk| {
            let value = chunk.iter().fold(0u16, |acc, b| acc * 10 + u16::from(b - b'0'));
            value * 10u16.pow(4 - u32::try_from(chunk.len()).expect("1 to 4"))
        })
        .collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    (i16::try_from(weight).expect("weight is limited"), groups)
}
