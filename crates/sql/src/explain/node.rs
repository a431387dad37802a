//! One node of an explained plan, as text and as JSON.

use std::collections::HashMap;

use catalog::IndexId;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::displayable;
use kv::Cost;

use super::names::Names;
use super::value::{Value, millis, quoted};
use crate::exec::condition::Condition;
use crate::exec::measured::{Actual, MeasuredExec};
use crate::exec::scan::TableScanExec;
use crate::ir::Explain;

/// Lines of a node.
pub(crate) type Details = Vec<(&'static str, Value)>;

/// A node: its name, what is to say of it, and what feeds it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) name: String,
    pub(super) actual: Option<Actual>,
    pub(super) details: Details,
    pub(super) children: Vec<Node>,
}

/// What a plan is shown with.
pub(super) struct Shown<'a> {
    pub(super) names: &'a Names,
    pub(super) explain: &'a Explain,
    /// Of scans, by [`scan_id`].
    pub(super) scans: &'a HashMap<usize, Details>,
    /// What locks rows says so.
    pub(super) locks: &'a Details,
}

/// Names a scan of a plan.
pub(super) fn scan_id(scan: &TableScanExec) -> usize {
    std::ptr::from_ref(scan) as usize
}

/// The scans of a plan, outermost first.
pub(super) fn scans(plan: &dyn ExecutionPlan) -> Vec<&TableScanExec> {
    let mut found = Vec::new();
    find_scans(plan, &mut found);
    found
}

fn find_scans<'p>(plan: &'p dyn ExecutionPlan, found: &mut Vec<&'p TableScanExec>) {
    if let Some(scan) = (plan as &dyn std::any::Any).downcast_ref::<TableScanExec>() {
        found.push(scan);
    }
    for child in plan.children() {
        find_scans(child.as_ref(), found);
    }
}

impl Node {
    pub(super) fn leaf(name: &str) -> Node {
        Node { name: name.to_owned(), actual: None, details: Vec::new(), children: Vec::new() }
    }

    pub(super) fn over(name: String, child: Node) -> Node {
        Node { name, actual: None, details: Vec::new(), children: vec![child] }
    }

    /// The innermost node of a plan without branches.
    pub(super) fn innermost(&mut self) -> &mut Node {
        match self.children.is_empty() {
            true => self,
            false => self.children[0].innermost(),
        }
    }

    /// What was measured of a plan that was run as a whole.
    pub(super) fn set_actual(&mut self, actual: Actual) {
        self.actual = Some(actual);
        self.children.iter_mut().for_each(|child| child.set_actual(actual));
    }

    pub(super) fn add_cost(&mut self, cost: &Cost, locks: bool) {
        self.details.push(("Ranges", Value::Ranges(cost.ranges, String::new())));
        self.details.push(("Round Trips", Value::Trips(cost.trips, true)));
        self.details.push(("Bytes Read", Value::Number(cost.bytes_read)));
        if locks {
            self.details.push(("Lock Wait", Value::Wait(cost.lock_wait, cost.lock_waits)));
        }
    }

    pub(super) fn text(&self, depth: usize, timing: bool, lines: &mut Vec<String>) {
        let indent = if depth == 0 { 0 } else { depth * 6 - 4 };
        let arrow = if depth == 0 { "" } else { "->  " };
        let actual = match self.actual {
            None => String::new(),
            Some(Actual { loops: 0, .. }) => " (never executed)".to_owned(),
            Some(Actual { rows, loops, startup, total }) => {
                let time = match timing {
                    true => format!("time={:.3}..{:.3} ", millis(startup), millis(total)),
                    false => String::new(),
                };
                format!(" (actual {time}rows={rows} loops={loops})")
            }
        };
        lines.push(format!("{:indent$}{arrow}{}{actual}", "", self.name));
        for (key, value) in &self.details {
            value.lines(key, depth * 6 + 2, lines);
        }
        for child in &self.children {
            child.text(depth + 1, timing, lines);
        }
    }

    pub(super) fn json(&self, indent: usize, timing: bool, out: &mut String) {
        let pad = " ".repeat(indent + 2);
        out.push_str(&format!("{{\n{pad}\"Node Type\": {}", quoted(&self.name)));
        if let Some(actual) = self.actual {
            if timing {
                let (startup, total) = (millis(actual.startup), millis(actual.total));
                out.push_str(&format!(",\n{pad}\"Actual Startup Time\": {startup:.3}"));
                out.push_str(&format!(",\n{pad}\"Actual Total Time\": {total:.3}"));
            }
            out.push_str(&format!(",\n{pad}\"Actual Rows\": {}", actual.rows));
            out.push_str(&format!(",\n{pad}\"Actual Loops\": {}", actual.loops));
        }
        for (key, value) in self.details.iter().flat_map(|(key, value)| value.fields(key)) {
            out.push_str(&format!(",\n{pad}{}: {value}", quoted(&key)));
        }
        if !self.children.is_empty() {
            out.push_str(&format!(",\n{pad}\"Plans\": ["));
            for (i, child) in self.children.iter().enumerate() {
                out.push_str(if i == 0 { "\n" } else { ",\n" });
                out.push_str(&" ".repeat(indent + 4));
                child.json(indent + 4, timing, out);
            }
            out.push_str(&format!("\n{pad}]"));
        }
        out.push_str(&format!("\n{}}}", " ".repeat(indent)));
    }
}

/// The node of a physical plan. Operators without a counterpart in PostgreSQL vanish; a limit
/// inside another node becomes a node.
pub(super) fn of(plan: &dyn ExecutionPlan, shown: &Shown<'_>) -> Node {
    let measured = (plan as &dyn std::any::Any).downcast_ref::<MeasuredExec>();
    let plan = measured.map_or(plan, |measured| measured.inner.as_ref());
    let mut node = unlimited(plan, shown);
    if let Some(measured) = measured {
        // Of an operator that vanished, what it made counts.
        node.actual = Some(measured.actual());
        let (cost, locks) = (measured.cost(), node.name == "LockRows");
        if locks || cost.trips.total() > 0 || is_scan(plan) {
            node.add_cost(&cost, locks);
        }
    }
    let limits = node.name.starts_with("Limit") || plan.name() == "ProjectionExec";
    match plan.fetch() {
        Some(_) if !limits => {
            let actual = node.actual;
            Node { actual, ..Node::over("Limit".to_owned(), node) }
        }
        _ => node,
    }
}

fn is_scan(plan: &dyn ExecutionPlan) -> bool {
    (plan as &dyn std::any::Any).is::<TableScanExec>()
}

/// The node without the limit that DataFusion keeps inside it.
fn unlimited(plan: &dyn ExecutionPlan, shown: &Shown<'_>) -> Node {
    let mut children: Vec<Node> =
        plan.children().into_iter().map(|child| of(child.as_ref(), shown)).collect();
    if let Some(scan) = (plan as &dyn std::any::Any).downcast_ref::<TableScanExec>() {
        return scan_node(scan, plan, shown);
    }
    let names = shown.names;
    let line = displayable(plan).one_line().to_string();
    let line = line.trim();
    let (operator, rest) = line.split_once(": ").unwrap_or((line, ""));
    let rest = names.shown(rest);
    let mut details: Details = Vec::new();
    let name = match operator.split_whitespace().next().unwrap_or(operator) {
        "ProjectionExec"
        | "CoalesceBatchesExec"
        | "CooperativeExec"
        | "CoalescePartitionsExec"
        | "OutputRequirementExec"
        | "BufferExec"
            if children.len() == 1 =>
        {
            return children.swap_remove(0);
        }
        "FilterExec" => {
            let condition = rest.split(", projection=").next().unwrap_or(&rest).to_owned();
            // A filter is a line of its input, as in PostgreSQL.
            if let Some(mut input) = children.pop() {
                input.details.push(("Filter", Value::Text(format!("({condition})"))));
                return input;
            }
            "Result"
        }
        "SortExec" => {
            details.push(("Sort Key", Value::Text(bracketed(&rest).to_owned())));
            "Sort"
        }
        "SortPreservingMergeExec" => "Merge Append",
        "GlobalLimitExec" | "LocalLimitExec" => "Limit",
        "AggregateExec" => aggregate_details(&rest, &mut details),
        "HashJoinExec" => join_details("Hash", &rest, &mut details),
        "NestedLoopJoinExec" => join_details("Nested Loop", &rest, &mut details),
        "SortMergeJoinExec" => join_details("Merge", &rest, &mut details),
        "CrossJoinExec" => "Nested Loop",
        "UnionExec" => "Append",
        "UnnestExec" => "ProjectSet",
        "ApplyExec" => "SubPlan",
        "LockExec" => {
            details.extend(shown.locks.iter().cloned());
            "LockRows"
        }
        "WaitingExec" => "Result",
        "WindowAggExec" | "BoundedWindowAggExec" => "WindowAgg",
        "EmptyExec" | "PlaceholderRowExec" => "Result",
        "DataSourceExec" => "Values Scan",
        other => other,
    };
    Node { name: name.to_owned(), actual: None, details, children }
}

fn aggregate_details(rest: &str, details: &mut Details) -> &'static str {
    let group = rest.split("gby=[").nth(1).and_then(|g| g.split("], aggr").next()).unwrap_or("");
    if group.is_empty() {
        return "Aggregate";
    }
    let keys: Vec<&str> =
        group.split(", ").map(|key| key.split(" as ").next().unwrap_or(key)).collect();
    details.push(("Group Key", Value::Text(keys.join(", "))));
    "HashAggregate"
}

fn join_details(kind: &str, rest: &str, details: &mut Details) -> &'static str {
    if let Some(on) = rest.split("on=[").nth(1).and_then(|on| on.split(']').next()) {
        let on = on.replace("), (", ") AND (").replace(", ", " = ");
        let key = match kind {
            "Hash" => "Hash Cond",
            "Merge" => "Merge Cond",
            _ => "Join Cond",
        };
        details.push((key, Value::Text(on)));
    }
    let join = rest.split("join_type=").nth(1).and_then(|j| j.split(',').next()).unwrap_or("");
    match (kind, join.trim()) {
        ("Hash", "Inner") => "Hash Join",
        ("Hash", "Left") => "Hash Left Join",
        ("Hash", "Right") => "Hash Right Join",
        ("Hash", "Full") => "Hash Full Join",
        ("Hash", "LeftSemi" | "RightSemi") => "Hash Semi Join",
        ("Hash", "LeftAnti" | "RightAnti") => "Hash Anti Join",
        ("Hash", _) => "Hash Join",
        ("Merge", _) => "Merge Join",
        (_, "Left") => "Nested Loop Left Join",
        (_, "Right") => "Nested Loop Right Join",
        (_, "Full") => "Nested Loop Full Join",
        (_, "LeftSemi" | "RightSemi") => "Nested Loop Semi Join",
        (_, "LeftAnti" | "RightAnti") => "Nested Loop Anti Join",
        _ => "Nested Loop",
    }
}

fn bracketed(text: &str) -> &str {
    let Some(from) = text.find("expr=[") else { return text };
    let inner = &text[from + 6..];
    inner.split(']').next().unwrap_or(inner)
}

/// The node of a point plan that reads by another index, or in another direction, than the plan that
/// would do the same.
pub(super) fn of_point(plan: &dyn ExecutionPlan, by: &PointRead) -> Option<Node> {
    let scan = *scans(plan).first()?;
    let table = &scan.table;
    let index = table.index(by.index)?;
    if scan.access.descriptor(table).id == by.index && scan.is_reverse() == by.reverse {
        return None;
    }
    let back = if by.reverse { " Backward" } else { "" };
    let mut node = Node::leaf(&format!("Index Scan{back} using {} on {}", index.name, table.name));
    let positions = table.index_positions(index);
    let bound = &positions[..by.bound.min(positions.len())];
    let (inside, outside): (Vec<&Condition>, Vec<&Condition>) =
        scan.conditions.iter().partition(|condition| bound.contains(&condition.column));
    node.details.extend(conditions("Index Cond", &inside, scan));
    node.details.extend(conditions("Filter", &outside, scan));
    if by.locks {
        node = Node::over("LockRows".to_owned(), node);
    }
    Some(if by.limits { Node::over("Limit".to_owned(), node) } else { node })
}

/// How a point plan reads.
pub(super) struct PointRead {
    pub(super) index: IndexId,
    /// Leading columns of the index that have a value or a bound.
    pub(super) bound: usize,
    pub(super) reverse: bool,
    pub(super) locks: bool,
    pub(super) limits: bool,
}

fn conditions(
    key: &'static str,
    all: &[&Condition],
    scan: &TableScanExec,
) -> Option<(&'static str, Value)> {
    let shown: Vec<String> = all.iter().map(|condition| condition.shown(&scan.table)).collect();
    let text = match shown.as_slice() {
        [] => return None,
        [one] => format!("({one})"),
        _ => format!("(({}))", shown.join(") AND (")),
    };
    Some((key, Value::Text(text)))
}

fn scan_node(scan: &TableScanExec, plan: &dyn ExecutionPlan, shown: &Shown<'_>) -> Node {
    let table = &scan.table.name;
    let alias = if *scan.alias == **table { String::new() } else { format!(" {}", scan.alias) };
    let (index, reverse) = (scan.access.descriptor(&scan.table), scan.is_reverse());
    let whole = scan.access.spans.len() == 1
        && scan.access.index.is_none()
        && scan.access.spans[0] == scan.table.codec().span();
    let back = if reverse { " Backward" } else { "" };
    let name = if whole && !reverse {
        format!("Seq Scan on {table}{alias}")
    } else {
        let only = if scan.alone.is_some() { " Only" } else { "" };
        format!("Index{only} Scan{back} using {} on {table}{alias}", index.name)
    };
    let mut node = Node::leaf(&name);
    if shown.explain.verbose {
        let fields = plan.schema();
        let output: Vec<String> =
            fields.fields().iter().map(|field| shown.names.shown(field.name())).collect();
        node.details.push(("Output", Value::Text(output.join(", "))));
    }
    let all: Vec<&Condition> = scan.conditions.iter().collect();
    let key = if whole { "Filter" } else { "Index Cond" };
    node.details.extend(conditions(key, &all, scan));
    if let Some(details) = shown.scans.get(&scan_id(scan)) {
        node.details.extend(details.iter().cloned());
    }
    node
}
