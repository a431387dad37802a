//! What kernels may ask of the catalog: names for oids, oids for names, definitions.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use catalog::{CatalogSnapshot, Constraint, DatabaseId, Index, Table};
use pgtypes::env::{Names, SystemNames};
use pgtypes::{Datum, EvalEnv, TypeId};

use super::config::Assignment;
use super::{Session, SessionInfo};
use crate::privilege::{Authority, Lookup, has_privilege, may_signal};
use crate::sysviews::{
    constraint_definition, index_column, index_definition, other_definition, quote,
    system_relation, view_definition,
};

/// The catalog as one session sees it.
struct SessionNames {
    catalog: Arc<CatalogSnapshot>,
    info: Arc<SessionInfo>,
    database: DatabaseId,
    path: Vec<String>,
    authority: Arc<Authority>,
    /// Where indexes and constraints are, by oid: found when first asked for.
    parts: OnceLock<HashMap<u32, (u32, Part)>>,
}

/// A part of a table: its number in the table's list.
#[derive(Clone, Copy)]
enum Part {
    Primary,
    Index(usize),
    Constraint(usize),
}

impl SessionNames {
    fn table(&self, oid: u32) -> Option<&Arc<Table>> {
        self.catalog.table_by_id(oid)
    }

    fn part(&self, oid: u32) -> Option<(&Arc<Table>, Part)> {
        let parts = self.parts.get_or_init(|| {
            let mut parts = HashMap::new();
            for table in self.catalog.tables() {
                if !table.primary.columns.is_empty() {
                    parts.insert(table.primary.oid, (table.id, Part::Primary));
                }
                let indexes = table.indexes.iter().enumerate();
                parts.extend(indexes.map(|(n, i)| (i.oid, (table.id, Part::Index(n)))));
                let constraints = table.constraints.iter().enumerate();
                parts.extend(constraints.map(|(n, c)| (c.oid, (table.id, Part::Constraint(n)))));
            }
            parts
        });
        let (table, part) = parts.get(&oid)?;
        Some((self.table(*table)?, *part))
    }

    fn index(&self, oid: u32) -> Option<(&Arc<Table>, &Index)> {
        let (table, part) = self.part(oid)?;
        match part {
            Part::Primary => Some((table, &table.primary)),
            Part::Index(n) => Some((table, table.indexes.get(n)?)),
            Part::Constraint(_) => None,
        }
    }

    fn schema_name(&self, id: u32) -> &str {
        self.catalog.schema_by_id(id).map_or("", |s| s.name.as_str())
    }

    /// Schema and name of a relation.
    fn relation(&self, oid: u32) -> Option<(String, String)> {
        if let Some(table) = self.table(oid) {
            return Some((self.schema_name(table.schema).to_owned(), table.name.clone()));
        }
        if let Some((table, index)) = self.index(oid) {
            return Some((self.schema_name(table.schema).to_owned(), index.name.clone()));
        }
        if let Some(sequence) = self.catalog.sequence_by_id(oid) {
            return Some((self.schema_name(sequence.schema).to_owned(), sequence.name.clone()));
        }
        if let Some(view) = self.catalog.view_by_id(oid) {
            return Some((self.schema_name(view.schema).to_owned(), view.name.clone()));
        }
        system_relation(oid).map(|(schema, name)| (schema.to_owned(), name.to_owned()))
    }

    fn find(&self, schema: &str, name: &str) -> Option<u32> {
        if let Some(oid) = crate::sysviews::oid_of(schema, name) {
            return Some(oid);
        }
        let schema = self.catalog.schema(self.database, schema)?;
        if let Some(table) = self.catalog.table(schema.id, name) {
            return Some(table.id);
        }
        if let Some(sequence) = self.catalog.sequence(schema.id, name) {
            return Some(sequence.id);
        }
        if let Some(view) = self.catalog.view(schema.id, name) {
            return Some(view.id);
        }
        self.catalog.index(schema.id, name).map(|(_, index)| index.oid)
    }

    /// The oid of a relation named in text, qualified or not.
    fn relation_oid(&self, text: &str) -> Option<u32> {
        let mut parts = split_name(text);
        let name = parts.pop()?;
        match parts.pop() {
            Some(schema) => self.find(&schema, &name),
            None => std::iter::once("pg_catalog")
                .chain(self.path.iter().map(String::as_str))
                .find_map(|schema| self.find(schema, &name)),
        }
    }

    /// The oid of an enumeration, or of an array of it.
    fn type_oid(&self, text: &str) -> Option<u32> {
        let (text, array) = match text.trim().strip_suffix("[]") {
            Some(element) => (element, true),
            None => (text, false),
        };
        let mut parts = split_name(text);
        let name = parts.pop()?;
        let find = |schema: &str| {
            let schema = self.catalog.schema(self.database, schema)?;
            self.catalog.enum_type(schema.id, &name).map(|ty| ty.id + u32::from(array))
        };
        match parts.pop() {
            Some(schema) => find(&schema),
            None => self.path.iter().find_map(|schema| find(schema)),
        }
    }

    /// The name of an enumeration, or of an array of it, as `regtype` prints it.
    fn type_shown(&self, oid: u32) -> Option<String> {
        let (ty, suffix) = match self.catalog.enum_by_id(oid) {
            Some(ty) => (ty, ""),
            None => (self.catalog.enum_by_id(oid.checked_sub(1)?)?, "[]"),
        };
        let schema = self.schema_name(ty.schema);
        Some(match self.is_visible(schema) {
            true => format!("{}{suffix}", quote(&ty.name)),
            false => format!("{}.{}{suffix}", quote(schema), quote(&ty.name)),
        })
    }

    fn is_visible(&self, schema: &str) -> bool {
        schema == "pg_catalog" || self.path.iter().any(|s| s == schema)
    }

    fn indexdef(&self, oid: u32, column: i32, pretty: bool) -> Datum {
        let Some((table, index)) = self.index(oid) else { return Datum::Null };
        let schema = self.schema_name(table.schema);
        match usize::try_from(column) {
            Ok(0) | Err(_) => Datum::text(index_definition(schema, table, index, pretty)),
            Ok(n) => index_column(table, index, n, pretty),
        }
    }

    /// A constraint that is no index.
    fn constraint(&self, oid: u32) -> Option<(&Arc<Table>, &Constraint)> {
        match self.part(oid)? {
            (table, Part::Constraint(n)) => Some((table, table.constraints.get(n)?)),
            _ => None,
        }
    }

    fn constraintdef(&self, oid: u32, pretty: Option<&Datum>) -> Datum {
        if let Some((table, constraint)) = self.constraint(oid) {
            let pretty = pretty == Some(&Datum::Bool(true));
            let relation = |id| self.shown(id);
            let catalog = &self.catalog;
            return Datum::text(other_definition(catalog, table, constraint, relation, pretty));
        }
        self.index(oid)
            .map_or(Datum::Null, |(table, i)| Datum::text(constraint_definition(table, i)))
    }

    /// The name of a relation as `regclass` prints it.
    fn shown(&self, oid: u32) -> Option<String> {
        let (schema, name) = self.relation(oid)?;
        Some(match self.is_visible(&schema) {
            true => quote(&name),
            false => format!("{}.{}", quote(&schema), quote(&name)),
        })
    }

    /// The sequence that goes with a column, with its schema.
    fn serial_sequence(&self, args: &[Datum]) -> Datum {
        let (Some(table), Some(column)) =
            (args.first().and_then(Datum::as_str), args.get(1).and_then(Datum::as_str))
        else {
            return Datum::Null;
        };
        let table = self.relation_oid(table).and_then(|id| self.table(id));
        let sequence = table.and_then(|table| {
            let column = table.columns.iter().find(|c| c.name == column)?.id;
            let owner = Some((table.id, column));
            self.catalog.sequences().find(|s| s.owned_by == owner)
        });
        sequence.map_or(Datum::Null, |s| {
            Datum::text(format!("{}.{}", quote(self.schema_name(s.schema)), quote(&s.name)))
        })
    }

    fn comment(&self, oid: u32, column: u32) -> Datum {
        let number = |c: &u32| *c == column;
        let other = self
            .catalog
            .view_by_id(oid)
            .and_then(|v| v.comments.iter().find(|(c, _)| number(c)).map(|(_, t)| t.clone()));
        let other = other.or_else(|| self.catalog.sequence_by_id(oid)?.comment.clone());
        let other = other.or_else(|| self.catalog.schema_by_id(oid)?.comment.clone());
        let other = other.or_else(|| self.index(oid)?.1.comment.clone());
        let other = other.or_else(|| self.constraint(oid)?.1.comment.clone());
        if let Some(comment) = other {
            return Datum::text(comment);
        }
        let comment = self.table(oid).and_then(|t| {
            let id =
                if column == 0 { 0 } else { t.columns.get(usize::try_from(column).ok()? - 1)?.id };
            t.comments.iter().find(|(c, _)| *c == id).map(|(_, text)| text.clone())
        });
        comment.map_or(Datum::Null, Datum::text)
    }
}

/// Parts of a dotted name, quotes taken off.
fn split_name(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in text.trim().chars() {
        let current = parts.last_mut().expect("never empty");
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c if quoted => current.push(c),
            c => current.push(c.to_ascii_lowercase()),
        }
    }
    parts
}

impl Lookup for SessionNames {
    fn relation_of(&self, name: &str) -> Option<u32> {
        self.relation_oid(name)
    }
}

impl SystemNames for SessionNames {
    fn current_value(&self, sequence: Option<u32>) -> pgtypes::Result<i64> {
        self.info.sequences.current(&self.catalog, &self.authority, sequence).map_err(|error| {
            pgtypes::TypeError::new(error.code().as_str(), error.message().to_owned())
        })
    }

    fn set_config(&self, name: &str, value: Option<&str>, local: bool) -> pgtypes::Result<String> {
        let error = |error: crate::SqlError| {
            pgtypes::TypeError::new(error.code().as_str(), error.message().to_owned())
        };
        if matches!(
            name.to_ascii_lowercase().as_str(),
            "transaction_isolation" | "transaction_read_only" | "transaction_deferrable"
        ) {
            return Err(pgtypes::TypeError::not_supported(format!("set_config of {name}")));
        }
        let (name, checked) = crate::settings::checked(name, value).map_err(error)?;
        let value = value.map(|_| checked.clone());
        self.info.assignments.lock().push(Assignment { name, value, local });
        Ok(checked)
    }

    fn signal(&self, pid: i32, terminate: bool) -> pgtypes::Result<bool> {
        let may = |user: &str| may_signal(&self.catalog, &self.authority, user, terminate);
        let known = self.info.engine.signals.signal(pid, terminate, &may).map_err(|error| {
            pgtypes::TypeError::new(error.code().as_str(), error.message().to_owned())
        })?;
        if !known {
            let message = format!("PID {pid} is not a PostgreSQL server process");
            self.info.warn(crate::SqlError::new(crate::SqlState::WARNING, message));
        }
        Ok(known)
    }

    fn enum_value(&self, ty: u32, label: &str) -> Option<i64> {
        let labels = &self.catalog.enum_by_id(ty)?.labels;
        labels.iter().find(|l| l.label == label).map(|l| l.value)
    }

    fn enum_label(&self, ty: u32, value: i64) -> Option<Arc<str>> {
        let labels = &self.catalog.enum_by_id(ty)?.labels;
        labels.iter().find(|l| l.value == value).map(|l| l.label.as_str().into())
    }

    fn enum_labels(&self, ty: u32) -> Vec<(i64, Arc<str>)> {
        let found = self.catalog.enum_by_id(ty);
        let labels = found.iter().flat_map(|ty| &ty.labels);
        labels.map(|l| (l.value, l.label.as_str().into())).collect()
    }

    fn oid_of(&self, kind: TypeId, name: &str) -> Option<u32> {
        match kind {
            TypeId::Regtype => self.type_oid(name),
            TypeId::Regclass => self.relation_oid(name),
            TypeId::Regnamespace => {
                let name = split_name(name).pop()?;
                self.catalog.schema(self.database, &name).map(|s| s.id)
            }
            TypeId::Regrole => {
                let name = split_name(name).pop()?;
                self.catalog.role(&name).map(|r| r.id)
            }
            TypeId::Regproc => {
                let name = split_name(name).pop()?;
                crate::sysviews::function_oid(&name)
            }
            _ => None,
        }
    }

    fn name_of(&self, kind: TypeId, oid: u32) -> Option<String> {
        match kind {
            TypeId::Regtype => self.type_shown(oid),
            TypeId::Regclass => self.shown(oid),
            TypeId::Regnamespace => self.catalog.schema_by_id(oid).map(|s| quote(&s.name)),
            TypeId::Regrole => self.catalog.roles().find(|r| r.id == oid).map(|r| quote(&r.name)),
            TypeId::Regproc => crate::sysviews::function_name(oid).map(str::to_owned),
            TypeId::Regprocedure => crate::sysviews::program(oid).map(|p| p.signature()),
            TypeId::Regcollation => match oid {
                100 => Some("\"default\"".to_owned()),
                950 => Some("\"C\"".to_owned()),
                951 => Some("\"POSIX\"".to_owned()),
                _ => None,
            },
            _ => None,
        }
    }

    fn may(&self, function: &str, args: &[Datum]) -> pgtypes::Result<Datum> {
        has_privilege(&self.catalog, self.database, &self.authority, self, function, args)
    }

    fn call(&self, function: &str, args: &[Datum]) -> Datum {
        let oid = match args.first() {
            Some(Datum::Oid(oid)) => *oid,
            _ => 0,
        };
        match function {
            "pg_table_is_visible" => self
                .relation(oid)
                .map_or(Datum::Null, |(schema, _)| Datum::Bool(self.is_visible(&schema))),
            "pg_type_is_visible" | "pg_function_is_visible" => Datum::Bool(true),
            "pg_get_userbyid" => {
                let role = self.catalog.roles().find(|r| r.id == oid);
                Datum::text(role.map_or_else(|| format!("unknown (OID={oid})"), |r| r.name.clone()))
            }
            "pg_get_indexdef" => {
                let column = match args.get(1) {
                    Some(Datum::Int4(column)) => *column,
                    _ => 0,
                };
                self.indexdef(oid, column, args.get(2) == Some(&Datum::Bool(true)))
            }
            "pg_get_constraintdef" => self.constraintdef(oid, args.get(1)),
            "pg_get_viewdef" => {
                let view = self.catalog.view_by_id(oid);
                let shown = |id| self.shown(id);
                view.map_or(Datum::Null, |view| {
                    Datum::text(view_definition(&self.catalog, view, shown))
                })
            }
            "pg_get_function_arguments" | "pg_get_function_identity_arguments" => {
                crate::sysviews::program(oid).map_or(Datum::Null, |p| Datum::text(p.arguments()))
            }
            "pg_get_function_result" => {
                crate::sysviews::program(oid).map_or(Datum::Null, |p| Datum::text(p.result()))
            }
            "pg_get_serial_sequence" => self.serial_sequence(args),
            "obj_description" => self.comment(oid, 0),
            "col_description" => match args.get(1) {
                Some(Datum::Int4(n)) if *n > 0 => self.comment(oid, n.unsigned_abs()),
                _ => Datum::Null,
            },
            "to_regclass" => args
                .first()
                .and_then(Datum::as_str)
                .and_then(|name| self.relation_oid(name))
                .map_or(Datum::Null, Datum::Oid),
            // Sizes are known to the ranges, not to the catalog; descriptions of objects that have
            // none are NULL.
            _ => Datum::Null,
        }
    }
}

impl Session {
    /// Lets kernels and the binder ask about `catalog`.
    pub(crate) fn set_names(&mut self, catalog: &Arc<CatalogSnapshot>) {
        let key = (Arc::as_ptr(catalog) as usize, self.settings.generation());
        if self.names_key == key {
            return;
        }
        self.names_key = key;
        // Of the past only the data counts.
        let newest = self.tx.modes.as_of.map(|_| self.engine.catalog.cached());
        self.authority = Arc::new(self.who.authority(newest.as_ref().unwrap_or(catalog)));
        let names = SessionNames {
            catalog: catalog.clone(),
            info: self.info.clone(),
            database: self.database,
            path: self.search_path(),
            authority: self.authority.clone(),
            parts: OnceLock::new(),
        };
        let env: &mut EvalEnv = Arc::make_mut(&mut self.env);
        env.names = Names(Some(Arc::new(names)));
    }
}
