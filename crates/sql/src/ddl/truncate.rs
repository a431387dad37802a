//! TRUNCATE: the table gets new, empty indexes; the old ones are emptied after the commit.

use std::sync::Arc;

use catalog::{Change, Privileges, Table};
use sqlparser::ast::{CascadeOption, Truncate, TruncateIdentityOption};

use super::alter::new_storage;
use super::{Ddl, closing, notice};
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
    closing::close(session, |session, ddl| {
        let all = with_referencing(ddl, targets(session, ddl, truncate)?, cascade)?;
        all.iter().try_for_each(|t| session.authority().demand(&**t, Privileges::TRUNCATE))?;
        Ok(all)
    })
    .await?;
    let mut ddl = Ddl::begin(session).await?;
    let mut changes = Vec::new();
    let named = targets(session, &ddl, truncate)?;
    let count = named.len();
    let tables = with_referencing(&ddl, named, cascade)?;
    for table in &tables[count..] {
        let message = format!("truncate cascades to table \"{}\"", table.name);
        notice(sink, SqlState("00000"), message);
    }
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

/// The tables that are named.
fn targets(session: &Session, ddl: &Ddl, truncate: &Truncate) -> Result<Vec<Arc<Table>>, SqlError> {
    let mut tables = Vec::new();
    for target in &truncate.table_names {
        match ddl.find_table(session, &target.name)? {
            Some(table) => tables.push(table),
            None if truncate.if_exists => {}
            None => return Err(ddl.table(session, &target.name).expect_err("it was not found")),
        }
    }
    Ok(tables)
}

/// Adds the tables whose rows refer to those of the ones named, which have to be named too, or are taken
/// along.
fn with_referencing(
    ddl: &Ddl,
    mut tables: Vec<Arc<Table>>,
    cascade: bool,
) -> Result<Vec<Arc<Table>>, SqlError> {
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
            tables.push(from.clone());
        }
    }
    Ok(tables)
}
