//! The plan's column names (`c12`) back to the statement's (`accounts.id`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use catalog::TableId;
use pgtypes::PgType;

use crate::ir::{Rel, RelColumn, Scalar};

/// What to call each column, and where it comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    shown: HashMap<String, Called>,
    /// Of tables and functions in FROM.
    relations: usize,
    /// Whether columns are called by them, too.
    qualified: bool,
    /// Columns of tables, by position.
    origins: HashMap<String, (TableId, usize)>,
    /// What the aggregates of the operator that was shown last compute.
    aggregates: RefCell<HashMap<String, String>>,
}

/// A column, with the relation it is of.
#[derive(Clone, Debug)]
struct Called {
    relation: Option<Arc<str>>,
    name: Arc<str>,
    ty: PgType,
}

impl Names {
    /// Names of all columns a relation makes, qualified if there are several relations, or `always`.
    pub(super) fn of(rel: &Rel, always: bool) -> Names {
        let mut names = Names::default();
        names.walk(rel);
        names.qualified = always || names.relations > 1;
        names
    }

    /// The same with or without those of relations.
    pub(super) fn qualified(&self, qualified: bool) -> Names {
        Names { qualified, ..self.clone() }
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
        self.relations += usize::from(rel.inputs().is_empty() && !matches!(rel, Rel::OneRow));
        match rel {
            Rel::Scan(scan) => {
                for (column, position) in &scan.columns {
                    self.origins.insert(column.id.to_string(), (scan.table.id, *position));
                    self.put(column, Some(&scan.alias));
                }
            }
            Rel::Virtual(scan) => {
                for column in &scan.columns {
                    self.put(column, Some(&scan.alias));
                }
            }
            Rel::Project { exprs: made, .. } => {
                made.iter().for_each(|(column, scalar)| self.passed_on(column, scalar));
            }
            Rel::Aggregate { group, aggs, .. } => {
                group.iter().for_each(|(column, scalar)| self.passed_on(column, scalar));
                for agg in aggs {
                    let name = format!("{}(…)", agg.column.name).into();
                    self.put(&RelColumn { name, ..agg.column.clone() }, None);
                }
            }
            other => {
                for column in other.columns() {
                    if !self.shown.contains_key(&column.id.to_string()) {
                        self.put(&column, None);
                    }
                }
            }
        }
    }

    /// A column that is another one, or made here.
    fn passed_on(&mut self, column: &RelColumn, scalar: &Scalar) {
        let from = match scalar {
            Scalar::Column(id, _) => id.to_string(),
            _ => return self.put(column, None),
        };
        if let Some(origin) = self.origin(&from) {
            self.origins.insert(column.id.to_string(), origin);
        }
        match self.shown.get(&from).cloned() {
            Some(called) => _ = self.shown.insert(column.id.to_string(), called),
            None => self.put(column, None),
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

    /// The type of a column of the plan's.
    pub(super) fn ty(&self, name: &str) -> Option<PgType> {
        self.shown.get(name).map(|called| called.ty)
    }

    fn put(&mut self, column: &RelColumn, relation: Option<&Arc<str>>) {
        let called =
            Called { relation: relation.cloned(), name: Arc::clone(&column.name), ty: column.ty };
        self.shown.insert(column.id.to_string(), called);
    }

    fn called(&self, word: &str) -> Option<String> {
        match self.shown.get(word) {
            Some(Called { relation: Some(relation), name, .. }) if self.qualified => {
                Some(format!("{relation}.{name}"))
            }
            Some(called) => Some(called.name.to_string()),
            None => self.aggregates.borrow().get(word).cloned(),
        }
    }

    /// `text` with every `c12` and `c12@3` in it under its real name. Keys have those of what they stand for.
    pub(super) fn shown(&self, text: &str) -> String {
        let key = text.strip_prefix("sort_key(").and_then(|text| text.strip_suffix(')'));
        let mut out = String::with_capacity(text.len());
        let mut rest = key.unwrap_or(text);
        while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let word = &rest[..end];
            rest = &rest[end..];
            // `s2.c12`: a query in FROM.
            let is_query =
                word.strip_prefix('s').is_some_and(|number| number.parse::<u32>().is_ok());
            if let (true, Some(column)) = (is_query, rest.strip_prefix('.')) {
                rest = column;
                continue;
            }
            out.push_str(self.called(word).as_deref().unwrap_or(word));
            // `@3` is the position in the input.
            if let Some(behind) = rest.strip_prefix('@') {
                rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
            }
        }
        out.push_str(rest);
        out
    }
}
