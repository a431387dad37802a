//! Words and signs of a path.

use crate::error::{Result, TypeError, sqlstate};
use crate::numeric::Numeric;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// A word without quotes, which may be a key or a keyword.
    Word(String),
    /// A word within quotes.
    String(String),
    /// `$name`, `$"name"`
    Variable(String),
    Number(Numeric),
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 29] = [
    "**", "==", "!=", "<>", "<=", ">=", "&&", "||", "$", "@", ".", "*", "[", "]", "(", ")", "{",
    "}", ",", "?", "!", "<", ">", "+", "-", "/", "%", "=", "&",
];

pub(super) fn syntax(message: impl Into<String>) -> TypeError {
    TypeError::new(sqlstate::SYNTAX, message)
}

fn is_special(c: char) -> bool {
    c.is_ascii_whitespace() || "?%$.[]{}()|&!=<>@#,*:-+/\"".contains(c)
}

pub(super) fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(|| syntax("unexpected end of comment"))?;
            rest = &comment[end + 2..];
            continue;
        }
        let Some(first) = rest.chars().next() else { break };
        let second = rest[first.len_utf8()..].chars().next();
        let token = match first {
            '"' => Token::String(quoted(&mut rest)?),
            '$' if second == Some('"') => {
                rest = &rest[1..];
                Token::Variable(quoted(&mut rest)?)
            }
            '$' if second.is_some_and(|c| !is_special(c)) => {
                rest = &rest[1..];
                Token::Variable(word(&mut rest)?)
            }
            '0'..='9' => Token::Number(number(&mut rest)?),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => Token::Number(number(&mut rest)?),
            c if is_special(c) => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| {
                    syntax(format!("syntax error at or near \"{c}\" of jsonpath input"))
                })?;
                rest = &rest[sign.len()..];
                Token::Sign(sign)
            }
            _ => Token::Word(word(&mut rest)?),
        };
        out.push(token);
    }
    out.push(Token::End);
    Ok(out)
}

fn number(rest: &mut &str) -> Result<Numeric> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let text = *rest;
    let mut end = digits(text);
    let leading_zero = end > 1 && text.starts_with('0');
    if text[end..].starts_with('.') {
        end += 1 + digits(&text[end + 1..]);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        let exponent = digits(&text[end + 1 + sign..]);
        if exponent == 0 {
            return Err(syntax(format!(
                "invalid numeric literal at or near \"{}\" of jsonpath input",
                &text[..end + 1 + sign]
            )));
        }
        end += 1 + sign + exponent;
    }
    let junk = text[end..].chars().next().filter(|c| !is_special(*c));
    if leading_zero || junk.is_some() {
        let near = end + junk.map_or(0, char::len_utf8);
        return Err(syntax(format!(
            "trailing junk after numeric literal at or near \"{}\" of jsonpath input",
            &text[..near]
        )));
    }
    *rest = &text[end..];
    Numeric::parse(&text[..end])
}

fn word(rest: &mut &str) -> Result<String> {
    let mut out = String::new();
    while let Some(c) = rest.chars().next().filter(|c| !is_special(*c)) {
        *rest = &rest[c.len_utf8()..];
        if c == '\\' { escape(rest, &mut out)? } else { out.push(c) }
    }
    Ok(out)
}

fn quoted(rest: &mut &str) -> Result<String> {
    let mut out = String::new();
    *rest = &rest[1..];
    loop {
        let c = rest
            .chars()
            .next()
            .ok_or_else(|| syntax("unterminated quoted string at end of jsonpath input"))?;
        *rest = &rest[c.len_utf8()..];
        match c {
            '"' => return Ok(out),
            '\\' => escape(rest, &mut out)?,
            c => out.push(c),
        }
    }
}

/// What a backslash stands for that has been read.
fn escape(rest: &mut &str, out: &mut String) -> Result<()> {
    let bad = || syntax("invalid escape sequence of jsonpath input");
    let c = rest.chars().next().ok_or_else(bad)?;
    *rest = &rest[c.len_utf8()..];
    let hex = |rest: &mut &str, digits: usize| -> Result<u32> {
        let text = rest.get(..digits).ok_or_else(bad)?;
        let value = u32::from_str_radix(text, 16).map_err(|_| bad())?;
        *rest = &rest[digits..];
        Ok(value)
    };
    let value = match c {
        'b' => 0x8,
        'f' => 0xc,
        'n' => 0xa,
        'r' => 0xd,
        't' => 0x9,
        'v' => 0xb,
        'x' => hex(rest, 2)?,
        'u' if rest.starts_with('{') => {
            let end = rest.find('}').ok_or_else(bad)?;
            let value = u32::from_str_radix(&rest[1..end], 16).map_err(|_| bad())?;
            *rest = &rest[end + 1..];
            value
        }
        'u' => {
            let first = hex(rest, 4)?;
            match first {
                0xd800..=0xdbff if rest.starts_with("\\u") => {
                    *rest = &rest[2..];
                    let second = hex(rest, 4)?;
                    if !(0xdc00..=0xdfff).contains(&second) {
                        return Err(bad());
                    }
                    0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                }
                _ => first,
            }
        }
        c => u32::from(c),
    };
    out.push(char::from_u32(value).filter(|c| *c != '\0').ok_or_else(bad)?);
    Ok(())
}
