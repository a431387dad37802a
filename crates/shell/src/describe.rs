//! What is in the database? The `\d` family.
//!
//! Ordinary queries against pg_catalog, kept plain: what they use is what other clients use as
//! well.

use std::fmt::Write as _;

use crate::error::ShellError;
use crate::input::Input;
use crate::interpreter::{Flow, Shell};
use crate::wire::Row;

const USER_SCHEMAS: &str = "n.nspname NOT IN \
    ('pg_catalog', 'information_schema', 'pg_toast', 'conclave')";

const SCHEMAS: &str = "SELECT n.nspname AS \"Name\", pg_get_userbyid(n.nspowner) AS \"Owner\" \
    FROM pg_catalog.pg_namespace n \
    WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1";

const ROLES: &str = "SELECT r.rolname AS \"Role\", \
    CASE WHEN r.rolsuper THEN 'yes' ELSE 'no' END AS \"Superuser\", \
    CASE WHEN r.rolcanlogin THEN 'yes' ELSE 'no' END AS \"Login\", \
    CASE WHEN r.rolcreatedb THEN 'yes' ELSE 'no' END AS \"Create DB\" \
    FROM pg_catalog.pg_roles r WHERE r.rolname NOT LIKE 'pg\\_%' ORDER BY 1";

const DATABASES: &str = "SELECT d.datname AS \"Name\", pg_get_userbyid(d.datdba) AS \"Owner\", \
    pg_encoding_to_char(d.encoding) AS \"Encoding\" FROM pg_catalog.pg_database d ORDER BY 1";

impl Shell {
    /// `\d` and its relatives.
    pub(crate) async fn describe(
        &mut self,
        command: &str,
        name: &str,
        input: &mut Input,
    ) -> Result<Flow, ShellError> {
        let sql = match command {
            "d" if !name.is_empty() => return self.describe_relation(name).await,
            "d" => relations("'r', 'p', 'v', 'm', 'S', 'f'", name),
            "dt" => relations("'r', 'p'", name),
            "dv" => relations("'v', 'm'", name),
            "di" => indexes(name),
            "dn" => SCHEMAS.to_owned(),
            "du" => ROLES.to_owned(),
            _ => DATABASES.to_owned(),
        };
        self.statement(&sql, input).await
    }

    async fn describe_relation(&mut self, name: &str) -> Result<Flow, ShellError> {
        let sql = format!(
            "SELECT c.oid, n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE {} AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'i', 'I') ORDER BY 2, 3",
            matches_name(name)
        );
        let found = match self.rows(&sql).await? {
            Ok(rows) => rows,
            Err(message) => return self.complain(message.render(&sql).trim_end()),
        };
        if found.is_empty() {
            return self.complain(&format!("Did not find any relation named \"{name}\"."));
        }
        for row in found {
            let [oid, schema, relation, kind] = [0, 1, 2, 3].map(|at| text(&row, at));
            let kind = match kind.as_str() {
                "v" | "m" => "View",
                "S" => "Sequence",
                "i" | "I" => "Index",
                _ => "Table",
            };
            self.print(&format!("{kind} \"{schema}.{relation}\""))?;
            if let Err(message) = self.columns_of(&oid).await? {
                return self.complain(&message);
            }
            if kind == "Table"
                && let Err(message) = self.indexes_of(&oid).await?
            {
                return self.complain(&message);
            }
            self.print("")?;
        }
        Ok(Flow::Continue)
    }

    async fn columns_of(&mut self, oid: &str) -> Result<Result<(), String>, ShellError> {
        let sql = format!(
            "SELECT a.attname AS \"Column\", format_type(a.atttypid, a.atttypmod) AS \"Type\", \
             CASE WHEN a.attnotnull THEN 'not null' ELSE '' END AS \"Nullable\", \
             coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS \"Default\" \
             FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d \
             ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        );
        let (columns, rows) = match self.result(&sql).await? {
            Ok(result) => result,
            Err(message) => return Ok(Err(message.render(&sql))),
        };
        let style = crate::render::Style {
            format: crate::render::Format::Aligned,
            null: String::new(),
            tuples_only: false,
        };
        let mut table = Vec::new();
        style.table(&mut table, &columns, &rows).map_err(ShellError::Terminal)?;
        let table = String::from_utf8_lossy(&table).into_owned();
        // The row count says nothing here.
        let table = table.rsplit_once('(').map_or(table.as_str(), |(table, _)| table);
        self.print(table.trim_end())?;
        Ok(Ok(()))
    }

    async fn indexes_of(&mut self, oid: &str) -> Result<Result<(), String>, ShellError> {
        let sql = format!(
            "SELECT c.relname, i.indisprimary, i.indisunique, pg_get_indexdef(i.indexrelid) \
             FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
             WHERE i.indrelid = {oid} ORDER BY i.indisprimary DESC, c.relname"
        );
        let rows = match self.rows(&sql).await? {
            Ok(rows) => rows,
            Err(message) => return Ok(Err(message.render(&sql))),
        };
        let mut shown = String::new();
        for row in &rows {
            let kind = match (text(row, 1).as_str(), text(row, 2).as_str()) {
                ("t", _) => "PRIMARY KEY, ",
                (_, "t") => "UNIQUE, ",
                _ => "",
            };
            let definition = text(row, 3);
            let columns = definition.split_once(" USING ").map_or("", |(_, method)| method);
            write!(shown, "\n    \"{}\" {kind}{columns}", text(row, 0))
                .expect("writing to a string succeeds");
        }
        if !rows.is_empty() {
            self.print(&format!("Indexes:{shown}"))?;
        }
        Ok(Ok(()))
    }
}

fn relations(kinds: &str, name: &str) -> String {
    let wanted = if name.is_empty() { USER_SCHEMAS.to_owned() } else { matches_name(name) };
    format!(
        "SELECT n.nspname AS \"Schema\", c.relname AS \"Name\", CASE c.relkind \
         WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' \
         WHEN 'f' THEN 'foreign table' ELSE 'table' END AS \"Type\", \
         pg_get_userbyid(c.relowner) AS \"Owner\" FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ({kinds}) AND {wanted} ORDER BY 1, 2"
    )
}

fn indexes(name: &str) -> String {
    let wanted = if name.is_empty() { USER_SCHEMAS.to_owned() } else { matches_name(name) };
    format!(
        "SELECT n.nspname AS \"Schema\", c.relname AS \"Name\", t.relname AS \"Table\", \
         pg_get_userbyid(c.relowner) AS \"Owner\" FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         JOIN pg_catalog.pg_class t ON t.oid = i.indrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {wanted} ORDER BY 1, 2"
    )
}

/// The condition that a relation `c` of a schema `n` has this name. `*` and `?` are wildcards.
fn matches_name(name: &str) -> String {
    let (schema, relation) = match name.split_once('.') {
        Some((schema, relation)) => (Some(schema), relation),
        None => (None, name),
    };
    let condition = |column: &str, pattern: &str| {
        let folded = match pattern.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(exact) => exact.to_owned(),
            None => pattern.to_lowercase(),
        };
        let quoted = folded.replace('\'', "''");
        if !quoted.contains(['*', '?']) {
            return format!("{column} = '{quoted}'");
        }
        let pattern = quoted.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        format!("{column} LIKE '{}'", pattern.replace('*', "%").replace('?', "_"))
    };
    match schema {
        Some(schema) => {
            format!("{} AND {}", condition("n.nspname", schema), condition("c.relname", relation))
        }
        None => format!("{} AND n.nspname <> 'pg_toast'", condition("c.relname", relation)),
    }
}

fn text(row: &Row, at: usize) -> String {
    let value = row.get(at).cloned().flatten().unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::matches_name;

    #[test]
    fn names_are_folded_and_quoted() {
        assert!(matches_name("Accounts").starts_with("c.relname = 'accounts'"));
        assert!(matches_name("\"Acc'ts\"").starts_with("c.relname = 'Acc''ts'"));
        assert!(matches_name("pg_*").starts_with("c.relname LIKE 'pg\\_%'"));
        assert_eq!(matches_name("public.t"), "n.nspname = 'public' AND c.relname = 't'");
    }
}
