//! What can be added beside the writers, and what a table is with it, known to writers alone.

use catalog::{Constraint, ConstraintKind, IndexState, Table, Validation};
use sqlparser::ast::{CreateIndex, ObjectName};

use super::Item;
use crate::SqlError;
use crate::ddl::column::KeyDef;
use crate::ddl::constraint::{self, Def};
use crate::ddl::{Ddl, alter, alter_column, index};
use crate::session::Session;
use crate::session::api::Sink;

/// Something to add to a table.
pub(in crate::ddl) enum Change<'a> {
    /// CREATE INDEX.
    Index(&'a CreateIndex),
    /// ADD UNIQUE.
    Unique(&'a ObjectName, &'a KeyDef),
    /// ADD CHECK, ADD FOREIGN KEY.
    Constraint(&'a ObjectName, &'a Def),
    /// VALIDATE CONSTRAINT, of that name.
    Validation(&'a ObjectName, String),
    /// SET NOT NULL, of that column.
    NotNull(&'a ObjectName, String),
}

impl Change<'_> {
    /// The table, and what is new in it; it gets the oid unless it has one. Nothing if there is nothing to
    /// do.
    pub(super) fn define(
        &self,
        session: &Session,
        ddl: &Ddl,
        text: &str,
        sink: &mut dyn Sink,
        oid: u32,
    ) -> Result<Option<(Table, Item)>, SqlError> {
        let process = session.engine().db.process();
        let process = (process.0.0, process.1);
        let validation = |keep| Some(Validation { process, reading: false, keep });
        let next = match self {
            Change::Index(create) => {
                let found = index::definition(session, ddl, create, text, sink)?;
                found.map(|(_, next)| announced_index(next, oid, process))
            }
            Change::Unique(table, key) => {
                let next = alter::with_unique(ddl, &*ddl.own_table(session, table)?, key)?;
                Some(announced_index(next, oid, process))
            }
            Change::Validation(table, name) => {
                let mut next = Table::clone(&*ddl.own_table(session, table)?);
                alter::to_validate(&next, name)?.map(|at| {
                    let constraint = &mut next.constraints[at];
                    constraint.validation = validation(true);
                    let item = Item::Constraint(constraint.oid);
                    (next, item)
                })
            }
            Change::Constraint(table, def) => {
                let table = ddl.own_table(session, table)?;
                let made = constraint::make(session, ddl, &table, def, text, oid)?;
                Some(announced_constraint(&table, made, validation(false)))
            }
            Change::NotNull(table, column) => {
                let table = ddl.own_table(session, table)?;
                let column = &table.columns[alter_column::position(&table, column)?];
                column.nullable.then(|| {
                    let kind = ConstraintKind::NotNull { column: column.id };
                    let name = format!("{}_{}_not_null", table.name, column.name);
                    announced_constraint(
                        &table,
                        Constraint::new(oid, name, kind),
                        validation(false),
                    )
                })
            }
        };
        Ok(next)
    }
}

/// The last index gets its identity, and is in its first state.
fn announced_index(mut table: Table, oid: u32, process: (u64, u64)) -> (Table, Item) {
    index::name_last(&mut table, oid);
    let index = table.indexes.last_mut().expect("it was just defined");
    (index.state, index.builder) = (IndexState::DeleteOnly, Some(process));
    (table, Item::Index(oid))
}

/// The constraint is in its first state.
fn announced_constraint(
    table: &Table,
    made: Constraint,
    validation: Option<Validation>,
) -> (Table, Item) {
    let mut next = Table::clone(table);
    let item = Item::Constraint(made.oid);
    next.constraints.push(Constraint { validated: false, validation, ..made });
    (next, item)
}
