//! Byte strings: parts, bits, trimming, digests.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::Registry;
use super::args::{bytes, i4, i8};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};

fn out_of_range(index: i64, count: usize) -> TypeError {
    let last = i64::try_from(count).expect("below 1 GB") - 1;
    TypeError::new(
        sqlstate::ARRAY_SUBSCRIPT,
        format!("index {index} out of valid range, 0..{last}"),
    )
}

fn byte_index(data: &[u8], index: i32) -> Result<usize> {
    let fits = usize::try_from(index).ok().filter(|at| *at < data.len());
    fits.ok_or_else(|| out_of_range(index.into(), data.len()))
}

/// The byte a bit is in, and its mask: bits of a byte are counted from the lowest.
fn bit_index(data: &[u8], index: i64) -> Result<(usize, u8)> {
    let fits = usize::try_from(index).ok().filter(|at| *at < data.len() * 8);
    let at = fits.ok_or_else(|| out_of_range(index, data.len() * 8))?;
    Ok((at / 8, 1 << (at % 8)))
}

fn set_bit(data: &[u8], index: i64, bit: i32) -> Result<Datum> {
    let mut data = data.to_vec();
    let (at, mask) = bit_index(&data, index)?;
    match bit {
        0 => data[at] &= !mask,
        1 => data[at] |= mask,
        _ => return Err(TypeError::new(sqlstate::INVALID_PARAMETER, "new bit must be 0 or 1")),
    }
    Ok(Datum::Bytea(data.into()))
}

fn trim(data: &[u8], set: &[u8], front: bool, back: bool) -> Datum {
    let outside = |byte: &u8| !set.contains(byte);
    let start = if front { data.iter().position(outside).unwrap_or(data.len()) } else { 0 };
    let end = match back {
        true => data.iter().rposition(outside).map_or(start, |at| at + 1),
        false => data.len(),
    };
    Datum::Bytea(data[start..end.max(start)].to_vec().into())
}

fn position(needle: &[u8], data: &[u8]) -> Datum {
    let found = match needle {
        [] => Some(0),
        needle => data.windows(needle.len()).position(|part| part == needle),
    };
    let at = found.map_or(0, |at| at + 1);
    Datum::Int4(i32::try_from(at).expect("below 1 GB"))
}

fn overlay(data: &[u8], new: &[u8], start: i32, length: i32) -> Result<Datum> {
    if start <= 0 {
        return Err(TypeError::new(sqlstate::SUBSTRING, "negative substring length not allowed"));
    }
    let after = start.checked_add(length).ok_or_else(|| TypeError::out_of_range("integer"))?;
    let at = |position: i32| usize::try_from(position - 1).unwrap_or(0).min(data.len());
    Ok(Datum::Bytea([&data[..at(start)], new, &data[at(after.max(1))..]].concat().into()))
}

pub(super) fn register(r: &mut Registry) {
    r.f("get_byte(bytea,int4) int4", |_, a| {
        let data = bytes(&a[0]);
        Ok(Datum::Int4(i32::from(data[byte_index(data, i4(&a[1]))?])))
    });
    r.f("set_byte(bytea,int4,int4) bytea", |_, a| {
        let mut data = bytes(&a[0]).to_vec();
        let at = byte_index(&data, i4(&a[1]))?;
        let [low, ..] = i4(&a[2]).to_le_bytes();
        data[at] = low;
        Ok(Datum::Bytea(data.into()))
    });
    r.f("get_bit(bytea,int8) int4", |_, a| {
        let data = bytes(&a[0]);
        let (at, mask) = bit_index(data, i8(&a[1]))?;
        Ok(Datum::Int4(i32::from(data[at] & mask != 0)))
    });
    r.f("set_bit(bytea,int8,int4) bytea", |_, a| set_bit(bytes(&a[0]), i8(&a[1]), i4(&a[2])));
    r.f("bit_count(bytea) int8", |_, a| {
        Ok(Datum::Int8(bytes(&a[0]).iter().map(|byte| i64::from(byte.count_ones())).sum()))
    });
    r.f("btrim(bytea,bytea) bytea", |_, a| Ok(trim(bytes(&a[0]), bytes(&a[1]), true, true)));
    r.f("ltrim(bytea,bytea) bytea", |_, a| Ok(trim(bytes(&a[0]), bytes(&a[1]), true, false)));
    r.f("rtrim(bytea,bytea) bytea", |_, a| Ok(trim(bytes(&a[0]), bytes(&a[1]), false, true)));
    r.f("position(bytea,bytea) int4", |_, a| Ok(position(bytes(&a[1]), bytes(&a[0]))));
    r.f("overlay(bytea,bytea,int4) bytea", |_, a| {
        let new = bytes(&a[1]);
        overlay(bytes(&a[0]), new, i4(&a[2]), i32::try_from(new.len()).expect("below 1 GB"))
    });
    r.f("overlay(bytea,bytea,int4,int4) bytea", |_, a| {
        overlay(bytes(&a[0]), bytes(&a[1]), i4(&a[2]), i4(&a[3]))
    });
    macro_rules! digests {
        ($($signature:literal $digest:ident;)*) => {
            $(r.f($signature, |_, a| {
                Ok(Datum::Bytea($digest::digest(bytes(&a[0])).to_vec().into()))
            });)*
        };
    }
    digests! {
        "sha224(bytea) bytea" Sha224;
        "sha256(bytea) bytea" Sha256;
        "sha384(bytea) bytea" Sha384;
        "sha512(bytea) bytea" Sha512;
    }
}
