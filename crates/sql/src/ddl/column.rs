//! What the definition of a column says.

use catalog::{Column, Identity, ObjectKind, Sequence, Table};
use sqlparser::ast::{ColumnOption, Expr, GeneratedAs, ObjectName};

use super::constraint::{CheckDef, Def, ForeignDef};
use super::expression::{self, Use};
use super::parse::SequenceOption;
use super::{Ddl, free_name};
use crate::bind::fold;
use crate::session::Session;
use crate::{SqlError, SqlState};

/// A unique or primary key as written, by column names.
pub(super) struct KeyDef {
    pub(super) name: Option<String>,
    pub(super) columns: Vec<IndexColumnDef>,
    pub(super) primary: bool,
    /// NULL equals NULL.
    pub(super) nulls_not_distinct: bool,
}

/// A column of an index as written.
pub(super) struct IndexColumnDef {
    pub(super) name: String,
    pub(super) descending: bool,
}

/// The integer type behind SERIAL and its kin.
pub(super) fn serial_type(ty: &sqlparser::ast::DataType) -> Option<pgtypes::PgType> {
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

/// A column as its definition makes it, and what has to be made besides.
pub(super) struct ColumnDef {
    pub(super) column: Column,
    pub(super) keys: Vec<KeyDef>,
    pub(super) constraints: Vec<Def>,
    /// It takes its values from a sequence of its own, with these options.
    pub(super) sequence: Option<Vec<SequenceOption>>,
    /// Its expression over the other columns.
    pub(super) generated: Option<Expr>,
}

/// 42601 of a column that takes its value from two places.
fn twice(what: &str, column: &str, table: &str) -> SqlError {
    SqlError::syntax(format!("{what} specified for column \"{column}\" of table \"{table}\""))
}

/// What a column definition says.
pub(super) fn column(
    session: &Session,
    ddl: &Ddl,
    table: &str,
    id: u32,
    definition: &sqlparser::ast::ColumnDef,
    text: &str,
) -> Result<ColumnDef, SqlError> {
    let name = fold(&definition.name);
    let serial = serial_type(&definition.data_type);
    let ty = match serial {
        Some(ty) => ty,
        None => super::column_type(ddl, session, &definition.data_type)?,
    };
    let column = Column { nullable: serial.is_none(), ..Column::new(id, name.clone(), ty) };
    let mut made = ColumnDef {
        column,
        keys: Vec::new(),
        constraints: Vec::new(),
        sequence: serial.map(|_| Vec::new()),
        generated: None,
    };
    let key = |option_name: &Option<sqlparser::ast::Ident>, primary| KeyDef {
        name: option_name.as_ref().map(fold),
        columns: vec![IndexColumnDef { name: name.clone(), descending: false }],
        primary,
        nulls_not_distinct: false,
    };
    let mut null = false;
    for option in &definition.options {
        match &option.option {
            ColumnOption::Null => null = true,
            ColumnOption::NotNull => made.column.nullable = false,
            ColumnOption::Default(_)
                if made.sequence.is_some() || made.column.default.is_some() =>
            {
                return Err(match made.column.identity {
                    Some(_) => twice("both default and identity", &name, table),
                    None => twice("multiple default values", &name, table),
                });
            }
            ColumnOption::Default(expr) => {
                made.column.default = default_of(session, ddl, expr, ty, text)?;
            }
            ColumnOption::PrimaryKey(c) if c.characteristics.is_none() => {
                made.keys.push(key(&option.name, true));
            }
            ColumnOption::Unique(c) if c.characteristics.is_none() => {
                let nulls_not_distinct =
                    c.nulls_distinct == sqlparser::ast::NullsDistinctOption::NotDistinct;
                made.keys.push(KeyDef { nulls_not_distinct, ..key(&option.name, false) });
            }
            ColumnOption::Collation(name) => collation(&name.to_string())?,
            ColumnOption::Check(check) if check.enforced.is_none() => {
                let name = option.name.as_ref().map(fold);
                let expr = (*check.expr).clone();
                made.constraints.push(Def::Check(CheckDef { name, expr }));
            }
            ColumnOption::ForeignKey(foreign) => {
                let def = ForeignDef::new(option.name.as_ref(), Some(&name), foreign);
                made.constraints.push(Def::Foreign(def));
            }
            ColumnOption::Generated { generation_expr: Some(expr), .. } => {
                made.generated = Some(expr.clone());
            }
            ColumnOption::Generated { generated_as, sequence_options, .. } => {
                if made.column.identity.is_some() {
                    return Err(twice("multiple identity specifications", &name, table));
                }
                if made.sequence.is_some() || made.column.default.is_some() {
                    return Err(twice("both default and identity", &name, table));
                }
                check_identity_type(ty)?;
                let options = sequence_options.as_deref().unwrap_or_default();
                made.sequence = Some(super::parse::of_column(options)?);
                made.column.nullable = false;
                made.column.identity = Some(match generated_as {
                    GeneratedAs::Always => Identity::Always,
                    GeneratedAs::ByDefault | GeneratedAs::ExpStored => Identity::ByDefault,
                });
            }
            other => return Err(SqlError::unsupported(format!("column option {other}"))),
        }
    }
    if null && !made.column.nullable {
        return Err(SqlError::syntax(format!(
            "conflicting NULL/NOT NULL declarations for column \"{name}\" of table \"{table}\""
        )));
    }
    if made.generated.is_some() {
        if made.column.identity.is_some() {
            return Err(twice("both identity and generation expression", &name, table));
        }
        if made.column.default.is_some() || made.sequence.is_some() {
            return Err(twice("both default and generation expression", &name, table));
        }
    }
    Ok(made)
}

/// 22023 for an identity column of another type than an integer.
pub(super) fn check_identity_type(ty: pgtypes::PgType) -> Result<(), SqlError> {
    let integers = [pgtypes::PgType::INT2, pgtypes::PgType::INT4, pgtypes::PgType::INT8];
    if integers.iter().any(|known| known.same(ty)) {
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        "identity column type must be smallint, integer, or bigint",
    ))
}

/// The text of a generated column's expression, after a look at what it mentions.
pub(super) fn generation(
    session: &Session,
    ddl: &Ddl,
    columns: &[Column],
    at: usize,
    expr: &Expr,
    text: &str,
) -> Result<String, SqlError> {
    const INVALID_OBJECT: SqlState = SqlState("42P17");
    for position in expression::columns_of(expr, columns) {
        let column = &columns[position];
        if position == at || column.generated.is_some() {
            return Err(SqlError::new(
                INVALID_OBJECT,
                format!(
                    "cannot use generated column \"{}\" in column generation expression",
                    column.name
                ),
            )
            .detail("A generated column cannot reference another generated column."));
        }
    }
    let ty = Some(columns[at].ty);
    let (sql, bound) = expression::stored(session, ddl, expr, columns, ty, Use::Generated, text)?;
    if !expression::is_immutable(&bound) {
        return Err(SqlError::new(INVALID_OBJECT, "generation expression is not immutable"));
    }
    Ok(sql)
}

/// A sequence for a column of a table, which is about to be.
pub(super) fn column_sequence(
    ddl: &Ddl,
    table: &Table,
    taken: &mut Vec<String>,
    id: u32,
    column: &Column,
    options: &[SequenceOption],
) -> Result<Sequence, SqlError> {
    let given = options.iter().find_map(|option| match option {
        SequenceOption::Name(name) => Some(name),
        _ => None,
    });
    let name = match given {
        Some(name) => sequence_named(ddl, table, name)?,
        None => {
            let base = format!("{}_{}", table.name, column.name);
            free_name(&ddl.catalog, table.schema, taken, &base, "seq")
        }
    };
    taken.push(name.clone());
    let mut sequence = Sequence::new(id, table.schema, name, table.owner, column.ty.base());
    sequence.acl = ddl.catalog.acl_of_new(ObjectKind::Sequence, table.owner, table.schema);
    sequence.owned_by = Some((table.id, column.id));
    super::sequence::apply(&mut sequence, options, true)?;
    Ok(sequence)
}

/// SEQUENCE NAME: a name that is free in the table's schema.
fn sequence_named(ddl: &Ddl, table: &Table, name: &ObjectName) -> Result<String, SqlError> {
    let mut parts = crate::bind::name_parts(name)?;
    let short = parts.pop().ok_or_else(|| SqlError::syntax("empty name of a sequence"))?;
    let schema = ddl.catalog.schema_by_id(table.schema).map_or("", |schema| schema.name.as_str());
    if parts.last().is_some_and(|given| given != schema) {
        return Err(SqlError::unsupported("an identity sequence in another schema than its table"));
    }
    if ddl.catalog.relation_exists(table.schema, &short) {
        return Err(super::duplicate_relation(&short));
    }
    Ok(short)
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
    let (sql, _) = expression::stored(session, ddl, expr, &[], Some(ty), Use::Default, text)?;
    Ok((!sql.eq_ignore_ascii_case("null")).then_some(sql))
}
