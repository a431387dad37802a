//! One foreign key with both its tables, and values across it.

use std::sync::Arc;

use catalog::{Constraint, ForeignKey, Table};
use pgtypes::cast::{self, Context};
use pgtypes::{Datum, EvalEnv, PgType, TypeId};

use crate::{SqlError, SqlState};

/// A reference with both its tables.
#[derive(Clone, Copy)]
pub(super) struct Reference<'a> {
    pub(super) constraint: &'a Constraint,
    pub(super) key: &'a ForeignKey,
    pub(super) from: &'a Arc<Table>,
    pub(super) to: &'a Arc<Table>,
}

pub(super) fn values(row: &[Datum], positions: &[usize]) -> Vec<Datum> {
    positions.iter().map(|&p| row[p].clone()).collect()
}

/// Whether two values of columns are the same to a foreign key.
pub(super) fn same(a: &[Datum], b: &[Datum]) -> bool {
    a.iter().zip(b).all(|(a, b)| match (a.is_null(), b.is_null()) {
        (false, false) => pgtypes::compare(a, b).is_eq(),
        (a, b) => a && b,
    })
}

impl<'a> Reference<'a> {
    pub(super) fn own_positions(&self) -> Vec<usize> {
        self.from.positions(&self.key.columns)
    }

    pub(super) fn their_positions(&self) -> Vec<usize> {
        self.to.positions(&self.key.referenced)
    }

    /// Values converted from the types of one side to those of the other; `None` if one has no equal
    /// there.
    pub(super) fn convert(
        &self,
        env: &EvalEnv,
        given: &[Datum],
        outwards: bool,
    ) -> Option<Vec<Datum>> {
        let pairs = self.own_positions().into_iter().zip(self.their_positions());
        let types = pairs.map(|(own, their)| {
            let (own, their) = (self.from.columns[own].ty, self.to.columns[their].ty);
            if outwards { (own, their) } else { (their, own) }
        });
        types.zip(given).map(|((from, to), value)| convert(env, value, from, to)).collect()
    }

    pub(super) fn missing(&self) -> String {
        format!(
            "insert or update on table \"{}\" violates foreign key constraint \"{}\"",
            self.from.name, self.constraint.name
        )
    }

    pub(super) fn violated(&self, message: String, detail: String, schema: &str) -> SqlError {
        SqlError::new(SqlState::FOREIGN_KEY_VIOLATION, message)
            .detail(detail)
            .table(schema, self.from.name.as_str())
            .constraint(self.constraint.name.as_str())
    }
}

/// Whether values of these types can be compared across a foreign key.
pub(crate) fn is_comparable(own: PgType, their: PgType) -> bool {
    let implicit =
        |from, to| cast::lookup(from, to).is_some_and(|cast| cast.context <= Context::Implicit);
    let both = |family: &[TypeId]| {
        let of = |ty: PgType| !ty.array && family.contains(&ty.id);
        of(own) && of(their)
    };
    own.base().same(their.base())
        || implicit(own.base(), their.base())
        // What PostgreSQL compares across types.
        || both(&[TypeId::Int2, TypeId::Int4, TypeId::Int8])
        || both(&[TypeId::Float4, TypeId::Float8])
        || both(&[TypeId::Date, TypeId::Timestamp, TypeId::Timestamptz])
}

fn convert(env: &EvalEnv, value: &Datum, from: PgType, to: PgType) -> Option<Datum> {
    let (from, to) = (from.base(), to.base());
    if value.is_null() || from.same(to) {
        return Some(value.clone());
    }
    match cast::lookup(from, to) {
        Some(cast) => cast.apply(env, value.clone(), from, to, false).ok(),
        None => None,
    }
}
