//! Reading JSON, with PostgreSQL's messages for what is wrong.

use super::Json;
use crate::error::{Result, TypeError, sqlstate};
use crate::numeric::Numeric;

/// Nesting beyond this is refused; PostgreSQL stops at its stack depth.
pub const MAX_DEPTH: usize = 1_000;

/// Parses a text; `is_binary` is for `jsonb`, which cannot hold `\u0000`.
pub fn parse(text: &str, is_binary: bool) -> Result<Json> {
    Parser { text, at: 0, depth: 0, is_binary, lenient: false }.whole()
}

/// Checks that a text is JSON.
pub fn check(text: &str) -> Result<()> {
    let mut parser = Parser { text, at: 0, depth: 0, is_binary: false, lenient: true };
    parser.whole().map(|_| ())
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    is_binary: bool,
    /// `json` input looks at the form of escapes only, not at what they stand for.
    lenient: bool,
}

impl Parser<'_> {
    fn whole(&mut self) -> Result<Json> {
        let value = self.value()?;
        self.space();
        if self.at < self.text.len() {
            return Err(self.expected("end of input"));
        }
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn error(&self, detail: String) -> TypeError {
        TypeError::new(sqlstate::INVALID_TEXT, "invalid input syntax for type json")
            .with_detail(detail)
    }

    /// The token at the cursor as PostgreSQL would show it.
    fn token(&self) -> &str {
        let rest = &self.text[self.at..];
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        match rest.chars().next() {
            None => "",
            Some(c) if word(c) || c == '-' => {
                let end = rest
                    .find(|c: char| !(word(c) || matches!(c, '-' | '+' | '.')))
                    .unwrap_or(rest.len());
                &rest[..end]
            }
            Some('"') => {
                let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
                &rest[..end]
            }
            Some(c) => &rest[..c.len_utf8()],
        }
    }

    /// A number and the letters and digits stuck to its end, which make it invalid.
    fn number_token(&self) -> &str {
        let rest = &self.text[self.at..];
        let bytes = rest.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut end = digits(usize::from(bytes.first() == Some(&b'-')));
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            end += 1;
            end = digits(end + usize::from(matches!(bytes.get(end), Some(b'+' | b'-'))));
        }
        while bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80)
        {
            end += 1;
        }
        &rest[..end]
    }

    fn expected(&self, what: &str) -> TypeError {
        let token = self.token();
        if token.is_empty() {
            return self.error("The input string ended unexpectedly.".to_owned());
        }
        let starts_number = token.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        if starts_number && what != "JSON value" {
            // A malformed number is reported before its place.
            let mut probe = Parser { text: self.text, at: self.at, ..*self };
            if let Err(error) = probe.number() {
                return error;
            }
        }
        let token = if starts_number { self.number_token() } else { token };
        let starts_value = token.starts_with(|c: char| {
            matches!(c, '{' | '}' | '[' | ']' | ',' | ':' | '"' | '-') || c.is_ascii_digit()
        }) || matches!(token, "true" | "false" | "null");
        if !starts_value {
            return self.error(format!("Token \"{token}\" is invalid."));
        }
        self.error(format!("Expected {what}, but found \"{token}\"."))
    }

    fn value(&mut self) -> Result<Json> {
        self.space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => match self.token() {
                "true" => self.word(4, Json::Bool(true)),
                "false" => self.word(5, Json::Bool(false)),
                "null" => self.word(4, Json::Null),
                _ => Err(self.expected("JSON value")),
            },
        }
    }

    fn word(&mut self, len: usize, value: Json) -> Result<Json> {
        self.at += len;
        Ok(value)
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Json>) -> Result<Json> {
        if self.depth >= MAX_DEPTH {
            return Err(TypeError::new("54001", "stack depth limit exceeded"));
        }
        self.depth += 1;
        self.at += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> Result<Json> {
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                _ => return Err(self.expected_quoted("\",\" or \"]\"")),
            }
        }
    }

    fn expected_quoted(&self, what: &str) -> TypeError {
        self.expected(what)
    }

    fn object(&mut self) -> Result<Json> {
        let mut members = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                let what = if members.is_empty() { "string or \"}\"" } else { "string" };
                return Err(self.expected(what));
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.expected("\":\""));
            }
            self.at += 1;
            members.push((key, self.value()?));
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                _ => return Err(self.expected("\",\" or \"}\"")),
            }
        }
    }

    fn number(&mut self) -> Result<Json> {
        let token = self.number_token();
        let digits = token.strip_prefix('-').unwrap_or(token);
        let whole_len = digits.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, rest) = digits.split_at(whole_len);
        let clean =
            rest.strip_prefix('.').is_none_or(|r| r.starts_with(|c: char| c.is_ascii_digit()))
                && !token.ends_with(['e', 'E', '+', '-'])
                && token.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        let valid = clean && !whole.is_empty() && (whole == "0" || !whole.starts_with('0'));
        if !valid {
            return Err(self.error(format!("Token \"{token}\" is invalid.")));
        }
        let len = token.len();
        let value = Numeric::parse(token)?;
        self.at += len;
        Ok(Json::Number(value))
    }

    fn string(&mut self) -> Result<String> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .bytes()
                .position(|b| b == b'"' || b == b'\\' || b < 0x20)
                .unwrap_or(rest.len());
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                None => {
                    let token = &self.text[start..];
                    return Err(self.error(format!("Token \"{token}\" is invalid.")));
                }
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => self.escape(&mut out)?,
                Some(byte) => {
                    return Err(
                        self.error(format!("Character with value 0x{byte:02x} must be escaped."))
                    );
                }
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<()> {
        self.at += 1;
        let Some(c) = self.text[self.at..].chars().next() else {
            return Err(self.error("The input string ended unexpectedly.".to_owned()));
        };
        self.at += c.len_utf8();
        out.push(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode(out),
            _ => return Err(self.error(format!("Escape sequence \"\\{c}\" is invalid."))),
        });
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32> {
        let code = self
            .text
            .get(self.at..self.at + 4)
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .ok_or_else(|| {
                self.error("\"\\u\" must be followed by four hexadecimal digits.".to_owned())
            })?;
        self.at += 4;
        Ok(code)
    }

    fn unicode(&mut self, out: &mut String) -> Result<()> {
        let low_missing = "Unicode low surrogate must follow a high surrogate.";
        let mut code = self.hex4()?;
        if self.lenient {
            return Ok(());
        }
        if (0xd800..0xdc00).contains(&code) {
            if !self.text[self.at..].starts_with("\\u") {
                return Err(self.error(low_missing.to_owned()));
            }
            self.at += 2;
            let low = self.hex4()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(self.error(low_missing.to_owned()));
            }
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        } else if (0xdc00..0xe000).contains(&code) {
            return Err(self.error(low_missing.to_owned()));
        }
        if code == 0 {
            if self.is_binary {
                return Err(TypeError::new(
                    sqlstate::UNTRANSLATABLE,
                    "unsupported Unicode escape sequence",
                )
                .with_detail("\\u0000 cannot be converted to text."));
            }
            // `json` keeps its text; the parsed form is only looked at.
            out.push('\0');
            return Ok(());
        }
        out.push(char::from_u32(code).expect("surrogates are handled"));
        Ok(())
    }
}
