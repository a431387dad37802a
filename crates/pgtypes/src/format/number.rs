//! `to_char` of numbers: PostgreSQL's `NUM_processor`, state for state, because its output in odd
//! cases follows from its order of steps and from nothing else.

use super::date_out::ordinal;
use super::number_shape::{Shape, Sign, shape};
use super::picture::{Node, number};
use crate::error::Result;
use crate::numeric::Numeric;

/// Prints an exact number.
pub(crate) fn print_numeric(value: &Numeric, template: &str) -> Result<String> {
    let nodes = number(template);
    let mut shape = shape(&nodes)?;
    if shape.roman {
        return Ok(roman(value.exact_or_rounded(), shape.fill, &nodes));
    }
    if shape.scientific {
        return Ok(scientific(value, shape.post, shape.pre));
    }
    let mut value = value.clone();
    if shape.has_multi {
        let power = Numeric::from_parts(1, 0).shifted(shape.multi);
        value = value.mul(&power)?;
        shape.pre += shape.multi;
    }
    let text = value.round(i32::try_from(shape.post).unwrap_or(i32::MAX)).to_string();
    Ok(process(&nodes, shape, &text))
}

/// Prints a float, of which only its reliable digits are shown.
pub(crate) fn print_float(value: f64, reliable: usize, template: &str) -> Result<String> {
    let nodes = number(template);
    let mut shape = shape(&nodes)?;
    if shape.roman {
        let rounded = value.round_ties_even();
        let small = (rounded.abs() < 1e9).then_some(rounded as i64);
        return Ok(roman(small, shape.fill, &nodes));
    }
    if shape.scientific {
        return Ok(scientific_float(value, shape.post, shape.pre));
    }
    let mut value = value;
    if shape.has_multi {
        value *= 10f64.powi(i32::try_from(shape.multi).unwrap_or(i32::MAX));
        shape.pre += shape.multi;
    }
    let whole = format!("{:.0}", value.abs()).len();
    shape.post = if whole >= reliable { 0 } else { shape.post.min(reliable - whole) };
    let post = shape.post;
    Ok(process(&nodes, shape, &format!("{value:.post$}")))
}

/// A whole number by a template.
pub(crate) fn print_integer(value: i64, template: &str) -> Result<String> {
    let nodes = number(template);
    let shape = shape(&nodes)?;
    if shape.scientific {
        // As a double, unlike a numeric.
        return Ok(scientific_float(value as f64, shape.post, shape.pre));
    }
    print_numeric(&Numeric::from(value), template)
}

/// As C prints a double, halves to even.
fn scientific_float(value: f64, post: usize, pre: usize) -> String {
    if !value.is_finite() {
        return scientific(&Numeric::NAN, post, pre);
    }
    let text = format!("{value:.post$e}");
    let (digits, exponent) = text.split_once('e').expect("it has an exponent");
    let exponent: i32 = exponent.parse().expect("a number");
    let sign = if exponent < 0 { '-' } else { '+' };
    let text = format!("{digits}e{sign}{:02}", exponent.abs());
    if text.starts_with('-') { text } else { format!(" {text}") }
}

fn scientific(value: &Numeric, post: usize, pre: usize) -> String {
    if !value.is_finite() {
        return format!(" {}.{}", "#".repeat(pre), "#".repeat(post + 4));
    }
    let text = value.to_scientific(post);
    if text.starts_with('-') { text } else { format!(" {text}") }
}

fn roman(value: Option<i64>, fill: bool, nodes: &[Node]) -> String {
    const PARTS: [(i64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let text = match value {
        Some(value @ 1..=3999) => {
            let mut rest = value;
            let mut out = String::new();
            for (size, letters) in PARTS {
                while rest >= size {
                    out.push_str(letters);
                    rest -= size;
                }
            }
            out
        }
        _ => "#".repeat(15),
    };
    let lower = nodes.iter().any(|n| matches!(n, Node::Field { key: "RN", lower: true, .. }));
    let text = if lower { text.to_lowercase() } else { text };
    if fill { text } else { format!("{text:>15}") }
}

/// The state of `NUM_processor`.
struct Machine {
    shape: Shape,
    negative: bool,
    number: Vec<u8>,
    /// Index of the next digit, and of the last one worth printing under `FM`.
    at: usize,
    last_relevant: Option<usize>,
    sign_wrote: bool,
    pre_spaces: usize,
    count: usize,
    current: usize,
    inside: bool,
    out: String,
}

fn process(nodes: &[Node], shape: Shape, text: &str) -> String {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let whole = digits.find('.').unwrap_or(digits.len());
    let pre_spaces = shape.pre.saturating_sub(whole);
    let mut digits = digits.to_owned();
    if whole > shape.pre {
        digits = format!("{}.{}", "#".repeat(shape.pre), "#".repeat(shape.post));
    } else if shape.post > 0 && digits.bytes().all(|b| b.is_ascii_digit()) {
        digits = format!("{digits}.{}", "0".repeat(shape.post));
    }
    let mut m = Machine {
        negative,
        number: digits.into_bytes(),
        at: 0,
        last_relevant: None,
        sign_wrote: false,
        pre_spaces,
        count: 0,
        current: 0,
        inside: false,
        out: String::new(),
        shape,
    };
    m.prepare();
    for node in nodes {
        match node {
            Node::Literal(c) | Node::Quoted(c) => m.out.push(*c),
            Node::Field { key, lower, .. } => m.field(key, *lower),
        }
    }
    m.out
}

impl Machine {
    fn prepare(&mut self) {
        let s = &mut self.shape;
        s.zero_start = s.zero_start.saturating_sub(1);
        if s.plus || s.minus {
            self.sign_wrote = s.minus;
        } else {
            if !self.negative && s.bracket && s.fill {
                s.bracket = false;
            }
            self.sign_wrote = !self.negative && s.fill && !s.locale_sign;
            if s.sign == Sign::Pre && s.pre == s.pre_sign_at {
                s.sign = Sign::Post;
            }
        }
        self.count = (s.post + s.pre).saturating_sub(1);
        if s.fill && s.decimal {
            self.last_relevant = self.number.iter().position(|b| *b == b'.').map(|point| {
                let behind = &self.number[point + 1..];
                behind.iter().rposition(|b| *b != b'0').map_or(point, |at| point + 1 + at)
            });
            if let Some(last) = self.last_relevant
                && s.zero_end > self.pre_spaces
            {
                let zero = (self.number.len() - 1).min(s.zero_end - self.pre_spaces);
                self.last_relevant = Some(last.max(zero));
            }
        }
        if !self.sign_wrote && self.pre_spaces == 0 {
            self.count += 1;
        }
    }

    fn field(&mut self, key: &str, lower: bool) {
        let fill = self.shape.fill;
        match key {
            "9" | "0" | "." | "D" => self.digit(key),
            "," | "G" if self.inside => self.out.push(','),
            "," | "G" if fill => {}
            "," | "G" | "L" => self.out.push(' '),
            "TH" if self.number.first() == Some(&b'#') || self.negative || self.shape.decimal => {}
            "TH" => {
                let text = String::from_utf8_lossy(&self.number).into_owned();
                self.out.push_str(ordinal(&text, !lower));
            }
            "MI" if self.negative => self.out.push('-'),
            "PL" if !self.negative => self.out.push('+'),
            "MI" | "PL" if fill => {}
            "MI" | "PL" => self.out.push(' '),
            "SG" => self.out.push(if self.negative { '-' } else { '+' }),
            _ => {}
        }
    }

    /// The zero before the point of a number below 1 is left out.
    fn is_predecimal_space(&self) -> bool {
        !self.shape.has_zero
            && self.at == 0
            && self.number.first() == Some(&b'0')
            && self.shape.post != 0
    }

    fn relevant_is_point(&self) -> bool {
        self.last_relevant.is_some_and(|at| self.number[at] == b'.')
    }

    fn write_sign(&mut self) {
        let s = &self.shape;
        let due = self.current >= self.pre_spaces || (s.has_zero && s.zero_start == self.current);
        if self.sign_wrote || !due || (self.is_predecimal_space() && !self.relevant_is_point()) {
            return;
        }
        if s.locale_sign {
            if s.sign == Sign::Pre {
                self.out.push(if self.negative { '-' } else { '+' });
                self.sign_wrote = true;
            }
        } else if s.bracket {
            self.out.push(if self.negative { '<' } else { ' ' });
            self.sign_wrote = true;
        } else if self.negative {
            self.out.push('-');
            self.sign_wrote = true;
        } else {
            if !s.fill {
                self.out.push(' ');
            }
            self.sign_wrote = true;
        }
    }

    fn digit(&mut self, key: &str) {
        self.inside = false;
        self.write_sign();
        let s = &self.shape;
        let (has_zero, zero_start, fill) = (s.has_zero, s.zero_start, s.fill);
        if self.current < self.pre_spaces && (zero_start > self.current || !has_zero) {
            if !fill {
                self.out.push(' ');
            }
        } else if has_zero && self.current < self.pre_spaces && zero_start <= self.current {
            self.out.push('0');
            self.inside = true;
        } else {
            self.number_char(key, fill);
            if self.at < self.number.len() {
                self.at += 1;
            }
        }
        let mut end =
            self.count + usize::from(self.pre_spaces > 0) + usize::from(self.shape.decimal);
        if self.last_relevant == Some(self.at) {
            end = self.current;
        }
        if self.current + 1 == end {
            if self.sign_wrote && self.shape.bracket {
                self.out.push(if self.negative { '>' } else { ' ' });
            } else if self.shape.locale_sign && self.shape.sign == Sign::Post {
                self.out.push(if self.negative { '-' } else { '+' });
            }
        }
        self.current += 1;
    }

    fn number_char(&mut self, key: &str, fill: bool) {
        let Some(&byte) = self.number.get(self.at) else { return };
        if byte == b'.' {
            if !self.relevant_is_point() || fill {
                self.out.push('.');
            }
            return;
        }
        if self.last_relevant.is_some_and(|last| self.at > last) && key != "0" {
            return;
        }
        if self.is_predecimal_space() {
            if !fill {
                self.out.push(' ');
            } else if self.relevant_is_point() {
                self.out.push('0');
            }
            return;
        }
        self.out.push(char::from(byte));
        self.inside = true;
    }
}
