//! Variable-length integers and length-prefixed bytes, for values (not for keys: they do not sort).
//!
//! Seven bits a byte, lowest first, the top bit set on all but the last (LEB128).

/// Appends an integer.
pub(crate) fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes an integer off the front.
pub(crate) fn take_u64(input: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    for (position, &byte) in input.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7F);
        if position == 9 && bits > 1 {
            return Err("integer over 64 bits");
        }
        value |= bits << (7 * position);
        if byte < 0x80 {
            *input = &input[position + 1..];
            return Ok(value);
        }
    }
    Err("integer cut short")
}

/// Appends bytes with their length before them.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes length-prefixed bytes off the front.
pub(crate) fn take_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    let len = usize::try_from(take_u64(input)?).map_err(|_| "length over the address space")?;
    if input.len() < len {
        return Err("bytes cut short");
    }
    let (bytes, rest) = input.split_at(len);
    *input = rest;
    Ok(bytes)
}
