//! Taking numbers and words from the front of the input of `to_date` and `to_timestamp`.

use crate::error::{Result, TypeError, sqlstate};

fn bad(value: &str, key: &str, detail: &str) -> TypeError {
    TypeError::new(sqlstate::INVALID_DATETIME, format!("invalid value \"{value}\" for \"{key}\""))
        .with_detail(detail)
}

/// How many digits a numeric field has at most, when the next field begins right behind it.
fn width(key: &str) -> usize {
    match key {
        "YYYY" | "IYYY" => 4,
        "YYY" | "IYY" | "DDD" | "IDDD" | "MS" => 3,
        "Y" | "I" | "D" | "ID" | "W" | "Q" => 1,
        "SSSS" | "SSSSS" => 5,
        "US" => 6,
        "J" => 7,
        _ => key.strip_prefix("FF").and_then(|n| n.parse().ok()).unwrap_or(2),
    }
}

/// The input and how far it is read.
pub(super) struct Reader<'a> {
    pub(super) input: &'a str,
    pub(super) at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.input[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn skip(&mut self) {
        self.at += self.peek().map_or(0, char::len_utf8);
    }

    pub(super) fn spaces(&mut self) -> i64 {
        let mut count = 0;
        while self.peek().is_some_and(char::is_whitespace) {
            self.skip();
            count += 1;
        }
        count
    }

    /// An integer: `width` digits if the next field follows at once, else all there are.
    pub(super) fn number(&mut self, key: &str, fixed: bool) -> Result<(i64, usize)> {
        self.spaces();
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['-', '+']));
        let all = sign + rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        let len = if fixed { all.min(width(key).max(sign + 1)) } else { all };
        if len == sign {
            let shown: String = rest.chars().take(width(key)).collect();
            if shown.is_empty() {
                // Nothing left: the field keeps its default.
                return Ok((0, 0));
            }
            return Err(bad(&shown, key, "Value must be an integer."));
        }
        let text = rest[..len].to_owned();
        self.at += len;
        let value = text.parse::<i64>().ok().filter(|v| i32::try_from(*v).is_ok());
        value.map(|value| (value, len - sign)).ok_or_else(|| {
            TypeError::new(
                sqlstate::DATETIME_OVERFLOW,
                format!("value for \"{key}\" in source string is out of range"),
            )
            .with_detail("Value must be in the range -2147483648 to 2147483647.")
        })
    }

    /// One of these words, in any case; its index.
    pub(super) fn word(&mut self, key: &str, words: &[&str]) -> Result<usize> {
        self.spaces();
        let lower = self.rest().to_lowercase();
        let found = words.iter().position(|word| lower.starts_with(word));
        match found {
            Some(at) => {
                self.at += words[at].len();
                Ok(at)
            }
            None => {
                let shown: String =
                    self.rest().chars().take_while(|c| !c.is_whitespace()).collect();
                Err(bad(
                    &shown,
                    key,
                    "The given value did not match any of the allowed values for this field.",
                ))
            }
        }
    }
}
