//! What a value depends on besides itself: session settings and the clock, frozen per statement.
//!
//! Nothing in this crate reads a clock or a global setting: the session fills an [`EvalEnv`] at
//! the start of a statement and every kernel gets it. (`clock_timestamp`, `random` and
//! `gen_random_uuid`, volatile by definition, are the exceptions.)

use crate::datetime::zone::TimeZone;

/// Order of day and month, and the style of output. Only ISO output differs in nothing but input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum DateOrder {
    /// Month, day, year: `01/02/2003` is 2 January. PostgreSQL's default.
    #[default]
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day.
    Ymd,
}

/// The output half of `DateStyle`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum DateFormat {
    /// `2003-01-02 04:05:06+00`
    #[default]
    Iso,
    /// `01/02/2003 04:05:06 UTC`
    Sql,
    /// `Thu Jan 02 04:05:06 2003 UTC`
    Postgres,
    /// `02.01.2003 04:05:06 UTC`
    German,
}

/// `IntervalStyle`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum IntervalStyle {
    /// `1 year 2 mons 3 days 04:05:06`
    #[default]
    Postgres,
    /// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs`
    PostgresVerbose,
    /// `+1-2 +3 +4:05:06`
    SqlStandard,
    /// `P1Y2M3DT4H5M6S`
    Iso8601,
}

/// `bytea_output`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum ByteaOutput {
    /// `\x6162`
    #[default]
    Hex,
    /// `ab\000`
    Escape,
}

/// What the catalog says of names and oids. The session knows; kernels ask.
pub trait SystemNames: Send + Sync {
    /// The oid that a `regclass`, `regnamespace`, … of this name stands for.
    fn oid_of(&self, kind: crate::TypeId, name: &str) -> Option<u32>;
    /// The name that such an oid is printed as.
    fn name_of(&self, kind: crate::TypeId, oid: u32) -> Option<String>;
    /// A function over the catalog (`pg_get_indexdef`, …), NULL where it has nothing to say.
    fn call(&self, function: &str, args: &[crate::Datum]) -> crate::Datum;
    /// Whether a role may do something: `has_table_privilege` and its kin.
    fn may(&self, function: &str, args: &[crate::Datum]) -> crate::Result<crate::Datum>;
    /// `set_config`: the value as it is from the next statement on; none is DEFAULT.
    fn set_config(&self, name: &str, value: Option<&str>, local: bool) -> crate::Result<String>;
    /// `pg_cancel_backend`, `pg_terminate_backend`: whether there is such a session.
    fn signal(&self, pid: i32, terminate: bool) -> crate::Result<bool>;
    /// The value that a label of an enumeration stands for.
    fn enum_value(&self, ty: u32, label: &str) -> Option<i64> {
        let found = self.enum_labels(ty).into_iter().find(|(_, known)| **known == *label);
        found.map(|(value, _)| value)
    }
    /// The label of a value of an enumeration.
    fn enum_label(&self, ty: u32, value: i64) -> Option<std::sync::Arc<str>> {
        let found = self.enum_labels(ty).into_iter().find(|(known, _)| *known == value);
        found.map(|(_, label)| label)
    }
    /// Values and labels of an enumeration, in order.
    fn enum_labels(&self, _ty: u32) -> Vec<(i64, std::sync::Arc<str>)> {
        Vec::new()
    }
    /// `currval` of the sequence with that oid; `lastval` without one.
    fn current_value(&self, sequence: Option<u32>) -> crate::Result<i64>;
}

/// The catalog of a statement, if it has one.
#[derive(Clone, Default)]
pub struct Names(pub Option<std::sync::Arc<dyn SystemNames>>);

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Names" } else { "no names" })
    }
}

/// Settings and clock of one statement.
#[derive(Clone, Debug)]
pub struct EvalEnv {
    /// What names and oids mean.
    pub names: Names,
    /// `TimeZone`.
    pub time_zone: TimeZone,
    /// Output half of `DateStyle`.
    pub date_format: DateFormat,
    /// Input half of `DateStyle`.
    pub date_order: DateOrder,
    /// `IntervalStyle`.
    pub interval_style: IntervalStyle,
    /// `bytea_output`.
    pub bytea_output: ByteaOutput,
    /// `extra_float_digits`; above 0 (default 1) is shortest round trip.
    pub extra_float_digits: i32,
    /// Start of the transaction, microseconds since 2000-01-01 UTC: `now()`.
    pub transaction_time: i64,
    /// Start of the statement: `statement_timestamp()`.
    pub statement_time: i64,
    /// The snapshot that the statement reads, by the cluster's clock: milliseconds since 1970, and a
    /// counter within them.
    pub snapshot: (u64, u32),
    /// The id of the transaction, where the statement asks for it.
    pub xact_id: Option<u64>,
    /// `current_user`.
    pub current_user: String,
    /// `session_user`.
    pub session_user: String,
    /// `current_database()`.
    pub database: String,
    /// Schemas of `search_path` that exist, in order, without `pg_catalog` unless listed.
    pub schemas: Vec<String>,
    /// `server_version`, without the name: `15.0`.
    pub server_version: String,
    /// What `version()` prints.
    pub version: String,
    /// `pg_backend_pid()`.
    pub backend_pid: i32,
    /// What the transaction is like, for `current_setting`.
    pub transaction: TransactionModes,
    /// Other settings, for `current_setting`; lower-case names.
    pub settings: std::sync::Arc<std::collections::BTreeMap<String, String>>,
}

/// What a transaction is like, as its settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionModes {
    /// `transaction_isolation`.
    pub isolation: &'static str,
    /// `transaction_read_only`.
    pub read_only: bool,
    /// `transaction_deferrable`.
    pub deferrable: bool,
}

impl Default for TransactionModes {
    fn default() -> Self {
        TransactionModes { isolation: "serializable", read_only: false, deferrable: false }
    }
}

impl TransactionModes {
    /// The value of one of these settings; none for others. The name is in lower case.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&'static str> {
        let on = |flag| if flag { "on" } else { "off" };
        match name {
            "transaction_isolation" => Some(self.isolation),
            "transaction_read_only" => Some(on(self.read_only)),
            "transaction_deferrable" => Some(on(self.deferrable)),
            _ => None,
        }
    }
}

impl Default for EvalEnv {
    fn default() -> Self {
        Self {
            names: Names::default(),
            time_zone: TimeZone::utc(),
            date_format: DateFormat::default(),
            date_order: DateOrder::default(),
            interval_style: IntervalStyle::default(),
            bytea_output: ByteaOutput::default(),
            extra_float_digits: 1,
            transaction_time: 0,
            statement_time: 0,
            snapshot: (0, 0),
            xact_id: None,
            current_user: "conclave".to_owned(),
            session_user: "conclave".to_owned(),
            database: "conclave".to_owned(),
            schemas: vec!["public".to_owned()],
            server_version: "15.0".to_owned(),
            version: "PostgreSQL 15.0 (Conclave)".to_owned(),
            backend_pid: 0,
            transaction: TransactionModes::default(),
            settings: std::sync::Arc::default(),
        }
    }
}

/// What `follower_read_timestamp()` stays behind the newest snapshot: replicas have usually been promised
/// that nothing is written any more so far back.
pub const FOLLOWER_READ_LAG_MILLIS: u64 = 5_000;

/// Microseconds between 1970-01-01 and 2000-01-01.
pub const UNIX_EPOCH_MICROS: i64 = 946_684_800_000_000;

impl EvalEnv {
    /// The wall clock in microseconds since 2000-01-01 UTC, for sessions to fill the times with.
    pub fn clock_micros() -> i64 {
        let unix = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock is set after 1970");
        i64::try_from(unix.as_micros()).expect("the clock is set before the year 292277")
            - UNIX_EPOCH_MICROS
    }
}
