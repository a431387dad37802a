//! `format('%s %I %L %1$s %-10s', …)`.

use super::args::text;
use super::string::any_text;
use super::string_more::{quote_ident, quote_literal};
use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};

fn bad(message: impl Into<String>) -> TypeError {
    TypeError::new(sqlstate::INVALID_PARAMETER, message)
}

fn unterminated() -> TypeError {
    bad("unterminated format() type specifier").with_hint("For a single \"%\" use \"%%\".")
}

struct Reader<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Reader<'_> {
    fn number(&mut self) -> Result<Option<usize>> {
        let mut value: Option<usize> = None;
        while let Some(digit) = self.chars.peek().and_then(|c| c.to_digit(10)) {
            self.chars.next();
            let next = value
                .unwrap_or(0)
                .checked_mul(10)
                .and_then(|v| v.checked_add(digit as usize))
                .filter(|v| i32::try_from(*v).is_ok())
                .ok_or_else(|| {
                    TypeError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "number is out of range")
                })?;
            value = Some(next);
        }
        Ok(value)
    }

    fn eat(&mut self, c: char) -> bool {
        self.chars.next_if_eq(&c).is_some()
    }
}

fn format(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    if args[0].is_null() {
        return Ok(Datum::Null);
    }
    let mut reader = Reader { chars: text(&args[0]).chars().peekable() };
    let mut out = String::new();
    let mut next_arg = 1;
    while let Some(c) = reader.chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if reader.eat('%') {
            out.push('%');
            continue;
        }
        specifier(call, args, &mut reader, &mut next_arg, &mut out)?;
    }
    Ok(Datum::text(out))
}

fn argument(args: &[Datum], at: usize) -> Result<&Datum> {
    args.get(at).ok_or_else(|| bad("too few arguments for format()"))
}

/// `%[position$][flags][width]type`
fn specifier(
    call: &Call<'_>,
    args: &[Datum],
    reader: &mut Reader<'_>,
    next_arg: &mut usize,
    out: &mut String,
) -> Result<()> {
    let mut position = None;
    let mut width: Option<i64> = None;
    let number = reader.number()?;
    if number.is_some() && reader.eat('$') {
        position = number;
        if position == Some(0) {
            return Err(bad("format specifies argument 0, but arguments are numbered from 1"));
        }
    } else if let Some(number) = number {
        width = Some(number as i64);
    }
    let mut left = false;
    if width.is_none() {
        while reader.eat('-') {
            left = true;
        }
        if reader.eat('*') {
            let at = match reader.number()? {
                // What follows goes on from there.
                Some(at) if reader.eat('$') => {
                    *next_arg = at + 1;
                    at
                }
                Some(_) => return Err(bad("width argument position must be ended by \"$\"")),
                None => {
                    *next_arg += 1;
                    *next_arg - 1
                }
            };
            let datum = argument(args, at)?;
            width = Some(match datum {
                Datum::Null => 0,
                other => any_text(call, at, other)
                    .trim()
                    .parse()
                    .map_err(|_| bad("width is not an integer"))?,
            });
        } else {
            width = reader.number()?.map(|number| number as i64);
        }
    }
    let kind = reader.chars.next().ok_or_else(unterminated)?;
    if !matches!(kind, 's' | 'I' | 'L') {
        return Err(bad(format!("unrecognized format() type specifier \"{kind}\""))
            .with_hint("For a single \"%\" use \"%%\"."));
    }
    let at = position.unwrap_or(*next_arg);
    *next_arg = at + 1;
    let datum = argument(args, at)?;
    let value = match (kind, datum) {
        ('s', Datum::Null) => String::new(),
        ('L', Datum::Null) => "NULL".to_owned(),
        (_, Datum::Null) => {
            return Err(TypeError::new(
                sqlstate::NULL_NOT_ALLOWED,
                "null values cannot be formatted as an SQL identifier",
            ));
        }
        ('I', other) => quote_ident(&any_text(call, at, other)),
        ('L', other) => quote_literal(&any_text(call, at, other)),
        (_, other) => any_text(call, at, other),
    };
    pad(&value, width, left, out)
}

fn pad(value: &str, width: Option<i64>, left: bool, out: &mut String) -> Result<()> {
    let width = width.unwrap_or(0);
    let left = left || width < 0;
    let width = usize::try_from(width.unsigned_abs()).map_err(|_| super::string::too_large())?;
    if width > super::string::MAX_STRING {
        return Err(super::string::too_large());
    }
    let missing = width.saturating_sub(value.chars().count());
    if !left {
        out.extend(std::iter::repeat_n(' ', missing));
    }
    out.push_str(value);
    if left {
        out.extend(std::iter::repeat_n(' ', missing));
    }
    Ok(())
}

pub(super) fn register(r: &mut Registry) {
    r.f("format(text) text", format).nonstrict().stable();
    r.f("format(text,variadic any) text", format).nonstrict().stable();
}
