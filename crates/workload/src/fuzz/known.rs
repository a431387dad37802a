//! Differences that are meant, each with its reason. What is not here is a finding.

use crate::compare::{Answer, Difference, same_values};

/// Aggregates that PostgreSQL reads from the end of an index.
const FROM_INDEX: [&str; 5] = ["min(", "max(", "bool_and(", "bool_or(", "every("];

/// Why a difference is meant, if it is.
pub(super) fn reason(
    difference: &Difference,
    reference: &Answer,
    other: &Answer,
    sql: &str,
    risky: bool,
) -> Option<&'static str> {
    let said = match reference {
        Answer::Error(_, message) => message.as_str(),
        _ => "",
    };
    let (a, b) = match difference {
        Difference::State(a, b) => (a, b),
        Difference::Rows if drops_equals(sql) && same_values(reference, other) => {
            return Some(
                "of equal numbers that are written differently, which one is kept is up to the plan",
            );
        }
        _ => return None,
    };
    let runtime = |state: &str| state.starts_with("22") || state == "21000";
    match (a.as_str(), b.as_str()) {
        ("0A000", _) if said.starts_with("FULL JOIN is only supported") => {
            Some("FULL JOIN takes any condition")
        }
        ("XX000", _) => Some("PostgreSQL fails inside itself"),
        (_, "0A000") => Some("refused here, by name"),
        // A syntax error is one of the parser's, but for this.
        (a, b)
            if a.starts_with("42")
                && b.starts_with("42")
                && a != "42601"
                && (b != "42601" || message(other).starts_with("non-integer constant")) =>
        {
            Some(
                "of several errors in what a statement says, which comes first is up to the binder",
            )
        }
        ("21000", "00000")
            if sql.contains("WITH TIES") && FROM_INDEX.iter().any(|name| sql.contains(name)) =>
        {
            Some("PostgreSQL 15 looks for the minimum of an index WITH TIES, too")
        }
        ("21000", "00000") | ("00000", "21000") if sql.starts_with("WITH ") => Some(
            "a WITH query runs when its rows are asked for: whether they are is up to the plan",
        ),
        (a, "00000") | ("00000", a) if risky && runtime(a) => {
            Some("which expressions are evaluated, and when, is up to the planner")
        }
        (a, b) if a.starts_with("23") && (b.starts_with("23") || runtime(b)) => {
            Some("of several violated constraints, which one is told is up to the order of checks")
        }
        (a, b) if runtime(a) && b.starts_with("23") => {
            Some("of several violated constraints, which one is told is up to the order of checks")
        }
        (a, b) if runtime(a) && runtime(b) && said != message(other) => {
            Some("of several errors, which comes first is up to the planner")
        }
        _ => None,
    }
}

/// Whether it leaves out some of several rows that are equal.
fn drops_equals(sql: &str) -> bool {
    let words =
        ["DISTINCT", "GROUP BY", "UNION", "INTERSECT", "EXCEPT", "LIMIT", "OFFSET", "FETCH"];
    words.iter().any(|word| sql.contains(word))
}

fn message(answer: &Answer) -> &str {
    match answer {
        Answer::Error(_, message) => message,
        _ => "",
    }
}
