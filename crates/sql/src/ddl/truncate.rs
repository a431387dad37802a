//! TRUNCATE: the table gets new, empty indexes; the old ones are emptied after the commit.

use std::sync::Arc;

use catalog::{Change, Privileges, Table};
use sqlparser::ast::{CascadeOption, Truncate, TruncateIdentityOption};

use super::alter::new_storage;
use super::{Ddl, notice};
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

pub(super) async fn run(
    session: &mut Session,
    truncate: &Truncate,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    if truncate.partitions.is_some() || truncate.on_cluster.is_some() {
        return Err(SqlError::unsupported("a clause of TRUNCATE"));
    }
    let cascade = truncate.cascade == Some(CascadeOption::Cascade);
    let restart = matches!(truncate.identity, Some(TruncateIdentityOption::Restart));
    let mut ddl = Ddl::begin(session).await?;
    let mut changes = Vec::new();
    let mut tables = Vec::new();
    for target in &truncate.table_names {
        match ddl.find_table(session, &target.name)? {
            Some(table) => tables.push(table),
            None if truncate.if_exists => {}
            None => return Err(ddl.table(session, &target.name).expect_err("it was not found")),
        }
    }
    with_referencing(&ddl, &mut tables, cascade, sink)?;
    for table in &tables {
        session.authority().demand(&**table, Privileges::TRUNCATE)?;
        if restart {
            changes.extend(super::sequence::restarted(session, &ddl, table).await?);
        }
        let mut next = Table::clone(table);
        new_storage(session, &mut next).await?;
        session.note_dropped(table)?;
        session.mark_fresh(&next);
        changes.push(Change::PutTable(Box::new(next)));
    }
    if !changes.is_empty() {
        ddl.write(session, changes).await?;
    }
    Ok(Tag::Text("TRUNCATE TABLE"))
}

/// Tables whose rows refer to those of the ones named have to be named too, or taken along.
fn with_referencing(
    ddl: &Ddl,
    tables: &mut Vec<Arc<Table>>,
    cascade: bool,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let mut at = 0;
    while at < tables.len() {
        let table = tables[at].clone();
        at += 1;
        for (from, ..) in ddl.catalog.references_to(table.id) {
            if tables.iter().any(|t| t.id == from.id) {
                continue;
            }
            if !cascade {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "cannot truncate a table referenced in a foreign key constraint",
                )
                .detail(format!("Table \"{}\" references \"{}\".", from.name, table.name))
                .hint(format!(
                    "Truncate table \"{}\" at the same time, or use TRUNCATE ... CASCADE.",
                    from.name
                )));
            }
            let message = format!("truncate cascades to table \"{}\"", from.name);
            notice(sink, SqlState("00000"), message);
            tables.push(from.clone());
        }
    }
    Ok(())
}
