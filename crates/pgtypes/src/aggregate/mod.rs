//! Aggregates: resolution by PostgreSQL's rules, and states that work on datums.
//!
//! An [`Accumulate`] takes rows, can be split into mergeable states, and gives the result. The
//! Arrow bridge wraps any of them as a DataFusion aggregate; DISTINCT and ORDER BY are wrappers
//! around any of them too (`modifier`).

mod basic;
mod collect;
pub(crate) mod modifier;
mod ordered_set;
mod regr;
mod stats;
mod sum;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use datafusion_expr::AggregateUDF;

use crate::datum::Datum;
use crate::env::EvalEnv;
use crate::error::Result;
use crate::registry::{ArgSpec, FunctionInfo, Signature, Volatility};
use crate::ty::PgType;

/// The state of one aggregate over one group.
pub trait Accumulate: Send + Sync + Debug {
    /// Takes a row. Rows with NULL arguments do not come here if the aggregate is strict.
    fn update(&mut self, args: &[Datum]) -> Result<()>;
    /// Undoes [`Self::update`] of a row; only if [`Self::can_retract`].
    fn retract(&mut self, _args: &[Datum]) -> Result<()> {
        Ok(())
    }
    /// Can rows be taken back (moving window frames)?
    fn can_retract(&self) -> bool {
        false
    }
    /// What another accumulator of the same aggregate can [`Self::merge`].
    fn state(&self) -> Vec<Datum>;
    /// Takes in another's state.
    fn merge(&mut self, state: &[Datum]) -> Result<()>;
    /// The result for the rows so far.
    fn finish(&self) -> Result<Datum>;
    /// Bytes held.
    fn size(&self) -> usize;
}

/// What an accumulator is made for.
pub(crate) struct AggCall<'a> {
    pub(crate) args: &'a [PgType],
    pub(crate) env: &'a Arc<EvalEnv>,
}

/// One registered aggregate.
pub(crate) struct AggEntry {
    name: &'static str,
    signature: Signature,
    /// Rows with a NULL argument are skipped.
    strict: bool,
    make: fn(&AggCall<'_>) -> Box<dyn Accumulate>,
    state: fn(&[PgType], PgType) -> Vec<PgType>,
}

#[derive(Default)]
struct Aggregates(HashMap<&'static str, Vec<AggEntry>>);

impl Aggregates {
    fn add(
        &mut self,
        text: &'static str,
        state: fn(&[PgType], PgType) -> Vec<PgType>,
        make: fn(&AggCall<'_>) -> Box<dyn Accumulate>,
    ) -> &mut AggEntry {
        let (name, signature) = Signature::parse(text);
        let entries = self.0.entry(name).or_default();
        entries.push(AggEntry { name, signature, strict: true, make, state });
        entries.last_mut().expect("just pushed")
    }
}

impl AggEntry {
    fn nonstrict(&mut self) -> &mut Self {
        self.strict = false;
        self
    }
}

fn aggregates() -> &'static Aggregates {
    static AGGREGATES: OnceLock<Aggregates> = OnceLock::new();
    AGGREGATES.get_or_init(|| {
        let mut all = Aggregates::default();
        basic::register(&mut all);
        sum::register(&mut all);
        stats::register(&mut all);
        regr::register(&mut all);
        collect::register(&mut all);
        ordered_set::register(&mut all);
        all
    })
}

/// Is there an aggregate of this name?
pub fn is_aggregate(name: &str) -> bool {
    aggregates().0.contains_key(name)
}

/// All aggregates as catalogs list them, by name.
pub fn aggregates_listed() -> Vec<FunctionInfo> {
    let entry = |entry: &AggEntry| FunctionInfo {
        name: entry.name,
        args: entry.signature.args.iter().map(ArgSpec::name).collect(),
        result: entry.signature.result.name(),
        strict: false,
        volatility: Volatility::Immutable,
        is_set: false,
    };
    let mut all: Vec<FunctionInfo> = aggregates().0.values().flatten().map(entry).collect();
    all.sort_by(|a, b| a.name.cmp(b.name).then_with(|| a.args.cmp(&b.args)));
    all
}

/// Names of all aggregates.
pub fn aggregate_names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = aggregates().0.keys().copied().collect();
    names.sort_unstable();
    names
}

/// The aggregate a call means, with types made concrete.
#[derive(Clone)]
pub struct ResolvedAggregate {
    /// Its name.
    pub name: &'static str,
    /// What the arguments must be cast to.
    pub args: Vec<PgType>,
    /// The type of the result.
    pub result: PgType,
    /// Are rows with NULL arguments skipped?
    pub strict: bool,
    entry: &'static AggEntry,
}

impl Debug for ResolvedAggregate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({:?}) {}", self.name, self.args, self.result)
    }
}

impl ResolvedAggregate {
    /// An accumulator for one group. Feed it through [`Self::update`], which skips NULLs.
    pub fn accumulator(&self, env: &Arc<EvalEnv>) -> Box<dyn Accumulate> {
        (self.entry.make)(&AggCall { args: &self.args, env })
    }

    /// Gives a row to an accumulator, unless the aggregate skips it.
    pub fn update(&self, accumulator: &mut dyn Accumulate, args: &[Datum]) -> Result<()> {
        if self.strict && args.iter().any(Datum::is_null) {
            return Ok(());
        }
        accumulator.update(args)
    }

    /// Types of what [`Accumulate::state`] gives.
    pub fn state_types(&self) -> Vec<PgType> {
        (self.entry.state)(&self.args, self.result)
    }

    /// The result over no rows: 0 for counts, NULL for the rest.
    pub fn empty_result(&self) -> Datum {
        if self.name == "count" || self.name == "regr_count" { Datum::Int8(0) } else { Datum::Null }
    }

    /// As a DataFusion aggregate that does DISTINCT itself, by PostgreSQL's equality. (DataFusion's
    /// own DISTINCT goes by Arrow's.) For `count(*)`, call it with one literal that is not NULL.
    pub fn udaf(&self, env: Arc<EvalEnv>, distinct: bool) -> Arc<AggregateUDF> {
        crate::arrow_bridge::make_udaf(self.clone(), env, distinct)
    }

    /// Whether both are one aggregate over the same types.
    #[must_use]
    pub fn same_entry(&self, other: &Self) -> bool {
        std::ptr::eq(self.entry, other.entry)
            && self.args == other.args
            && self.result == other.result
    }
}

/// The aggregate `name` means for these arguments; none for `count(*)`.
pub fn resolve_aggregate(name: &str, types: &[PgType]) -> Result<ResolvedAggregate> {
    let entries: &'static [AggEntry] = aggregates().0.get(name).map_or(&[], Vec::as_slice);
    let entry = crate::registry::choose(entries, |entry| &entry.signature, types)
        .map_err(|why| crate::registry::function_error(name, types, &why))?;
    crate::registry::check_polymorphic(&entry.signature, types)?;
    let (args, result) = crate::registry::concrete_types(&entry.signature, types);
    Ok(ResolvedAggregate { name: entry.name, args, result, strict: entry.strict, entry })
}

/// State of aggregates that keep one value of the result's type.
fn state_result(_: &[PgType], result: PgType) -> Vec<PgType> {
    vec![result]
}
