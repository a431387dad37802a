//! What a table demands of each of its rows: generated columns, NOT NULL, CHECK. Compiled once per plan;
//! a table that demands nothing costs nothing.

use std::sync::Arc;

use catalog::Table;
use pgtypes::{Datum, EvalEnv};

use super::write::{check_not_null, failing_row};
use crate::ir::{self, Scalar};
use crate::point::Defaults;
use crate::{SqlError, SqlState};

/// The demands of one table.
#[derive(Debug)]
pub(crate) struct Rules {
    table: Arc<Table>,
    schema: String,
    /// Generated columns and their expressions over the row.
    generated: Vec<(usize, Scalar)>,
    /// CHECK constraints in the order of their names, as PostgreSQL looks at them.
    checks: Vec<(String, Scalar)>,
    /// Rows refer to others, or others to them.
    has_references: bool,
}

impl Rules {
    pub(crate) fn of(table: &Arc<Table>, defaults: &dyn Defaults) -> Result<Rules, SqlError> {
        let mut generated = Vec::new();
        for (position, column) in table.columns.iter().enumerate() {
            if let Some(sql) = &column.generated {
                generated.push((position, defaults.over_row(table, sql, Some(column.ty))?));
            }
        }
        let mut checks = Vec::new();
        for constraint in &table.constraints {
            if let Some(sql) = constraint.check() {
                let condition = defaults.over_row(table, sql, Some(pgtypes::PgType::BOOL))?;
                checks.push((constraint.name.clone(), condition));
            }
        }
        checks.sort_by(|a, b| a.0.cmp(&b.0));
        let has_references = table.foreign_keys().next().is_some() || defaults.is_referenced(table);
        let schema = defaults.schema_of(table);
        Ok(Rules { table: table.clone(), schema, generated, checks, has_references })
    }

    /// Whether writes have to be followed by [`super::References::follow`].
    pub(crate) fn has_references(&self) -> bool {
        self.has_references
    }

    /// Computes what is generated and refuses a row that breaks a rule.
    pub(crate) fn complete(&self, row: &mut [Datum], env: &EvalEnv) -> Result<(), SqlError> {
        for (position, value) in &self.generated {
            row[*position] = ir::eval(value, env, row, &[])?;
        }
        check_not_null(&self.table, &self.schema, row, env)?;
        for (name, condition) in &self.checks {
            // NULL is not false.
            if ir::eval(condition, env, row, &[])? == Datum::Bool(false) {
                return Err(self.violated(name, row, env));
            }
        }
        Ok(())
    }

    fn violated(&self, name: &str, row: &[Datum], env: &EvalEnv) -> SqlError {
        SqlError::new(
            SqlState::CHECK_VIOLATION,
            format!(
                "new row for relation \"{}\" violates check constraint \"{name}\"",
                self.table.name
            ),
        )
        .detail(failing_row(&self.table, row, env))
        .table(self.schema.as_str(), self.table.name.as_str())
        .constraint(name)
    }
}
