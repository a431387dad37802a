//! Which operators and functions exist, and which one a call means.
//!
//! Families register entries (`arith`, `string`, …) as a signature in words and a kernel;
//! `resolve` picks among them by PostgreSQL's rules; a [`Resolved`] is the choice, with concrete
//! argument and result types, ready to be called on datums or wrapped for Arrow.

mod absent;
mod acl_default;
mod args;
mod arith;
mod array;
mod assign;
mod bytes_fn;
mod catalog_fn;
mod client_fn;
mod compare;
mod date_fn;
mod date_op;
mod encode;
mod enum_fn;
mod form;
mod format;
mod json;
mod json_fn;
mod json_record;
mod json_set;
mod jsonpath_fn;
mod keywords;
mod like;
mod logic;
mod math;
mod parameters;
mod regex_fn;
mod resolve;
mod set;
mod signature;
mod string;
mod string_more;
mod system;
mod to_char;
mod unicode;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::datum::Datum;
use crate::env::EvalEnv;
use crate::error::Result;
use crate::ty::PgType;

pub use crate::aggregate::{Accumulate, ResolvedAggregate, is_aggregate, resolve_aggregate};

pub use absent::{absent_functions, absent_types, is_absent_function, is_absent_type};
pub use assign::{ASSIGNED, assigned_to};
pub use catalog_fn::pretty_expr;
pub use form::{array_of_arrays, failure_of, field_of, slice_of};
pub use keywords::{Keyword, keywords};
pub use like::like_prefix;
pub use parameters::{Parameters, parameters};
pub(crate) use resolve::{check_polymorphic, choose, concrete_types, function_error};
pub use resolve::{
    resolve_exactly, resolve_function, resolve_operator, resolve_set_function, resolve_variadic,
};
pub(crate) use signature::{ArgSpec, Signature};
pub use string_more::{quote_ident, quote_literal};

/// When a function's result may change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Volatility {
    /// Never, for the same arguments.
    #[default]
    Immutable,
    /// Not within a statement.
    Stable,
    /// At every call.
    Volatile,
}

/// What a kernel knows besides its arguments.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) env: &'a EvalEnv,
    /// Types of the arguments as called.
    pub(crate) args: &'a [PgType],
    pub(crate) result: PgType,
}

/// A row kernel.
pub(crate) type Kernel = fn(&Call<'_>, &[Datum]) -> Result<Datum>;

/// What an operator does in a vectorised form, where the bridge knows one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Vector {
    Add,
    Sub,
    Mul,
    Div,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// One registered function or operator.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) signature: Signature,
    pub(crate) strict: bool,
    pub(crate) volatility: Volatility,
    pub(crate) kernel: Kernel,
    pub(crate) vector: Option<Vector>,
    /// Of a function that returns rows: its columns.
    pub(crate) columns: Vec<(&'static str, ArgSpec)>,
}

impl Entry {
    /// Is called for NULL arguments too.
    fn nonstrict(&mut self) -> &mut Self {
        self.strict = false;
        self
    }

    fn stable(&mut self) -> &mut Self {
        self.volatility = Volatility::Stable;
        self
    }

    fn volatile(&mut self) -> &mut Self {
        self.volatility = Volatility::Volatile;
        self
    }

    fn vector(&mut self, vector: Vector) -> &mut Self {
        self.vector = Some(vector);
        self
    }
}

/// The functions and operators by name.
#[derive(Default)]
pub(crate) struct Registry {
    functions: HashMap<&'static str, Vec<Entry>>,
    operators: HashMap<&'static str, Vec<Entry>>,
    sets: HashMap<&'static str, Vec<Entry>>,
}

impl Registry {
    /// Adds a function: `lpad(text,int4,text) text`. Strict and immutable unless said otherwise.
    fn f(&mut self, text: &'static str, kernel: Kernel) -> &mut Entry {
        Self::add(&mut self.functions, text, kernel)
    }

    /// Adds an operator: `+(int4,int4) int4`, prefix with one argument.
    fn op(&mut self, text: &'static str, kernel: Kernel) -> &mut Entry {
        Self::add(&mut self.operators, text, kernel)
    }

    /// Adds a function that returns rows: `columns` are `a int4,b text`, or none for the one of the result.
    fn set(&mut self, text: &'static str, columns: &'static str, kernel: Kernel) -> &mut Entry {
        let entry = Self::add(&mut self.sets, text, kernel);
        entry.columns = set::columns(entry.name, entry.signature.result, columns);
        entry
    }

    fn add<'a>(
        map: &'a mut HashMap<&'static str, Vec<Entry>>,
        text: &'static str,
        kernel: Kernel,
    ) -> &'a mut Entry {
        let (name, signature) = Signature::parse(text);
        let entries = map.entry(name).or_default();
        entries.push(Entry {
            name,
            signature,
            strict: true,
            volatility: Volatility::Immutable,
            kernel,
            vector: None,
            columns: Vec::new(),
        });
        entries.last_mut().expect("just pushed")
    }

    pub(crate) fn functions(&'static self, name: &str) -> &'static [Entry] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn sets(&'static self, name: &str) -> &'static [Entry] {
        self.sets.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn operators(&'static self, name: &str) -> &'static [Entry] {
        self.operators.get(name).map_or(&[], Vec::as_slice)
    }
}

pub(crate) fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let mut registry = Registry::default();
        let r = &mut registry;
        arith::register(r);
        compare::register(r);
        logic::register(r);
        math::register(r);
        string::register(r);
        string_more::register(r);
        encode::register(r);
        bytes_fn::register(r);
        unicode::register(r);
        like::register(r);
        regex_fn::register(r);
        format::register(r);
        date_op::register(r);
        date_fn::register(r);
        to_char::register(r);
        json::register(r);
        json_fn::register(r);
        json_record::register(r);
        jsonpath_fn::register(r);
        array::register(r);
        enum_fn::register(r);
        system::register(r);
        catalog_fn::register(r);
        client_fn::register(r);
        acl_default::register(r);
        set::register(r);
        registry
    })
}

/// Is there a function of this name (not an aggregate)?
pub fn is_function(name: &str) -> bool {
    !registry().functions(name).is_empty()
}

/// Is there a function of this name that returns rows?
pub fn is_set_function(name: &str) -> bool {
    !registry().sets(name).is_empty()
}

/// Does the call of this function say which columns its rows have?
pub fn needs_columns(name: &str) -> bool {
    matches!(
        name,
        "json_to_record" | "json_to_recordset" | "jsonb_to_record" | "jsonb_to_recordset"
    )
}

/// Is there an operator of this name?
pub fn is_operator(name: &str) -> bool {
    !registry().operators(name).is_empty()
}

/// One function as catalogs list it.
#[derive(Clone, Debug)]
pub struct FunctionInfo {
    /// Its name.
    pub name: &'static str,
    /// Argument types as written in its signature, pseudo-types included.
    pub args: Vec<String>,
    /// Result type likewise.
    pub result: String,
    /// Is NULL returned for NULL arguments without a call?
    pub strict: bool,
    /// When its result may change.
    pub volatility: Volatility,
    /// Does it return rows?
    pub is_set: bool,
}

fn list(map: &HashMap<&'static str, Vec<Entry>>) -> Vec<FunctionInfo> {
    let mut all: Vec<FunctionInfo> = map
        .values()
        .flatten()
        .map(|entry| FunctionInfo {
            name: entry.name,
            args: entry.signature.args.iter().map(ArgSpec::name).collect(),
            result: entry.signature.result.name(),
            strict: entry.strict,
            volatility: entry.volatility,
            is_set: !entry.columns.is_empty(),
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(b.name).then_with(|| a.args.cmp(&b.args)));
    all
}

/// All functions, by name, for `pg_proc` and completion.
pub fn functions() -> Vec<FunctionInfo> {
    let mut all = list(&registry().functions);
    all.extend(list(&registry().sets));
    all
}

/// All operators, by name.
pub fn operators() -> Vec<FunctionInfo> {
    list(&registry().operators)
}

/// The function or operator a call means, with types made concrete.
#[derive(Clone)]
pub struct Resolved {
    /// Its name.
    pub name: &'static str,
    /// What the arguments must be cast to; a variadic part is spread out.
    pub args: Vec<PgType>,
    /// The type of the result.
    pub result: PgType,
    /// NULL for any NULL argument, without a call?
    pub strict: bool,
    /// When the result may change.
    pub volatility: Volatility,
    /// Of a function that returns rows: name and type of its columns. `result` is an array of them, of
    /// rows if they are several or arrays.
    pub columns: Vec<(&'static str, PgType)>,
    /// Is the last argument an array of what the function takes any number of (VARIADIC)?
    pub(crate) spread: bool,
    pub(crate) entry: &'static Entry,
}

impl Resolved {
    /// The function with rows of these fields, which the call names and not the function.
    #[must_use]
    pub fn with_fields(mut self, fields: &[crate::record::Field]) -> Self {
        self.result = crate::record::row_type(fields).to_array();
        self
    }

    /// Whether both are one function over the same types.
    #[must_use]
    pub fn is_same(&self, other: &Resolved) -> bool {
        std::ptr::eq(self.entry, other.entry)
            && self.args == other.args
            && self.result == other.result
            && self.spread == other.spread
    }

    /// Calls it on one row, arguments already of the types in `args`.
    pub fn call(&self, env: &EvalEnv, args: &[Datum]) -> Result<Datum> {
        if self.spread {
            return self.call_spread(env, args);
        }
        if self.strict && args.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        (self.entry.kernel)(&Call { env, args: &self.args, result: self.result }, args)
    }

    /// Calls it with the elements of the last argument, an array.
    fn call_spread(&self, env: &EvalEnv, args: &[Datum]) -> Result<Datum> {
        let (Some((Datum::Array(last), first)), Some((ty, types))) =
            (args.split_last(), self.args.split_last())
        else {
            return Ok(Datum::Null);
        };
        let all: Vec<Datum> = first.iter().chain(&last.items).cloned().collect();
        if self.strict && all.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        let element = std::iter::repeat_n(ty.element(), last.items.len());
        let types: Vec<PgType> = types.iter().copied().chain(element).collect();
        (self.entry.kernel)(&Call { env, args: &types, result: self.result }, &all)
    }
}

impl std::fmt::Debug for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}(", self.name)?;
        for (i, arg) in self.args.iter().enumerate() {
            write!(f, "{}{arg}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, ") {}", self.result)
    }
}
