//! The queries, and what each of them sorts by.

/// A query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query {
    /// From 1 to 22.
    pub number: u8,
    text: &'static str,
    /// The columns of ORDER BY, which are all columns of the answer, counted from zero.
    pub sorted_by: &'static [usize],
}

macro_rules! query {
    ($number:literal, $file:literal, $sorted_by:expr) => {
        Query {
            number: $number,
            text: include_str!(concat!("queries/", $file, ".sql")),
            sorted_by: $sorted_by,
        }
    };
}

/// All of them. Where a LIMIT cuts rows off, ties at its end are as good as impossible: they sort by sums of
/// money, or by keys.
pub(super) const QUERIES: [Query; 22] = [
    query!(1, "01", &[0, 1]),
    query!(2, "02", &[0, 2, 1, 3]),
    query!(3, "03", &[1, 2]),
    query!(4, "04", &[0]),
    query!(5, "05", &[1]),
    query!(6, "06", &[]),
    query!(7, "07", &[0, 1, 2]),
    query!(8, "08", &[0]),
    query!(9, "09", &[0, 1]),
    query!(10, "10", &[2]),
    query!(11, "11", &[1]),
    query!(12, "12", &[0]),
    query!(13, "13", &[1, 0]),
    query!(14, "14", &[]),
    query!(15, "15", &[0]),
    query!(16, "16", &[3, 0, 1, 2]),
    query!(17, "17", &[]),
    query!(18, "18", &[4, 3]),
    query!(19, "19", &[]),
    query!(20, "20", &[0]),
    query!(21, "21", &[1, 0]),
    query!(22, "22", &[0]),
];

impl Query {
    /// The statement. Query 11 looks for a share of the whole that shrinks as there are more parts.
    pub(super) fn sql(&self, scale: f64) -> String {
        let fraction = format!("{:.10}", 0.0001 / scale);
        self.text.trim_end().replace(":fraction", &fraction)
    }
}
