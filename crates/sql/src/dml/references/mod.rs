//! Foreign keys: what has to hold, and what happens, after rows were written.
//!
//! ```text
//!   statement writes ─▶ follow ─┬─ rows that refer:      the row they refer to is there, locked KEY SHARE
//!                               ├─ NO ACTION, RESTRICT:  nobody refers any more
//!                               └─ CASCADE, SET …:       the rows that refer are written ─▶ follow those
//!   deferred checks ─▶ queue ─▶ COMMIT or SET CONSTRAINTS IMMEDIATE
//! ```
//!
//! # Why it is right with others about
//!
//! Who inserts a row that refers holds the row it refers to locked for KEY SHARE until it ends; who
//! deletes that one, or changes its key, holds it locked for UPDATE. So one of the two waits, and looks
//! afterwards. What it then looks at must be the newest state, not its snapshot: a lock returns that;
//! a search for rows that refer is made at a new snapshot, at the levels that do not check at the
//! commit what they have read. SERIALIZABLE does, so its own snapshot is enough.
//!
//! Deferred checks are about the state, not about what was done: one that a rollback to a savepoint
//! has made pointless passes.

mod act;
mod deferrals;
mod lookup;
mod reference;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use base::Key;
use catalog::{Action, CatalogSnapshot, Constraint, Table};
use kv::{Db, Strength, Txn};
use pgtypes::{Datum, EvalEnv};

use super::rules::Rules;
use super::write::{codec_error, print};
use crate::SqlError;
use crate::point::Defaults;
use crate::session::SequenceCalls;

pub(crate) use deferrals::{Check, Deferrals};
pub(crate) use reference::is_comparable;

use deferrals::Of;
use reference::{Reference, same, values};

/// Something that happened to a row.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) table: Arc<Table>,
    /// Its key now, or the last one.
    pub(crate) key: Key,
    pub(crate) old: Option<Vec<Datum>>,
    pub(crate) new: Option<Vec<Datum>>,
}

/// The foreign keys of the statement that runs.
pub(crate) struct References<'a> {
    pub(crate) db: &'a Db,
    pub(crate) txn: &'a Txn,
    pub(crate) env: &'a EvalEnv,
    pub(crate) catalog: &'a CatalogSnapshot,
    pub(crate) deferrals: &'a Deferrals,
    pub(crate) sequences: &'a SequenceCalls<'a>,
}

impl<'a> References<'a> {
    fn reference(&self, table: u32, constraint: u32) -> Option<Reference<'a>> {
        let from = self.catalog.table_by_id(table)?;
        let constraint = from.constraint_by_oid(constraint)?;
        self.outgoing(from, constraint)
    }

    fn outgoing(&self, from: &'a Arc<Table>, constraint: &'a Constraint) -> Option<Reference<'a>> {
        let key = constraint.foreign_key()?;
        let to = self.catalog.table_by_id(key.table)?;
        Some(Reference { constraint, key, from, to })
    }

    fn schema(&self, table: &Table) -> &'a str {
        self.catalog.schema_by_id(table.schema).map_or("", |s| s.name.as_str())
    }

    /// Carries out what events bring about, and checks what has to hold now.
    pub(crate) async fn follow(&self, events: Vec<Event>) -> Result<(), SqlError> {
        let mut events = VecDeque::from(events);
        let mut checks: Vec<Check> = Vec::new();
        let mut rules: BTreeMap<u32, Rules> = BTreeMap::new();
        while let Some(event) = events.pop_front() {
            let Some(table) = self.catalog.table_by_id(event.table.id) else { continue };
            if let Some(new) = &event.new {
                for constraint in &table.constraints {
                    let Some(reference) = self.outgoing(table, constraint) else { continue };
                    let own = reference.own_positions();
                    let before = event.old.as_ref().map(|old| values(old, &own));
                    if before.is_some_and(|before| same(&before, &values(new, &own))) {
                        continue;
                    }
                    checks.push(Check {
                        constraint: constraint.oid,
                        table: table.id,
                        what: Of::Referring(event.key.clone()),
                    });
                }
            }
            let Some(old) = &event.old else { continue };
            for (from, constraint, key) in self.catalog.references_to(table.id) {
                let reference = Reference { constraint, key, from, to: table };
                let their = reference.their_positions();
                let gone = values(old, &their);
                let new = event.new.as_ref().map(|new| values(new, &their));
                let stays = new.as_ref().is_some_and(|new| same(&gone, new));
                if stays || gone.iter().any(Datum::is_null) {
                    continue;
                }
                let action = if new.is_some() { key.on_update } else { key.on_delete };
                match action {
                    Action::NoAction => checks.push(Check {
                        constraint: constraint.oid,
                        table: from.id,
                        what: Of::Referenced(gone),
                    }),
                    Action::Restrict => self.check_unreferenced(reference, &gone).await?,
                    Action::Cascade | Action::SetNull | Action::SetDefault => {
                        let made =
                            self.act(reference, action, &gone, new.as_deref(), &mut rules).await?;
                        if action == Action::SetDefault {
                            // The default may be what has just gone.
                            checks.extend(made.iter().map(|event| Check {
                                constraint: constraint.oid,
                                table: from.id,
                                what: Of::Referring(event.key.clone()),
                            }));
                        }
                        events.extend(made);
                    }
                }
            }
        }
        self.check_all(checks).await
    }

    /// Checks, or puts off.
    async fn check_all(&self, checks: Vec<Check>) -> Result<(), SqlError> {
        let mut now = Vec::new();
        for check in checks {
            let Some(reference) = self.reference(check.table, check.constraint) else { continue };
            if self.deferrals.is_deferred(reference.constraint, reference.key) {
                self.deferrals.put(check);
            } else {
                now.push(check);
            }
        }
        self.check_now(now).await
    }

    /// Makes checks whose time has come.
    pub(crate) async fn check_now(&self, checks: Vec<Check>) -> Result<(), SqlError> {
        // Many rows may refer to one: it is locked already then.
        let mut found = BTreeSet::new();
        for check in checks {
            // A constraint that was dropped meanwhile demands nothing.
            let Some(reference) = self.reference(check.table, check.constraint) else { continue };
            match &check.what {
                Of::Referring(key) => self.check_referring(reference, key, &mut found).await?,
                Of::Referenced(values) => {
                    if self.referenced_row(reference, values).await?.is_none() {
                        self.check_unreferenced(reference, values).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn check_referring(
        &self,
        reference: Reference<'_>,
        key: &Key,
        found: &mut BTreeSet<(u32, Key)>,
    ) -> Result<(), SqlError> {
        let Some(value) = self.txn.get(key).await? else { return Ok(()) };
        let codec = reference.from.codec();
        let row = codec.decode(key, &value).map_err(|e| codec_error(&e, reference.from))?;
        let own = values(&row, &reference.own_positions());
        let mut entry = None;
        if !own.iter().any(Datum::is_null)
            && let Some(wanted) = reference.convert(self.env, &own, true)
        {
            entry = self.entry(reference, &wanted)?.map(|key| (reference.constraint.oid, key));
        }
        if entry.as_ref().is_some_and(|entry| found.contains(entry)) {
            return Ok(());
        }
        self.check_row(reference, &row).await?;
        found.extend(entry);
        Ok(())
    }

    /// Checks that what one row refers to is there, and stays.
    async fn check_row(&self, reference: Reference<'_>, row: &[Datum]) -> Result<(), SqlError> {
        let own = values(row, &reference.own_positions());
        let nulls = own.iter().filter(|v| v.is_null()).count();
        if nulls == own.len() || (nulls > 0 && !reference.key.full) {
            return Ok(());
        }
        if nulls > 0 {
            let detail = "MATCH FULL does not allow mixing of null and nonnull key values.";
            let schema = self.schema(reference.from);
            return Err(reference.violated(reference.missing(), detail.to_owned(), schema));
        }
        let found = match reference.convert(self.env, &own, true) {
            Some(wanted) => self.referenced_row(reference, &wanted).await?,
            None => None,
        };
        match found {
            Some(_) => Ok(()),
            None => Err(self.not_present(reference, &own)),
        }
    }

    fn not_present(&self, reference: Reference<'_>, own: &[Datum]) -> SqlError {
        let shown = self.describe(reference.from, &reference.own_positions(), own);
        let detail = format!("Key {shown} is not present in table \"{}\".", reference.to.name);
        reference.violated(reference.missing(), detail, self.schema(reference.from))
    }

    /// Checks that no row refers to a key.
    async fn check_unreferenced(
        &self,
        reference: Reference<'_>,
        gone: &[Datum],
    ) -> Result<(), SqlError> {
        if self.referring_rows(reference, gone, Strength::KeyShare, true).await?.is_empty() {
            return Ok(());
        }
        let message = format!(
            "update or delete on table \"{}\" violates foreign key constraint \"{}\" on table \"{}\"",
            reference.to.name, reference.constraint.name, reference.from.name
        );
        let shown = self.describe(reference.to, &reference.their_positions(), gone);
        let detail =
            format!("Key {shown} is still referenced from table \"{}\".", reference.from.name);
        Err(reference.violated(message, detail, self.schema(reference.from)))
    }

    /// `(a, b)=(1, x)`.
    fn describe(&self, table: &Table, positions: &[usize], values: &[Datum]) -> String {
        let names: Vec<String> = positions
            .iter()
            .map(|&p| pgtypes::registry::quote_ident(&table.columns[p].name))
            .collect();
        let values: Vec<String> = positions
            .iter()
            .zip(values)
            .map(|(&p, v)| print(v, table.columns[p].ty, self.env))
            .collect();
        format!("({})=({})", names.join(", "), values.join(", "))
    }
}

impl<'a> References<'a> {
    /// Checks rows of a table against a constraint that it is about to have. Whoever calls keeps others
    /// from writing, so nothing is locked.
    pub(crate) async fn validate(
        &self,
        from: Arc<Table>,
        to: Arc<Table>,
        constraint: &Constraint,
        rows: Vec<Vec<Datum>>,
    ) -> Result<(), SqlError> {
        let Some(key) = constraint.foreign_key() else { return Ok(()) };
        let reference = Reference { constraint, key, from: &from, to: &to };
        let own = reference.own_positions();
        let mut entries = Vec::with_capacity(rows.len());
        let mut kept = Vec::with_capacity(rows.len());
        for row in &rows {
            let given = values(row, &own);
            if given.iter().any(Datum::is_null) {
                // Whether that is allowed needs no look at the other table.
                self.check_row(reference, row).await?;
                continue;
            }
            let wanted = reference.convert(self.env, &given, true);
            match wanted.and_then(|wanted| self.entry(reference, &wanted).ok().flatten()) {
                Some(entry) => {
                    entries.push(entry);
                    kept.push(row);
                }
                None => return Err(self.not_present(reference, &given)),
            }
        }
        let found = self.txn.get_many(&entries).await?;
        match found.iter().position(Option::is_none) {
            Some(missing) => Err(self.not_present(reference, &values(kept[missing], &own))),
            None => Ok(()),
        }
    }
}

/// Whether an UPDATE of these columns can concern a reference of the table, or one to it.
pub(crate) fn concerns(
    table: &Table,
    defaults: &dyn Defaults,
    assigned: impl Fn(usize) -> bool,
) -> bool {
    let outgoing = table.foreign_keys().flat_map(|(_, key)| table.positions(&key.columns));
    outgoing.into_iter().any(&assigned)
        || defaults.referenced_positions(table).into_iter().any(assigned)
}
