//! Which relations a statement mentions, before it is bound.

use std::ops::ControlFlow;

use sqlparser::ast::{self, ObjectName, Visit, Visitor};

use super::name_parts;

struct Names(Vec<(Option<String>, String)>);

impl Visitor for Names {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let Ok(mut parts) = name_parts(relation)
            && let Some(name) = parts.pop()
        {
            self.0.push((parts.pop(), name));
        }
        ControlFlow::Continue(())
    }
}

/// Schema and name of every relation mentioned; names of common table expressions among them.
pub fn mentioned_tables(statement: &ast::Statement) -> Vec<(Option<String>, String)> {
    let mut names = Names(Vec::new());
    // The visitor never breaks.
    let ControlFlow::Continue(()) = statement.visit(&mut names) else { return names.0 };
    names.0.sort();
    names.0.dedup();
    names.0
}
