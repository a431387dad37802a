//! TRUNCATE: the table gets new, empty indexes; the old ones are emptied after the commit.

use catalog::{Change, Table};
use sqlparser::ast::{CascadeOption, Truncate, TruncateIdentityOption};

use super::Ddl;
use super::alter::new_storage;
use crate::SqlError;
use crate::session::api::Sink;
use crate::session::{Session, Tag};

pub(super) async fn run(
    session: &mut Session,
    truncate: &Truncate,
    _sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    if truncate.partitions.is_some() || truncate.on_cluster.is_some() {
        return Err(SqlError::unsupported("a clause of TRUNCATE"));
    }
    // There are no foreign keys: CASCADE has nothing to do.
    let _: &Option<CascadeOption> = &truncate.cascade;
    let restart = matches!(truncate.identity, Some(TruncateIdentityOption::Restart));
    let mut ddl = Ddl::begin(session).await?;
    let mut changes = Vec::new();
    for target in &truncate.table_names {
        let table = match ddl.find_table(session, &target.name)? {
            Some(table) => table,
            None if truncate.if_exists => continue,
            None => return Err(ddl.table(session, &target.name).expect_err("it was not found")),
        };
        if restart && table.columns.iter().any(|c| c.sequence.is_some()) {
            return Err(SqlError::unsupported("TRUNCATE … RESTART IDENTITY"));
        }
        let mut next = Table::clone(&table);
        new_storage(session, &mut next).await?;
        session.note_dropped(&table)?;
        session.mark_fresh(&next);
        changes.push(Change::PutTable(Box::new(next)));
    }
    if !changes.is_empty() {
        ddl.write(session, changes).await?;
    }
    Ok(Tag::Text("TRUNCATE TABLE"))
}
