//! One node of an explained plan, as text and as JSON.

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::displayable;

use super::names::Names;
use crate::exec::scan::TableScanExec;
use crate::ir::Explain;

/// A node: its name, `key: value` lines, and what feeds it.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) details: Vec<(String, String)>,
    pub(super) children: Vec<Node>,
}

impl Node {
    pub(super) fn leaf(name: &str) -> Node {
        Node { name: name.to_owned(), details: Vec::new(), children: Vec::new() }
    }

    pub(super) fn text(&self, depth: usize, lines: &mut Vec<String>) {
        let indent = if depth == 0 { 0 } else { depth * 6 - 4 };
        let arrow = if depth == 0 { "" } else { "->  " };
        lines.push(format!("{:indent$}{arrow}{}", "", self.name));
        for (key, value) in &self.details {
            lines.push(format!("{:width$}{key}: {value}", "", width = depth * 6 + 2));
        }
        for child in &self.children {
            child.text(depth + 1, lines);
        }
    }

    pub(super) fn json(&self, indent: usize, out: &mut String) {
        let pad = " ".repeat(indent + 2);
        out.push_str(&format!("{{\n{pad}\"Node Type\": {}", quoted(&self.name)));
        for (key, value) in &self.details {
            out.push_str(&format!(",\n{pad}{}: {}", quoted(key), quoted(value)));
        }
        if !self.children.is_empty() {
            out.push_str(&format!(",\n{pad}\"Plans\": ["));
            for (i, child) in self.children.iter().enumerate() {
                out.push_str(if i == 0 { "\n" } else { ",\n" });
                out.push_str(&" ".repeat(indent + 4));
                child.json(indent + 4, out);
            }
            out.push_str(&format!("\n{pad}]"));
        }
        out.push_str(&format!("\n{}}}", " ".repeat(indent)));
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The node of a physical plan. Operators without a counterpart in PostgreSQL vanish; a limit
/// inside another node becomes a node.
pub(super) fn of(plan: &dyn ExecutionPlan, names: &Names, explain: &Explain) -> Node {
    let node = unlimited(plan, names, explain);
    let shown = node.name.starts_with("Limit") || plan.name() == "ProjectionExec";
    match plan.fetch() {
        Some(_) if !shown => {
            Node { name: "Limit".to_owned(), details: Vec::new(), children: vec![node] }
        }
        _ => node,
    }
}

/// The node without the limit that DataFusion keeps inside it.
fn unlimited(plan: &dyn ExecutionPlan, names: &Names, explain: &Explain) -> Node {
    let mut children: Vec<Node> =
        plan.children().into_iter().map(|child| of(child.as_ref(), names, explain)).collect();
    if let Some(scan) = (plan as &dyn std::any::Any).downcast_ref::<TableScanExec>() {
        return scan_node(scan, plan, names, explain);
    }
    let line = displayable(plan).one_line().to_string();
    let line = line.trim();
    let (operator, rest) = line.split_once(": ").unwrap_or((line, ""));
    let rest = names.shown(rest);
    let mut details = Vec::new();
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
                input.details.push(("Filter".to_owned(), format!("({condition})")));
                return input;
            }
            "Result"
        }
        "SortExec" => {
            details.push(("Sort Key".to_owned(), bracketed(&rest).to_owned()));
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
        "LockExec" => "LockRows",
        "AdvisoryExec" => "Advisory Lock",
        "WindowAggExec" | "BoundedWindowAggExec" => "WindowAgg",
        "EmptyExec" | "PlaceholderRowExec" => "Result",
        "DataSourceExec" => "Values Scan",
        other => other,
    };
    let mut node = Node { name: name.to_owned(), details, children };
    measured(plan, explain, &mut node);
    node
}

fn aggregate_details(rest: &str, details: &mut Vec<(String, String)>) -> &'static str {
    let group = rest.split("gby=[").nth(1).and_then(|g| g.split("], aggr").next()).unwrap_or("");
    if group.is_empty() {
        return "Aggregate";
    }
    let keys: Vec<&str> =
        group.split(", ").map(|key| key.split(" as ").next().unwrap_or(key)).collect();
    details.push(("Group Key".to_owned(), keys.join(", ")));
    "HashAggregate"
}

fn join_details(kind: &str, rest: &str, details: &mut Vec<(String, String)>) -> &'static str {
    if let Some(on) = rest.split("on=[").nth(1).and_then(|on| on.split(']').next()) {
        let on = on.replace("), (", ") AND (").replace(", ", " = ");
        details.push((format!("{kind} Cond"), on));
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

fn scan_node(
    scan: &TableScanExec,
    plan: &dyn ExecutionPlan,
    names: &Names,
    explain: &Explain,
) -> Node {
    let table = &scan.table.name;
    let alias = if *scan.alias == **table { String::new() } else { format!(" {}", scan.alias) };
    let index = scan.access.descriptor(&scan.table);
    let whole = scan.access.spans.len() == 1
        && scan.access.index.is_none()
        && scan.access.spans[0] == scan.table.codec().span();
    let back = if scan.is_reverse() { " Backward" } else { "" };
    let name = if whole && !scan.is_reverse() {
        format!("Seq Scan on {table}{alias}")
    } else {
        format!("Index Scan{back} using {} on {table}{alias}", index.name)
    };
    let mut node = Node { name, details: Vec::new(), children: Vec::new() };
    if explain.verbose {
        let output: Vec<String> =
            plan.schema().fields().iter().map(|field| names.shown(field.name())).collect();
        node.details.push(("Output".to_owned(), output.join(", ")));
    }
    if !scan.conditions.is_empty() {
        let shown: Vec<String> =
            scan.conditions.iter().map(|condition| condition.shown(&scan.table)).collect();
        let key = if whole { "Filter" } else { "Index Cond" };
        let text = if shown.len() == 1 {
            format!("({})", shown[0])
        } else {
            format!("(({}))", shown.join(") AND ("))
        };
        node.details.push((key.to_owned(), text));
    }
    measured(plan, explain, &mut node);
    node
}

fn measured(plan: &dyn ExecutionPlan, explain: &Explain, node: &mut Node) {
    if !explain.analyze {
        return;
    }
    let rows = plan.metrics().and_then(|metrics| metrics.output_rows());
    if let Some(rows) = rows {
        node.name.push_str(&format!(" (actual rows={rows} loops=1)"));
    }
}
