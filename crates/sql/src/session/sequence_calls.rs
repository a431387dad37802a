//! What a session knows of sequences, and calls of sequence functions by its statements.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use catalog::store::SequenceState;
use catalog::{CatalogSnapshot, Privileges, Sequence};
use kv::Db;
use parking_lot::Mutex;
use pgtypes::{Datum, EvalEnv};

use super::Who;
use super::sequence::{Sequences, Wanted, exhausted};
use crate::exec::waiting_eval::{Value, Waiting, Waits};
use crate::ir::Scalar;
use crate::privilege::Authority;
use crate::{SqlError, SqlState};

/// What a session knows of sequences.
#[derive(Debug, Default)]
pub(crate) struct SessionSequences {
    known: Mutex<Known>,
    /// Whose session it is; `None`: the server's own.
    who: Mutex<Option<Who>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Values taken and not given yet, by [`Sequence::values`].
    ahead: HashMap<u32, VecDeque<i64>>,
    /// The last value given, by the sequence's id.
    current: HashMap<u32, i64>,
    /// The sequence that gave the last value.
    last: Option<u32>,
}

impl SessionSequences {
    /// Of a session.
    pub(crate) fn of(who: Who) -> Self {
        SessionSequences { known: Mutex::default(), who: Mutex::new(Some(who)) }
    }

    /// Says as whom the session acts from here on.
    pub(crate) fn act_as(&self, who: Who) {
        *self.who.lock() = Some(who);
    }

    fn authority(&self, catalog: &CatalogSnapshot) -> Authority {
        let who = self.who.lock();
        who.as_ref().map_or_else(Authority::unlimited, |who| who.authority(catalog))
    }

    /// `currval` of a sequence, or `lastval`: 55000 if the session has not asked for one yet.
    pub(crate) fn current(
        &self,
        catalog: &CatalogSnapshot,
        authority: &Authority,
        sequence: Option<u32>,
    ) -> Result<i64, SqlError> {
        let known = self.known.lock();
        let Some(id) = sequence else {
            let last = known.last.filter(|id| catalog.sequence_by_id(*id).is_some());
            if let Some(sequence) = last.and_then(|id| catalog.sequence_by_id(id)) {
                authority.demand_any(&**sequence, Privileges::USAGE | Privileges::SELECT)?;
            }
            return last.and_then(|id| known.current.get(&id)).copied().ok_or_else(|| {
                SqlError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "lastval is not yet defined in this session",
                )
            });
        };
        let sequence = sequence_of(catalog, id)?;
        authority.demand_any(&*sequence, Privileges::USAGE | Privileges::SELECT)?;
        known.current.get(&id).copied().ok_or_else(|| {
            SqlError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!(
                    "currval of sequence \"{}\" is not yet defined in this session",
                    sequence.name
                ),
            )
        })
    }

    /// DISCARD SEQUENCES.
    pub(crate) fn discard(&self) {
        *self.known.lock() = Known::default();
    }
}

/// The sequence of that oid, or what is wrong with it.
fn sequence_of(catalog: &CatalogSnapshot, id: u32) -> Result<Arc<Sequence>, SqlError> {
    catalog.sequence_by_id(id).cloned().ok_or_else(|| {
        let name = catalog.table_by_id(id).map(|t| t.name.clone());
        match name.or_else(|| catalog.view_by_id(id).map(|v| v.name.clone())) {
            Some(name) => {
                SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a sequence"))
            }
            None => SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation with OID {id} does not exist"),
            ),
        }
    })
}

/// Calls of sequence functions by one statement.
pub(crate) struct SequenceCalls<'a> {
    pub(crate) db: &'a Db,
    pub(crate) shared: &'a Sequences,
    pub(crate) own: &'a SessionSequences,
    pub(crate) catalog: &'a CatalogSnapshot,
    pub(crate) read_only: bool,
    /// Values fetched for the rows to come, by the sequence's id.
    reserved: Mutex<HashMap<u32, VecDeque<i64>>>,
    /// What the role may do that asks; found at the first call.
    authority: OnceLock<Authority>,
}

/// Whether a function asks a sequence. `currval` and `lastval` ask the session only.
pub(crate) fn is_sequence_function(name: &str) -> bool {
    matches!(name, "nextval" | "setval")
}

pub(crate) fn is_sequence_call(scalar: &Scalar) -> bool {
    matches!(scalar, Scalar::Call { func, .. } if is_sequence_function(func.name))
}

/// Whether an expression asks a sequence: [`ir::eval`] cannot.
pub(crate) fn has_sequence_call(scalar: &Scalar) -> bool {
    scalar.any(&mut is_sequence_call)
}

/// The sequences that an expression takes one value of whenever it is evaluated.
fn certain(scalar: &Scalar) -> Option<u32> {
    match scalar {
        Scalar::Cast { arg, .. } | Scalar::Relabel(arg, _) => certain(arg),
        Scalar::Call { func, args, .. } if func.name == "nextval" => match args.as_slice() {
            [Scalar::Literal(Datum::Oid(id), _)] => Some(*id),
            _ => None,
        },
        _ => None,
    }
}

impl Waits for SequenceCalls<'_> {
    fn call<'a>(&'a self, function: &'a str, args: &'a [Datum]) -> Value<'a> {
        Box::pin(async move {
            match is_sequence_function(function) {
                true => self.ask(function, args).await,
                false => Err(SqlError::unsupported(format!("{function} in this place"))),
            }
        })
    }
}

impl<'a> SequenceCalls<'a> {
    pub(crate) fn new(
        db: &'a Db,
        shared: &'a Sequences,
        own: &'a SessionSequences,
        catalog: &'a CatalogSnapshot,
        read_only: bool,
    ) -> Self {
        let reserved = Mutex::default();
        SequenceCalls { db, shared, own, catalog, read_only, reserved, authority: OnceLock::new() }
    }

    /// Fetches at once what so many rows will take by these expressions, where that is certain.
    pub(crate) async fn reserve(
        &self,
        scalars: impl Iterator<Item = &Scalar>,
    ) -> Result<(), SqlError> {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for id in scalars.filter_map(certain) {
            *counts.entry(id).or_default() += 1;
        }
        for (id, count) in counts.into_iter().filter(|(_, count)| *count > 1) {
            let sequence = sequence_of(self.catalog, id)?;
            self.allow(&sequence, "nextval")?;
            if sequence.cache > 1 {
                continue;
            }
            let values = self.shared.ask(self.db, &sequence, Wanted::Next(count)).await?;
            self.reserved.lock().entry(id).or_default().extend(values);
        }
        Ok(())
    }

    /// The value of an expression, sequence functions included.
    pub(crate) fn eval<'b>(
        &'b self,
        scalar: &'b Scalar,
        env: &'b EvalEnv,
        slots: &'b [Datum],
        params: &'b [Datum],
    ) -> Value<'b> {
        Waiting { calls: self, env, slots, params }.value(scalar)
    }

    /// Calls a sequence function.
    pub(crate) async fn ask(&self, function: &str, args: &[Datum]) -> Result<Datum, SqlError> {
        if args.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        let Some(Datum::Oid(id)) = args.first() else {
            return Err(SqlError::internal(format!("{function}({args:?})")));
        };
        let sequence = sequence_of(self.catalog, *id)?;
        self.allow(&sequence, function)?;
        if self.read_only {
            return Err(SqlError::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {function}() in a read-only transaction"),
            ));
        }
        match function {
            "setval" => self.set(&sequence, args).await,
            _ => self.next(&sequence).await.map(Datum::Int8),
        }
    }

    /// 42501 if the role may not call the function. Who writes to a table may take values of its
    /// identity columns.
    fn allow(&self, sequence: &Sequence, function: &str) -> Result<(), SqlError> {
        let authority = self.authority.get_or_init(|| self.own.authority(self.catalog));
        if authority.is_superuser() {
            return Ok(());
        }
        if function == "setval" {
            return authority.demand(sequence, Privileges::UPDATE);
        }
        if let Some((table, _)) = crate::ddl::identity_of(self.catalog, sequence) {
            let write = Privileges::INSERT | Privileges::UPDATE;
            if authority.demand_any(&**table, write).is_ok() {
                return Ok(());
            }
        }
        authority.demand_any(sequence, Privileges::USAGE | Privileges::UPDATE)
    }

    /// Puts a sequence into a state.
    pub(crate) async fn place(&self, id: u32, state: SequenceState) -> Result<(), SqlError> {
        let sequence = sequence_of(self.catalog, id)?;
        self.shared.ask(self.db, &sequence, Wanted::Set(state)).await.map(drop)
    }

    async fn next(&self, sequence: &Arc<Sequence>) -> Result<i64, SqlError> {
        let reserved = match self.reserved.lock().get_mut(&sequence.id) {
            Some(values) => match values.pop_front() {
                Some(value) => Some(value),
                None => return Err(exhausted(sequence)),
            },
            None => None,
        };
        let ahead = || self.own.known.lock().ahead.get_mut(&sequence.values)?.pop_front();
        let value = match reserved.or_else(ahead) {
            Some(value) => value,
            None => {
                let values = self.shared.ask(self.db, sequence, Wanted::Next(1)).await?;
                let mut values = VecDeque::from(values);
                let first = values.pop_front().ok_or_else(|| exhausted(sequence))?;
                if !values.is_empty() {
                    self.own.known.lock().ahead.insert(sequence.values, values);
                }
                first
            }
        };
        let mut known = self.own.known.lock();
        known.current.insert(sequence.id, value);
        known.last = Some(sequence.id);
        Ok(value)
    }

    async fn set(&self, sequence: &Arc<Sequence>, args: &[Datum]) -> Result<Datum, SqlError> {
        let Some(Datum::Int8(value)) = args.get(1) else {
            return Err(SqlError::internal(format!("setval({args:?})")));
        };
        if !(sequence.min..=sequence.max).contains(value) {
            return Err(SqlError::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                format!(
                    "setval: value {value} is out of bounds for sequence \"{}\" ({}..{})",
                    sequence.name, sequence.min, sequence.max
                ),
            ));
        }
        let called = !matches!(args.get(2), Some(Datum::Bool(false)));
        let state = SequenceState { last: *value, called };
        self.shared.ask(self.db, sequence, Wanted::Set(state)).await?;
        let mut known = self.own.known.lock();
        known.ahead.remove(&sequence.values);
        if called {
            known.current.insert(sequence.id, *value);
        }
        Ok(Datum::Int8(*value))
    }
}
