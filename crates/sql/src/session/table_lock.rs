//! LOCK TABLE and UNLISTEN: statements that have nothing to do here, as far as that is true.
//!
//! Locks are taken by row and by range of keys (FOR UPDATE). The table modes that a reader and a writer take
//! conflict only with stronger ones, which are refused; so there is nothing that they would keep out.

use sqlparser::ast::{Ident, Lock, LockTableMode, ObjectName};

use super::Session;
use super::execute::Tag;
use super::transaction::Block;
use crate::{SqlError, SqlState, ddl};

pub(super) async fn lock(session: &mut Session, lock: &Lock) -> Result<Tag, SqlError> {
    let Lock { tables, lock_mode, nowait: _ } = lock;
    if session.tx.block != Block::Explicit {
        return Err(SqlError::new(
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            "LOCK TABLE can only be used in transaction blocks",
        ));
    }
    let mode = lock_mode.as_ref().unwrap_or(&LockTableMode::AccessExclusive);
    match mode {
        LockTableMode::AccessShare | LockTableMode::RowShare => {}
        LockTableMode::RowExclusive => session.refuse_if_read_only("LOCK TABLE")?,
        LockTableMode::ShareUpdateExclusive
        | LockTableMode::Share
        | LockTableMode::ShareRowExclusive
        | LockTableMode::Exclusive
        | LockTableMode::AccessExclusive => {
            return Err(SqlError::unsupported(format!("LOCK TABLE … IN {mode} MODE")).hint(
                "SELECT … FOR UPDATE over all rows of the table keeps others from writing to it.",
            ));
        }
    }
    let names: Vec<ObjectName> = tables.iter().map(|table| table.name.clone()).collect();
    ddl::owned_tables(session, &names).await?;
    Ok(Tag::Text("LOCK TABLE"))
}

/// Nobody listens, because LISTEN is refused.
pub(super) fn unlisten(_: &Ident) -> Tag {
    Tag::Text("UNLISTEN")
}
