//! CREATE TABLE.

use catalog::{Change, Column, Index, IndexColumn, IndexState, Table, is_indexable};
use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    ColumnOption, CreateTable, CreateTableOptions, Expr, SqlOption, TableConstraint,
};

use super::{Ddl, duplicate_relation, free_name, new_oids, notice};
use crate::bind::{fold, type_of};
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

/// Most columns, as in PostgreSQL.
pub(super) const COLUMNS_MAX: usize = 1_600;

/// A unique or primary key as written, by column names.
pub(super) struct KeyDef {
    pub(super) name: Option<String>,
    pub(super) columns: Vec<IndexColumnDef>,
    pub(super) primary: bool,
}

/// A column of an index as written.
pub(super) struct IndexColumnDef {
    pub(super) name: String,
    pub(super) descending: bool,
}

/// Refuses every clause that is not carried out.
fn check_supported(create: &CreateTable) -> Result<(), SqlError> {
    if create.temporary {
        return Err(SqlError::unsupported("CREATE TEMPORARY TABLE"));
    }
    if create.query.is_some() {
        return Err(SqlError::unsupported("CREATE TABLE AS"));
    }
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
    rest.columns.clear();
    rest.constraints.clear();
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

/// The integer type behind SERIAL and its kin.
fn serial_type(ty: &sqlparser::ast::DataType) -> Option<pgtypes::PgType> {
    let sqlparser::ast::DataType::Custom(name, modifiers) = ty else { return None };
    if !modifiers.is_empty() {
        return None;
    }
    match name.to_string().to_ascii_lowercase().as_str() {
        "serial" | "serial4" => Some(pgtypes::PgType::INT4),
        "bigserial" | "serial8" => Some(pgtypes::PgType::INT8),
        "smallserial" | "serial2" => Some(pgtypes::PgType::INT2),
        _ => None,
    }
}

/// A column and the keys its definition carries.
pub(super) fn column(
    session: &Session,
    ddl: &Ddl,
    id: u32,
    definition: &sqlparser::ast::ColumnDef,
    text: &str,
) -> Result<(Column, Vec<KeyDef>), SqlError> {
    let name = fold(&definition.name);
    let serial = serial_type(&definition.data_type);
    let ty = match serial {
        Some(ty) => ty,
        None => type_of(&definition.data_type)?,
    };
    let mut column = Column {
        id,
        name,
        ty,
        nullable: serial.is_none(),
        default: None,
        sequence: serial.map(|_| 0),
        missing: None,
    };
    let mut keys = Vec::new();
    let key = |option_name: &Option<sqlparser::ast::Ident>, column: &Column, primary| KeyDef {
        name: option_name.as_ref().map(fold),
        columns: vec![IndexColumnDef { name: column.name.clone(), descending: false }],
        primary,
    };
    for option in &definition.options {
        match &option.option {
            ColumnOption::Null => {}
            ColumnOption::NotNull => column.nullable = false,
            ColumnOption::Default(_) if serial.is_some() => {
                return Err(SqlError::syntax(format!(
                    "multiple default values specified for column \"{}\"",
                    column.name
                )));
            }
            ColumnOption::Default(expr) => {
                column.default = default_of(session, ddl, expr, ty, text)?;
            }
            ColumnOption::PrimaryKey(c) if c.characteristics.is_none() => {
                keys.push(key(&option.name, &column, true));
            }
            ColumnOption::Unique(c) if c.characteristics.is_none() => {
                keys.push(key(&option.name, &column, false));
            }
            ColumnOption::Collation(name) => collation(&name.to_string())?,
            other => return Err(SqlError::unsupported(format!("column option {other}"))),
        }
    }
    Ok((column, keys))
}

/// The order of text is bytewise; a clause that says so is fine.
fn collation(name: &str) -> Result<(), SqlError> {
    match name.trim_matches('"') {
        "C" | "POSIX" | "default" | "pg_catalog.\"C\"" | "pg_catalog.\"default\"" => Ok(()),
        other => Err(SqlError::unsupported(format!("collation \"{other}\""))
            .hint("Text is ordered bytewise, as with COLLATE \"C\".")),
    }
}

/// A default's text, after binding it once to see that it fits.
pub(super) fn default_of(
    session: &Session,
    ddl: &Ddl,
    expr: &Expr,
    ty: pgtypes::PgType,
    text: &str,
) -> Result<Option<String>, SqlError> {
    let view = session.view(&ddl.catalog);
    let bound =
        crate::bind::Binder::new(&view, session.env(), text).bind_expr_over(expr, &[], Some(ty))?;
    if bound.has_subquery() {
        return Err(SqlError::unsupported("a subquery in DEFAULT"));
    }
    let text = expr.to_string();
    Ok((!text.eq_ignore_ascii_case("null")).then_some(text))
}

/// Keys among the table constraints; others are refused.
pub(super) fn constraint_key(constraint: &TableConstraint) -> Result<KeyDef, SqlError> {
    let (name, columns, primary) = match constraint {
        TableConstraint::PrimaryKey(c)
            if c.characteristics.is_none() && c.index_options.is_empty() =>
        {
            (&c.name, &c.columns, true)
        }
        TableConstraint::Unique(c)
            if c.characteristics.is_none()
                && c.index_options.is_empty()
                && c.nulls_distinct != sqlparser::ast::NullsDistinctOption::NotDistinct =>
        {
            (&c.name, &c.columns, false)
        }
        TableConstraint::ForeignKey(_) => return Err(SqlError::unsupported("FOREIGN KEY")),
        TableConstraint::Check(_) => return Err(SqlError::unsupported("CHECK")),
        other => return Err(SqlError::unsupported(format!("constraint {other}"))),
    };
    let columns: Result<Vec<IndexColumnDef>, SqlError> =
        columns.iter().map(super::index::index_column).collect();
    Ok(KeyDef { name: name.as_ref().map(fold), columns: columns?, primary })
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
        resolved.push(IndexColumn { column: column.id, descending: def.descending });
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
    check_supported(create)?;
    let options = options(&create.table_options)?;
    let mut ddl = Ddl::begin(session).await?;
    let (schema, name) = ddl.target(session, &create.name)?;
    if ddl.catalog.relation_exists(schema.id, &name) {
        if create.if_not_exists {
            let message = format!("relation \"{name}\" already exists, skipping");
            notice(sink, SqlState::DUPLICATE_TABLE, message);
            return Ok(Tag::Text("CREATE TABLE"));
        }
        return Err(duplicate_relation(&name));
    }
    let (mut columns, keys) = columns_and_keys(session, &ddl, create, text)?;
    let primaries = keys.iter().filter(|k| k.primary).count();
    if primaries > 1 {
        return Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{name}\" are not allowed"),
        ));
    }
    let serials = columns.iter().filter(|c| c.sequence.is_some()).count();
    let oid = new_oids(session, 2 + (keys.len() + serials) as u64).await?;
    let first = oid + 2 + u32::try_from(keys.len()).unwrap_or(0);
    for (id, column) in (first..).zip(columns.iter_mut().filter(|c| c.sequence.is_some())) {
        column.sequence = Some(id);
        // Shown to those who ask; values come from the sequence by its id.
        column.default = Some(format!("nextval('{name}_{}_seq'::regclass)", column.name));
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
    let mut primary = Index {
        id: oid + 1,
        oid: oid + 1,
        name: format!("{name}_rows"),
        unique: true,
        columns: Vec::new(),
        state: IndexState::Public,
        constraint: false,
    };
    let mut secondary = Vec::new();
    for (n, key) in (0u32..).zip(&keys) {
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
                id: oid + 2 + n,
                oid: oid + 2 + n,
                name: chosen,
                unique: true,
                columns: index_columns,
                state: IndexState::Public,
                constraint: true,
            });
        }
    }
    let owner = session.env().current_user.clone();
    let mut table = Table::new(oid, schema.id, name, owner, columns, primary);
    table.indexes = secondary;
    table.options = options;
    session.mark_fresh(&table);
    ddl.write(session, vec![Change::PutTable(Box::new(table))]).await?;
    Ok(Tag::Text("CREATE TABLE"))
}

fn columns_and_keys(
    session: &Session,
    ddl: &Ddl,
    create: &CreateTable,
    text: &str,
) -> Result<(Vec<Column>, Vec<KeyDef>), SqlError> {
    if create.columns.len() > COLUMNS_MAX {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            format!("tables can have at most {COLUMNS_MAX} columns"),
        ));
    }
    let mut columns: Vec<Column> = Vec::with_capacity(create.columns.len());
    let mut keys = Vec::new();
    for (id, definition) in (1u32..).zip(&create.columns) {
        let (column, own) = column(session, ddl, id, definition, text)?;
        if columns.iter().any(|c| c.name == column.name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{}\" specified more than once", column.name),
            ));
        }
        columns.push(column);
        keys.extend(own);
    }
    for constraint in &create.constraints {
        keys.push(constraint_key(constraint)?);
    }
    Ok((columns, keys))
}
