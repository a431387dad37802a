//! Text of `bytea`: hex and escape format.

use std::fmt::{self, Write};

use crate::env::ByteaOutput;
use crate::error::{Result, TypeError, sqlstate};

/// Reads `\x6162` or the escape format.
pub fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(hex) => decode_hex(hex),
        None => parse_escape(text),
    }
}

/// Hex digits, space between pairs allowed.
pub(crate) fn decode_hex(hex: &str) -> Result<Vec<u8>> {
    let digit = |c: char| {
        c.to_digit(16).map(|d| d as u8).ok_or_else(|| {
            TypeError::new(
                sqlstate::INVALID_PARAMETER,
                format!("invalid hexadecimal digit: \"{c}\""),
            )
        })
    };
    let mut out = Vec::with_capacity(hex.len() / 2);
    let mut chars = hex.chars();
    while let Some(high) = chars.next() {
        if high.is_ascii_whitespace() {
            continue;
        }
        let high = digit(high)?;
        let low = chars.next().ok_or_else(|| {
            TypeError::new(
                sqlstate::INVALID_PARAMETER,
                "invalid hexadecimal data: odd number of digits",
            )
        })?;
        out.push(high << 4 | digit(low)?);
    }
    Ok(out)
}

/// `\\` is a backslash, `\ooo` a byte, the rest stands for itself.
pub(crate) fn parse_escape(text: &str) -> Result<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        match &bytes[at + 1..] {
            [b'\\', ..] => {
                out.push(b'\\');
                at += 2;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                at += 4;
            }
            _ => {
                return Err(TypeError::new(
                    sqlstate::INVALID_TEXT,
                    "invalid input syntax for type bytea",
                ));
            }
        }
    }
    Ok(out)
}

/// Lower-case hex digits.
pub(crate) fn print_hex<W: Write>(bytes: &[u8], out: &mut W) -> fmt::Result {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut chunk = [0u8; 128];
    for part in bytes.chunks(64) {
        for (i, byte) in part.iter().enumerate() {
            chunk[i * 2] = HEX[usize::from(byte >> 4)];
            chunk[i * 2 + 1] = HEX[usize::from(byte & 15)];
        }
        out.write_str(std::str::from_utf8(&chunk[..part.len() * 2]).expect("ASCII"))?;
    }
    Ok(())
}

/// The escape format: printable ASCII as it is, the rest as `\ooo`.
pub(crate) fn print_escape<W: Write>(bytes: &[u8], out: &mut W) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b'\\' => out.write_str("\\\\")?,
            0x20..0x7f => out.write_char(char::from(byte))?,
            _ => write!(out, "\\{byte:03o}")?,
        }
    }
    Ok(())
}

/// Prints in the session's format.
pub fn print_bytea<W: Write>(bytes: &[u8], format: ByteaOutput, out: &mut W) -> fmt::Result {
    match format {
        ByteaOutput::Hex => {
            out.write_str("\\x")?;
            print_hex(bytes, out)
        }
        ByteaOutput::Escape => print_escape(bytes, out),
    }
}
