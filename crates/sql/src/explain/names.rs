//! The plan's column names (`c12`) back to the statement's (`accounts.id`).

use std::collections::HashMap;

use crate::ir::{Rel, Scalar};

/// What to call each column.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, String>);

impl Names {
    /// Names of all columns a relation makes.
    pub(super) fn of(rel: &Rel) -> Names {
        let mut names = Names::default();
        names.walk(rel);
        names
    }

    fn walk(&mut self, rel: &Rel) {
        for input in rel.inputs() {
            self.walk(input);
        }
        match rel {
            Rel::Scan(scan) => {
                for (column, _) in &scan.columns {
                    self.put(column.id.to_string(), format!("{}.{}", scan.alias, column.name));
                }
            }
            Rel::Virtual(scan) => {
                for column in &scan.columns {
                    self.put(column.id.to_string(), format!("{}.{}", scan.alias, column.name));
                }
            }
            Rel::Project { exprs, .. } => {
                for (column, scalar) in exprs {
                    let shown = match scalar {
                        Scalar::Column(id, _) => self.0.get(&id.to_string()).cloned(),
                        _ => None,
                    };
                    let shown = shown.unwrap_or_else(|| column.name.to_string());
                    self.put(column.id.to_string(), shown);
                }
            }
            Rel::Aggregate { group, aggs, .. } => {
                for (column, scalar) in group {
                    let shown = match scalar {
                        Scalar::Column(id, _) => self.0.get(&id.to_string()).cloned(),
                        _ => None,
                    };
                    let shown = shown.unwrap_or_else(|| column.name.to_string());
                    self.put(column.id.to_string(), shown);
                }
                for agg in aggs {
                    self.put(agg.column.id.to_string(), format!("{}(…)", agg.column.name));
                }
            }
            other => {
                for column in other.columns() {
                    self.0.entry(column.id.to_string()).or_insert_with(|| column.name.to_string());
                }
            }
        }
    }

    fn put(&mut self, id: String, name: String) {
        self.0.insert(id, name);
    }

    /// `text` with every `c12` and `c12@3` in it under its real name.
    pub(super) fn shown(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let word = &rest[..end];
            rest = &rest[end..];
            match self.0.get(word) {
                Some(name) => {
                    out.push_str(name);
                    // `@3` is the position in the input.
                    if let Some(behind) = rest.strip_prefix('@') {
                        rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
                    }
                }
                None => {
                    out.push_str(word);
                    if let Some(behind) = rest.strip_prefix('@') {
                        rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
                    }
                }
            }
        }
        out.push_str(rest);
        out
    }
}
