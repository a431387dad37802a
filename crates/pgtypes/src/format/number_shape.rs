//! What a number template asks for, and which templates contradict themselves.

use super::picture::Node;
use crate::error::{Result, TypeError, sqlstate};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Sign {
    #[default]
    None,
    Pre,
    Post,
}

/// What a template asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// Digits before the point, behind it, and behind `V`.
    pub(super) pre: usize,
    pub(super) post: usize,
    pub(super) multi: usize,
    pub(super) sign: Sign,
    pub(super) pre_sign_at: usize,
    pub(super) zero_start: usize,
    pub(super) zero_end: usize,
    pub(super) has_zero: bool,
    pub(super) decimal: bool,
    pub(super) fill: bool,
    pub(super) locale_sign: bool,
    pub(super) minus: bool,
    pub(super) plus: bool,
    pub(super) bracket: bool,
    pub(super) roman: bool,
    pub(super) has_multi: bool,
    pub(super) scientific: bool,
}

fn syntax(message: &str) -> TypeError {
    TypeError::new(sqlstate::SYNTAX, message)
}

/// Adds up a template's fields.
pub(super) fn shape(nodes: &[Node]) -> Result<Shape> {
    let mut s = Shape::default();
    for node in nodes {
        let Node::Field { key, .. } = node else { continue };
        if s.scientific && *key != "EEEE" {
            return Err(syntax("\"EEEE\" must be the last pattern used"));
        }
        match *key {
            "9" | "0" if s.bracket => {
                return Err(syntax(&format!("\"{key}\" must be ahead of \"PR\"")));
            }
            "9" if s.has_multi => s.multi += 1,
            "9" if s.decimal => s.post += 1,
            "9" => s.pre += 1,
            "0" => {
                if !s.has_zero && !s.decimal {
                    s.has_zero = true;
                    s.zero_start = s.pre + 1;
                }
                if s.decimal {
                    s.post += 1
                } else {
                    s.pre += 1
                }
                s.zero_end = s.pre + s.post;
            }
            "D" | "." => {
                if s.decimal {
                    return Err(syntax("multiple decimal points"));
                }
                if s.has_multi {
                    return Err(syntax("cannot use \"V\" and decimal point together"));
                }
                s.decimal = true;
            }
            "FM" => s.fill = true,
            "S" => {
                if s.locale_sign {
                    return Err(syntax("cannot use \"S\" twice"));
                }
                if s.plus || s.minus || s.bracket {
                    return Err(syntax(
                        "cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together",
                    ));
                }
                s.locale_sign = true;
                s.sign = if s.decimal { Sign::Post } else { Sign::Pre };
                s.pre_sign_at = s.pre;
            }
            "MI" | "PL" | "SG" if s.locale_sign => {
                return Err(syntax(&format!("cannot use \"S\" and \"{key}\" together")));
            }
            "MI" => s.minus = true,
            "PL" => s.plus = true,
            "SG" => (s.minus, s.plus) = (true, true),
            "PR" => {
                if s.locale_sign || s.plus || s.minus {
                    return Err(syntax(
                        "cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together",
                    ));
                }
                s.bracket = true;
            }
            "RN" => s.roman = true,
            "V" => {
                if s.decimal {
                    return Err(syntax("cannot use \"V\" and decimal point together"));
                }
                s.has_multi = true;
            }
            "EEEE" => {
                if s.fill
                    || s.locale_sign
                    || s.bracket
                    || s.minus
                    || s.plus
                    || s.roman
                    || s.has_multi
                {
                    return Err(syntax("\"EEEE\" is incompatible with other formats").with_detail(
                        "\"EEEE\" may only be used together with digit and decimal point patterns.",
                    ));
                }
                s.scientific = true;
            }
            _ => {}
        }
    }
    Ok(s)
}
