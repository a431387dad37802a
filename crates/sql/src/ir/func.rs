//! References from expressions to what `pgtypes` computes: functions, casts, aggregates, window
//! and set-returning functions.
//!
//! They are compared by name and types, which resolution makes unique.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use pgtypes::registry::{Resolved, ResolvedAggregate};
use pgtypes::ty::Category;
use pgtypes::{Datum, EvalEnv, PgType, TypeError, TypeId, cast};

/// A function or operator chosen by resolution.
#[derive(Clone)]
pub struct FuncRef(pub Arc<Resolved>);

impl Deref for FuncRef {
    type Target = Resolved;

    fn deref(&self) -> &Resolved {
        &self.0
    }
}

impl PartialEq for FuncRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.name == other.name && self.args == other.args && self.result == other.result)
    }
}

impl fmt::Debug for FuncRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        f.debug_list().entries(self.args.iter().map(ToString::to_string)).finish()
    }
}

/// A cast chosen by the types on both sides.
#[derive(Clone)]
pub struct CastRef {
    /// From this type.
    pub from: PgType,
    /// To this one, modifier included.
    pub to: PgType,
    /// How.
    pub cast: cast::Cast,
    /// Written by the user: `varchar(n)` truncates silently then.
    pub explicit: bool,
}

impl CastRef {
    /// Converts one value, type modifier included.
    pub fn apply(&self, env: &EvalEnv, datum: Datum) -> Result<Datum, TypeError> {
        self.cast.apply(env, datum, self.from, self.to, self.explicit)
    }

    /// Whether the result depends on the value alone. Times depend on settings and the clock,
    /// names of objects on the catalog.
    pub fn is_immutable(&self) -> bool {
        let depends = |ty: PgType| {
            ty.id.is_oid_like()
                || matches!(ty.id, TypeId::Bytea | TypeId::Enum)
                || matches!(ty.category(), Category::DateTime | Category::Timespan)
        };
        !depends(self.from) && !depends(self.to)
    }
}

impl PartialEq for CastRef {
    fn eq(&self, other: &Self) -> bool {
        self.from == other.from && self.to == other.to && self.explicit == other.explicit
    }
}

impl fmt::Debug for CastRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

/// An aggregate chosen by resolution.
#[derive(Clone)]
pub struct AggRef(pub Arc<ResolvedAggregate>);

impl Deref for AggRef {
    type Target = ResolvedAggregate;

    fn deref(&self) -> &ResolvedAggregate {
        &self.0
    }
}

impl PartialEq for AggRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.name == other.name && self.args == other.args && self.result == other.result)
    }
}

impl fmt::Debug for AggRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        f.debug_list().entries(self.args.iter().map(ToString::to_string)).finish()
    }
}

/// What a window call computes.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowFunc {
    /// `row_number()`
    RowNumber,
    /// `rank()`
    Rank,
    /// `dense_rank()`
    DenseRank,
    /// `percent_rank()`
    PercentRank,
    /// `cume_dist()`
    CumeDist,
    /// `ntile(n)`
    Ntile,
    /// `lag(value, offset, default)`
    Lag,
    /// `lead(value, offset, default)`
    Lead,
    /// `first_value(value)`
    FirstValue,
    /// `last_value(value)`
    LastValue,
    /// `nth_value(value, n)`
    NthValue,
    /// Any aggregate over the frame.
    Aggregate(AggRef),
}

impl WindowFunc {
    /// The window-only function of that name.
    pub fn by_name(name: &str) -> Option<WindowFunc> {
        Some(match name {
            "row_number" => WindowFunc::RowNumber,
            "rank" => WindowFunc::Rank,
            "dense_rank" => WindowFunc::DenseRank,
            "percent_rank" => WindowFunc::PercentRank,
            "cume_dist" => WindowFunc::CumeDist,
            "ntile" => WindowFunc::Ntile,
            "lag" => WindowFunc::Lag,
            "lead" => WindowFunc::Lead,
            "first_value" => WindowFunc::FirstValue,
            "last_value" => WindowFunc::LastValue,
            "nth_value" => WindowFunc::NthValue,
            _ => return None,
        })
    }
}

/// Set-returning functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetFunction {
    /// `generate_series(start, stop [, step])` over int4, int8, numeric, timestamp, timestamptz.
    GenerateSeries,
    /// `unnest(array, …)`
    Unnest,
    /// A function that returns one value: one row.
    Scalar,
}

impl SetFunction {
    /// The set-returning function of that name.
    pub fn by_name(name: &str) -> Option<SetFunction> {
        match name {
            "generate_series" => Some(SetFunction::GenerateSeries),
            "unnest" => Some(SetFunction::Unnest),
            _ => None,
        }
    }
}
