//! Patterns to trees.

use super::class::{Class, Item, Set};
use super::program::Program;
use super::{Flags, invalid};
use crate::error::Result;

/// Most repetitions that a quantifier may name.
const REPEAT_MAX: u32 = 255;
/// Deepest nesting of parentheses.
const DEPTH_MAX: usize = 150;

/// What holds between two characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edge {
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    WordStart,
    WordEnd,
    Word,
    NotWord,
}

/// One part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Empty,
    Set(Set),
    Edge(Edge),
    Look {
        ahead: bool,
        negated: bool,
        inner: Box<Part>,
    },
    Group {
        number: usize,
        inner: Box<Part>,
    },
    /// Parts one after the other, none of which must be taken apart.
    Run(Vec<Part>),
    Concat(Box<Part>, Box<Part>),
    Either(Vec<Part>),
    Repeat {
        inner: Box<Part>,
        min: u32,
        max: Option<u32>,
    },
    Back(usize),
}

/// A part, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) node: Node,
    /// Rather short (true) or long (false)? None: it has no choice.
    pub(super) shorter: Option<bool>,
    /// Has it groups or back-references, so that it must be taken apart?
    pub(super) messy: bool,
    pub(super) program: Program,
}

/// A whole expression.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) root: Part,
    pub(super) groups: usize,
    /// `^` and `$` match at newlines.
    pub(super) lines_anchor: bool,
    pub(super) has_back: bool,
    pub(super) has_look: bool,
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    flags: Flags,
    groups: usize,
    /// Groups that are closed, by number; the sub-expression of each, for back-references.
    closed: Vec<Option<Part>>,
    depth: usize,
    in_look: usize,
    has_back: bool,
    has_look: bool,
}

pub(super) fn parse(pattern: &str, mut flags: Flags) -> Result<Tree> {
    let mut body = pattern;
    if let Some(rest) = body.strip_prefix("***=") {
        flags.literal = true;
        body = rest;
    } else if let Some(rest) = body.strip_prefix("***:") {
        body = rest;
    } else if body.starts_with("***") {
        return Err(invalid("quantifier operand invalid"));
    }
    let mut parser = Parser {
        chars: body.chars().collect(),
        at: 0,
        flags,
        groups: 0,
        closed: Vec::new(),
        depth: 0,
        in_look: 0,
        has_back: false,
        has_look: false,
    };
    if !flags.literal {
        parser.options()?;
    }
    let root = if parser.flags.literal { parser.literal()? } else { parser.alternatives()? };
    if parser.at < parser.chars.len() {
        return Err(invalid("parentheses () not balanced"));
    }
    Ok(Tree {
        root,
        groups: parser.groups,
        lines_anchor: parser.flags.lines_anchor,
        has_back: parser.has_back,
        has_look: parser.has_look,
    })
}

impl Part {
    pub(super) fn new(node: Node) -> Result<Self> {
        let (shorter, messy) = match &node {
            Node::Empty | Node::Set(_) | Node::Edge(_) | Node::Look { .. } => (None, false),
            Node::Back(_) => (None, true),
            Node::Run(parts) => (parts.iter().find_map(|part| part.shorter), false),
            Node::Group { inner, .. } => (inner.shorter, true),
            Node::Concat(left, right) => {
                (left.shorter.or(right.shorter), left.messy || right.messy)
            }
            Node::Either(parts) => (Some(false), parts.iter().any(|part| part.messy)),
            Node::Repeat { inner, .. } => (inner.shorter, inner.messy),
        };
        let program = Program::of(&node)?;
        Ok(Self { node, shorter, messy, program })
    }
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn takes(&mut self, text: &str) -> bool {
        let fits = text.chars().enumerate().all(|(n, c)| self.chars.get(self.at + n) == Some(&c));
        if fits {
            self.at += text.chars().count();
        }
        fits
    }

    /// `(?i)` and its kind, at the beginning only.
    fn options(&mut self) -> Result<()> {
        let letters = self.chars.get(2).is_some_and(char::is_ascii_alphabetic);
        if self.at == 0 && letters && self.takes("(?") {
            loop {
                match self.next() {
                    Some(')') => break,
                    Some(letter) => {
                        self.flags
                            .set(letter)?
                            .ok_or_else(|| invalid("invalid embedded option"))?;
                    }
                    None => return Err(invalid("invalid embedded option")),
                }
            }
        }
        Ok(())
    }

    fn literal(&mut self) -> Result<Part> {
        let mut parts = Vec::new();
        while let Some(c) = self.next() {
            parts.push(Part::new(Node::Set(Set::one(c, self.flags.insensitive)))?);
        }
        joined(parts)
    }

    fn alternatives(&mut self) -> Result<Part> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(invalid("regular expression is too complex"));
        }
        let mut branches = vec![self.branch()?];
        while self.peek() == Some('|') {
            self.at += 1;
            branches.push(self.branch()?);
        }
        self.depth -= 1;
        match branches.len() {
            1 => Ok(branches.swap_remove(0)),
            _ => Part::new(Node::Either(branches)),
        }
    }

    /// What may stand between two parts and means nothing.
    fn skip(&mut self) {
        loop {
            if self.chars[self.at..].starts_with(&['(', '?', '#']) {
                while self.next().is_some_and(|c| c != ')') {}
                continue;
            }
            match self.peek() {
                Some(c) if self.flags.expanded && c.is_whitespace() => self.at += 1,
                Some('#') if self.flags.expanded => while self.next().is_some_and(|c| c != '\n') {},
                _ => return,
            }
        }
    }

    fn branch(&mut self) -> Result<Part> {
        let mut parts = Vec::new();
        loop {
            self.skip();
            match self.peek() {
                None | Some('|') => break,
                // Outside of parentheses this is found to be too much by the caller.
                Some(')') => break,
                Some(_) => {
                    let atom = self.atom()?;
                    self.skip();
                    parts.push(self.quantified(atom)?);
                }
            }
        }
        joined(parts)
    }

    fn quantified(&mut self, atom: Part) -> Result<Part> {
        let counted = |parser: &Self| {
            parser.peek() == Some('{')
                && parser.chars.get(parser.at + 1).is_some_and(char::is_ascii_digit)
        };
        let (min, max, exactly) = match self.peek() {
            Some('*') => (0, None, false),
            Some('+') => (1, None, false),
            Some('?') => (0, Some(1), false),
            Some('{') if counted(self) => self.counts()?,
            _ => return Ok(atom),
        };
        self.at += 1;
        if matches!(atom.node, Node::Edge(_) | Node::Look { .. }) {
            return Err(invalid("quantifier operand invalid"));
        }
        let shorter = self.peek() == Some('?');
        if shorter {
            self.at += 1;
        }
        self.skip();
        if matches!(self.peek(), Some('*' | '+' | '?')) || counted(self) {
            return Err(invalid("quantifier operand invalid"));
        }
        // `{3}` chooses nothing, `{3,3}?` does.
        let own = if exactly { atom.shorter } else { Some(shorter) };
        let mut part = Part::new(Node::Repeat { inner: Box::new(atom), min, max })?;
        part.shorter = own;
        Ok(part)
    }

    /// `{m}` (true), `{m,}`, `{m,n}`, up to before the closing brace.
    fn counts(&mut self) -> Result<(u32, Option<u32>, bool)> {
        self.at += 1;
        let min = self.number()?;
        let exactly = self.peek() != Some(',');
        let max = match self.peek() {
            Some(',') => {
                self.at += 1;
                match self.peek() {
                    Some(c) if c.is_ascii_digit() => Some(self.number()?),
                    _ => None,
                }
            }
            _ => Some(min),
        };
        match self.peek() {
            Some('}') => {}
            None => return Err(invalid("braces {} not balanced")),
            Some(_) => return Err(invalid("invalid repetition count(s)")),
        }
        if max.is_some_and(|max| max < min) {
            return Err(invalid("invalid repetition count(s)"));
        }
        Ok((min, max, exactly))
    }

    fn number(&mut self) -> Result<u32> {
        let mut value = 0;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.at += 1;
            value = value * 10 + digit;
            if value > REPEAT_MAX {
                return Err(invalid("invalid repetition count(s)"));
            }
        }
        Ok(value)
    }

    fn atom(&mut self) -> Result<Part> {
        let c = self.next().expect("the caller has looked");
        let insensitive = self.flags.insensitive;
        let node = match c {
            '(' => return self.parentheses(),
            '[' => self.bracket()?,
            '.' => {
                let items =
                    if self.flags.lines_stop { vec![Item::Range('\n', '\n')] } else { vec![] };
                Node::Set(Set { items, negated: true, insensitive: false })
            }
            '^' => Node::Edge(Edge::LineStart),
            '$' => Node::Edge(Edge::LineEnd),
            '*' | '+' | '?' => return Err(invalid("quantifier operand invalid")),
            '{' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                return Err(invalid("quantifier operand invalid"));
            }
            '\\' => return self.escape(),
            c => Node::Set(Set::one(c, insensitive)),
        };
        Part::new(node)
    }

    fn parentheses(&mut self) -> Result<Part> {
        let look =
            [("?=", true, false), ("?!", true, true), ("?<=", false, false), ("?<!", false, true)];
        for (text, ahead, negated) in look {
            if self.takes(text) {
                self.in_look += 1;
                let inner = self.alternatives()?;
                self.in_look -= 1;
                self.close()?;
                self.has_look = true;
                return Part::new(Node::Look { ahead, negated, inner: Box::new(inner) });
            }
        }
        let captures = !self.takes("?:");
        if captures && self.peek() == Some('?') {
            return Err(invalid("quantifier operand invalid"));
        }
        if !captures || self.in_look > 0 {
            let inner = self.alternatives()?;
            self.close()?;
            return Ok(inner);
        }
        self.groups += 1;
        let number = self.groups;
        self.closed.push(None);
        let inner = self.alternatives()?;
        self.close()?;
        self.closed[number - 1] = Some(inner.clone());
        Part::new(Node::Group { number, inner: Box::new(inner) })
    }

    fn close(&mut self) -> Result<()> {
        match self.next() {
            Some(')') => Ok(()),
            _ => Err(invalid("parentheses () not balanced")),
        }
    }

    fn escape(&mut self) -> Result<Part> {
        let Some(c) = self.next() else { return Err(invalid("invalid escape \\ sequence")) };
        let edge = match c {
            'A' => Some(Edge::TextStart),
            'Z' => Some(Edge::TextEnd),
            'm' => Some(Edge::WordStart),
            'M' => Some(Edge::WordEnd),
            'y' => Some(Edge::Word),
            'Y' => Some(Edge::NotWord),
            _ => None,
        };
        if let Some(edge) = edge {
            return Part::new(Node::Edge(edge));
        }
        if let Some(item) = class_escape(c) {
            return Part::new(Node::Set(Set {
                items: vec![item],
                negated: false,
                insensitive: false,
            }));
        }
        if let Some(first) = c.to_digit(10).filter(|digit| *digit > 0) {
            return self.back_reference(first);
        }
        let c = self.character_escape(c)?;
        Part::new(Node::Set(Set::one(c, self.flags.insensitive)))
    }

    fn back_reference(&mut self, first: u32) -> Result<Part> {
        let mut number = first as usize;
        // Two digits and more are one only if there are so many groups; else octal.
        let start = self.at;
        let mut more = number;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            more = more * 10 + digit as usize;
            if more > self.groups {
                break;
            }
            self.at += 1;
            number = more;
        }
        if self.at == start && self.peek().is_some_and(|c| c.is_digit(8)) && first < 8 {
            self.at -= 1;
            let c = self.octal()?;
            return Part::new(Node::Set(Set::one(c, self.flags.insensitive)));
        }
        if self.in_look > 0 || !matches!(self.closed.get(number - 1), Some(Some(_))) {
            return Err(invalid("invalid backreference number"));
        }
        self.has_back = true;
        let mut part = Part::new(Node::Back(number))?;
        let inner = self.closed[number - 1].clone().expect("closed");
        // What the group may match; whether it is the same is seen when the match is taken apart.
        part.program = Program::of(&Node::Group { number, inner: Box::new(inner) })?;
        Ok(part)
    }

    fn octal(&mut self) -> Result<char> {
        let mut value = 0;
        for _ in 0..3 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            self.at += 1;
            value = value * 8 + digit;
        }
        char::from_u32(value).ok_or_else(|| invalid("invalid escape \\ sequence"))
    }

    fn hex(&mut self, digits: Option<usize>) -> Result<char> {
        let bad = || invalid("invalid escape \\ sequence");
        let mut value: u32 = 0;
        let mut seen = 0;
        while digits.is_none_or(|digits| seen < digits) {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) else { break };
            self.at += 1;
            seen += 1;
            value = value.checked_mul(16).and_then(|v| v.checked_add(digit)).ok_or_else(bad)?;
        }
        if seen == 0 || digits.is_some_and(|digits| seen < digits) {
            return Err(bad());
        }
        char::from_u32(value).ok_or_else(bad)
    }

    /// An escape that stands for one character.
    fn character_escape(&mut self, c: char) -> Result<char> {
        Ok(match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'B' => '\\',
            'e' => '\u{1b}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'c' => {
                let Some(c) = self.next() else {
                    return Err(invalid("invalid escape \\ sequence"));
                };
                char::from_u32(c as u32 & 0x1f).expect("a control character")
            }
            'u' => self.hex(Some(4))?,
            'U' => self.hex(Some(8))?,
            'x' => self.hex(None)?,
            '0' => {
                self.at -= 1;
                self.octal()?
            }
            c if c.is_ascii_alphanumeric() => return Err(invalid("invalid escape \\ sequence")),
            c => c,
        })
    }

    fn bracket(&mut self) -> Result<Node> {
        for (text, edge) in [("[:<:]]", Edge::WordStart), ("[:>:]]", Edge::WordEnd)] {
            if self.takes(text) {
                return Ok(Node::Edge(edge));
            }
        }
        let unbalanced = || invalid("brackets [] not balanced");
        let negated = self.takes("^");
        let mut items = Vec::new();
        let mut first = true;
        loop {
            let c = self.next().ok_or_else(unbalanced)?;
            if c == ']' && !first {
                break;
            }
            first = false;
            let from = match self.bracket_item(c)? {
                Err(item) => {
                    items.push(item);
                    continue;
                }
                Ok(c) => c,
            };
            let dash = self.peek() == Some('-') && self.chars.get(self.at + 1) != Some(&']');
            if !dash {
                items.push(Item::Range(from, from));
                continue;
            }
            self.at += 1;
            let c = self.next().ok_or_else(unbalanced)?;
            match self.bracket_item(c)? {
                Ok(to) if from <= to => items.push(Item::Range(from, to)),
                _ => return Err(invalid("invalid character range")),
            }
        }
        if negated && self.flags.lines_stop {
            items.push(Item::Range('\n', '\n'));
        }
        Ok(Node::Set(Set { items, negated, insensitive: self.flags.insensitive }))
    }

    /// One character of a bracket, or a class of them (`Err`).
    fn bracket_item(&mut self, c: char) -> Result<std::result::Result<char, Item>> {
        let kind = match (c, self.peek()) {
            ('\\', _) => {
                let Some(c) = self.next() else {
                    return Err(invalid("invalid escape \\ sequence"));
                };
                if let Some(item) = class_escape(c) {
                    return Ok(Err(item));
                }
                return Ok(Ok(self.character_escape(c)?));
            }
            ('[', Some(kind @ (':' | '.' | '='))) => kind,
            _ => return Ok(Ok(c)),
        };
        self.at += 1;
        let start = self.at;
        let end = (start..self.chars.len())
            .find(|&at| self.chars[at] == kind && self.chars.get(at + 1) == Some(&']'))
            .ok_or_else(|| invalid("brackets [] not balanced"))?;
        let name: String = self.chars[start..end].iter().collect();
        self.at = end + 2;
        if kind == ':' {
            let mut class =
                Class::by_name(&name).ok_or_else(|| invalid("invalid character class"))?;
            if self.flags.insensitive && matches!(class, Class::Lower | Class::Upper) {
                class = Class::Alpha;
            }
            return Ok(Err(Item::Class(class, false)));
        }
        let mut chars = name.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(Ok(c)),
            _ => Err(invalid("invalid collating element")),
        }
    }
}

fn class_escape(c: char) -> Option<Item> {
    Some(match c {
        'd' => Item::Class(Class::Digit, false),
        'D' => Item::Class(Class::Digit, true),
        's' => Item::Class(Class::Space, false),
        'S' => Item::Class(Class::Space, true),
        'w' => Item::Class(Class::Word, false),
        'W' => Item::Class(Class::Word, true),
        _ => return None,
    })
}

/// Parts one after the other. Those that must be taken apart are nested to the right, with what stands
/// between them in one piece.
fn joined(mut parts: Vec<Part>) -> Result<Part> {
    let mut all: Option<Part> = None;
    while let Some(last) = parts.pop() {
        let piece = if last.messy {
            last
        } else {
            let from = parts.iter().rposition(|part| part.messy).map_or(0, |at| at + 1);
            let mut run = parts.split_off(from);
            run.push(last);
            if run.len() == 1 { run.swap_remove(0) } else { Part::new(Node::Run(run))? }
        };
        all = Some(match all {
            None => piece,
            Some(rest) => Part::new(Node::Concat(Box::new(piece), Box::new(rest)))?,
        });
    }
    all.map_or_else(|| Part::new(Node::Empty), Ok)
}
