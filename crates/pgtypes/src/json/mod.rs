//! JSON as PostgreSQL has it: `json` keeps its text, `jsonb` is canonical.
//!
//! A `jsonb` datum *is* its canonical text: objects with unique keys sorted by length, then bytes;
//! `", "` and `": "` between parts; numbers as `numeric` prints them. Operators parse that text
//! into a [`Json`], work, and print again.

mod from_value;
mod parse;
pub(crate) mod path;
mod print;

use std::cmp::Ordering;

use crate::numeric::Numeric;

pub(crate) use from_value::json_text;
pub use parse::{MAX_DEPTH, check, parse};
pub use print::{escape, pretty};

/// A parsed JSON value.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number, exact.
    Number(Numeric),
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// Members; in canonical form sorted by [`key_order`] and unique.
    Object(Vec<(String, Json)>),
}

/// The order of keys in a `jsonb` object: shorter first, then bytes.
pub fn key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl Json {
    /// Sorts keys and drops all but the last of equal ones, recursively.
    #[must_use]
    pub fn canonical(self) -> Self {
        match self {
            Self::Array(items) => Self::Array(items.into_iter().map(Self::canonical).collect()),
            Self::Object(members) => Self::object(
                members.into_iter().map(|(key, value)| (key, value.canonical())).collect(),
            ),
            other => other,
        }
    }

    /// An object of these members, the last of equal keys winning.
    pub fn object(mut members: Vec<(String, Json)>) -> Self {
        // Stable, so that among equal keys the last one given is last.
        members.sort_by(|(a, _), (b, _)| key_order(a, b));
        let mut unique: Vec<(String, Json)> = Vec::with_capacity(members.len());
        for (key, value) in members {
            match unique.last_mut() {
                Some(last) if last.0 == key => last.1 = value,
                _ => unique.push((key, value)),
            }
        }
        Self::Object(unique)
    }

    /// The member of this name.
    pub fn member(&self, key: &str) -> Option<&Json> {
        match self {
            // From the end: in `json` the last of equal keys counts.
            Self::Object(members) => {
                members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The element at an index, from the end if negative.
    pub fn element(&self, index: i64) -> Option<&Json> {
        let Self::Array(items) = self else { return None };
        let len = i64::try_from(items.len()).ok()?;
        let index = if index < 0 { index + len } else { index };
        items.get(usize::try_from(index).ok()?)
    }

    /// What `json_typeof` says.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// `jsonb`'s containment: does `self @> other`?
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Object(_), Self::Object(members)) => members
                .iter()
                .all(|(key, value)| self.member(key).is_some_and(|own| own.contains_inner(value))),
            (Self::Array(items), Self::Array(wanted)) => {
                wanted.iter().all(|value| items.iter().any(|item| item.contains_inner(value)))
            }
            // A scalar is contained in an array that has it, at the top level only.
            (Self::Array(items), scalar) if scalar.is_scalar() => {
                items.iter().any(|item| item.order(scalar).is_eq())
            }
            _ => self.is_scalar() && other.is_scalar() && self.order(other).is_eq(),
        }
    }

    fn contains_inner(&self, other: &Self) -> bool {
        if self.is_scalar() || other.is_scalar() {
            return self.is_scalar() && other.is_scalar() && self.order(other).is_eq();
        }
        self.contains(other)
    }

    /// Neither array nor object?
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::Array(_) | Self::Object(_))
    }

    /// `jsonb`'s order: Object > Array > Boolean > Number > String > Null; containers by size
    /// first. (An empty top-level array sorts below everything, a quirk PostgreSQL keeps.)
    pub fn order(&self, other: &Self) -> Ordering {
        let rank = |json: &Self| match json {
            Self::Null => 0,
            Self::String(_) => 1,
            Self::Number(_) => 2,
            Self::Bool(_) => 3,
            Self::Array(_) => 4,
            Self::Object(_) => 5,
        };
        match (self, other) {
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.cmp_value(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Array(a), Self::Array(b)) => a.len().cmp(&b.len()).then_with(|| {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| a.order(b))
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal)
            }),
            (Self::Object(a), Self::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
                a.iter()
                    .zip(b)
                    .map(|((ka, va), (kb, vb))| ka.cmp(kb).then_with(|| va.order(vb)))
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal)
            }),
            (Self::Array(a), b) if a.is_empty() && !matches!(b, Self::Array(_)) => Ordering::Less,
            (a, Self::Array(b)) if b.is_empty() && !matches!(a, Self::Array(_)) => {
                Ordering::Greater
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }
}
