//! EXPLAIN: the plan in PostgreSQL's shape, what it would do to the cluster, and what it did.
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
//! expressions show the names of the statement instead of the plan's. COSTS are estimates ([`estimate`]).
//!
//! LOCKS and RANGES tell what is known before a run ([`forecast`]); ANALYZE runs the statement, the
//! session doing just what it does without EXPLAIN, and tells what was counted (`kv::Stats`).

mod estimate;
mod expr;
pub(crate) mod forecast;
mod names;
mod node;
mod operator;
mod places;
mod value;

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::physical_plan::ExecutionPlan;
use kv::{Cost, Stats, Trips};
use pgtypes::Datum;

use crate::error::SqlError;
use crate::exec::measured::{Actual, Analysis};
use crate::exec::{ExecContext, plan_rel};
use crate::ir::{Explain, ExplainFormat, InsertSource, Rel, Statement};
use crate::point::{Defaults, PointContext, PointPlan, Probe};
use estimate::{Estimate, Estimates};
use forecast::{Forecast, Foretold, Wants};
use names::Names;
use node::{Details, Figures, Kind, Node};
use operator::{PointRead, Shown, on_relation, relation};
use value::{Value, quoted};

/// What is told of a statement.
#[derive(Debug)]
pub(crate) struct Report {
    node: Node,
    /// Behind the plan.
    summary: Details,
    format: ExplainFormat,
    /// Of nodes.
    figures: Figures,
    /// At the end.
    times: bool,
}

/// What a statement is explained with.
pub(crate) struct Subject<'a> {
    pub(crate) explain: &'a Explain,
    /// How it runs, if by key.
    pub(crate) point: Option<&'a PointPlan>,
    pub(crate) exec: &'a ExecContext,
    pub(crate) cx: &'a PointContext<'a>,
    pub(crate) defaults: &'a dyn Defaults,
    /// Its transaction commits right after it.
    pub(crate) alone: bool,
}

/// What was measured of a run.
pub(crate) struct Run {
    pub(crate) analysis: Arc<Analysis>,
    /// All of it.
    pub(crate) whole: Arc<Stats>,
    /// Without what the plan's operators have cost.
    pub(crate) rest: Arc<Stats>,
    /// From its beginning to its end, planning included.
    pub(crate) took: Duration,
    /// Rows returned, and rows returned or written.
    pub(crate) returned: u64,
    pub(crate) touched: u64,
    /// How often it was run before.
    pub(crate) retries: u32,
}

impl Subject<'_> {
    /// The plan, and what is foretold of it. Subqueries that the plan depends on are run.
    pub(crate) async fn planned(&self) -> Result<Report, SqlError> {
        let begin = Instant::now();
        let made = Stats::new();
        let (rel, plan) = made.count(self.plan()).await?;
        let planning = begin.elapsed();
        let foretold = self.foretold(plan.as_deref(), made.cost().trips).await?;
        let mut report = self.report(rel.as_ref(), plan.as_deref(), &foretold);
        if report.times {
            report.summary.push(("Planning Time", Value::Millis(planning)));
        }
        report.summary.extend(foretold.summary);
        Ok(report)
    }

    /// What it would do, to be asked before it is run.
    pub(crate) async fn foretold_alone(&self) -> Result<Foretold, SqlError> {
        if !self.explain.locks && !self.explain.ranges {
            return Ok(Foretold::default());
        }
        let made = Stats::new();
        let (_, plan) = made.count(self.plan()).await?;
        let mut foretold = self.foretold(plan.as_deref(), made.cost().trips).await?;
        // The plan that runs is another one: its scans are not these.
        foretold.scans.clear();
        Ok(foretold)
    }

    /// What it did.
    pub(crate) async fn analyzed(&self, run: &Run, foretold: Foretold) -> Result<Report, SqlError> {
        let ran = run.analysis.plans().pop();
        let planning = ran.as_ref().map(|ran| ran.planning).unwrap_or_default();
        let execution = run.took.saturating_sub(planning);
        // A point plan is shown as the plan that does the same.
        let (rel, plan) = match (ran, self.point) {
            (Some(ran), _) => (self.rel(), Some(ran.plan)),
            (None, Some(_)) => self.plan().await?,
            (None, None) => (self.rel(), None),
        };
        let mut report = self.report(rel.as_ref(), plan.as_deref(), &foretold);
        let whole = |rows| Actual { rows, loops: 1, startup: execution, total: execution };
        let writes = !matches!(self.explain.statement, Statement::Query(_));
        if self.point.is_some() || plan.is_none() {
            report.node.set_actual(whole(run.touched));
        }
        if writes {
            report.node.actual = Some(whole(run.returned));
        }
        let cost = run.rest.cost();
        match writes {
            true => report.node.add_cost(&cost, true),
            false => {
                if let Some(point) = self.point {
                    report.node.innermost().add_cost(&cost, point.writes());
                }
            }
        }
        if report.times {
            report.summary.push(("Planning Time", Value::Millis(planning)));
            report.summary.push(("Execution Time", Value::Millis(execution)));
        }
        let cost = run.whole.cost();
        report.summary.extend([
            ("Round Trips", Value::Trips(cost.trips, true)),
            ("Ranges", Value::Ranges(cost.ranges, String::new())),
            ("Bytes Read", Value::Number(cost.bytes_read)),
            ("Consensus Rounds", Value::Number(cost.consensus_rounds)),
            ("Lock Wait", Value::Wait(cost.lock_wait, cost.lock_waits)),
            ("Retries", Value::Number(u64::from(run.retries))),
        ]);
        report.summary.extend(foretold.summary);
        Ok(report)
    }

    /// The query that finds the rows, and its plan. Nothing for a write of given rows.
    async fn plan(&self) -> Result<(Option<Rel>, Option<Arc<dyn ExecutionPlan>>), SqlError> {
        let rel = self.rel();
        let plan = match &rel {
            Some(rel) => Some(plan_rel(self.exec, rel).await?.plan),
            None => None,
        };
        Ok((rel, plan))
    }

    fn rel(&self) -> Option<Rel> {
        match &self.explain.statement {
            Statement::Query(query) => Some(query.rel.clone()),
            Statement::Insert(insert) => match &insert.source {
                InsertSource::Query(query) => Some(query.rel.clone()),
                InsertSource::Values(_) | InsertSource::Default => None,
            },
            Statement::Update(update) => Some(update.source()),
            Statement::Delete(delete) => Some(delete.source()),
            Statement::With(_) | Statement::Explain(_) | Statement::Utility(_) => None,
        }
    }

    async fn foretold(
        &self,
        plan: Option<&dyn ExecutionPlan>,
        made: Trips,
    ) -> Result<Foretold, SqlError> {
        let wants = Wants { locks: self.explain.locks, ranges: self.explain.ranges };
        if !wants.locks && !wants.ranges {
            return Ok(Foretold::default());
        }
        let mut forecast = Forecast::new(self.cx, wants);
        match self.point {
            Some(point) => forecast.point(point).await?,
            None => {
                forecast.add_trips(made);
                if plan.is_some_and(operator::joins_by_lookup) {
                    forecast.doubt();
                }
                let scans = plan.map(operator::scans).unwrap_or_default();
                forecast.bound(&self.explain.statement, &scans, self.defaults).await?;
            }
        }
        forecast.told(self.alone).await
    }

    fn report(
        &self,
        rel: Option<&Rel>,
        plan: Option<&dyn ExecutionPlan>,
        foretold: &Foretold,
    ) -> Report {
        let verbose = self.explain.verbose;
        let names = rel.map(|rel| Names::of(rel, verbose)).unwrap_or_default();
        let of_scans = names.qualified(verbose);
        let shown = Shown {
            names: &names,
            of_scans: &of_scans,
            estimates: Estimates { statistics: self.exec.engine.statistics(), names: &names },
            catalog: self.cx.catalog,
            explain: self.explain,
            scans: &foretold.scans,
            locks: &foretold.locks,
        };
        let mut node = match plan {
            Some(plan) => {
                let read = self.point.and_then(point_read);
                let point = read.and_then(|read| operator::of_point(plan, &read, &shown));
                point.unwrap_or_else(|| operator::of(plan, &shown))
            }
            None => given(&self.explain.statement),
        };
        if self.point.is_some() {
            node.innermost().details.extend(foretold.point_scan.iter().cloned());
        }
        if let Some((kind, returns)) = write(&self.explain.statement, &shown) {
            let estimate = node.estimate.written(returns);
            node = Node::over(kind, estimate, node);
            node.details.extend(foretold.locks.iter().cloned());
        }
        Report {
            node,
            summary: Vec::new(),
            format: self.explain.format,
            figures: Figures { costs: self.explain.costs, timing: self.explain.timing },
            times: self.explain.summary.unwrap_or(self.explain.analyze),
        }
    }
}

/// The rows that an INSERT names itself.
fn given(statement: &Statement) -> Node {
    let rows = match statement {
        Statement::Insert(insert) => match &insert.source {
            InsertSource::Values(rows) => rows.len(),
            InsertSource::Query(_) | InsertSource::Default => 1,
        },
        _ => 1,
    };
    let kind = match rows {
        1 => Kind::plain("Result"),
        _ => operator::values(),
    };
    Node::leaf(kind, Estimate::given(rows))
}

/// How a point plan finds its rows.
fn point_read(plan: &PointPlan) -> Option<PointRead> {
    let probe = |probe: &Probe, locks, limits| PointRead {
        index: probe.index,
        bound: probe.values.len(),
        reverse: false,
        locks,
        limits,
    };
    Some(match plan {
        PointPlan::Get(get) => probe(&get.probe, get.lock.is_some(), get.limit.is_some()),
        PointPlan::Range(range) => PointRead {
            index: range.table.primary.id,
            bound: range.equal.len() + usize::from(range.lower.is_some() || range.upper.is_some()),
            reverse: range.reverse,
            locks: false,
            limits: range.limit.is_some(),
        },
        PointPlan::Update(update) => probe(&update.probe, false, false),
        PointPlan::Delete(delete) => probe(&delete.probe, false, false),
        PointPlan::Insert(_) => return None,
    })
}

/// The write at the top, if it is one, and whether it returns rows.
fn write(statement: &Statement, shown: &Shown<'_>) -> Option<(Kind, bool)> {
    let (operation, table, alias, returning) = match statement {
        Statement::Insert(insert) => {
            ("Insert", &insert.table, insert.table.name.as_str(), &insert.returning)
        }
        Statement::Update(update) => {
            ("Update", &update.target.table, &*update.target.alias, &update.returning)
        }
        Statement::Delete(delete) => {
            ("Delete", &delete.target.table, &*delete.target.alias, &delete.returning)
        }
        Statement::Query(_)
        | Statement::With(_)
        | Statement::Explain(_)
        | Statement::Utility(_) => return None,
    };
    let title = format!("{operation} on {}", relation(table, alias, shown));
    let kind = Kind::titled("ModifyTable", title).with("Operation", operation);
    Some((on_relation(kind, table, alias, shown), returning.is_some()))
}

impl Report {
    /// The commit that followed, of which `before` was not part: `whole` has both.
    pub(crate) fn add_commit(&mut self, before: &Cost, whole: &Cost, took: Duration) {
        for (key, value) in &mut self.summary {
            match *key {
                "Ranges" => *value = Value::Ranges(whole.ranges, String::new()),
                "Consensus Rounds" => *value = Value::Number(whole.consensus_rounds),
                _ => {}
            }
        }
        let trips = Value::Trips(whole.trips - before.trips, true);
        self.summary.push(("Commit Round Trips", trips));
        if self.times {
            self.summary.push(("Commit Time", Value::Millis(took)));
        }
    }

    /// The rows of the result.
    pub(crate) fn rows(&self) -> Vec<Vec<Datum>> {
        match self.format {
            ExplainFormat::Text => {
                let mut lines = Vec::new();
                self.node.text(0, self.figures, &mut lines);
                for (key, value) in &self.summary {
                    value.lines(key, 0, &mut lines);
                }
                lines.into_iter().map(|line| vec![Datum::text(line)]).collect()
            }
            ExplainFormat::Json => {
                let mut text = String::from("[\n  {\n    \"Plan\": ");
                self.node.json(4, None, self.figures, &mut text);
                let fields = self.summary.iter().flat_map(|(key, value)| value.fields(key));
                for (key, value) in fields {
                    text.push_str(&format!(",\n    {}: {value}", quoted(&key)));
                }
                text.push_str("\n  }\n]");
                vec![vec![Datum::text(text)]]
            }
        }
    }
}
