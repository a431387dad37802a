//! Who depends on what, and what DROP … CASCADE takes along.
//!
//! ```text
//!   table ◀── view, FOREIGN KEY of another table, (silently: the sequences of its columns)
//!   column ◀── view, generated column, FOREIGN KEY of another table, (silently: own constraints, indexes)
//!   unique index ◀── FOREIGN KEY
//!   sequence ◀── default of a column
//!   view ◀── view
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use catalog::{CatalogSnapshot, Change, Table};

use super::expression::{columns_of_stored, names_relation};
use super::{Ddl, notice, sequence};
use crate::session::Session;
use crate::session::api::{Severity, Sink};
use crate::{SqlError, SqlState};

/// Something that can be dropped, or that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    Table(u32),
    View(u32),
    Sequence(u32),
    /// A column, by the table and its id.
    Column(u32, u32),
    /// The default of a column.
    Default(u32, u32),
    /// A constraint that is no index, by the table and its oid.
    Constraint(u32, u32),
    /// An index, constraint or not, by the table and its oid.
    Index(u32, u32),
    /// An enumeration.
    Type(u32),
}

impl Object {
    /// A number by which later objects come later.
    pub(super) fn oid(self) -> u32 {
        match self {
            Object::Table(id) | Object::View(id) | Object::Sequence(id) | Object::Type(id) => id,
            Object::Column(id, _) | Object::Default(id, _) => id,
            Object::Constraint(_, oid) | Object::Index(_, oid) => oid,
        }
    }
}

/// Objects that go, and what the user hears of it.
pub(super) struct Drop {
    roots: Vec<Object>,
    gone: BTreeSet<Object>,
    /// Who depends on whom, in the order of discovery; silent ones left out.
    chain: Vec<(Object, Object)>,
}

impl Drop {
    /// All that goes with some objects.
    pub(super) fn of(catalog: &CatalogSnapshot, roots: &[Object]) -> Drop {
        let mut drop = Drop {
            roots: roots.to_vec(),
            gone: roots.iter().copied().collect(),
            chain: Vec::new(),
        };
        let mut queue: VecDeque<Object> = roots.iter().copied().collect();
        while let Some(object) = queue.pop_front() {
            for (dependent, silent) in dependents(catalog, object) {
                let inside = drop.is_inside(dependent);
                if inside || !drop.gone.insert(dependent) {
                    continue;
                }
                if !silent {
                    drop.chain.push((dependent, object));
                }
                queue.push_back(dependent);
            }
        }
        drop
    }

    /// Whether a thing of a table goes with the table.
    fn is_inside(&self, object: Object) -> bool {
        match object {
            Object::Column(table, _)
            | Object::Default(table, _)
            | Object::Constraint(table, _)
            | Object::Index(table, _) => self.gone.contains(&Object::Table(table)),
            Object::Table(_) | Object::View(_) | Object::Sequence(_) | Object::Type(_) => false,
        }
    }

    /// 2BP01 if others depend on it and CASCADE was not said; a notice of what goes if it was.
    pub(super) fn allow(
        &self,
        session: &Session,
        catalog: &CatalogSnapshot,
        cascade: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        let name = |object: &Object| describe(session, catalog, *object);
        let others: Vec<(String, String)> = self
            .chain
            .iter()
            .filter(|(dependent, _)| !self.is_inside(*dependent))
            .map(|(dependent, on)| (name(dependent), name(on)))
            .collect();
        let message = match self.roots.as_slice() {
            [one] => format!("cannot drop {} because other objects depend on it", name(one)),
            _ => "cannot drop desired object(s) because other objects depend on them".to_owned(),
        };
        allow(&others, message, cascade, sink)
    }

    /// The same for a schema: what is in it depends on it.
    pub(super) fn allow_schema(
        &self,
        session: &Session,
        catalog: &CatalogSnapshot,
        schema: &str,
        cascade: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        let name = |object: &Object| describe(session, catalog, *object);
        let on = format!("schema {}", crate::sysviews::quote(schema));
        let inside = self.roots.iter().map(|object| (name(object), on.clone()));
        let others = self
            .chain
            .iter()
            .filter(|(dependent, _)| !self.is_inside(*dependent))
            .map(|(dependent, on)| (name(dependent), name(on)));
        let all: Vec<(String, String)> = inside.chain(others).collect();
        let message = format!("cannot drop {on} because other objects depend on it");
        allow(&all, message, cascade, sink)
    }

    /// Makes all of it so, and `more`. The rows of tables that lose their primary key, or a column of it,
    /// move to a hidden row id first.
    pub(super) async fn carry_out(
        &self,
        session: &mut Session,
        ddl: &mut Ddl,
        more: Vec<Change>,
    ) -> Result<(), SqlError> {
        for id in self.tables_without_key(&ddl.catalog) {
            let table = ddl.catalog.table_by_id(id).expect("its key goes").clone();
            let next = super::alter::drop_primary_key(session, ddl, &table).await?;
            ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
        }
        let mut changes = self.changes(session, &ddl.catalog)?;
        changes.extend(more);
        match changes.is_empty() {
            true => Ok(()),
            false => ddl.write(session, changes).await,
        }
    }

    /// Tables that stay, but not their primary keys.
    fn tables_without_key(&self, catalog: &CatalogSnapshot) -> BTreeSet<u32> {
        let key_of = |object: &Object| {
            let (id, key) = match *object {
                Object::Column(id, column) => {
                    let table = catalog.table_by_id(id)?;
                    (id, table.primary.columns.iter().any(|c| c.column == column))
                }
                Object::Index(id, oid) => {
                    let table = catalog.table_by_id(id)?;
                    (id, table.primary.oid == oid && !table.has_hidden_row_id())
                }
                _ => return None,
            };
            Some(id).filter(|_| key)
        };
        self.gone.iter().filter(|object| !self.is_inside(**object)).filter_map(key_of).collect()
    }

    fn changes(
        &self,
        session: &Session,
        catalog: &CatalogSnapshot,
    ) -> Result<Vec<Change>, SqlError> {
        let mut changes = Vec::new();
        let mut tables: BTreeMap<u32, Table> = BTreeMap::new();
        for object in &self.gone {
            if self.is_inside(*object) {
                continue;
            }
            match *object {
                Object::Table(id) => {
                    if let Some(table) = catalog.table_by_id(id) {
                        session.note_dropped(table)?;
                        changes.push(Change::DropTable(id));
                    }
                }
                Object::View(id) => changes.push(Change::DropView(id)),
                Object::Sequence(id) => changes.push(Change::DropSequence(id)),
                Object::Type(id) => changes.push(Change::DropType(id)),
                Object::Column(id, _)
                | Object::Default(id, _)
                | Object::Constraint(id, _)
                | Object::Index(id, _) => {
                    let Some(table) = catalog.table_by_id(id) else { continue };
                    let next = tables.entry(id).or_insert_with(|| Table::clone(table));
                    take_from(session, table, next, *object)?;
                }
            }
        }
        changes.extend(tables.into_values().map(|table| Change::PutTable(Box::new(table))));
        Ok(changes)
    }

    /// Whether it takes a thing along.
    pub(super) fn takes(&self, object: Object) -> bool {
        self.gone.contains(&object)
    }
}

/// `others`: what depends, and on what.
fn allow(
    others: &[(String, String)],
    message: String,
    cascade: bool,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    if others.is_empty() {
        return Ok(());
    }
    if !cascade {
        let lines: Vec<String> =
            others.iter().map(|(dependent, on)| format!("{dependent} depends on {on}")).collect();
        return Err(SqlError::new(SqlState("2BP01"), message)
            .detail(lines.join("\n"))
            .hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    let lines: Vec<String> = others.iter().map(|(d, _)| format!("drop cascades to {d}")).collect();
    match lines.as_slice() {
        [one] => notice(sink, SqlState("00000"), one.clone()),
        many => {
            let message = format!("drop cascades to {} other objects", many.len());
            let told = SqlError::new(SqlState("00000"), message).detail(many.join("\n"));
            sink.notice(Severity::Notice, &told);
        }
    }
    Ok(())
}

fn take_from(
    session: &Session,
    table: &Arc<Table>,
    next: &mut Table,
    object: Object,
) -> Result<(), SqlError> {
    match object {
        Object::Default(_, column) => {
            for c in next.columns.iter_mut().filter(|c| c.id == column) {
                c.default = None;
                c.sequence = None;
                c.identity = None;
            }
        }
        Object::Constraint(_, oid) => next.constraints.retain(|c| c.oid != oid),
        Object::Index(_, oid) => {
            for index in next.indexes.iter().filter(|i| i.oid == oid) {
                session.note_dropped_index(table, index)?;
            }
            next.indexes.retain(|i| i.oid != oid);
            next.drop_unused_computed();
        }
        Object::Column(_, column) => {
            next.columns.retain(|c| c.id != column);
            next.comments.retain(|(c, _)| *c != column);
        }
        Object::Table(_) | Object::View(_) | Object::Sequence(_) | Object::Type(_) => {}
    }
    Ok(())
}

/// What depends on an object directly; true: it goes without a word.
fn dependents(catalog: &CatalogSnapshot, object: Object) -> Vec<(Object, bool)> {
    let mut found = Vec::new();
    let views = |id: u32, column: Option<u32>, found: &mut Vec<(Object, bool)>| {
        let uses = |view: &&Arc<catalog::View>| {
            view.uses
                .iter()
                .any(|(used, columns)| *used == id && column.is_none_or(|c| columns.contains(&c)))
        };
        found.extend(catalog.views().filter(uses).map(|view| (Object::View(view.id), false)));
    };
    match object {
        Object::Table(id) => {
            let Some(table) = catalog.table_by_id(id) else { return found };
            for owned in sequence::owned(catalog, table, None) {
                found.push((Object::Sequence(owned.id), true));
            }
            let keys = catalog.references_to(id).filter(|(from, ..)| from.id != id);
            found.extend(keys.map(|(from, c, _)| (Object::Constraint(from.id, c.oid), false)));
            views(id, None, &mut found);
        }
        Object::View(id) => views(id, None, &mut found),
        Object::Sequence(id) => {
            views(id, None, &mut found);
            for table in catalog.tables() {
                for column in &table.columns {
                    let mentions = |sql: &String| names_relation(sql, id);
                    if column.sequence == Some(id) || column.default.as_ref().is_some_and(mentions)
                    {
                        found.push((Object::Default(table.id, column.id), false));
                    }
                }
            }
        }
        Object::Column(id, column) => {
            let Some(table) = catalog.table_by_id(id) else { return found };
            column_dependents(catalog, table, column, &mut found);
            views(id, Some(column), &mut found);
        }
        Object::Index(id, oid) => {
            let keys = catalog.references_to(id).filter(|(.., key)| key.index == oid);
            found.extend(keys.map(|(from, c, _)| (Object::Constraint(from.id, c.oid), false)));
        }
        Object::Type(id) => type_dependents(catalog, id, &mut found),
        Object::Default(..) | Object::Constraint(..) => {}
    }
    found
}

fn type_dependents(catalog: &CatalogSnapshot, id: u32, found: &mut Vec<(Object, bool)>) {
    let mentions = |sql: &str| super::enums::mentions(sql, id);
    for table in catalog.tables() {
        for column in &table.columns {
            let generated = column.generated.as_deref().is_some_and(mentions);
            if column.ty.enum_oid() == Some(id) || generated {
                found.push((Object::Column(table.id, column.id), false));
            } else if column.default.as_deref().is_some_and(mentions) {
                found.push((Object::Default(table.id, column.id), false));
            }
        }
        for constraint in &table.constraints {
            if constraint.check().is_some_and(mentions) {
                found.push((Object::Constraint(table.id, constraint.oid), false));
            }
        }
        let expressions = table.computed.iter();
        for computed in expressions.filter(|c| c.generated.as_deref().is_some_and(mentions)) {
            let indexes = table.indexes.iter().filter(|i| i.mentions(computed.id));
            found.extend(indexes.map(|i| (Object::Index(table.id, i.oid), false)));
        }
    }
    let views = catalog.views().filter(|v| v.columns.iter().any(|c| c.ty.enum_oid() == Some(id)));
    found.extend(views.map(|view| (Object::View(view.id), false)));
}

fn column_dependents(
    catalog: &CatalogSnapshot,
    table: &Arc<Table>,
    column: u32,
    found: &mut Vec<(Object, bool)>,
) {
    let id = table.id;
    for owned in sequence::owned(catalog, table, Some(column)) {
        found.push((Object::Sequence(owned.id), true));
    }
    let position = table.position_of(column);
    let mentions = |sql: &str| position.is_some_and(|p| columns_of_stored(sql, table).contains(&p));
    for other in table.columns.iter().filter(|c| c.id != column) {
        if other.generated.as_deref().is_some_and(mentions) {
            found.push((Object::Column(id, other.id), false));
        }
    }
    for constraint in &table.constraints {
        let own = match &constraint.kind {
            catalog::ConstraintKind::Check { expression } => mentions(expression),
            catalog::ConstraintKind::ForeignKey(key) => key.columns.contains(&column),
            catalog::ConstraintKind::NotNull { column: of } => *of == column,
        };
        if own {
            found.push((Object::Constraint(id, constraint.oid), true));
        }
    }
    let expressions: Vec<u32> = table
        .computed
        .iter()
        .filter(|c| c.generated.as_deref().is_some_and(mentions))
        .map(|c| c.id)
        .collect();
    let indexes = table
        .indexes
        .iter()
        .filter(|i| i.mentions(column) || expressions.iter().any(|id| i.mentions(*id)));
    found.extend(indexes.map(|i| (Object::Index(id, i.oid), true)));
    let keys = catalog.references_to(id).filter(|(.., key)| key.referenced.contains(&column));
    found.extend(keys.map(|(from, c, _)| (Object::Constraint(from.id, c.oid), from.id == id)));
}

/// An object in PostgreSQL's words.
fn describe(session: &Session, catalog: &CatalogSnapshot, object: Object) -> String {
    let relation = |id: u32| session.relation_shown(catalog, id);
    let table = |id: u32| format!("table {}", relation(id));
    let column = |id: u32, column: u32| {
        let column = catalog.table_by_id(id).and_then(|t| {
            t.columns.iter().find(|c| c.id == column).map(|c| crate::sysviews::quote(&c.name))
        });
        column.unwrap_or_default()
    };
    match object {
        Object::Table(id) => table(id),
        Object::View(id) => format!("view {}", relation(id)),
        Object::Type(id) => format!("type {}", pgtypes::PgType::enumeration(id).sql_name()),
        Object::Sequence(id) => format!("sequence {}", relation(id)),
        Object::Column(id, c) => format!("column {} of {}", column(id, c), table(id)),
        Object::Default(id, c) => {
            format!("default value for column {} of {}", column(id, c), table(id))
        }
        Object::Constraint(id, oid) => {
            let constraint = catalog.table_by_id(id).and_then(|t| t.constraint_by_oid(oid));
            let name = constraint.map_or_else(String::new, |c| crate::sysviews::quote(&c.name));
            format!("constraint {name} on {}", table(id))
        }
        Object::Index(id, oid) => {
            let index = catalog.table_by_id(id).and_then(|t| t.index_by_oid(oid));
            match index {
                Some(index) if index.constraint => {
                    format!("constraint {} on {}", crate::sysviews::quote(&index.name), table(id))
                }
                Some(index) => format!("index {}", crate::sysviews::quote(&index.name)),
                None => String::new(),
            }
        }
    }
}
