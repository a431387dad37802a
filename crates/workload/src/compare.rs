//! What two servers answered, and whether that is the same.

use std::collections::BTreeMap;
use std::fmt;

/// A row as text.
pub(crate) type Row = Vec<Option<String>>;

/// What a server said to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Columns with their types' oids, rows, and the number of rows that the end tells.
    Rows { columns: Vec<(String, u32)>, rows: Vec<Row>, count: u64 },
    /// SQLSTATE and message.
    Error(String, String),
    /// Nothing in time, or the connection is gone.
    Lost(String),
}

impl Answer {
    /// Its beginning as comments, a line each: what it is, then so many rows.
    pub(crate) fn told(&self, who: &str, rows_max: usize) -> String {
        match self {
            Answer::Rows { columns, rows, count } => {
                let columns: Vec<String> =
                    columns.iter().map(|(name, ty)| format!("{name}:{ty}")).collect();
                let columns = columns.join(", ");
                let mut text = format!("-- {who}: {} rows, {count} told ({columns})\n", rows.len());
                for row in rows.iter().take(rows_max) {
                    let values: Vec<&str> =
                        row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
                    text.extend(["--   ", &values.join(" | "), "\n"]);
                }
                text
            }
            Answer::Error(state, message) => format!("-- {who}: {state} {message}\n"),
            Answer::Lost(why) => format!("-- {who}: {why}\n"),
        }
    }
}

/// How two answers differ; the same words for the same kind of difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
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

/// What a statement sorts its rows by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sorted<'a> {
    /// Nothing: any order is right.
    No,
    /// All columns.
    All,
    /// These columns, counted from zero; rows that are alike in them come in any order.
    By(&'a [usize]),
}

/// How the answers differ, if they do.
pub(crate) fn difference(
    reference: &Answer,
    other: &Answer,
    sorted: Sorted<'_>,
) -> Option<Difference> {
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
            } else if sorted_alike(of_a, sorted) != sorted_alike(of_b, sorted) {
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

/// Whether the rows are the same bag when numbers are taken for what they are, not for how they are written.
pub(crate) fn same_values(reference: &Answer, other: &Answer) -> bool {
    let (Answer::Rows { rows: a, .. }, Answer::Rows { rows: b, .. }) = (reference, other) else {
        return false;
    };
    let values = |rows: &[Row]| -> Vec<Row> {
        let value = |text: &Option<String>| text.as_deref().map(|text| number(text).to_owned());
        rows.iter().map(|row| row.iter().map(value).collect()).collect()
    };
    bag(&values(a)) == bag(&values(b))
}

/// A number without trailing zeros; other text as it is.
fn number(text: &str) -> &str {
    if text.contains('.') && text.parse::<f64>().is_ok() {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// Values that sort alike, written alike: numbers without trailing zeros. Intervals of the same length
/// have too many forms; they are taken for one.
fn sorted_alike<'a>(rows: &'a [Row], sorted: Sorted<'_>) -> Vec<Vec<Option<&'a str>>> {
    let value = |text: &'a Option<String>| match text.as_deref() {
        Some(text) if text.contains("day") || text.contains("mon") => Some("interval"),
        Some(text) => Some(number(text)),
        None => None,
    };
    match sorted {
        Sorted::No => Vec::new(),
        Sorted::All => rows.iter().map(|row| row.iter().map(value).collect()).collect(),
        Sorted::By(columns) => {
            rows.iter().map(|row| columns.iter().map(|&at| value(&row[at])).collect()).collect()
        }
    }
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
        assert_eq!(difference(&rows(&["1", "2"]), &rows(&["2", "1"]), Sorted::No), None);
        let ordered = difference(&rows(&["1", "2"]), &rows(&["2", "1"]), Sorted::All);
        assert_eq!(ordered, Some(Difference::Order));
        let twice = difference(&rows(&["1", "1", "2"]), &rows(&["1", "2", "2"]), Sorted::No);
        assert_eq!(twice, Some(Difference::Rows));
        assert_eq!(difference(&rows(&["1.50", "1.5"]), &rows(&["1.5", "1.50"]), Sorted::All), None);
    }

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        assert!(same_values(&rows(&["1.50", "a"]), &rows(&["a", "1.5"])));
        assert!(same_values(&rows(&["2.00"]), &rows(&["2"])));
        assert!(!same_values(&rows(&["1.50"]), &rows(&["1.51"])));
        assert!(!same_values(&rows(&["1.5", "1.5"]), &rows(&["1.50"])));
        assert!(!same_values(&rows(&["10"]), &rows(&["1"])));
        assert!(!same_values(&error("22012"), &error("22012")));
    }

    #[test]
    fn rows_that_sort_alike_come_in_any_order() {
        let rows = |of: &[(&str, &str)]| {
            let row = |(a, b): &(&str, &str)| vec![Some((*a).to_owned()), Some((*b).to_owned())];
            let columns = vec![("a".to_owned(), 23), ("b".to_owned(), 23)];
            let count = of.len() as u64;
            Answer::Rows { columns, rows: of.iter().map(row).collect(), count }
        };
        let reference = rows(&[("1", "x"), ("1", "y"), ("2", "z")]);
        let tied = rows(&[("1", "y"), ("1", "x"), ("2", "z")]);
        let wrong = rows(&[("1", "x"), ("2", "z"), ("1", "y")]);
        assert_eq!(difference(&reference, &tied, Sorted::By(&[0])), None);
        let order = Some(Difference::Order);
        assert_eq!(difference(&reference, &wrong, Sorted::By(&[0])), order);
        assert_eq!(difference(&reference, &tied, Sorted::All), order);
    }

    #[test]
    fn errors_are_their_states() {
        assert_eq!(difference(&error("22012"), &error("22012"), Sorted::No), None);
        let state = |a: &str, b: &str| Some(Difference::State(a.to_owned(), b.to_owned()));
        assert_eq!(
            difference(&error("22012"), &error("42883"), Sorted::No),
            state("22012", "42883")
        );
        assert_eq!(difference(&rows(&[]), &error("XX000"), Sorted::No), state("00000", "XX000"));
        assert_eq!(difference(&error("22012"), &rows(&[]), Sorted::No), state("22012", "00000"));
        let lost = Answer::Lost("timeout".to_owned());
        assert_eq!(difference(&error("22012"), &lost, Sorted::No), Some(Difference::Lost));
    }

    #[test]
    fn columns_count() {
        let with = |name: &str, ty| Answer::Rows {
            columns: vec![(name.to_owned(), ty)],
            rows: Vec::new(),
            count: 0,
        };
        assert_eq!(difference(&with("a", 23), &with("b", 23), Sorted::No), Some(Difference::Names));
        assert_eq!(difference(&with("a", 23), &with("a", 20), Sorted::No), Some(Difference::Types));
    }
}
