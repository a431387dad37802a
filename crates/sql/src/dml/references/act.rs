//! CASCADE, SET NULL and SET DEFAULT: what is written to rows that refer.

use std::collections::BTreeMap;

use catalog::{Action, Table};
use kv::Strength;
use pgtypes::Datum;

use super::reference::Reference;
use super::{Event, References};
use crate::dml::{Names, Rules, Writes, update_strength};
use crate::point::Defaults;
use crate::session::{CatalogDefaults, View};
use crate::{SqlError, SqlState};

impl<'a> References<'a> {
    /// CASCADE, SET NULL and SET DEFAULT.
    pub(super) async fn act(
        &self,
        reference: Reference<'a>,
        action: Action,
        gone: &[Datum],
        new: Option<&[Datum]>,
        rules: &mut BTreeMap<u32, Rules>,
    ) -> Result<Vec<Event>, SqlError> {
        let table = reference.from;
        let own = reference.own_positions();
        let deletes = action == Action::Cascade && new.is_none();
        let strength = match deletes {
            true => Strength::Update,
            false => update_strength(table, own.iter().copied()),
        };
        let rows = self.referring_rows(reference, gone, strength, false).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let defaults = self.defaults(table);
        if !deletes && !rules.contains_key(&table.id) {
            rules.insert(table.id, Rules::of(table, &defaults)?);
        }
        let mut writes = Writes::default();
        let mut events = Vec::with_capacity(rows.len());
        for (key, old) in rows {
            if deletes {
                writes.delete(table, key.clone(), &old)?;
                events.push(Event { table: table.clone(), key, old: Some(old), new: None });
                continue;
            }
            let mut row = old.clone();
            let converted = match (action, new) {
                (Action::Cascade, Some(new)) => {
                    Some(reference.convert(self.env, new, false).ok_or_else(|| {
                        SqlError::new(
                            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                            "a key is out of range for a column that refers to it",
                        )
                    })?)
                }
                _ => None,
            };
            for (n, &position) in own.iter().enumerate() {
                row[position] = match (action, &converted) {
                    (Action::Cascade, Some(new)) => new[n].clone(),
                    (Action::SetDefault, _) => {
                        let default = defaults.default_of(table, position)?;
                        self.sequences.eval(&default, self.env, &[], &[]).await?
                    }
                    _ => Datum::Null,
                };
            }
            rules[&table.id].complete(&mut row, self.env)?;
            let now = writes.update(table, key, &old, &row)?;
            events.push(Event { table: table.clone(), key: now, old: Some(old), new: Some(row) });
        }
        let names = Names { catalog: self.catalog, env: self.env };
        writes.apply(self.txn, true, &names).await?;
        Ok(events)
    }

    /// Defaults and rules of any table: stored expressions need no search path.
    fn defaults(&self, table: &Table) -> CatalogDefaults<'a> {
        CatalogDefaults { view: View::of_table(self.catalog, table), env: self.env }
    }
}
