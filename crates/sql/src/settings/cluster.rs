//! Settings of the whole cluster, kept in the system range: SET CLUSTER SETTING.
//!
//! Nodes read them every few seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use pgtypes::datetime::civil::DAY_MICROS;
use pgtypes::{Datum, EvalEnv, PgType, TypeId};

use super::parse::show_millis;
use crate::{SqlError, SqlState};

/// One setting of the cluster: a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterSetting {
    /// Its name.
    pub name: &'static str,
    /// The value where none is set.
    pub default: Duration,
    /// The least value.
    pub least: Duration,
    /// What it does.
    pub description: &'static str,
}

/// How long old versions of rows are kept.
pub const GC_TTL: ClusterSetting = ClusterSetting {
    name: "gc.ttl",
    default: Duration::from_secs(600),
    least: Duration::from_secs(1),
    description: "how long old versions of rows are kept for AS OF SYSTEM TIME",
};
/// How long records of transactions are kept.
pub const GC_RECORDS_TTL: ClusterSetting = ClusterSetting {
    name: "gc.records_ttl",
    default: Duration::from_secs(3600),
    least: Duration::from_secs(1),
    description: "how long the outcome of a transaction is remembered",
};
/// How long open snapshots hold garbage collection back.
pub const GC_HOLD_MAX: ClusterSetting = ClusterSetting {
    name: "gc.hold_max",
    default: Duration::from_secs(3600),
    least: Duration::ZERO,
    description: "how much longer than gc.ttl old versions are kept for open transactions",
};

/// All of them, by name.
pub const CLUSTER_SETTINGS: &[ClusterSetting] = &[GC_HOLD_MAX, GC_RECORDS_TTL, GC_TTL];

impl ClusterSetting {
    /// The setting of that name; 42704 if there is none.
    pub fn named(name: &str) -> Result<&'static ClusterSetting, SqlError> {
        let found = CLUSTER_SETTINGS.iter().find(|s| s.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_OBJECT, format!("unknown cluster setting \"{name}\""))
                .hint("SHOW CLUSTER SETTINGS lists all.")
        })
    }

    /// Reads a value: `10s`, `1 hour`, `00:05:00`.
    pub fn parse(&self, value: &str) -> Result<Duration, SqlError> {
        let read = duration(value).filter(|duration| *duration >= self.least);
        read.ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for cluster setting \"{}\": \"{value}\"", self.name),
            )
            .detail(format!("It is a time, at least {}.", show(self.least)))
        })
    }

    /// Its value among those that were set.
    #[must_use]
    pub fn among(&self, set: &BTreeMap<String, String>) -> Duration {
        let value = set.get(self.name).and_then(|value| duration(value));
        value.unwrap_or(self.default).max(self.least)
    }
}

/// As SHOW prints it, and as it is kept.
#[must_use]
pub fn show(value: Duration) -> String {
    match i64::try_from(value.as_millis()) {
        Ok(millis) if millis > 0 => show_millis(millis),
        _ => "0s".to_owned(),
    }
}

/// An interval that is a length of time: none with months, which differ.
fn duration(value: &str) -> Option<Duration> {
    let read =
        pgtypes::parse_text(value, PgType::new(TypeId::Interval), &EvalEnv::default()).ok()?;
    let Datum::Interval(interval) = read else { return None };
    if interval.months != 0 {
        return None;
    }
    let days = i64::from(interval.days).checked_mul(DAY_MICROS)?;
    let micros = days.checked_add(interval.micros)?;
    u64::try_from(micros).ok().map(Duration::from_micros)
}

/// How long things of the past are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// [`GC_TTL`].
    pub ttl: Duration,
    /// [`GC_RECORDS_TTL`].
    pub records_ttl: Duration,
    /// [`GC_HOLD_MAX`].
    pub hold_max: Duration,
}

impl Retention {
    /// As the cluster's settings say.
    #[must_use]
    pub fn of(set: &BTreeMap<String, String>) -> Self {
        Retention {
            ttl: GC_TTL.among(set),
            records_ttl: GC_RECORDS_TTL.among(set),
            hold_max: GC_HOLD_MAX.among(set),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::of(&BTreeMap::new())
    }
}
