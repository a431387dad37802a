//! Splits date and time input into fields, as PostgreSQL's `ParseDateTime` does.

/// What a field looks like; what it means depends on the fields before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Digits, perhaps with a fraction.
    Number,
    /// Has a colon.
    Time,
    /// Digits or letters joined by `-`, `/` or `.`.
    Date,
    /// A sign and digits.
    Zone,
    /// Letters, lower case; zone names keep everything up to the next space.
    Word,
    /// A sign and letters: `-infinity`.
    Special,
}

/// One field of the input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// The fields; `None` if a character has no place in a date or time.
pub(super) fn split(input: &str) -> Option<Vec<Token>> {
    let bytes = input.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let byte = bytes[at];
        let kind = match byte {
            _ if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'0'..=b'9' => digits_first(bytes, &mut at),
            b'.' => {
                at += 1;
                skip(bytes, &mut at, |b| b.is_ascii_digit());
                Kind::Number
            }
            _ if byte.is_ascii_alphabetic() => word_first(bytes, &mut at),
            b'+' | b'-' => {
                at += 1;
                skip(bytes, &mut at, |b| b.is_ascii_whitespace());
                let sign = char::from(byte);
                let body = at;
                let kind = match bytes.get(at) {
                    Some(b) if b.is_ascii_digit() => {
                        skip(bytes, &mut at, |b| b.is_ascii_digit() || b":.-".contains(&b));
                        Kind::Zone
                    }
                    Some(b) if b.is_ascii_alphabetic() => {
                        skip(bytes, &mut at, |b| b.is_ascii_alphabetic());
                        Kind::Special
                    }
                    _ => return None,
                };
                let text = format!("{sign}{}", input[body..at].to_ascii_lowercase());
                tokens.push(Token { kind, text });
                continue;
            }
            _ if byte.is_ascii_punctuation() => {
                at += 1;
                continue;
            }
            _ => return None,
        };
        tokens.push(Token { kind, text: input[start..at].to_ascii_lowercase() });
    }
    Some(tokens)
}

fn skip(bytes: &[u8], at: &mut usize, accept: impl Fn(u8) -> bool) {
    while bytes.get(*at).is_some_and(|&b| accept(b)) {
        *at += 1;
    }
}

fn digits_first(bytes: &[u8], at: &mut usize) -> Kind {
    skip(bytes, at, |b| b.is_ascii_digit());
    match bytes.get(*at) {
        Some(b':') => {
            skip(bytes, at, |b| b.is_ascii_digit() || b == b':' || b == b'.');
            Kind::Time
        }
        Some(&delimiter @ (b'-' | b'/' | b'.')) => {
            *at += 1;
            if bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                skip(bytes, at, |b| b.is_ascii_digit());
                if bytes.get(*at) == Some(&delimiter) {
                    skip(bytes, at, |b| b.is_ascii_digit() || b == delimiter);
                    return Kind::Date;
                }
                return if delimiter == b'.' { Kind::Number } else { Kind::Date };
            }
            if delimiter == b'.' && !bytes.get(*at).is_some_and(u8::is_ascii_alphanumeric) {
                return Kind::Number;
            }
            skip(bytes, at, |b| b.is_ascii_alphanumeric() || b == delimiter);
            Kind::Date
        }
        _ => Kind::Number,
    }
}

fn word_first(bytes: &[u8], at: &mut usize) -> Kind {
    let start = *at;
    skip(bytes, at, |b| b.is_ascii_alphabetic());
    let Some(b'-' | b'/' | b'.' | b'_' | b'+' | b':') = bytes.get(*at) else {
        // `PST8PDT`, `UTC+3`, but not `t040506`.
        if *at - start >= 3 && bytes.get(*at).is_some_and(u8::is_ascii_digit) {
            let is_month = super::words::month_by_name(
                &String::from_utf8_lossy(&bytes[start..*at]).to_ascii_lowercase(),
            )
            .is_some();
            if !is_month {
                skip(bytes, at, |b| b.is_ascii_alphanumeric());
            }
        }
        return Kind::Word;
    };
    let word = String::from_utf8_lossy(&bytes[start..*at]).to_ascii_lowercase();
    if super::words::month_by_name(&word).is_some() {
        let delimiter = bytes[*at];
        skip(bytes, at, |b| b.is_ascii_alphanumeric() || b == delimiter);
        return Kind::Date;
    }
    if is_zone_abbreviation_before_sign(&word) && !matches!(bytes[*at], b'/' | b'_') {
        // `UTC+3`, `EST-5`: one POSIX zone.
        skip(bytes, at, |b| b.is_ascii_alphanumeric() || b"+-:.".contains(&b));
        return Kind::Word;
    }
    if word.len() >= 2 && matches!(bytes[*at], b'/' | b'_' | b'-' | b'+') {
        skip(bytes, at, |b| b.is_ascii_alphanumeric() || b"/_-+:".contains(&b));
    }
    Kind::Word
}

fn is_zone_abbreviation_before_sign(word: &str) -> bool {
    word.len() >= 3 && super::zone::abbreviation_offset(word).is_some()
}
