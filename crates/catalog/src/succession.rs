//! Whether what was done under one version of the schema may be committed under a later one.
//!
//! F1 (Rae et al., VLDB 2013) lets at most two versions of a schema be in use at a time, keeps servers to
//! that with leases, and takes every change in steps of which any two neighbours are harmless to each
//! other:
//!
//! ```text
//!   index        absent  DeleteOnly  WriteOnly  Filling  Public
//!   constraint   absent              enforced   reading  validated
//! ```
//!
//! Here nobody holds a lease, and no clock is trusted: each transaction remembers which relations it has
//! used, and under which version, and its commit asks [`Usage::allows`]. So the rule holds of what is
//! *committed*, which is all that it protects: no two steps further on, whatever a node that was away
//! believes. Changes of what a transaction has not used do not concern it.
//!
//! # What each pair of neighbours is good for
//!
//! - absent, DeleteOnly: nobody adds an entry; some would delete it.
//! - DeleteOnly, WriteOnly: some add entries, all delete them. None is stale, some are missing.
//! - WriteOnly, Filling: all add and delete them. What is filled from a snapshot taken while Filling misses
//!   nothing.
//! - Filling, Public: all entries are there; some read them.
//!
//! A constraint is enforced by whoever knows it, and the rows of others are read once it is known to all.
//! Where a change takes no steps, it is further away than a neighbour, and whoever used the relation runs
//! again. So that few have to, the table is closed to writers first ([`Table::closed`]), which is a change
//! that everybody goes on beside: whom it makes wait are those who begin to write ([`writers_of`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::{CatalogSnapshot, Column, Constraint, Demand, Index, Table, TableId};

/// What one transaction has used of one version of the catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tables and views by oid, and whether rows of them were written.
    relations: BTreeMap<u32, bool>,
    /// It has looked at the catalog itself.
    everything: bool,
}

impl Usage {
    /// Rows of a relation were read, or written.
    pub fn note(&mut self, relation: u32, written: bool) {
        *self.relations.entry(relation).or_default() |= written;
    }

    /// All descriptors were used.
    pub fn note_everything(&mut self) {
        self.everything = true;
    }

    /// Relations that were used, and whether they were written.
    pub fn relations(&self) -> impl Iterator<Item = (u32, bool)> {
        self.relations.iter().map(|(id, written)| (*id, *written))
    }

    /// Whether that use of `old` is right under `new`, too.
    #[must_use]
    pub fn allows(&self, old: &CatalogSnapshot, new: &CatalogSnapshot) -> bool {
        if old.version() == new.version() {
            return true;
        }
        if self.everything {
            return false;
        }
        let used = self.with_referenced(old);
        let keeps = |(id, written): (&u32, &bool)| {
            keeps_name(old, new, *id)
                && match (old.table_by_id(*id), old.view_by_id(*id)) {
                    (Some(before), _) => new.table_by_id(*id).is_some_and(|after| {
                        may_read(before, after)
                            && (!written
                                || may_write(before, after) && same_references(old, new, *id))
                    }),
                    (_, Some(before)) => new.view_by_id(*id).is_some_and(|after| {
                        (&before.sql, &before.columns) == (&after.sql, &after.columns)
                    }),
                    _ => false,
                }
        };
        used.iter().all(keeps) && same_types(old, new)
    }

    /// With what foreign keys reach from there.
    fn with_referenced(&self, catalog: &CatalogSnapshot) -> BTreeMap<u32, bool> {
        let mut all = self.relations.clone();
        let written = self.relations().filter(|(_, written)| *written);
        let mut left: Vec<u32> = written.map(|(id, _)| id).collect();
        while let Some(id) = left.pop() {
            let Some(table) = catalog.table_by_id(id) else { continue };
            for (_, key) in table.foreign_keys() {
                all.entry(key.table).or_insert(false);
            }
            for (from, ..) in catalog.references_to(id) {
                if !std::mem::replace(all.entry(from.id).or_default(), true) {
                    left.push(from.id);
                }
            }
        }
        all
    }
}

/// Tables whose writers use a table: itself, and those from which foreign keys lead to it. The other way
/// round from [`Usage::allows`], where writers of a table use what they reach.
#[must_use]
pub fn writers_of(catalog: &CatalogSnapshot, table: TableId) -> BTreeSet<TableId> {
    let referring = catalog.references_to(table).map(|(from, ..)| from.id);
    let mut left: Vec<TableId> = referring.chain([table]).collect();
    let mut all = BTreeSet::new();
    while let Some(id) = left.pop() {
        if all.insert(id)
            && let Some(table) = catalog.table_by_id(id)
        {
            left.extend(table.foreign_keys().map(|(_, key)| key.table));
        }
    }
    all
}

/// Whether no relation has come that a name might mean now: of that name, in another schema.
fn keeps_name(old: &CatalogSnapshot, new: &CatalogSnapshot, id: u32) -> bool {
    let name = match (old.table_by_id(id), old.view_by_id(id)) {
        (Some(table), _) => &table.name,
        (_, Some(view)) => &view.name,
        _ => return false,
    };
    let found = |catalog: &CatalogSnapshot, schema| {
        let table = catalog.table(schema, name).map(|table| table.id);
        table.or_else(|| catalog.view(schema, name).map(|view| view.id))
    };
    new.schemas().all(|schema| match found(new, schema.id) {
        Some(now) => now == id || found(old, schema.id) == Some(now),
        None => true,
    })
}

/// Whether enumerations have got new labels at most.
fn same_types(old: &CatalogSnapshot, new: &CatalogSnapshot) -> bool {
    let schemas = old.schemas();
    schemas.flat_map(|schema| old.enums_of(schema.id)).all(|before| {
        new.enum_by_id(before.id).is_some_and(|after| {
            let kept = |label| after.labels.iter().any(|l| l == label);
            before.labels.iter().all(kept)
        })
    })
}

/// Whether rows read are the rows there are.
fn may_read(old: &Table, new: &Table) -> bool {
    let same = |(old, new): (&Column, &Column)| {
        (old.id, &old.name, old.ty, &old.generated, &old.missing)
            == (new.id, &new.name, new.ty, &new.generated, &new.missing)
    };
    old.columns.len() == new.columns.len()
        && old.columns.iter().zip(&new.columns).all(same)
        && same_index(&old.primary, &new.primary)
        // An index that nobody keeps up to date any more tells nothing of changes.
        && old.indexes.iter().filter(|index| index.state.is_public()).all(|index| {
            let now = new.indexes.iter().find(|now| now.id == index.id);
            now.is_some_and(|now| now.state.is_written() && same_index(index, now))
        })
}

/// Whether rows written are as others expect them to be.
fn may_write(old: &Table, new: &Table) -> bool {
    let same = |(before, after): (&Column, &Column)| {
        (&before.default, before.sequence, before.identity)
            == (&after.default, after.sequence, after.identity)
            && old.not_null(before).is_within_a_step_of(new.not_null(after))
    };
    old.columns.iter().zip(&new.columns).all(same)
        && old.computed.iter().all(|c| new.computed.iter().all(|now| now.id != c.id || now == c))
        && same_indexes(old, new)
        && no_new_demands(demanded(old), demanded(new))
}

/// Constraints by oid; a NOT NULL that is being added is told with its column.
fn demanded(table: &Table) -> impl Iterator<Item = (u32, &Constraint)> {
    table.named_constraints().map(|c| (c.oid, c))
}

/// Whether each index is within a step of what it was.
fn same_indexes(old: &Table, new: &Table) -> bool {
    let ids: BTreeSet<_> = old.indexes.iter().chain(&new.indexes).map(|index| index.id).collect();
    ids.into_iter().all(|id| {
        let [old, new] = [old, new].map(|table| table.indexes.iter().find(|i| i.id == id));
        let stage = |index: Option<&Index>| index.map_or(0, |index| index.state.stage());
        let same = old.zip(new).is_none_or(|(old, new)| same_index(old, new));
        same && stage(old).abs_diff(stage(new)) <= 1
    })
}

fn same_index(old: &Index, new: &Index) -> bool {
    let shape = |index: &Index| (index.id, index.unique, index.predicate, index.nulls_not_distinct);
    shape(old) == shape(new) && old.columns == new.columns && old.include == new.include
}

/// Whether the tables that refer to one do so as they did.
fn same_references(old: &CatalogSnapshot, new: &CatalogSnapshot, table: u32) -> bool {
    fn of(catalog: &CatalogSnapshot, table: u32) -> impl Iterator<Item = (u32, &Constraint)> {
        catalog.references_to(table).map(|(_, constraint, _)| (constraint.oid, constraint))
    }
    no_new_demands(of(old, table), of(new, table))
}

/// Whether constraints demand at most one step more than they did. That one is gone harms nobody who kept it.
fn no_new_demands<'a>(
    old: impl Iterator<Item = (u32, &'a Constraint)>,
    mut new: impl Iterator<Item = (u32, &'a Constraint)>,
) -> bool {
    let old: BTreeMap<u32, &Constraint> = old.collect();
    new.all(|(oid, after)| {
        let before = old.get(&oid);
        before.is_none_or(|before| before.kind == after.kind)
            && before.map_or(Demand::None, |c| c.demand()).is_within_a_step_of(after.demand())
    })
}
