//! The cluster itself: conclave.ranges, conclave.nodes and conclave.schema_changes.

use std::sync::Arc;

use base::Key;
use pgtypes::Datum;
use proto::meta;

use super::{Row, Source, SystemView, text, view};
use crate::SqlError;
use crate::session::ViewContext;

/// What is asked of the cluster.
#[derive(Clone, Copy)]
pub(super) enum Question {
    Ranges,
    Nodes,
    SchemaChanges,
}

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![
        view(
            "conclave",
            "ranges",
            "range_id:8 start_key end_key table_name replicas leader:8 generation:8",
            Source::Cluster(Question::Ranges),
        ),
        view(
            "conclave",
            "nodes",
            "node_id:8 sql_address rpc_address http_address incarnation:8",
            Source::Cluster(Question::Nodes),
        ),
        view(
            "conclave",
            "schema_changes",
            "schema_name table_name kind name state node_id:8",
            Source::Cluster(Question::SchemaChanges),
        ),
    ]
}

pub(super) async fn answer(question: Question, cx: &ViewContext) -> Result<Vec<Row>, SqlError> {
    match question {
        Question::Ranges => ranges(cx).await,
        Question::Nodes => nodes(cx).await,
        Question::SchemaChanges => Ok(schema_changes(cx)),
    }
}

fn int8(value: u64) -> Datum {
    Datum::Int8(i64::try_from(value).unwrap_or(i64::MAX))
}

async fn ranges(cx: &ViewContext) -> Result<Vec<Row>, SqlError> {
    let db = &cx.info.engine.db;
    let mut rows = Vec::new();
    for range in db.ranges().await? {
        let replicas: Vec<String> = range.replicas.iter().map(|r| r.node_id.to_string()).collect();
        let leader = match db.range_status(&Key(range.start.clone())).await {
            Ok(status) => int8(status.leader),
            Err(_) => Datum::Null,
        };
        rows.push(vec![
            int8(range.range_id),
            text(Key(range.start.clone()).to_string()),
            text(Key(range.end.clone()).to_string()),
            table_of(cx, &range.start).map_or(Datum::Null, text),
            text(replicas.join(",")),
            leader,
            int8(range.generation),
        ]);
    }
    Ok(rows)
}

/// What is being added beside writers, and tables that are closed to them.
fn schema_changes(cx: &ViewContext) -> Vec<Row> {
    let changes = crate::ddl::unfinished(&cx.catalog);
    let row = |(table, item, (node, _)): (u32, crate::ddl::Item, (base::NodeId, u64))| {
        let table = cx.catalog.table_by_id(table)?;
        let schema = cx.catalog.schema_by_id(table.schema)?;
        let [kind, name, state] = item.shown(table).map(text);
        Some(vec![text(&schema.name), text(&table.name), kind, name, state, int8(node.0)])
    };
    changes.filter_map(row).collect()
}

/// The table whose keys a range begins with.
fn table_of(cx: &ViewContext, start: &[u8]) -> Option<String> {
    if start.first() != Some(&base::keyspace::TABLES) {
        return None;
    }
    let id = u32::from_be_bytes(start.get(1..5)?.try_into().ok()?);
    cx.catalog.table_by_id(id).map(|t| t.name.clone())
}

async fn nodes(cx: &ViewContext) -> Result<Vec<Row>, SqlError> {
    let query = meta::system_query::Query::AllNodes(true);
    let answer = cx.info.engine.db.query(query).await?;
    Ok(answer
        .nodes
        .into_iter()
        .map(|n| {
            vec![
                int8(n.node_id),
                text(n.sql_address),
                text(n.rpc_address),
                text(n.http_address),
                int8(n.incarnation),
            ]
        })
        .collect())
}
