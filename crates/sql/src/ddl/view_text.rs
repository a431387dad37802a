//! The text of a view for people: relations under the names that the reader's search path asks for.

use std::convert::Infallible;
use std::ops::ControlFlow;

use catalog::{CatalogSnapshot, View};
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Query, Statement, VisitMut, VisitorMut};

use crate::bind::{fold, name_parts};

/// The query of a view; `shown` tells what to call a relation.
pub(crate) fn view_text(
    catalog: &CatalogSnapshot,
    view: &View,
    shown: impl Fn(u32) -> Option<String>,
) -> String {
    let Ok(mut statements) = crate::bind::parse(&view.sql) else { return view.sql.clone() };
    let [statement @ Statement::Query(_)] = statements.as_mut_slice() else {
        return view.sql.clone();
    };
    let mut names = Names { catalog, view, shown, ctes: Vec::new() };
    let ControlFlow::Continue(()) = statement.visit(&mut names);
    statement.to_string()
}

struct Names<'a, F> {
    catalog: &'a CatalogSnapshot,
    view: &'a View,
    shown: F,
    /// Names of WITH queries: they are no relations, wherever they stand.
    ctes: Vec<String>,
}

impl<F> Names<'_, F> {
    /// The relation that a name of the view's text means.
    fn relation(&self, parts: &[String]) -> Option<u32> {
        let database = self.catalog.schema_by_id(self.view.schema)?.database;
        let in_schema = |schema: &String, name: &String| {
            let schema = self.catalog.schema(database, schema)?.id;
            let table = self.catalog.table(schema, name).map(|table| table.id);
            let table = table.or_else(|| self.catalog.view(schema, name).map(|view| view.id));
            table.or_else(|| self.catalog.sequence(schema, name).map(|sequence| sequence.id))
        };
        match parts {
            [name] if self.ctes.contains(name) => None,
            [name] => self.view.path.iter().find_map(|schema| in_schema(schema, name)),
            [.., schema, name] => in_schema(schema, name),
            [] => None,
        }
    }
}

impl<F: Fn(u32) -> Option<String>> VisitorMut for Names<'_, F> {
    type Break = Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Infallible> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.ctes.push(fold(&cte.alias.name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<Infallible> {
        let found = name_parts(relation).ok().and_then(|parts| self.relation(&parts));
        if let Some(name) = found.and_then(|id| (self.shown)(id)) {
            // Quoted already, where it must be.
            *relation = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
        }
        ControlFlow::Continue(())
    }
}
