//! Indexes in words: pg_get_indexdef, and what pg_index says of expressions and conditions.

use catalog::{Index, IndexColumn, Table};
use pgtypes::{Datum, PgType, TypeId};

use super::class::quote;

/// The expression of a computed column, as SQL.
fn expression(table: &Table, position: usize) -> String {
    crate::ddl::enums_shown(table.column_at(position).generated.as_deref().unwrap_or("NULL"))
}

/// Whether it reads as the call of a function, all of it.
fn is_call(sql: &str) -> bool {
    let name = sql.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count();
    name > 0 && is_wrapped(&sql[name..])
}

/// Whether the first parenthesis closes at the end.
fn is_wrapped(sql: &str) -> bool {
    let mut depth = 0usize;
    let mut quoted = false;
    for (at, c) in sql.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1 == sql.len();
                }
            }
            _ if at == 0 => return false,
            _ => {}
        }
    }
    false
}

/// Without the parentheses around all of it.
fn pretty(sql: &str) -> &str {
    if is_wrapped(sql) { &sql[1..sql.len() - 1] } else { sql }
}

/// A column of a key for people: its name, or its expression.
pub(crate) fn key_shown(table: &Table, position: usize) -> String {
    key(table, position, true)
}

fn key(table: &Table, position: usize, is_pretty: bool) -> String {
    if !table.is_computed(position) {
        return quote(&table.column_at(position).name);
    }
    let sql = expression(table, position);
    match is_call(&sql) {
        true => sql,
        false => format!("({})", if is_pretty { pretty(&sql) } else { &sql }),
    }
}

fn order(column: &IndexColumn, ty: PgType) -> String {
    let class = match (column.pattern, ty.id) {
        (false, _) => "",
        (true, TypeId::Varchar) => " varchar_pattern_ops",
        (true, TypeId::Bpchar) => " bpchar_pattern_ops",
        (true, _) => " text_pattern_ops",
    };
    let direction = match (column.descending, column.nulls_reversed) {
        (false, false) => "",
        (false, true) => " NULLS FIRST",
        (true, false) => " DESC",
        (true, true) => " DESC NULLS LAST",
    };
    format!("{class}{direction}")
}

/// `CREATE INDEX …` as pg_get_indexdef prints it.
pub(crate) fn index_definition(
    schema: &str,
    table: &Table,
    index: &Index,
    is_pretty: bool,
) -> String {
    let positions = table.index_positions(index);
    let columns: Vec<String> = index
        .columns
        .iter()
        .zip(positions)
        .map(|(c, p)| {
            let ty = table.column_at(p).ty;
            format!("{}{}", key(table, p, is_pretty), order(c, ty))
        })
        .collect();
    let mut out = format!(
        "CREATE {}INDEX {} ON {}.{} USING btree ({})",
        if index.unique { "UNIQUE " } else { "" },
        quote(&index.name),
        quote(schema),
        quote(&table.name),
        columns.join(", ")
    );
    if !index.include.is_empty() {
        let included = table.positions(&index.include);
        let names: Vec<String> = included.into_iter().map(|p| key(table, p, is_pretty)).collect();
        out.push_str(&format!(" INCLUDE ({})", names.join(", ")));
    }
    if index.nulls_not_distinct {
        out.push_str(" NULLS NOT DISTINCT");
    }
    if let Some(predicate) = index_predicate(table, index) {
        let shown = if is_pretty { pretty(&predicate) } else { &predicate };
        out.push_str(&format!(" WHERE {shown}"));
    }
    out
}

/// One column of an index as pg_get_indexdef prints it, from 1; NULL if there is none.
pub(crate) fn index_column(table: &Table, index: &Index, n: usize, is_pretty: bool) -> Datum {
    let mut positions = table.index_positions(index);
    positions.extend(table.positions(&index.include));
    positions.get(n - 1).map_or(Datum::Null, |&p| Datum::text(key(table, p, is_pretty)))
}

/// The condition of a partial index.
pub(super) fn index_predicate(table: &Table, index: &Index) -> Option<String> {
    let position = table.position_of(index.predicate?)?;
    Some(expression(table, position))
}

/// The expressions of an index, a comma between each two; NULL if it has none.
pub(super) fn index_expressions(table: &Table, index: &Index) -> Datum {
    let positions = table.index_positions(index);
    let expressions: Vec<String> = positions
        .into_iter()
        .filter(|p| table.is_computed(*p))
        .map(|p| expression(table, p))
        .collect();
    match expressions.is_empty() {
        true => Datum::Null,
        false => Datum::text(expressions.join(", ")),
    }
}
