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
    pub(super) async fn define(
        &self,
        session: &mut Session,
        ddl: &Ddl,
        text: &str,
        sink: &mut dyn Sink,
        oid: u32,
    ) -> Result<Option<(Table, Item)>, SqlError> {
        let process = session.engine().db.process();
        let process = (process.0.0, process.1);
        let validation = |keep| Some(Validation { process, reading: false, keep });
        let (name, made) = match self {
            Change::Index(create) => {
                let Some((_, mut next)) = index::definition(session, ddl, create, text, sink)?
                else {
                    return Ok(None);
                };
                index::name_last(&mut next, oid);
                return Ok(Some((announced(next, process), Item::Index(oid))));
            }
            Change::Unique(table, key) => {
                let table = ddl.own_table(session, table)?;
                let mut next = alter::with_unique(ddl, &table, key)?;
                index::name_last(&mut next, oid);
                return Ok(Some((announced(next, process), Item::Index(oid))));
            }
            Change::Validation(table, name) => {
                let mut next = Table::clone(&*ddl.own_table(session, table)?);
                let Some(at) = alter::to_validate(&next, name)? else { return Ok(None) };
                let constraint = &mut next.constraints[at];
                let item = Item::Constraint(constraint.oid);
                constraint.validation = validation(true);
                return Ok(Some((next, item)));
            }
            Change::Constraint(name, def) => {
                let table = ddl.own_table(session, name)?;
                (name, constraint::make(session, ddl, &table, def, text).await?)
            }
            Change::NotNull(name, column) => {
                let table = ddl.own_table(session, name)?;
                let column = &table.columns[alter_column::position(&table, column)?];
                if !column.nullable {
                    return Ok(None);
                }
                let kind = ConstraintKind::NotNull { column: column.id };
                let name_of = format!("{}_{}_not_null", table.name, column.name);
                (name, Constraint::new(oid, name_of, kind))
            }
        };
        let mut next = Table::clone(&*ddl.own_table(session, name)?);
        let validation = validation(false);
        next.constraints.push(Constraint { oid, validated: false, validation, ..made });
        Ok(Some((next, Item::Constraint(oid))))
    }
}

/// With its last index in its first state.
fn announced(mut table: Table, process: (u64, u64)) -> Table {
    let index = table.indexes.last_mut().expect("it was just defined");
    (index.state, index.builder) = (IndexState::DeleteOnly, Some(process));
    table
}
