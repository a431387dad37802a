//! Conditions within paths: true, false, or unknown.

use std::cmp::Ordering;

use super::exec::{At, Failure, Query};
use super::{Compare, Expr};
use crate::json::Json;
use crate::regex::Regex;

impl Query<'_> {
    /// Whether a condition holds; none if that is not known.
    pub(super) fn holds(&self, condition: &Expr, at: At<'_>) -> Result<Option<bool>, Failure> {
        Ok(match condition {
            Expr::And(left, right) => match self.holds(left, at)? {
                Some(false) => Some(false),
                left => match (left, self.holds(right, at)?) {
                    (_, Some(false)) => Some(false),
                    (Some(true), right) => right,
                    _ => None,
                },
            },
            Expr::Or(left, right) => match self.holds(left, at)? {
                Some(true) => Some(true),
                left => match (left, self.holds(right, at)?) {
                    (_, Some(true)) => Some(true),
                    (Some(false), right) => right,
                    _ => None,
                },
            },
            Expr::Not(inner) => self.holds(inner, at)?.map(|truth| !truth),
            Expr::IsUnknown(inner) => Some(self.holds(inner, at)?.is_none()),
            Expr::Exists(inner) => self.known(self.eval(inner, at))?.map(|found| !found.is_empty()),
            Expr::Compare(operator, left, right) => {
                let left = self.known(self.unwrapped(left, at))?;
                let right = self.known(self.unwrapped(right, at))?;
                let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
                let pairs = left.iter().flat_map(|l| right.iter().map(move |r| (l, r)));
                self.any(pairs.map(|(left, right)| compared(*operator, left, right)))
            }
            Expr::StartsWith(value, initial) => {
                let Some(values) = self.known(self.unwrapped(value, at))? else { return Ok(None) };
                let initial = self.eval(initial, at)?;
                let starts = |value: &Json| match (value, initial.as_slice()) {
                    (Json::String(value), [Json::String(initial)]) => {
                        Some(value.starts_with(initial.as_str()))
                    }
                    _ => None,
                };
                self.any(values.iter().map(starts))
            }
            Expr::LikeRegex { value, pattern, flags } => {
                let Some(values) = self.known(self.unwrapped(value, at))? else { return Ok(None) };
                let regex = Regex::new(pattern, &flags.letters()).map_err(Failure::Path)?;
                let like = |value: &Json| match value {
                    Json::String(value) => Some(regex.is_match(value)),
                    _ => None,
                };
                self.any(values.iter().map(like))
            }
            value => match self.known(self.eval(value, at))?.as_deref() {
                Some([Json::Bool(truth)]) => Some(*truth),
                _ => None,
            },
        })
    }

    /// What was found, or nothing known if the document is not as the path would have it.
    fn known(&self, found: Result<Vec<Json>, Failure>) -> Result<Option<Vec<Json>>, Failure> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Failure::Document(_)) => Ok(None),
            Err(path @ Failure::Path(_)) => Err(path),
        }
    }

    /// True if it is of any. What is unknown counts for a strict path even so.
    fn any(&self, truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
        let (mut found, mut unknown) = (false, false);
        for truth in truths {
            match truth {
                Some(true) if !self.path.strict => return Some(true),
                Some(true) => found = true,
                Some(false) => {}
                None if self.path.strict => return None,
                None => unknown = true,
            }
        }
        match (found, unknown) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        }
    }
}

fn compared(operator: Compare, left: &Json, right: &Json) -> Option<bool> {
    let order: Ordering = match (left, right) {
        (Json::Null, Json::Null) => Ordering::Equal,
        // Null is unequal to everything else, and in no order with it.
        (Json::Null, _) | (_, Json::Null) => return Some(operator == Compare::Ne),
        (Json::Bool(left), Json::Bool(right)) => left.cmp(right),
        (Json::Number(left), Json::Number(right)) => left.cmp_value(right),
        (Json::String(left), Json::String(right)) => left.cmp(right),
        _ => return None,
    };
    Some(match operator {
        Compare::Eq => order.is_eq(),
        Compare::Ne => order.is_ne(),
        Compare::Lt => order.is_lt(),
        Compare::Le => order.is_le(),
        Compare::Gt => order.is_gt(),
        Compare::Ge => order.is_ge(),
    })
}
