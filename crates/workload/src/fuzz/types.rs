//! The types that statements are made of, and their constants.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A type of columns and expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ty {
    Bool,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float8,
    Text,
    Varchar,
    Date,
    Timestamp,
    Interval,
    Int4Array,
    TextArray,
    Jsonb,
}

use Ty::{
    Bool, Date, Float8, Int2, Int4, Int4Array, Int8, Interval, Jsonb, Numeric, Text, TextArray,
    Timestamp, Varchar,
};

/// All of them, the more usual ones more often.
const USUAL: [Ty; 24] = [
    Int4, Int4, Int4, Int4, Text, Text, Text, Int8, Int8, Numeric, Numeric, Bool, Bool, Float8,
    Date, Date, Timestamp, Interval, Int2, Varchar, Int4Array, TextArray, Jsonb, Int4,
];

impl Ty {
    /// Any.
    pub(super) fn any(rng: &mut StdRng) -> Ty {
        *USUAL.choose(rng).expect("types")
    }

    /// As SQL writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Bool => "boolean",
            Int2 => "smallint",
            Int4 => "integer",
            Int8 => "bigint",
            Numeric => "numeric",
            Float8 => "double precision",
            Text => "text",
            Varchar => "varchar",
            Date => "date",
            Timestamp => "timestamp",
            Interval => "interval",
            Int4Array => "integer[]",
            TextArray => "text[]",
            Jsonb => "jsonb",
        }
    }

    /// Whether it has sums and averages.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Int2 | Int4 | Int8 | Numeric | Float8)
    }

    /// A constant without quotes or cast: few values, so that they meet.
    pub(super) fn value(self, rng: &mut StdRng) -> String {
        let words = ["", "a", "b", "ab", "abc", "B", "z", "a b", "10", "日", "a%", "_b"];
        let days = ["2024-01-31", "2024-02-29", "1999-12-31", "2000-01-01", "2024-03-01"];
        let times = ["00:00:00", "12:30:00", "23:59:59.5"];
        let pick =
            |rng: &mut StdRng, from: &[&str]| (*from.choose(rng).expect("values")).to_owned();
        match self {
            Bool => if rng.random() { "true" } else { "false" }.to_owned(),
            Int2 | Int4 | Int8 => rng.random_range(-2..8).to_string(),
            Numeric => pick(rng, &["0", "1", "-1.5", "2.50", "0.25", "3", "100.125", "7.0"]),
            // Sums of these are exact in any order.
            Float8 => pick(rng, &["0", "1", "-1.5", "2.5", "0.25", "3", "1024", "-0.5"]),
            Text | Varchar => pick(rng, &words),
            Date => pick(rng, &days),
            Timestamp => format!("{} {}", pick(rng, &days), pick(rng, &times)),
            Interval => pick(rng, &["1 day", "1 mon", "-02:00:00", "1 year 2 mons", "36:00:00"]),
            Int4Array => pick(rng, &["{}", "{1,2}", "{3}", "{1,NULL,2}", "{0,5,5}"]),
            TextArray => pick(rng, &["{}", "{a}", "{a,b}", "{NULL,\"a b\"}"]),
            Jsonb => {
                pick(rng, &["null", "1", "{\"a\": 1}", "{\"a\": {\"b\": [1, 2]}}", "[1, \"x\"]"])
            }
        }
    }

    /// A constant as SQL.
    pub(super) fn literal(self, rng: &mut StdRng) -> String {
        let value = self.value(rng);
        match self {
            // Braces of their own mean a child in a template.
            Int4Array | TextArray if value == "{}" => format!("ARRAY[]::{}", self.name()),
            Bool | Int4 => value,
            Numeric if value.contains('.') && rng.random_bool(0.7) => value,
            Text if rng.random_bool(0.3) => format!("'{value}'::text"),
            Text => format!("'{value}'"),
            Date | Timestamp | Interval if rng.random() => format!("{} '{value}'", self.name()),
            Int2 | Int8 | Numeric | Float8 if rng.random() => {
                format!("CAST({value} AS {})", self.name())
            }
            _ => format!("'{value}'::{}", self.name()),
        }
    }

    /// The smallest constant, for statements that are made smaller.
    pub(super) fn least(self) -> String {
        match self {
            Bool => "true".to_owned(),
            Int4 => "1".to_owned(),
            Text => "'a'::text".to_owned(),
            Int2 | Int8 | Numeric | Float8 => format!("1::{}", self.name()),
            Varchar => "'a'::varchar".to_owned(),
            Date => "DATE '2000-01-01'".to_owned(),
            Timestamp => "TIMESTAMP '2000-01-01'".to_owned(),
            Interval => "INTERVAL '1 day'".to_owned(),
            Int4Array => "'{1}'::integer[]".to_owned(),
            TextArray => "'{a}'::text[]".to_owned(),
            Jsonb => "'1'::jsonb".to_owned(),
        }
    }
}
