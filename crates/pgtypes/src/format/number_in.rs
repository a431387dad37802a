//! `to_number`.

use super::number_shape::shape;
use super::picture::{Node, number};
use crate::error::{Result, TypeError};
use crate::numeric::Numeric;

/// Reads a number by a template; digits before and behind the point as the template has them.
pub(crate) fn parse_number(input: &str, template: &str) -> Result<Numeric> {
    let nodes = number(template);
    let shape = shape(&nodes)?;
    for node in &nodes {
        if let Node::Field { key: key @ ("EEEE" | "RN"), .. } = node {
            return Err(TypeError::not_supported(format!("\"{key}\" not supported for input")));
        }
    }
    let input: Vec<char> = input.chars().collect();
    let mut at = 0;
    let mut negative = false;
    let mut digits = String::new();
    let mut point = false;
    for node in &nodes {
        if at >= input.len() {
            break;
        }
        match node {
            Node::Field { key: "9" | "0" | "." | "D", .. } => {
                while at < input.len() && input[at].is_whitespace() {
                    at += 1;
                }
                if at < input.len() && matches!(input[at], '-' | '+' | '<') && digits.is_empty() {
                    negative |= input[at] != '+';
                    at += 1;
                }
                match input.get(at) {
                    Some(c) if c.is_ascii_digit() => {
                        digits.push(*c);
                        at += 1;
                    }
                    Some('.') if !point => {
                        point = true;
                        digits.push('.');
                        at += 1;
                    }
                    _ => {}
                }
            }
            Node::Field { key: "," | "G", .. } => {
                if input[at] == ',' {
                    at += 1;
                }
            }
            Node::Field { key: "S" | "MI" | "SG" | "PL" | "PR", .. } => {
                if matches!(input[at], '-' | '<' | '>') {
                    negative = true;
                    at += 1;
                } else if input[at] == '+' || input[at] == ' ' {
                    at += 1;
                }
            }
            Node::Field { key: "FM", .. } => {}
            Node::Field { .. } | Node::Literal(_) | Node::Quoted(_) => {
                if !(input[at].is_ascii_digit() || matches!(input[at], '-' | '+' | '.' | ',')) {
                    at += 1;
                }
            }
        }
    }
    // A sign behind the last digit belongs to a template that wants one.
    if input.get(at) == Some(&'-') && template.to_ascii_uppercase().contains(['S', 'M']) {
        negative = true;
    }
    if !digits.bytes().any(|b| b.is_ascii_digit()) {
        return Err(crate::TypeError::invalid_input("numeric", " "));
    }
    let value = Numeric::parse(&digits)?;
    let mut value = value;
    if shape.multi > 0 {
        value = value.div(&Numeric::from(1i64).shifted(shape.multi))?;
    }
    Ok(if negative { value.neg() } else { value })
}
