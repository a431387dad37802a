//! CREATE TABLE … AS and SELECT … INTO: a table of a query's columns, filled with its rows.

use std::sync::Arc;

use catalog::{Change, Column, Index, ObjectKind, Table};
use sqlparser::ast::{CreateTable, ObjectName, Query, SelectInto, SetExpr};

use super::create_table::{check_supported, options};
use super::{Ddl, duplicate_relation, new_oids, notice, temporary};
use crate::bind::fold;
use crate::ir::{self, InsertSource};
use crate::session::api::Sink;
use crate::session::{OnCommit, Session, Tag};
use crate::{SqlError, SqlState, dml, privilege};

pub(super) async fn create_table(
    session: &mut Session,
    create: &CreateTable,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    check_supported(create)?;
    let typed = |c: &sqlparser::ast::ColumnDef| {
        !crate::bind::is_untyped(&c.data_type) || !c.options.is_empty()
    };
    if create.columns.iter().any(typed) || !create.constraints.is_empty() {
        return Err(SqlError::syntax("CREATE TABLE AS with definitions of columns"));
    }
    let names: Vec<String> = create.columns.iter().map(|c| fold(&c.name)).collect();
    let query = create.query.as_deref().expect("the caller has seen it");
    let temporary = temporary::is_temporary(session, create.temporary, &create.name)?;
    let made = Made {
        name: &create.name,
        names,
        options: options(&create.table_options)?,
        if_not_exists: create.if_not_exists,
        temporary,
        on_commit: temporary::on_commit(create, temporary)?,
    };
    make(session, made, query, text, sink).await
}

/// The INTO of a query, if it has one.
pub(crate) fn into_of(query: &Query) -> Option<&SelectInto> {
    match &*query.body {
        SetExpr::Select(select) => select.into.as_ref(),
        _ => None,
    }
}

/// SELECT … INTO.
pub(crate) async fn select_into(
    session: &mut Session,
    query: &Query,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let mut query = query.clone();
    let SetExpr::Select(select) = &mut *query.body else {
        return Err(SqlError::internal("INTO of no SELECT"));
    };
    let into = select.into.take().ok_or_else(|| SqlError::internal("no INTO"))?;
    if into.unlogged {
        return Err(SqlError::unsupported("SELECT INTO UNLOGGED"));
    }
    let made = Made {
        name: &into.name,
        names: Vec::new(),
        options: Vec::new(),
        if_not_exists: false,
        temporary: temporary::is_temporary(session, into.temporary, &into.name)?,
        on_commit: OnCommit::Preserve,
    };
    make(session, made, &query, text, sink).await
}

/// The table to be made.
struct Made<'a> {
    name: &'a ObjectName,
    /// Names of leading columns, where they are not the query's.
    names: Vec<String>,
    options: Vec<(String, String)>,
    if_not_exists: bool,
    temporary: bool,
    on_commit: OnCommit,
}

async fn make(
    session: &mut Session,
    made: Made<'_>,
    query: &Query,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let mut ddl = Ddl::begin_for(session, made.temporary).await?;
    let (schema, name) = match made.temporary {
        true => ddl.target(session, &temporary::qualified(made.name))?,
        false => ddl.target(session, made.name)?,
    };
    if ddl.catalog.relation_exists(schema.id, &name) {
        if made.if_not_exists {
            let message = format!("relation \"{name}\" already exists, skipping");
            notice(sink, SqlState::DUPLICATE_TABLE, message);
            return Ok(Tag::Text("CREATE TABLE AS"));
        }
        return Err(duplicate_relation(&name));
    }
    let catalog = ddl.catalog.clone();
    let view = session.view(&catalog);
    let binder = crate::bind::Binder::new(&view, session.env(), text);
    let (bound, accesses) = binder.bind_query_with_accesses(query)?;
    privilege::check(&catalog, session.database(), session.authority(), &accesses)?;
    let columns = super::view::columns_of(&bound, &made.names, false)?;
    let columns: Vec<Column> =
        (1u32..).zip(columns).map(|(id, c)| Column::new(id, c.name, c.ty)).collect();
    let oid = new_oids(session, 2).await?;
    let primary = Index::new(oid + 1, format!("{name}_rows"), true);
    let owner = session.authority().user();
    let mut table = Table::new(oid, schema.id, name, owner, columns, primary);
    table.acl = ddl.catalog.acl_of_new(ObjectKind::Table, owner, schema.id);
    table.options = made.options;
    session.mark_fresh(&table);
    ddl.write(session, vec![Change::PutTable(Box::new(table))]).await?;
    if made.temporary {
        session.set_on_commit(oid, made.on_commit);
    }
    let table = ddl.catalog.table_by_id(oid).expect("just written").clone();
    let insert = insert_all(&table, bound);
    let none: Arc<[pgtypes::Datum]> = Arc::new([]);
    let cx = session.dml_context(&ddl.txn, &none, ddl.catalog.clone());
    let env = session.env().clone();
    let defaults = crate::session::CatalogDefaults { view: session.view(&ddl.catalog), env: &env };
    let count = dml::run_insert(&cx, &insert, &defaults, sink).await?;
    Ok(Tag::Count("SELECT", count))
}

/// An INSERT of all of a query's rows into all columns.
fn insert_all(table: &Arc<Table>, query: ir::Query) -> ir::Insert {
    let scanned = (0u32..).zip(&table.columns).map(|(n, c)| ir::RelColumn {
        id: ir::ColId(n),
        name: c.name.as_str().into(),
        ty: c.ty,
    });
    let target = ir::Scan {
        table: table.clone(),
        alias: table.name.as_str().into(),
        columns: scanned.zip(0..).collect(),
        row_key: None,
        lockable: false,
        lock: None,
    };
    ir::Insert {
        table: table.clone(),
        columns: (0..table.columns.len()).collect(),
        source: InsertSource::Query(query),
        on_conflict: None,
        returning: None,
        target,
    }
}
