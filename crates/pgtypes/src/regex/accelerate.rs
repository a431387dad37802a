//! An expression in the words of the `regex` crate, which finds where a match begins faster.

use std::fmt::Write as _;

use super::class::{Item, Set};
use super::parse::{Edge, Node, Part, Tree};

/// The same expression, if it has neither lookaround nor back-references.
pub(super) fn regex_of(tree: &Tree) -> Option<regex::Regex> {
    if tree.has_back || tree.has_look {
        return None;
    }
    let mut out = String::new();
    write(&tree.root, tree.lines_anchor, &mut out);
    regex::RegexBuilder::new(&out).size_limit(16 << 20).build().ok()
}

fn write(part: &Part, lines: bool, out: &mut String) {
    match &part.node {
        Node::Empty => out.push_str("(?:)"),
        Node::Set(set) => write_set(set, out),
        Node::Edge(edge) => out.push_str(match (edge, lines) {
            (Edge::LineStart, true) => "(?m:^)",
            (Edge::LineEnd, true) => "(?m:$)",
            (Edge::LineStart | Edge::TextStart, _) => r"\A",
            (Edge::LineEnd | Edge::TextEnd, _) => r"\z",
            (Edge::WordStart, _) => r"\b{start}",
            (Edge::WordEnd, _) => r"\b{end}",
            (Edge::Word, _) => r"\b",
            (Edge::NotWord, _) => r"\B",
        }),
        Node::Group { inner, .. } => {
            out.push_str("(?:");
            write(inner, lines, out);
            out.push(')');
        }
        Node::Run(parts) => parts.iter().for_each(|part| write(part, lines, out)),
        Node::Concat(left, right) => {
            write(left, lines, out);
            write(right, lines, out);
        }
        Node::Either(parts) => {
            out.push_str("(?:");
            for (n, part) in parts.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "|" });
                write(part, lines, out);
            }
            out.push(')');
        }
        Node::Repeat { inner, min, max } => {
            out.push_str("(?:");
            write(inner, lines, out);
            out.push(')');
            let max = max.map_or_else(String::new, |max| max.to_string());
            write!(out, "{{{min},{max}}}").expect("writing to a string");
        }
        Node::Look { .. } | Node::Back(_) => {}
    }
}

fn write_set(set: &Set, out: &mut String) {
    if set.items.is_empty() {
        // Nothing, or anything but nothing.
        out.push_str(if set.negated { r"[\s\S]" } else { r"[^\s\S]" });
        return;
    }
    out.push_str(if set.insensitive { "(?i:[" } else { "[" });
    out.push_str(if set.negated { "^" } else { "" });
    for item in &set.items {
        match item {
            Item::Range(from, to) => {
                write!(out, r"\x{{{:x}}}-\x{{{:x}}}", *from as u32, *to as u32)
                    .expect("writing to a string");
            }
            Item::Class(class, negated) => {
                let written = class.written(*negated);
                match written.starts_with("[:") {
                    true => write!(out, "{written}").expect("writing to a string"),
                    false => out.push_str(written),
                }
            }
        }
    }
    out.push_str(if set.insensitive { "])" } else { "]" });
}
