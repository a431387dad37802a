//! Money and shares: exact numbers of few digits, as `numeric` on the wire.

use std::error::Error;
use std::fmt;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// A number with this many digits behind the point, at most four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    units: i64,
    scale: u8,
}

/// What PostgreSQL's digits count in.
const BASE: i64 = 10_000;
/// The sign of numbers below zero.
const NEGATIVE: u16 = 0x4000;

impl Decimal {
    /// A hundredth of each.
    pub(super) fn cents(cents: i64) -> Decimal {
        Decimal { units: cents, scale: 2 }
    }

    /// The number in units of that many digits.
    pub(super) fn units(self, scale: u8) -> i64 {
        assert!(self.scale <= scale, "{self} has more than {scale} digits");
        self.units * 10_i64.pow(u32::from(scale - self.scale))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = 10_u64.pow(u32::from(self.scale));
        let (sign, units) = (if self.units < 0 { "-" } else { "" }, self.units.unsigned_abs());
        write!(f, "{sign}{}", units / one)?;
        match self.scale {
            0 => Ok(()),
            scale => write!(f, ".{:0width$}", units % one, width = usize::from(scale)),
        }
    }
}

impl ToSql for Decimal {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let fraction = 10_i64.pow(u32::from(self.scale));
        let units = self.units.abs();
        let mut digits = vec![units % fraction * (BASE / fraction)];
        let mut whole = units / fraction;
        while whole > 0 {
            digits.push(whole % BASE);
            whole /= BASE;
        }
        let weight = i16::try_from(digits.len())? - 2;
        out.put_i16(i16::try_from(digits.len())?);
        out.put_i16(weight);
        out.put_u16(if self.units < 0 { NEGATIVE } else { 0 });
        out.put_i16(i16::from(self.scale));
        for digit in digits.into_iter().rev() {
            out.put_i16(i16::try_from(digit)?);
        }
        Ok(IsNull::No)
    }

    accepts!(NUMERIC);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Decimal {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Decimal, Box<dyn Error + Sync + Send>> {
        let word = |at: usize| -> Result<i16, Box<dyn Error + Sync + Send>> {
            let bytes = raw.get(at * 2..at * 2 + 2).ok_or("the number is cut off")?;
            Ok(i16::from_be_bytes(bytes.try_into()?))
        };
        let (count, weight, sign) = (word(0)?, word(1)?, word(2)?);
        let scale = u8::try_from(word(3)?)?;
        if scale > 4 {
            return Err("more than four digits behind the point".into());
        }
        // In units of 1/10000 first.
        let mut units = 0_i64;
        for at in 0..count {
            let digit = i64::from(word(4 + usize::try_from(at)?)?);
            let place = u32::try_from(weight - at + 1)?;
            units += digit * BASE.checked_pow(place).ok_or("the number is too large")?;
        }
        let units = units / 10_i64.pow(u32::from(4 - scale));
        let negative = sign == i16::try_from(NEGATIVE)?;
        Ok(Decimal { units: if negative { -units } else { units }, scale })
    }

    accepts!(NUMERIC);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_there_and_back() {
        for (units, scale, text) in [
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-1_000, 2, "-10.00"),
            (123_456_789, 2, "1234567.89"),
            (1_234, 4, "0.1234"),
            (10_000, 0, "10000"),
        ] {
            let number = Decimal { units, scale };
            assert_eq!(number.to_string(), text);
            let mut raw = BytesMut::new();
            number.to_sql(&Type::NUMERIC, &mut raw).expect("it fits");
            assert_eq!(Decimal::from_sql(&Type::NUMERIC, &raw).expect("a number"), number);
        }
    }
}
