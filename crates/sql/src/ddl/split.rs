//! `ALTER TABLE t SPLIT AT VALUES (…), (…)`: ranges begin at these values of the primary key.
//!
//! Where data lies is no part of the schema: the split happens at once and does not roll back.

use super::Ddl;
use crate::dml::codec_error;
use crate::session::{Session, SplitAt, Tag};
use crate::{SqlError, SqlState};

pub(crate) async fn split_at(
    session: &mut Session,
    split: &SplitAt,
    text: &str,
) -> Result<Tag, SqlError> {
    let txn = session.statement_txn().await?;
    let catalog = session.visible_catalog(&txn).await?;
    let ddl = Ddl { txn, catalog };
    let table = ddl.own_table(session, &split.table)?;
    if session.own_catalog().is_some() {
        return Err(SqlError::new(
            SqlState::ACTIVE_SQL_TRANSACTION,
            "a table cannot be split in a transaction that changes the schema",
        ));
    }
    let codec = table.codec().clone();
    let index = codec.primary();
    let mut keys = Vec::with_capacity(split.points.len());
    for point in &split.points {
        let types: Vec<pgtypes::PgType> = if table.has_hidden_row_id() {
            vec![pgtypes::PgType::INT8]
        } else {
            table.index_positions(&table.primary).iter().map(|&p| table.columns[p].ty).collect()
        };
        if point.len() > types.len() {
            return Err(SqlError::syntax(format!(
                "SPLIT AT has {} values, the key of \"{}\" has {} columns",
                point.len(),
                table.name,
                types.len()
            )));
        }
        let mut values = Vec::with_capacity(point.len());
        for (expr, ty) in point.iter().zip(&types) {
            values.push(session.constant(expr, *ty, text)?);
        }
        keys.push(if table.has_hidden_row_id() {
            let id = values[0].as_i64().and_then(|v| u64::try_from(v).ok()).unwrap_or(0);
            table.codec().hidden_key(id)
        } else {
            index.key_prefix(&values).map_err(|e| codec_error(&e, &table))?
        });
    }
    session.engine().db.split(&keys).await?;
    Ok(Tag::Text("ALTER TABLE"))
}
