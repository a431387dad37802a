//! Names and defaults of arguments, of the functions that PostgreSQL names them for.

/// A function's arguments: their names, and what those not given are, as literals, from the last one back.
pub struct Parameters {
    /// The names, in order.
    pub names: &'static [&'static str],
    /// Defaults of the last arguments.
    pub defaults: &'static [&'static str],
}

/// Kept in the order of PostgreSQL's `pg_proc`.
const PARAMETERS: &[(&[&str], Parameters)] = &[
    (
        &["json_array_elements", "json_array_elements_text", "json_each", "json_each_text"],
        Parameters { names: &["from_json"], defaults: &[] },
    ),
    (
        &["jsonb_array_elements", "jsonb_array_elements_text", "jsonb_each", "jsonb_each_text"],
        Parameters { names: &["from_json"], defaults: &[] },
    ),
    (
        &["jsonb_insert"],
        Parameters {
            names: &["jsonb_in", "path", "replacement", "insert_after"],
            defaults: &["false"],
        },
    ),
    (
        &[
            "jsonb_path_exists",
            "jsonb_path_match",
            "jsonb_path_query",
            "jsonb_path_query_array",
            "jsonb_path_query_first",
        ],
        Parameters { names: &["target", "path", "vars", "silent"], defaults: &["{}", "false"] },
    ),
    (
        &["jsonb_set"],
        Parameters {
            names: &["jsonb_in", "path", "replacement", "create_if_missing"],
            defaults: &["true"],
        },
    ),
    (
        &["jsonb_set_lax"],
        Parameters {
            names: &[
                "jsonb_in",
                "path",
                "replacement",
                "create_if_missing",
                "null_value_treatment",
            ],
            defaults: &["true", "use_json_null"],
        },
    ),
    (&["make_date"], Parameters { names: &["year", "month", "day"], defaults: &[] }),
    (
        &["make_interval"],
        Parameters {
            names: &["years", "months", "weeks", "days", "hours", "mins", "secs"],
            defaults: &["0", "0", "0", "0", "0", "0", "0"],
        },
    ),
    (&["make_time"], Parameters { names: &["hour", "min", "sec"], defaults: &[] }),
    (
        &["make_timestamp"],
        Parameters { names: &["year", "month", "mday", "hour", "min", "sec"], defaults: &[] },
    ),
    (
        &["make_timestamptz"],
        Parameters {
            names: &["year", "month", "mday", "hour", "min", "sec", "timezone"],
            defaults: &[],
        },
    ),
    (&["parse_ident"], Parameters { names: &["str", "strict"], defaults: &["true"] }),
];

/// The arguments' names of a function that has them.
#[must_use]
pub fn parameters(function: &str) -> Option<&'static Parameters> {
    PARAMETERS.iter().find(|(names, _)| names.contains(&function)).map(|(_, found)| found)
}
