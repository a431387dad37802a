//! EXPLAIN: the plan in PostgreSQL's shape.
//!
//! ```text
//!   Limit
//!     ->  Sort
//!           Sort Key: a.id
//!           ->  Hash Join
//!                 Hash Cond: (a.id = b.id)
//! ```
//!
//! Nodes of the physical plan are named as PostgreSQL names its own where they do the same, and
//! expressions show the names of the statement instead of the plan's. There are no statistics yet,
//! so COSTS shows nothing that would be made up: rows and cost appear when they are known.

mod names;
mod node;

use std::time::{Duration, Instant};

use datafusion::physical_plan::ExecutionPlan;
use pgtypes::Datum;

use crate::error::SqlError;
use crate::exec::{ExecContext, plan_rel};
use crate::ir::{Explain, ExplainFormat, InsertSource, Rel, Statement};
use names::Names;
use node::Node;

/// How long an analyzed statement took.
struct Timing {
    planning: Duration,
    execution: Option<Duration>,
}

/// Explains a statement. With ANALYZE a query is run here; a write is refused, because the session
/// owns writing.
pub async fn explain(ctx: &ExecContext, explain: &Explain) -> Result<Vec<Vec<Datum>>, SqlError> {
    let (top, rel) = subject(&explain.statement)?;
    if explain.analyze && top.is_some() {
        return Err(SqlError::unsupported("EXPLAIN ANALYZE of a write"));
    }
    let begin = Instant::now();
    let mut nodes = match &rel {
        Some(rel) => {
            let names = Names::of(rel);
            let planned = plan_rel(ctx, rel).await?;
            let planning = begin.elapsed();
            let mut timing = Timing { planning, execution: None };
            if explain.analyze {
                let begin = Instant::now();
                let mut rows = planned.run(ctx)?;
                while rows.next().await?.is_some() {}
                timing.execution = Some(begin.elapsed());
            }
            let node = node::of(planned.plan.as_ref() as &dyn ExecutionPlan, &names, explain);
            (node, timing)
        }
        None => (Node::leaf("Result"), Timing { planning: begin.elapsed(), execution: None }),
    };
    if let Some(top) = top {
        nodes.0 = Node { name: top, details: Vec::new(), children: vec![nodes.0] };
    }
    let (node, timing) = nodes;
    match explain.format {
        ExplainFormat::Text => {
            let mut lines = Vec::new();
            node.text(0, &mut lines);
            if explain.analyze {
                lines.push(format!("Planning Time: {:.3} ms", millis(timing.planning)));
                if let Some(execution) = timing.execution {
                    lines.push(format!("Execution Time: {:.3} ms", millis(execution)));
                }
            }
            Ok(lines.into_iter().map(|line| vec![Datum::text(line)]).collect())
        }
        ExplainFormat::Json => {
            let mut text = String::from("[\n  {\n    \"Plan\": ");
            node.json(4, &mut text);
            if let Some(execution) = timing.execution {
                text.push_str(&format!(
                    ",\n    \"Planning Time\": {:.3},\n    \"Execution Time\": {:.3}",
                    millis(timing.planning),
                    millis(execution)
                ));
            }
            text.push_str("\n  }\n]");
            Ok(vec![vec![Datum::text(text)]])
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The write at the top, if it is one, and the query below it.
fn subject(statement: &Statement) -> Result<(Option<String>, Option<Rel>), SqlError> {
    Ok(match statement {
        Statement::Query(query) => (None, Some(query.rel.clone())),
        Statement::Insert(insert) => {
            let rel = match &insert.source {
                InsertSource::Query(query) => Some(query.rel.clone()),
                InsertSource::Values(_) | InsertSource::Default => None,
            };
            (Some(format!("Insert on {}", insert.table.name)), rel)
        }
        Statement::Update(update) => {
            (Some(format!("Update on {}", update.target.table.name)), Some(update.source()))
        }
        Statement::Delete(delete) => {
            (Some(format!("Delete on {}", delete.target.table.name)), Some(delete.source()))
        }
        Statement::With(_) | Statement::Explain(_) | Statement::Utility(_) => {
            return Err(SqlError::unsupported("EXPLAIN of this statement"));
        }
    })
}
