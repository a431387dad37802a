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

/// Encodings that texts can be converted to and from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    SqlAscii,
    Latin1,
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF8",
            Self::SqlAscii => "SQL_ASCII",
            Self::Latin1 => "LATIN1",
        }
    }

    /// By PostgreSQL's name for it. `role` is `source` or `destination`.
    fn by_name(name: &str, role: &str) -> Result<Self> {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        Ok(match plain.to_ascii_lowercase().as_str() {
            "utf8" | "unicode" => Self::Utf8,
            "sqlascii" => Self::SqlAscii,
            "latin1" | "iso88591" => Self::Latin1,
            known if OTHER_ENCODINGS.contains(&known) => {
                return Err(TypeError::not_supported(format!(
                    "encoding \"{name}\" is not supported"
                )));
            }
            _ => {
                return Err(TypeError::new(
                    sqlstate::INVALID_PARAMETER,
                    format!("invalid {role} encoding name \"{name}\""),
                ));
            }
        })
    }

    fn decode(self, data: &[u8]) -> Result<String> {
        match self {
            Self::Latin1 => Ok(data.iter().map(|byte| char::from(*byte)).collect()),
            Self::Utf8 | Self::SqlAscii => String::from_utf8(data.to_vec()).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                let bad: Vec<String> =
                    data[at..].iter().take(1).map(|byte| format!("0x{byte:02x}")).collect();
                TypeError::new(
                    sqlstate::BAD_ENCODING,
                    format!("invalid byte sequence for encoding \"UTF8\": {}", bad.join(" ")),
                )
            }),
        }
    }

    fn encode(self, value: &str) -> Result<Vec<u8>> {
        if self != Self::Latin1 {
            return Ok(value.as_bytes().to_vec());
        }
        let byte = |c: char| {
            u8::try_from(u32::from(c)).map_err(|_| {
                let bytes: Vec<String> = c
                    .encode_utf8(&mut [0; 4])
                    .bytes()
                    .map(|byte| format!("0x{byte:02x}"))
                    .collect();
                TypeError::new(
                    sqlstate::UNTRANSLATABLE,
                    format!(
                        "character with byte sequence {} in encoding \"UTF8\" has no equivalent \
                         in encoding \"{}\"",
                        bytes.join(" "),
                        self.name()
                    ),
                )
            })
        };
        value.chars().map(byte).collect()
    }
}

/// Encodings of PostgreSQL's that are not there.
const OTHER_ENCODINGS: &[&str] = &[
    "big5",
    "euccn",
    "eucjp",
    "eucjis2004",
    "euckr",
    "euctw",
    "gb18030",
    "gbk",
    "iso88595",
    "iso88596",
    "iso88597",
    "iso88598",
    "johab",
    "koi8r",
    "koi8",
    "koi8u",
    "latin2",
    "iso88592",
    "latin3",
    "iso88593",
    "latin4",
    "iso88594",
    "latin5",
    "iso88599",
    "latin6",
    "iso885910",
    "latin7",
    "iso885913",
    "latin8",
    "iso885914",
    "latin9",
    "iso885915",
    "latin10",
    "iso885916",
    "muleinternal",
    "sjis",
    "shiftjis",
    "shiftjis2004",
    "uhc",
    "win866",
    "win874",
    "win1250",
    "win1251",
    "win1252",
    "win1253",
    "win1254",
    "win1255",
    "win1256",
    "win1257",
    "win1258",
    "windows1250",
    "windows1251",
    "windows1252",
    "win932",
    "win936",
    "win949",
    "win950",
];

pub(super) fn register(r: &mut Registry) {
    r.f("md5(text) text", |_, a| Ok(Datum::text(hex(&Md5::digest(text(&a[0]))))));
    r.f("md5(bytea) text", |_, a| Ok(Datum::text(hex(&Md5::digest(bytes(&a[0]))))));
    r.f("encode(bytea,text) text", |_, a| encode(bytes(&a[0]), text(&a[1])));
    r.f("decode(text,text) bytea", |_, a| decode(text(&a[0]), text(&a[1])));
    r.f("length(bytea,name) int4", |_, a| {
        let count = Encoding::by_name(text(&a[1]), "source")?.decode(bytes(&a[0]))?.chars().count();
        Ok(Datum::Int4(i32::try_from(count).expect("below 1 GB")))
    });
    r.f("convert_from(bytea,name) text", |_, a| {
        Ok(Datum::text(Encoding::by_name(text(&a[1]), "source")?.decode(bytes(&a[0]))?))
    });
    r.f("convert_to(text,name) bytea", |_, a| {
        let encoding = Encoding::by_name(text(&a[1]), "destination")?;
        Ok(Datum::Bytea(encoding.encode(text(&a[0]))?.into()))
    });
    r.f("convert(bytea,name,name) bytea", |_, a| {
        let from = Encoding::by_name(text(&a[1]), "source")?;
        let to = Encoding::by_name(text(&a[2]), "destination")?;
        Ok(Datum::Bytea(to.encode(&from.decode(bytes(&a[0]))?)?.into()))
    });
}
