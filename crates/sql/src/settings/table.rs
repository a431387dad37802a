//! The settings, their defaults, and what they accept.

/// What values a setting accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// on, off and their spellings.
    Bool,
    /// An integer within bounds.
    Int(i64, i64),
    /// A time in milliseconds, with or without a unit; 0 is off.
    Millis,
    /// A size in bytes, with or without a unit of kB, MB or GB.
    Bytes,
    /// One of these, lower case.
    Enum(&'static [&'static str]),
    /// Any text.
    Text,
    /// A list of identifiers.
    Names,
    /// `TimeZone`: a name or offset that is known.
    TimeZone,
    /// `DateStyle`.
    DateStyle,
    /// Tells something, cannot be set.
    ReadOnly,
    /// Accepted with this value only: others are refused as not supported.
    Only(&'static str),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Name, as SHOW prints it.
    pub name: &'static str,
    /// Value of a new session. Settings are compared by their lower-case names.
    pub default: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// Whether the client is told of changes (ParameterStatus).
    pub reported: bool,
    /// For SHOW ALL and pg_settings.
    pub description: &'static str,
}

const fn s(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    description: &'static str,
) -> Setting {
    Setting { name, default, kind, reported: false, description }
}

const fn reported(setting: Setting) -> Setting {
    Setting { reported: true, ..setting }
}

const LEVELS: Kind =
    Kind::Enum(&["serializable", "repeatable read", "read committed", "read uncommitted"]);
const MESSAGE_LEVELS: Kind = Kind::Enum(&[
    "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "info", "notice", "warning",
    "error", "log", "fatal", "panic",
]);

/// Every setting. Names are unique in lower case.
pub const SETTINGS: &[Setting] = &[
    reported(s("application_name", "", Kind::Text, "Name shown for this session.")),
    s("bytea_output", "hex", Kind::Enum(&["hex", "escape"]), "Output format of bytea."),
    reported(s("client_encoding", "UTF8", Kind::Only("UTF8"), "Encoding of the client.")),
    s("client_min_messages", "notice", MESSAGE_LEVELS, "Least level of messages sent."),
    reported(s("DateStyle", "ISO, MDY", Kind::DateStyle, "Format of dates and times.")),
    s("default_transaction_isolation", "serializable", LEVELS, "Level of new transactions."),
    s("default_transaction_read_only", "off", Kind::Bool, "New transactions are read-only."),
    s("default_transaction_deferrable", "off", Kind::Bool, "New transactions are deferrable."),
    s("enable_hashjoin", "on", Kind::Bool, "Off: rows of joins are looked up where an index fits."),
    s(
        "enable_nestloop",
        "on",
        Kind::Bool,
        "Off: rows of large joins are not looked up by an index.",
    ),
    s("extra_float_digits", "1", Kind::Int(-15, 3), "Digits of floats; above 0: shortest exact."),
    s("idle_in_transaction_session_timeout", "0", Kind::Millis, "Idle time in a transaction."),
    reported(s("integer_datetimes", "on", Kind::ReadOnly, "Times are 64-bit integers.")),
    reported(s(
        "IntervalStyle",
        "postgres",
        Kind::Enum(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]),
        "Format of intervals.",
    )),
    reported(s("in_hot_standby", "off", Kind::ReadOnly, "Every node takes writes.")),
    reported(s("is_superuser", "on", Kind::ReadOnly, "Whether the role is a superuser.")),
    s("jit", "off", Kind::Only("off"), "Nothing is compiled just in time."),
    s("lc_collate", "C", Kind::ReadOnly, "Order of text: bytewise."),
    s("lc_ctype", "C", Kind::ReadOnly, "Classes of characters."),
    s("lc_messages", "C", Kind::Only("C"), "Language of messages."),
    s("lc_monetary", "C", Kind::Only("C"), "Format of money."),
    s("lc_numeric", "C", Kind::Only("C"), "Format of numbers."),
    s("lc_time", "C", Kind::Only("C"), "Format of dates."),
    s("lock_timeout", "0", Kind::Millis, "Longest wait for a lock."),
    s("max_identifier_length", "63", Kind::ReadOnly, "Longest name, in bytes."),
    s("max_index_keys", "32", Kind::ReadOnly, "Most columns of an index."),
    s(
        "results_buffer_size",
        "256kB",
        Kind::Bytes,
        "Results, and statements, kept to repeat a transaction unnoticed.",
    ),
    s("row_execution", "on", Kind::Bool, "Small queries run row by row, without a plan."),
    s("row_security", "on", Kind::Bool, "There is no row-level security: either is true."),
    s("search_path", "\"$user\", public", Kind::Names, "Schemas searched for unqualified names."),
    reported(s("server_encoding", "UTF8", Kind::ReadOnly, "Encoding of the data.")),
    reported(s("server_version", "15.0", Kind::ReadOnly, "PostgreSQL's version spoken.")),
    s("server_version_num", "150000", Kind::ReadOnly, "The same, as a number."),
    s("role", "none", Kind::Text, "Current role: SET ROLE."),
    reported(s("session_authorization", "conclave", Kind::Text, "Role of the session.")),
    reported(s("standard_conforming_strings", "on", Kind::Only("on"), "'\\' is a character.")),
    s("escape_string_warning", "on", Kind::Bool, "Accepted: there is nothing to warn of."),
    s("statement_timeout", "0", Kind::Millis, "Longest time of a statement."),
    s("synchronous_commit", "on", Kind::Only("on"), "A commit is durable when acknowledged."),
    s("synchronize_seqscans", "off", Kind::Bool, "Scans begin at the start: no effect."),
    reported(s("TimeZone", "UTC", Kind::TimeZone, "Zone of timestamps with time zone.")),
    s("timezone_abbreviations", "Default", Kind::Only("Default"), "Known abbreviations."),
    s("transaction_timeout", "0", Kind::Millis, "Longest time of a transaction; ends the session."),
    s("transaction_isolation", "serializable", LEVELS, "Level of this transaction."),
    s("transaction_read_only", "off", Kind::Bool, "This transaction is read-only."),
    s("transaction_deferrable", "off", Kind::Bool, "This transaction is deferrable."),
    s("xmloption", "content", Kind::Enum(&["content", "document"]), "There is no xml: no effect."),
    s("default_table_access_method", "heap", Kind::Only("heap"), "How tables are stored."),
    s("default_tablespace", "", Kind::Only(""), "There are no tablespaces."),
    s("check_function_bodies", "on", Kind::Bool, "There are no functions to check: no effect."),
    s("max_connections", "100", Kind::ReadOnly, "Most connections."),
    s("block_size", "8192", Kind::ReadOnly, "Told to those who ask."),
];
