//! What two servers answered, and whether that is the same.

use std::collections::BTreeMap;
use std::fmt;

/// A row as text.
pub(super) type Row = Vec<Option<String>>;

/// What a server said to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Columns with their types' oids, rows, and the number of rows that the end tells.
    Rows { columns: Vec<(String, u32)>, rows: Vec<Row>, count: u64 },
    /// SQLSTATE and message.
    Error(String, String),
    /// Nothing in time, or the connection is gone.
    Lost(String),
}

/// How two answers differ; the same words for the same kind of difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// One has no answer.
    Lost,
    /// SQLSTATE of the reference and of the other; `00000` is none.
    State(String, String),
    /// Names of columns.
    Names,
    /// Types of columns.
    Types,
    /// Rows as a bag.
    Rows,
    /// Rows are the same, but not in that order.
    Order,
    /// The number of rows that were written.
    Count,
    /// What tables hold afterwards.
    Tables,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Lost => f.write_str("no answer"),
            Difference::State(reference, other) => write!(f, "SQLSTATE {reference}, {other}"),
            Difference::Names => f.write_str("names of columns"),
            Difference::Types => f.write_str("types of columns"),
            Difference::Rows => f.write_str("rows"),
            Difference::Order => f.write_str("order of rows"),
            Difference::Count => f.write_str("number of rows written"),
            Difference::Tables => f.write_str("tables afterwards"),
        }
    }
}

/// How the answers differ, if they do. `ordered`: all columns are sorted by.
pub(super) fn difference(reference: &Answer, other: &Answer, ordered: bool) -> Option<Difference> {
    let success = || "00000".to_owned();
    let state = |a: String, b: String| (a != b).then_some(Difference::State(a, b));
    match (reference, other) {
        (Answer::Lost(_), _) | (_, Answer::Lost(_)) => Some(Difference::Lost),
        (Answer::Error(a, _), Answer::Error(b, _)) => state(a.clone(), b.clone()),
        (Answer::Error(a, _), Answer::Rows { .. }) => state(a.clone(), success()),
        (Answer::Rows { .. }, Answer::Error(b, _)) => state(success(), b.clone()),
        (
            Answer::Rows { columns: a, rows: of_a, count: n },
            Answer::Rows { columns: b, rows: of_b, count: m },
        ) => {
            if !a.iter().map(|(_, ty)| ty).eq(b.iter().map(|(_, ty)| ty)) {
                Some(Difference::Types)
            } else if !a.iter().map(|(name, _)| name).eq(b.iter().map(|(name, _)| name)) {
                Some(Difference::Names)
            } else if bag(of_a) != bag(of_b) {
                Some(Difference::Rows)
            } else if n != m {
                Some(Difference::Count)
            } else if ordered && sorted_alike(of_a) != sorted_alike(of_b) {
                Some(Difference::Order)
            } else {
                None
            }
        }
    }
}

fn bag(rows: &[Row]) -> BTreeMap<&Row, usize> {
    let mut bag = BTreeMap::new();
    for row in rows {
        *bag.entry(row).or_insert(0) += 1;
    }
    bag
}

/// Values that sort alike, written alike: numbers without trailing zeros. Intervals of the same length
/// have too many forms; they are taken for one.
fn sorted_alike(rows: &[Row]) -> Vec<Vec<Option<&str>>> {
    let alike = |value: &'_ str| -> Option<usize> {
        let number = value.contains('.') && value.parse::<f64>().is_ok();
        number.then(|| value.trim_end_matches('0').trim_end_matches('.').len())
    };
    let value = |text: &'static str| Some(text);
    rows.iter()
        .map(|row| {
            row.iter()
                .map(|text| match text.as_deref() {
                    Some(text) if text.contains("day") || text.contains("mon") => value("interval"),
                    Some(text) => Some(&text[..alike(text).unwrap_or(text.len())]),
                    None => None,
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[&str]) -> Answer {
        let rows = of.iter().map(|text| vec![Some((*text).to_owned())]).collect();
        Answer::Rows { columns: vec![("a".to_owned(), 23)], rows, count: of.len() as u64 }
    }

    fn error(state: &str) -> Answer {
        Answer::Error(state.to_owned(), "why".to_owned())
    }

    #[test]
    fn rows_are_a_bag_unless_ordered() {
        assert_eq!(difference(&rows(&["1", "2"]), &rows(&["2", "1"]), false), None);
        let ordered = difference(&rows(&["1", "2"]), &rows(&["2", "1"]), true);
        assert_eq!(ordered, Some(Difference::Order));
        let twice = difference(&rows(&["1", "1", "2"]), &rows(&["1", "2", "2"]), false);
        assert_eq!(twice, Some(Difference::Rows));
        assert_eq!(difference(&rows(&["1.50", "1.5"]), &rows(&["1.5", "1.50"]), true), None);
    }

    #[test]
    fn errors_are_their_states() {
        assert_eq!(difference(&error("22012"), &error("22012"), false), None);
        let state = |a: &str, b: &str| Some(Difference::State(a.to_owned(), b.to_owned()));
        assert_eq!(difference(&error("22012"), &error("42883"), false), state("22012", "42883"));
        assert_eq!(difference(&rows(&[]), &error("XX000"), false), state("00000", "XX000"));
        assert_eq!(difference(&error("22012"), &rows(&[]), false), state("22012", "00000"));
        let lost = Answer::Lost("timeout".to_owned());
        assert_eq!(difference(&error("22012"), &lost, false), Some(Difference::Lost));
    }

    #[test]
    fn columns_count() {
        let with = |name: &str, ty| Answer::Rows {
            columns: vec![(name.to_owned(), ty)],
            rows: Vec::new(),
            count: 0,
        };
        assert_eq!(difference(&with("a", 23), &with("b", 23), false), Some(Difference::Names));
        assert_eq!(difference(&with("a", 23), &with("a", 20), false), Some(Difference::Types));
    }
}
