//! ALTER TABLE … ALTER COLUMN of identity and generated columns.

use std::sync::Arc;

use catalog::{Change, Identity, Sequence, Table};
use sqlparser::ast::Ident;

use super::column::{check_identity_type, column_sequence};
use super::parse::GeneratedChange;
use super::{Ddl, new_oids, notice, sequence};
use crate::bind::fold;
use crate::session::Session;
use crate::session::api::Sink;
use crate::{SqlError, SqlState};

pub(super) async fn alter(
    session: &mut Session,
    ddl: &mut Ddl,
    table: &Arc<Table>,
    column: &Ident,
    change: &GeneratedChange,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let column = fold(column);
    let at = super::alter_column::position(table, &column)?;
    let mut next = Table::clone(table);
    let of = |what: &str| format!("column \"{column}\" of relation \"{}\" {what}", table.name);
    let not_identity = || {
        SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, of("is not an identity column"))
    };
    let mut changes = Vec::new();
    match change {
        GeneratedChange::AddIdentity { always, options } => {
            let column = &table.columns[at];
            if column.nullable {
                return Err(SqlError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    of("must be declared NOT NULL before identity can be added"),
                ));
            }
            if column.identity.is_some() {
                return Err(SqlError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    of("is already an identity column"),
                ));
            }
            if column.default.is_some() || column.sequence.is_some() {
                return Err(SqlError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    of("already has a default value"),
                ));
            }
            check_identity_type(column.ty)?;
            let id = new_oids(session, 1).await?;
            let made = column_sequence(ddl, table, &mut Vec::new(), id, column, options)?;
            changes.push(Change::PutSequence(Box::new(made)));
            next.columns[at].sequence = Some(id);
            next.columns[at].identity = Some(match always {
                true => Identity::Always,
                false => Identity::ByDefault,
            });
        }
        GeneratedChange::SetIdentity { always, options } => {
            let column = &table.columns[at];
            let id = column.sequence.filter(|_| column.identity.is_some());
            let id = id.ok_or_else(not_identity)?;
            if let Some(always) = always {
                next.columns[at].identity = Some(match always {
                    true => Identity::Always,
                    false => Identity::ByDefault,
                });
            }
            if !options.is_empty() {
                let old = ddl.catalog.sequence_by_id(id).expect("an identity has its sequence");
                changes.push(sequence::changed(session, Sequence::clone(old), options).await?);
            }
        }
        GeneratedChange::DropIdentity { if_exists } => {
            let column = &mut next.columns[at];
            let id = column.sequence.filter(|_| column.identity.is_some());
            let Some(id) = id else {
                if *if_exists {
                    let message = of("is not an identity column, skipping");
                    notice(sink, SqlState("00000"), message);
                    return Ok(());
                }
                return Err(not_identity());
            };
            column.sequence = None;
            column.identity = None;
            changes.push(Change::DropSequence(id));
        }
        GeneratedChange::DropExpression { if_exists } => {
            if next.columns[at].generated.take().is_none() {
                if *if_exists {
                    let message = of("is not a stored generated column, skipping");
                    notice(sink, SqlState("00000"), message);
                    return Ok(());
                }
                return Err(SqlError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    of("is not a stored generated column"),
                ));
            }
        }
    }
    changes.push(Change::PutTable(Box::new(next)));
    ddl.write(session, changes).await
}
