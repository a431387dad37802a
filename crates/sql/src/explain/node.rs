//! One node of an explained plan, as text and as JSON.

use kv::Cost;

use super::estimate::Estimate;
use super::value::{Value, millis, quoted};
use crate::exec::measured::Actual;

/// Lines of a node.
pub(crate) type Details = Vec<(&'static str, Value)>;

/// What a node is, in PostgreSQL's words.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    /// In JSON: what it does.
    pub(super) node_type: &'static str,
    /// In text, all of it in one: `Index Scan Backward using i on t x`.
    pub(super) title: String,
    /// In JSON, the rest of the title.
    pub(super) fields: Vec<(&'static str, String)>,
}

/// A node: what it is, what is to say of it, and what feeds it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) kind: Kind,
    pub(super) estimate: Estimate,
    pub(super) actual: Option<Actual>,
    pub(super) details: Details,
    pub(super) children: Vec<Node>,
}

/// Which figures a plan is written with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    pub(super) costs: bool,
    pub(super) timing: bool,
}

impl Kind {
    pub(super) fn plain(node_type: &'static str) -> Kind {
        Kind::titled(node_type, node_type)
    }

    pub(super) fn titled(node_type: &'static str, title: impl Into<String>) -> Kind {
        Kind { node_type, title: title.into(), fields: Vec::new() }
    }

    pub(super) fn with(mut self, field: &'static str, value: impl Into<String>) -> Kind {
        self.fields.push((field, value.into()));
        self
    }
}

impl Node {
    pub(super) fn leaf(kind: Kind, estimate: Estimate) -> Node {
        Node { kind, estimate, actual: None, details: Vec::new(), children: Vec::new() }
    }

    pub(super) fn over(kind: Kind, estimate: Estimate, child: Node) -> Node {
        Node { children: vec![child], ..Node::leaf(kind, estimate) }
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

    pub(super) fn text(&self, depth: usize, figures: Figures, lines: &mut Vec<String>) {
        let indent = if depth == 0 { 0 } else { depth * 6 - 4 };
        let arrow = if depth == 0 { "" } else { "->  " };
        let mut line = format!("{:indent$}{arrow}{}", "", self.kind.title);
        if figures.costs {
            let Estimate { startup, total, rows, width } = self.estimate;
            line.push_str(&format!(
                "  (cost={startup:.2}..{total:.2} rows={rows:.0} width={width})"
            ));
        }
        match self.actual {
            None => {}
            Some(Actual { loops: 0, .. }) => line.push_str(" (never executed)"),
            Some(Actual { rows, loops, startup, total }) => {
                let time = match figures.timing {
                    true => format!("time={:.3}..{:.3} ", millis(startup), millis(total)),
                    false => String::new(),
                };
                line.push_str(&format!(" (actual {time}rows={rows} loops={loops})"));
            }
        }
        lines.push(line);
        for (key, value) in &self.details {
            value.lines(key, depth * 6 + 2, lines);
        }
        for child in &self.children {
            child.text(depth + 1, figures, lines);
        }
    }

    /// `relationship`: which input of its parent it is.
    pub(super) fn json(
        &self,
        indent: usize,
        relationship: Option<&str>,
        figures: Figures,
        out: &mut String,
    ) {
        let pad = " ".repeat(indent + 2);
        out.push_str(&format!("{{\n{pad}\"Node Type\": {}", quoted(self.kind.node_type)));
        let mut field = |key: &str, value: &str| {
            out.push_str(&format!(",\n{pad}{}: {value}", quoted(key)));
        };
        if let Some(relationship) = relationship {
            field("Parent Relationship", &quoted(relationship));
        }
        field("Parallel Aware", "false");
        field("Async Capable", "false");
        for (key, value) in &self.kind.fields {
            field(key, &quoted(value));
        }
        if figures.costs {
            let Estimate { startup, total, rows, width } = self.estimate;
            field("Startup Cost", &format!("{startup:.2}"));
            field("Total Cost", &format!("{total:.2}"));
            field("Plan Rows", &format!("{rows:.0}"));
            field("Plan Width", &width.to_string());
        }
        if let Some(actual) = self.actual {
            if figures.timing {
                field("Actual Startup Time", &format!("{:.3}", millis(actual.startup)));
                field("Actual Total Time", &format!("{:.3}", millis(actual.total)));
            }
            field("Actual Rows", &actual.rows.to_string());
            field("Actual Loops", &actual.loops.to_string());
        }
        for (key, value) in self.details.iter().flat_map(|(key, value)| value.fields(key)) {
            field(&key, &value);
        }
        if !self.children.is_empty() {
            out.push_str(&format!(",\n{pad}\"Plans\": ["));
            for (i, child) in self.children.iter().enumerate() {
                out.push_str(if i == 0 { "\n" } else { ",\n" });
                out.push_str(&" ".repeat(indent + 4));
                let relationship = match (self.kind.node_type, i) {
                    ("Append" | "Merge Append", _) => "Member",
                    (_, 0) => "Outer",
                    _ => "Inner",
                };
                child.json(indent + 4, Some(relationship), figures, out);
            }
            out.push_str(&format!("\n{pad}]"));
        }
        out.push_str(&format!("\n{}}}", " ".repeat(indent)));
    }
}
