//! Statements that change descriptors.
//!
//! ```text
//!   lock the catalog's version ─▶ change descriptors in the transaction ─▶ commit, or roll back
//!            │                              │
//!            │                     new data, if any, goes where nobody looks yet (`bulk`)
//!            └── two DDL statements queue up here rather than abort each other
//! ```
//!
//! DDL is transactional: a rolled back CREATE TABLE has never been. What a table or index is rebuilt
//! into gets a new index id, so its keys are unknown to everyone until the descriptor that names
//! them is committed; they are written by transactions of their own, in chunks, in bounded memory.
//!
//! A rebuild reads the whole table in its own transaction. Whoever writes to the table meanwhile
//! conflicts with that read, and one of the two runs again: no row is ever missing from an index. A
//! statement that is alone in its transaction adds indexes and constraints beside the writers (`online`),
//! and keeps them out for what else it does with all rows (`closing`).

mod alter;
mod alter_column;
mod alter_generated;
mod alter_type;
mod alter_way;
mod beside;
mod bulk;
pub(crate) mod closing;
mod column;
mod constraint;
mod create_as;
mod create_table;
mod depend;
mod drop;
mod enums;
mod expression;
mod grant;
mod index;
mod like;
mod namespace;
mod online;
mod owner;
mod parse;
mod rebuild;
mod reclaim;
mod relation;
mod role;
mod schema;
mod sequence;
mod split;
mod temporary;
mod truncate;
mod view;
mod view_text;

use std::sync::Arc;

use catalog::{CatalogSnapshot, Change, Privileges, Schema, Table, store};
use kv::{Strength, Txn, WaitPolicy};
use sqlparser::ast::{self, Statement};

use crate::bind::relation_name;
use crate::session::api::{Severity, Sink};
use crate::session::{Engine, Session, Tag, catalog_error};
use crate::{SqlError, SqlState};

pub(crate) use alter::new_storage;
pub(crate) use bulk::BulkWriter;
pub(crate) use create_as::{into_of, select_into};
pub(crate) use enums::{enums_shown, stored_name};
pub(crate) use expression::{columns_of_stored, shown};
pub(crate) use online::{Item, UnderWay, unfinished};
pub(crate) use parse::{OwnDdl, is_own, parse_own};
pub use reclaim::Reclaimer;
pub(crate) use role::{RoleStatement, is_role_statement, parse_role_statement, run_role};
pub(crate) use sequence::identity_of;
pub(crate) use split::split_at;
pub(crate) use view_text::view_text;

/// Name of a statement, for errors.
pub(crate) fn verb(statement: &Statement) -> &'static str {
    match statement {
        Statement::CreateTable(_) => "CREATE TABLE",
        Statement::CreateIndex(_) => "CREATE INDEX",
        Statement::CreateView(_) => "CREATE VIEW",
        Statement::AlterTable(_) => "ALTER TABLE",
        Statement::AlterIndex { .. } => "ALTER INDEX",
        Statement::Drop { object_type, .. } => match object_type {
            ast::ObjectType::Table => "DROP TABLE",
            ast::ObjectType::Index => "DROP INDEX",
            ast::ObjectType::Schema => "DROP SCHEMA",
            ast::ObjectType::Database => "DROP DATABASE",
            ast::ObjectType::View => "DROP VIEW",
            ast::ObjectType::Sequence => "DROP SEQUENCE",
            ast::ObjectType::Type => "DROP TYPE",
            _ => "DROP",
        },
        Statement::Truncate(_) => "TRUNCATE TABLE",
        Statement::CreateSchema { .. } => "CREATE SCHEMA",
        Statement::CreateType { .. } => "CREATE TYPE",
        Statement::AlterType(_) => "ALTER TYPE",
        Statement::CreateDatabase { .. } => "CREATE DATABASE",
        Statement::Comment { .. } => "COMMENT",
        _ => "this statement",
    }
}

/// Runs a statement, or refuses it by name.
pub(crate) async fn run(
    session: &mut Session,
    statement: &Statement,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    match statement {
        Statement::CreateTable(create) => create_table::run(session, create, text, sink).await,
        Statement::CreateIndex(create) => index::run(session, create, text, sink).await,
        Statement::CreateView(create) => view::create(session, create, text).await,
        Statement::AlterTable(alter) => alter::run(session, alter, text, sink).await,
        Statement::Drop { .. } => drop::run(session, statement, sink).await,
        Statement::Truncate(truncate) => truncate::run(session, truncate, sink).await,
        Statement::CreateType { name, representation } => {
            enums::create(session, name, representation.as_ref()).await
        }
        Statement::AlterType(alter) => {
            enums::alter(session, &alter.name, &alter.operation, sink).await
        }
        Statement::CreateSchema { .. } => schema::create_schema(session, statement, sink).await,
        Statement::CreateDatabase { .. } => schema::create_database(session, statement).await,
        Statement::Comment { .. } => schema::comment(session, statement).await,
        other => {
            let text = other.to_string();
            let words = text.split_whitespace().map(str::to_uppercase);
            // The kind of object, but no name.
            let count = match words.clone().next().as_deref() {
                Some("CREATE" | "ALTER" | "DROP") => match words.clone().nth(1).as_deref() {
                    Some("MATERIALIZED" | "FOREIGN") => 3,
                    _ => 2,
                },
                Some("MERGE") => 2,
                _ => 1,
            };
            Err(SqlError::unsupported(words.take(count).collect::<Vec<_>>().join(" ")))
        }
    }
}

impl OwnDdl {
    /// Name of the statement, for errors.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            OwnDdl::CreateSequence { .. } => "CREATE SEQUENCE",
            OwnDdl::AlterSequence { .. } => "ALTER SEQUENCE",
            OwnDdl::AlterRelation { kind, .. } => kind.verb(),
            OwnDdl::AlterTable { .. } => "ALTER TABLE",
            OwnDdl::AlterIndex { .. } => "ALTER INDEX",
            OwnDdl::AlterType { .. } => "ALTER TYPE",
            OwnDdl::AlterSchema { .. } => "ALTER SCHEMA",
            OwnDdl::AlterDatabase { .. } => "ALTER DATABASE",
            OwnDdl::CommentOnConstraint { .. } => "COMMENT",
        }
    }
}

/// Runs a statement that sqlparser does not know.
pub(crate) async fn run_own(
    session: &mut Session,
    statement: &OwnDdl,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    match statement {
        OwnDdl::CreateSequence { if_not_exists, name, options } => {
            sequence::create(session, *if_not_exists, name, options, sink).await
        }
        OwnDdl::AlterSequence { if_exists, name, options } => {
            sequence::alter(session, *if_exists, name, options, sink).await
        }
        OwnDdl::AlterRelation { kind, if_exists, name, change } => {
            relation::alter(session, *kind, *if_exists, name, change, sink).await
        }
        OwnDdl::AlterTable { if_exists, table, actions } => {
            alter::run_mixed(session, *if_exists, table, actions, text, sink).await
        }
        OwnDdl::AlterIndex { if_exists, name, new } => {
            alter::rename_index(session, *if_exists, name, &crate::bind::fold(new), sink).await
        }
        OwnDdl::AlterType { name, change } => enums::change(session, name, change).await,
        OwnDdl::AlterSchema { name, change } => {
            namespace::alter_schema(session, &crate::bind::fold(name), change).await
        }
        OwnDdl::AlterDatabase { name, change } => {
            namespace::alter_database(session, &crate::bind::fold(name), change).await
        }
        OwnDdl::CommentOnConstraint { name, table, comment } => {
            schema::comment_on_constraint(session, name, table, comment.as_deref()).await
        }
    }
}

/// SET CONSTRAINTS: of some constraints by name, or of all.
pub(crate) async fn set_constraints(
    session: &mut Session,
    names: Option<&[ast::ObjectName]>,
    deferred: bool,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    if !session.in_block() {
        let error = SqlError::new(
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            "SET CONSTRAINTS can only be used in transaction blocks",
        );
        sink.notice(Severity::Warning, &error);
        return Ok(Tag::Text("SET CONSTRAINTS"));
    }
    let oids = match names {
        None => None,
        Some(names) => {
            let txn = session.statement_txn().await?;
            let catalog = session.visible_catalog(&txn).await?;
            let mut oids = Vec::new();
            for name in names {
                oids.extend(deferrable(session, &catalog, name)?);
            }
            Some(oids)
        }
    };
    session.deferrals().set(oids.as_deref(), deferred);
    if !deferred {
        session.check_deferred(oids.as_deref()).await?;
    }
    Ok(Tag::Text("SET CONSTRAINTS"))
}

/// Constraints of a name, in the first schema of the path that has some: all of them deferrable.
fn deferrable(
    session: &Session,
    catalog: &CatalogSnapshot,
    name: &ast::ObjectName,
) -> Result<Vec<u32>, SqlError> {
    let (schema, short) = relation_name(name, &session.env().database)?;
    let path = schema.map_or_else(|| session.search_path(), |schema| vec![schema]);
    for schema in path.iter().filter_map(|s| catalog.schema(session.database(), s)) {
        let mut oids = Vec::new();
        for table in catalog.tables_of(schema.id) {
            let index = std::iter::once(&table.primary).chain(&table.indexes);
            let rigid = index.into_iter().any(|i| i.constraint && i.name == short);
            for constraint in table.constraints.iter().filter(|c| c.name == short) {
                if !constraint.foreign_key().is_some_and(|key| key.deferrable) {
                    return Err(not_deferrable(&short));
                }
                oids.push(constraint.oid);
            }
            if rigid {
                return Err(not_deferrable(&short));
            }
        }
        if !oids.is_empty() {
            return Ok(oids);
        }
    }
    Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("constraint \"{short}\" does not exist")))
}

fn not_deferrable(name: &str) -> SqlError {
    SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("constraint \"{name}\" is not deferrable"))
}

/// A DDL statement that runs: its transaction, and the catalog it changes.
pub(crate) struct Ddl {
    pub(crate) txn: Arc<Txn>,
    pub(crate) catalog: Arc<CatalogSnapshot>,
}

impl Ddl {
    /// Locks the catalog and reads it.
    pub(crate) async fn begin(session: &mut Session) -> Result<Ddl, SqlError> {
        let txn = session.statement_txn().await?;
        txn.track_reads();
        if let Some(catalog) = session.own_catalog() {
            session.set_names(&catalog);
            return Ok(Ddl { txn, catalog });
        }
        let catalog = locked_catalog(session.engine(), &txn).await?;
        let catalog = session.with_temp(catalog);
        session.set_names(&catalog);
        if let Some(premise) = session.premise() {
            premise.note_everything(&catalog);
        }
        Ok(Ddl { txn, catalog })
    }

    /// Reads the catalog, for changes of temporary objects alone: nobody else is concerned.
    pub(crate) async fn begin_temporary(session: &mut Session) -> Result<Ddl, SqlError> {
        let txn = session.statement_txn().await?;
        let mut catalog = session.visible_catalog(&txn).await?;
        if !session.has_temp_schema() {
            temporary::may_make(session, &catalog)?;
            let id = new_oids(session, 1).await?;
            let schema = session.temp_schema(id);
            catalog = Arc::new(catalog.with(catalog.version(), [Change::PutSchema(schema)]));
            session.set_temp_catalog(catalog.clone());
        }
        session.set_names(&catalog);
        Ok(Ddl { txn, catalog })
    }

    /// Begins with or without others in mind, as the target says.
    pub(crate) async fn begin_for(session: &mut Session, temporary: bool) -> Result<Ddl, SqlError> {
        match temporary {
            true => Ddl::begin_temporary(session).await,
            false => Ddl::begin(session).await,
        }
    }

    /// Writes changes. The session sees them from here on, others when the transaction commits.
    pub(crate) async fn write(
        &mut self,
        session: &mut Session,
        changes: Vec<Change>,
    ) -> Result<(), SqlError> {
        let (temp, mut others) = session.take_temp_changes(changes)?;
        let own = session.closing();
        for change in &mut others {
            if let Change::PutTable(table) = change {
                table.closed = table.closed.filter(|closing| Some(closing.token) != own);
            }
        }
        let mut next = self.catalog.clone();
        if !temp.is_empty() {
            next = Arc::new(next.with(next.version(), temp));
            session.set_temp_catalog(next.clone());
        }
        if !others.is_empty() {
            next = store::write(&self.txn, &next, others).await.map_err(catalog_error)?;
            session.set_own_catalog(next.clone());
        }
        session.set_names(&next);
        self.catalog = next;
        Ok(())
    }

    /// The schema a new relation goes to, and its name.
    fn target(
        &self,
        session: &Session,
        name: &ast::ObjectName,
    ) -> Result<(Arc<Schema>, String), SqlError> {
        let (schema, name) = relation_name(name, &session.env().database)?;
        let found = match schema {
            Some(schema) => self.catalog.schema(session.database(), &schema).ok_or_else(|| {
                SqlError::new(
                    SqlState::INVALID_SCHEMA_NAME,
                    format!("schema \"{schema}\" does not exist"),
                )
            })?,
            None => session
                .creation_path()
                .iter()
                .find_map(|s| self.catalog.schema(session.database(), s))
                .ok_or_else(|| {
                    SqlError::new(
                        SqlState::INVALID_SCHEMA_NAME,
                        "no schema has been selected to create in",
                    )
                })?,
        };
        if found.database == 0 {
            return Err(SqlError::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied to create \"{}.{name}\"", found.name),
            )
            .detail("System catalog modifications are currently disallowed."));
        }
        session.authority().demand(&**found, Privileges::CREATE)?;
        if name.len() > NAME_MAX {
            return Ok((found.clone(), truncate_name(&name)));
        }
        Ok((found.clone(), name))
    }

    /// The table of that name; `None` if there is none.
    fn find_table(
        &self,
        session: &Session,
        name: &ast::ObjectName,
    ) -> Result<Option<Arc<Table>>, SqlError> {
        let (schema, name) = relation_name(name, &session.env().database)?;
        let path = match schema {
            Some(schema) => vec![schema],
            None => session.search_path(),
        };
        Ok(path
            .iter()
            .filter_map(|s| self.catalog.schema(session.database(), s))
            .find_map(|s| self.catalog.table(s.id, &name))
            .cloned())
    }

    /// The table of that name, or 42P01; 42501 unless it is the current role's.
    fn own_table(&self, session: &Session, name: &ast::ObjectName) -> Result<Arc<Table>, SqlError> {
        let table = self.table(session, name)?;
        session.authority().must_own(&*table)?;
        Ok(table)
    }

    /// The table of that name, or 42P01.
    fn table(&self, session: &Session, name: &ast::ObjectName) -> Result<Arc<Table>, SqlError> {
        self.find_table(session, name)?.ok_or_else(|| {
            let shown = crate::bind::name_parts(name).map(|p| p.join(".")).unwrap_or_default();
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"))
        })
    }
}

/// The catalog, which nobody else changes before the transaction ends.
async fn locked_catalog(engine: &Engine, txn: &Txn) -> Result<Arc<CatalogSnapshot>, SqlError> {
    let key = store::version_key();
    let locked = txn.lock(&[key], Strength::Update, WaitPolicy::Block).await?;
    let version = store::decode_version(locked[0].value.as_ref()).map_err(catalog_error)?;
    engine.catalog.at_version(txn, version).await.map_err(catalog_error)
}

/// Longest name, in bytes, as in PostgreSQL.
const NAME_MAX: usize = 63;

/// What PostgreSQL makes of a longer name.
fn truncate_name(name: &str) -> String {
    let mut end = NAME_MAX.min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

/// The tables of these names, which the role must own; without names, all that it owns.
pub(crate) async fn owned_tables(
    session: &mut Session,
    names: &[ast::ObjectName],
) -> Result<Vec<Arc<Table>>, SqlError> {
    session.begin_statement();
    let txn = session.statement_txn().await?;
    let catalog = session.visible_catalog(&txn).await?;
    let ddl = Ddl { txn, catalog };
    if !names.is_empty() {
        return names.iter().map(|name| ddl.own_table(session, name)).collect();
    }
    let database = session.database();
    let schemas = ddl.catalog.schemas_of(database);
    let all = schemas.flat_map(|schema| ddl.catalog.tables_of(schema.id));
    let authority = session.authority();
    Ok(all.filter(|table| authority.must_own(&***table).is_ok()).cloned().collect())
}

/// The type that a definition names.
fn column_type(
    ddl: &Ddl,
    session: &Session,
    data_type: &ast::DataType,
) -> Result<pgtypes::PgType, SqlError> {
    crate::bind::type_in(data_type, &session.view(&ddl.catalog))
}

/// `count` new oids, consecutive.
async fn new_oids(session: &Session, count: u64) -> Result<u32, SqlError> {
    let first = session.engine().db.allocate_ids(kv::IdKind::Table, count).await?;
    u32::try_from(first).ok().and_then(|id| id.checked_add(catalog::FIRST_USER_ID)).ok_or_else(
        || SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "all object identifiers are used up"),
    )
}

fn notice(sink: &mut dyn Sink, code: SqlState, message: String) {
    sink.notice(Severity::Notice, &SqlError::new(code, message));
}

/// A name that no relation of the schema has, nor any in `taken`: `base_suffix`, `base_suffix1`, …
fn free_name(
    catalog: &CatalogSnapshot,
    schema: u32,
    taken: &[String],
    base: &str,
    suffix: &str,
) -> String {
    let mut n = 0;
    loop {
        let tail = if n == 0 { format!("_{suffix}") } else { format!("_{suffix}{n}") };
        let mut head = base.to_owned();
        while head.len() + tail.len() > NAME_MAX {
            head.pop();
        }
        let name = format!("{head}{tail}");
        if !catalog.relation_exists(schema, &name) && !taken.contains(&name) {
            return name;
        }
        n += 1;
    }
}

fn duplicate_relation(name: &str) -> SqlError {
    SqlError::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))
}
