//! SQL/JSON paths: the type `jsonpath`.
//!
//! ```text
//!   text ── parse ──▶ Path ── exec ──▶ the values it finds in a document
//!                      └── print ──▶ its canonical text, which is what is stored
//! ```
//!
//! Lax paths take arrays apart and make them up where a step wants it, and see nothing where there is
//! nothing; strict ones fail. Within a filter a failure is the truth value "unknown".
//!
//! Tests: `sql-tests/jsonpath.slt`.

mod exec;
mod lex;
mod parse;
mod predicate;
mod print;

use crate::numeric::Numeric;

pub(crate) use exec::{Failure, Query};
pub(crate) use parse::parse;

/// A whole path.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Path {
    pub(crate) strict: bool,
    pub(crate) root: Expr,
}

/// `+ - * / %`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arith {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
}

/// `== != < <= > >=`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A value, or a condition.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Expr {
    Null,
    Bool(bool),
    Number(Numeric),
    String(String),
    Variable(String),
    /// `$`
    Root,
    /// `@`
    Current,
    /// `last`
    Last,
    Steps(Box<Expr>, Vec<Step>),
    Arith(Arith, Box<Expr>, Box<Expr>),
    Minus(Box<Expr>),
    Plus(Box<Expr>),
    Compare(Compare, Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    IsUnknown(Box<Expr>),
    Exists(Box<Expr>),
    StartsWith(Box<Expr>, Box<Expr>),
    LikeRegex {
        value: Box<Expr>,
        pattern: String,
        flags: RegexFlags,
    },
}

/// Flags of `like_regex`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RegexFlags {
    insensitive: bool,
    dot_all: bool,
    multi_line: bool,
    quote: bool,
}

impl RegexFlags {
    /// In the letters of PostgreSQL's own expressions.
    fn letters(self) -> String {
        let mut letters = String::new();
        if self.insensitive {
            letters.push('i');
        }
        if self.quote {
            letters.push('q');
        }
        letters.push(match (self.dot_all, self.multi_line) {
            (false, true) => 'n',
            (false, false) => 'p',
            (true, true) => 'w',
            (true, false) => 's',
        });
        letters
    }
}

/// A step from values to values.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Step {
    /// `.key`
    Key(String),
    /// `.*`
    AnyKey,
    /// `[*]`
    AnyElement,
    /// `[1, 2 to last]`
    Elements(Vec<(Expr, Option<Expr>)>),
    /// `.**{first to last}`; none is `last`.
    Descend {
        first: Option<u32>,
        last: Option<u32>,
    },
    Method(Method),
    /// `? (…)`
    Filter(Expr),
}

/// `.type()` and its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    Abs,
    Ceiling,
    Double,
    Floor,
    KeyValue,
    Size,
    Type,
}

impl Method {
    const ALL: [(&'static str, Method); 7] = [
        ("abs", Method::Abs),
        ("ceiling", Method::Ceiling),
        ("double", Method::Double),
        ("floor", Method::Floor),
        ("keyvalue", Method::KeyValue),
        ("size", Method::Size),
        ("type", Method::Type),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, method)| *method == self).expect("all are there").0
    }

    fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
    }
}
