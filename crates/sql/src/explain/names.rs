//! The plan's column names (`c12`) back to the statement's (`accounts.id`).

use std::cell::RefCell;
use std::collections::HashMap;

use catalog::TableId;

use crate::ir::{ColId, Rel, Scalar};

/// What to call each column, and where it comes from.
#[derive(Debug, Default)]
pub(super) struct Names {
    shown: HashMap<String, String>,
    /// Columns of tables, by position.
    origins: HashMap<String, (TableId, usize)>,
    /// What the aggregates of the operator that was shown last compute.
    aggregates: RefCell<HashMap<String, String>>,
}

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
        for scalar in rel.scalars() {
            scalar.any(&mut |node| {
                if let Scalar::Subquery(query) = node {
                    self.walk(&query.rel);
                }
                false
            });
        }
        match rel {
            Rel::Scan(scan) => {
                for (column, position) in &scan.columns {
                    self.origins.insert(column.id.to_string(), (scan.table.id, *position));
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
                    self.passed_on(column.id, scalar);
                    let shown = match scalar {
                        Scalar::Column(id, _) => self.shown.get(&id.to_string()).cloned(),
                        _ => None,
                    };
                    let shown = shown.unwrap_or_else(|| column.name.to_string());
                    self.put(column.id.to_string(), shown);
                }
            }
            Rel::Aggregate { group, aggs, .. } => {
                for (column, scalar) in group {
                    self.passed_on(column.id, scalar);
                    let shown = match scalar {
                        Scalar::Column(id, _) => self.shown.get(&id.to_string()).cloned(),
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
                    self.shown
                        .entry(column.id.to_string())
                        .or_insert_with(|| column.name.to_string());
                }
            }
        }
    }

    fn passed_on(&mut self, column: ColId, scalar: &Scalar) {
        if let Scalar::Column(id, _) = scalar
            && let Some(origin) = self.origin(&id.to_string())
        {
            self.origins.insert(column.to_string(), origin);
        }
    }

    /// Gives the result of an aggregate its name, for what is above.
    pub(super) fn put_aggregate(&self, name: &str, shown: String) {
        self.aggregates.borrow_mut().insert(name.to_owned(), shown);
    }

    /// The column of a table that is passed on under this name of the plan's.
    pub(super) fn origin(&self, name: &str) -> Option<(TableId, usize)> {
        self.origins.get(name).copied()
    }

    fn put(&mut self, id: String, name: String) {
        self.shown.insert(id, name);
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
            let aggregate = self.aggregates.borrow().get(word).cloned();
            match self.shown.get(word).cloned().or(aggregate) {
                Some(name) => {
                    out.push_str(&name);
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
