//! Digests and encodings: `md5`, `encode`, `decode`, `convert_from`, `convert_to`.

use md5::{Digest, Md5};

use super::Registry;
use super::args::{bytes, text};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::text::{decode_hex, parse_escape, print_hex};

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    print_hex(bytes, &mut out).expect("writing to a string");
    out
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base 64 with a line break after every 76 characters, as PostgreSQL has it.
fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut line = 0;
    for chunk in bytes.chunks(3) {
        let block =
            chunk.iter().fold(0u32, |acc, b| acc << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                let digit = (block >> (18 - 6 * i)) & 63;
                out.push(char::from(BASE64[digit as usize]));
            } else {
                out.push('=');
            }
        }
        line += 4;
        if line == 76 {
            out.push('\n');
            line = 0;
        }
    }
    if out.ends_with('\n') {
        out.pop();
    }
    out
}

fn from_base64(input: &str) -> Result<Vec<u8>> {
    let invalid = |message: String| TypeError::new(sqlstate::INVALID_PARAMETER, message);
    let mut out = Vec::new();
    let (mut block, mut count, mut padding) = (0u32, 0, 0);
    for c in input.chars() {
        let digit = match c {
            ' ' | '\t' | '\n' | '\r' => continue,
            '=' => {
                padding += 1;
                if padding > 2 || count < 2 {
                    return Err(invalid(
                        "unexpected \"=\" while decoding base64 sequence".to_owned(),
                    ));
                }
                0
            }
            _ if padding > 0 => {
                return Err(invalid("unexpected \"=\" while decoding base64 sequence".to_owned()));
            }
            _ => match BASE64.iter().position(|b| char::from(*b) == c) {
                Some(digit) => digit as u32,
                None => {
                    return Err(invalid(format!(
                        "invalid symbol \"{c}\" found while decoding base64 sequence"
                    )));
                }
            },
        };
        block = block << 6 | digit;
        count += 1;
        if count == 4 {
            let [_, a, b, c] = block.to_be_bytes();
            out.extend_from_slice(&[a, b, c][..3 - padding]);
            (block, count) = (0, 0);
        }
    }
    if count != 0 {
        return Err(invalid("invalid base64 end sequence".to_owned())
            .with_hint("Input data is missing padding, is truncated, or is otherwise corrupted."));
    }
    Ok(out)
}

fn unknown_encoding(name: &str) -> TypeError {
    TypeError::new(sqlstate::INVALID_PARAMETER, format!("unrecognized encoding: \"{name}\""))
}

fn encode(data: &[u8], format: &str) -> Result<Datum> {
    Ok(Datum::text(match format.to_ascii_lowercase().as_str() {
        "hex" => hex(data),
        "base64" => base64(data),
        "escape" => {
            let mut out = String::new();
            for &byte in data {
                match byte {
                    b'\\' => out.push_str("\\\\"),
                    0 | 0x80.. => out.push_str(&format!("\\{byte:03o}")),
                    _ => out.push(char::from(byte)),
                }
            }
            out
        }
        _ => return Err(unknown_encoding(format)),
    }))
}

fn decode(input: &str, format: &str) -> Result<Datum> {
    let data = match format.to_ascii_lowercase().as_str() {
        "hex" => decode_hex(input)?,
        "base64" => from_base64(input)?,
        "escape" => parse_escape(input)?,
        _ => return Err(unknown_encoding(format)),
    };
    Ok(Datum::Bytea(data.into()))
}

fn check_utf8(name: &str) -> Result<()> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_ascii_lowercase().as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok(()),
        _ => Err(TypeError::not_supported(format!("encoding \"{name}\" is not supported"))),
    }
}

pub(super) fn register(r: &mut Registry) {
    r.f("md5(text) text", |_, a| Ok(Datum::text(hex(&Md5::digest(text(&a[0]))))));
    r.f("md5(bytea) text", |_, a| Ok(Datum::text(hex(&Md5::digest(bytes(&a[0]))))));
    r.f("encode(bytea,text) text", |_, a| encode(bytes(&a[0]), text(&a[1])));
    r.f("decode(text,text) bytea", |_, a| decode(text(&a[0]), text(&a[1])));
    r.f("convert_from(bytea,name) text", |_, a| {
        check_utf8(text(&a[1]))?;
        String::from_utf8(bytes(&a[0]).to_vec()).map(Datum::text).map_err(|_| {
            TypeError::new(sqlstate::BAD_ENCODING, "invalid byte sequence for encoding \"UTF8\"")
        })
    });
    r.f("convert_to(text,name) bytea", |_, a| {
        check_utf8(text(&a[1]))?;
        Ok(Datum::Bytea(text(&a[0]).as_bytes().to_vec().into()))
    });
}
