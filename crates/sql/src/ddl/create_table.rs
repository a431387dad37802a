//! CREATE TABLE.

use catalog::{Change, Column, Index, IndexColumn, ObjectKind, Table, is_indexable};
use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{CreateTable, CreateTableOptions, Expr, SqlOption, TableConstraint};

use super::column::{ColumnDef, IndexColumnDef, KeyDef, column, column_sequence, generation};
use super::constraint::{self, CheckDef, Def, ForeignDef};
use super::parse::SequenceOption;
use super::{Ddl, duplicate_relation, free_name, new_oids, notice, temporary};
use crate::bind::fold;
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

/// Most columns, as in PostgreSQL.
pub(super) const COLUMNS_MAX: usize = 1_600;

/// Refuses every clause that is not carried out.
pub(super) fn check_supported(create: &CreateTable) -> Result<(), SqlError> {
    if create.like.is_some() {
        return Err(SqlError::unsupported("CREATE TABLE … LIKE"));
    }
    if create.partition_by.is_some() || create.partition_of.is_some() {
        return Err(SqlError::unsupported("table partitioning"));
    }
    if create.inherits.is_some() {
        return Err(SqlError::unsupported("table inheritance"));
    }
    let mut rest = create.clone();
    rest.if_not_exists = false;
    rest.temporary = false;
    rest.global = None;
    rest.on_commit = None;
    rest.columns.clear();
    rest.constraints.clear();
    rest.query = None;
    rest.table_options = CreateTableOptions::None;
    let plain = CreateTableBuilder::new(rest.name.clone())
        .hive_formats(rest.hive_formats.clone())
        .hive_distribution(rest.hive_distribution.clone())
        .build();
    // Whatever is left of the statement is something nobody here carries out.
    if rest != plain {
        return Err(SqlError::unsupported(format!("a clause of {rest}")));
    }
    Ok(())
}

/// Storage parameters: those that cannot matter here are kept to be shown, others refused.
pub(super) fn options(options: &CreateTableOptions) -> Result<Vec<(String, String)>, SqlError> {
    match options {
        CreateTableOptions::None => Ok(Vec::new()),
        CreateTableOptions::With(options) => options.iter().map(storage_parameter).collect(),
        other => Err(SqlError::unsupported(other.to_string())),
    }
}

/// `fillfactor` and `autovacuum_*` tell PostgreSQL how to keep its pages; there are none here, so
/// any value is kept as well as any other.
pub(super) fn storage_parameter(option: &SqlOption) -> Result<(String, String), SqlError> {
    let SqlOption::KeyValue { key, value } = option else {
        return Err(SqlError::unsupported(format!("storage parameter {option}")));
    };
    let name = fold(key);
    let harmless = name == "fillfactor" || name.starts_with("autovacuum_");
    if !harmless {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("unrecognized parameter \"{name}\""),
        ));
    }
    let value = value.to_string();
    let value = value.trim_matches('\'').to_owned();
    let in_range = value.parse::<u32>().is_ok_and(|v| (10..=100).contains(&v));
    if name == "fillfactor" && !in_range {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("value {value} out of bounds for option \"fillfactor\""),
        )
        .detail("Valid values are between \"10\" and \"100\"."));
    }
    Ok((name, value))
}

/// A table constraint: a key, or another.
pub(super) enum TableDef {
    Key(KeyDef),
    Other(Box<Def>),
}

/// What a table constraint says.
pub(super) fn table_constraint(constraint: &TableConstraint) -> Result<TableDef, SqlError> {
    let mut nulls_not_distinct = false;
    let (name, columns, primary) = match constraint {
        TableConstraint::PrimaryKey(c)
            if c.characteristics.is_none() && c.index_options.is_empty() =>
        {
            (&c.name, &c.columns, true)
        }
        TableConstraint::Unique(c) if c.characteristics.is_none() && c.index_options.is_empty() => {
            nulls_not_distinct =
                c.nulls_distinct == sqlparser::ast::NullsDistinctOption::NotDistinct;
            (&c.name, &c.columns, false)
        }
        TableConstraint::ForeignKey(foreign) => {
            return Ok(TableDef::Other(Box::new(Def::Foreign(ForeignDef::new(
                None, None, foreign,
            )))));
        }
        TableConstraint::Check(check) if check.enforced.is_none() => {
            let name = check.name.as_ref().map(fold);
            let expr = (*check.expr).clone();
            return Ok(TableDef::Other(Box::new(Def::Check(CheckDef { name, expr }))));
        }
        TableConstraint::PrimaryKey(_) | TableConstraint::Unique(_) => {
            return Err(SqlError::unsupported(format!("DEFERRABLE or an option in {constraint}")));
        }
        other => return Err(SqlError::unsupported(format!("constraint {other}"))),
    };
    let columns: Result<Vec<IndexColumnDef>, SqlError> =
        columns.iter().map(super::index::index_column).collect();
    let name = name.as_ref().map(fold);
    Ok(TableDef::Key(KeyDef { name, columns: columns?, primary, nulls_not_distinct }))
}

/// Index columns by name: they exist, once each, and have an order.
pub(super) fn resolve(
    columns: &[Column],
    wanted: &[IndexColumnDef],
    what: &str,
) -> Result<Vec<IndexColumn>, SqlError> {
    let mut resolved: Vec<IndexColumn> = Vec::with_capacity(wanted.len());
    for def in wanted {
        let column = columns.iter().find(|c| c.name == def.name).ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{}\" named in key does not exist", def.name),
            )
        })?;
        if !is_indexable(column.ty) {
            return Err(SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!(
                    "data type {} has no default operator class for access method \"btree\"",
                    column.ty.sql_name()
                ),
            ));
        }
        if resolved.iter().any(|c| c.column == column.id) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{}\" appears twice in {what} constraint", def.name),
            ));
        }
        let descending = def.descending;
        resolved.push(IndexColumn { descending, ..IndexColumn::ascending(column.id) });
    }
    if resolved.len() > 32 {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            "cannot use more than 32 columns in an index",
        ));
    }
    Ok(resolved)
}

pub(super) async fn run(
    session: &mut Session,
    create: &CreateTable,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    if create.query.is_some() {
        return super::create_as::create_table(session, create, text, sink).await;
    }
    check_supported(create)?;
    let options = options(&create.table_options)?;
    let temporary = temporary::is_temporary(session, create.temporary, &create.name)?;
    let on_commit = temporary::on_commit(create, temporary)?;
    let mut ddl = Ddl::begin_for(session, temporary).await?;
    let (schema, name) = match temporary {
        true => ddl.target(session, &temporary::qualified(&create.name))?,
        false => ddl.target(session, &create.name)?,
    };
    if ddl.catalog.relation_exists(schema.id, &name) {
        if create.if_not_exists {
            let message = format!("relation \"{name}\" already exists, skipping");
            notice(sink, SqlState::DUPLICATE_TABLE, message);
            return Ok(Tag::Text("CREATE TABLE"));
        }
        return Err(duplicate_relation(&name));
    }
    let mut elements = elements(session, &ddl, &name, create, text)?;
    if elements.keys.iter().filter(|k| k.primary).count() > 1 {
        return Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{name}\" are not allowed"),
        ));
    }
    let Elements { columns, keys, sequences, .. } = &mut elements;
    let oid = new_oids(session, 2 + (keys.len() + sequences.len()) as u64).await?;
    let first = oid + 2 + u32::try_from(keys.len()).unwrap_or(0);
    let mut columns = std::mem::take(columns);
    for (id, (at, _)) in (first..).zip(sequences.iter()) {
        columns[*at].sequence = Some(id);
    }
    let mut taken = vec![name.clone()];
    let mut index_name = |key: &KeyDef| {
        let chosen = key.name.clone().unwrap_or_else(|| {
            let names: Vec<&str> = key.columns.iter().map(|c| c.name.as_str()).collect();
            let (base, suffix) = if key.primary {
                (name.clone(), "pkey")
            } else {
                (format!("{name}_{}", names.join("_")), "key")
            };
            free_name(&ddl.catalog, schema.id, &taken, &base, suffix)
        });
        taken.push(chosen.clone());
        chosen
    };
    let mut primary = Index::new(oid + 1, format!("{name}_rows"), true);
    let mut secondary = Vec::new();
    for (n, key) in (0u32..).zip(&*keys) {
        let what = if key.primary { "primary key" } else { "unique" };
        let index_columns = resolve(&columns, &key.columns, what)?;
        let chosen = index_name(key);
        if key.name.is_some() && ddl.catalog.relation_exists(schema.id, &chosen) {
            return Err(duplicate_relation(&chosen));
        }
        if key.primary {
            for column in &mut columns {
                column.nullable &= !index_columns.iter().any(|c| c.column == column.id);
            }
            primary.name = chosen;
            primary.columns = index_columns;
            primary.constraint = true;
        } else {
            secondary.push(Index {
                columns: index_columns,
                nulls_not_distinct: key.nulls_not_distinct,
                constraint: true,
                ..Index::new(oid + 2 + n, chosen, true)
            });
        }
    }
    let owner = session.authority().user();
    let mut table = Table::new(oid, schema.id, name, owner, columns, primary);
    table.acl = ddl.catalog.acl_of_new(ObjectKind::Table, owner, schema.id);
    table.indexes = secondary;
    table.options = options;
    table.comments = elements.comments;
    for (at, expr) in &elements.generated {
        let sql = generation(session, &ddl, &table.columns, *at, expr, text)?;
        table.columns[*at].generated = Some(sql);
    }
    for def in &elements.constraints {
        let oid = new_oids(session, 1).await?;
        let made = constraint::make(session, &ddl, &table, def, text, oid)?;
        table.constraints.push(made);
    }
    let mut changes = Vec::new();
    for (at, options) in &elements.sequences {
        let column = &table.columns[*at];
        let id = column.sequence.expect("given above");
        let sequence = column_sequence(&ddl, &table, &mut taken, id, column, options)?;
        changes.push(Change::PutSequence(Box::new(sequence)));
    }
    for mut index in elements.indexes {
        super::like::place_computed(&mut table, &elements.computed, &mut index);
        let base = super::index::default_base(&table, &index);
        index.oid = new_oids(session, 1).await?;
        index.id = index.oid;
        index.name = free_name(&ddl.catalog, table.schema, &taken, &base, "idx");
        taken.push(index.name.clone());
        table.indexes.push(index);
    }
    session.mark_fresh(&table);
    let id = table.id;
    changes.push(Change::PutTable(Box::new(table)));
    ddl.write(session, changes).await?;
    if temporary {
        session.set_on_commit(id, on_commit);
    }
    Ok(Tag::Text("CREATE TABLE"))
}

/// What a CREATE TABLE lists.
#[derive(Default)]
pub(super) struct Elements {
    pub(super) columns: Vec<Column>,
    pub(super) keys: Vec<KeyDef>,
    pub(super) constraints: Vec<Def>,
    /// Columns with a sequence of their own, and its options.
    pub(super) sequences: Vec<(usize, Vec<SequenceOption>)>,
    /// Generated columns.
    pub(super) generated: Vec<(usize, Expr)>,
    /// Indexes copied by LIKE; names and ids are still those of the other table.
    pub(super) indexes: Vec<Index>,
    /// Their expressions, under ids of their own.
    pub(super) computed: Vec<Column>,
    pub(super) comments: Vec<(u32, String)>,
}

impl Elements {
    /// Adds a column.
    pub(super) fn add(&mut self, made: ColumnDef) -> Result<(), SqlError> {
        let at = self.columns.len();
        if self.columns.iter().any(|c| c.name == made.column.name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{}\" specified more than once", made.column.name),
            ));
        }
        self.columns.push(made.column);
        self.keys.extend(made.keys);
        self.constraints.extend(made.constraints);
        self.sequences.extend(made.sequence.map(|options| (at, options)));
        self.generated.extend(made.generated.map(|expr| (at, expr)));
        Ok(())
    }

    fn next_id(&self) -> u32 {
        u32::try_from(self.columns.len()).unwrap_or(u32::MAX - 1) + 1
    }
}

fn elements(
    session: &Session,
    ddl: &Ddl,
    table: &str,
    create: &CreateTable,
    text: &str,
) -> Result<Elements, SqlError> {
    let mut elements = Elements::default();
    let mut likes = Vec::new();
    let mut plain = Vec::new();
    for constraint in &create.constraints {
        match super::like::of(constraint) {
            Some(like) => likes.push(like),
            None => plain.push(constraint),
        }
    }
    for n in 0..=create.columns.len() {
        for like in likes.iter().filter(|l| l.at.min(create.columns.len()) == n) {
            super::like::copy(session, ddl, like, &mut elements)?;
        }
        if let Some(definition) = create.columns.get(n) {
            let id = elements.next_id();
            elements.add(column(session, ddl, table, id, definition, text)?)?;
        }
        if elements.columns.len() > COLUMNS_MAX {
            return Err(SqlError::new(
                SqlState::TOO_MANY_COLUMNS,
                format!("tables can have at most {COLUMNS_MAX} columns"),
            ));
        }
    }
    for constraint in plain {
        match table_constraint(constraint)? {
            TableDef::Key(key) => elements.keys.push(key),
            TableDef::Other(def) => elements.constraints.push(*def),
        }
    }
    Ok(elements)
}
