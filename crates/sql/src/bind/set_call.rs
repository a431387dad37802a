//! Calls of functions that return rows, in FROM and in select lists.
//!
//! All but `generate_series` return their rows as an array (`pgtypes::registry`), which is unnested. Several
//! in one select list go in lockstep, the shorter ones filled up with NULLs.

use std::sync::Arc;

use pgtypes::{PgType, TypeId, registry};
use sqlparser::ast::TableAlias;
use sqlparser::tokenizer::Span;

use super::Binder;
use super::composite::field_at;
use super::resolve::set_function;
use super::scope::{Collected, FromItem, plain_columns};
use crate::error::SqlError;
use crate::ir::{FuncRef, FunctionScan, Rel, RelColumn, Scalar, SetFunction};

/// Names and types of the columns of a function's rows.
type Columns = Vec<(&'static str, PgType)>;

impl Binder<'_> {
    /// The array of a call's rows, and the columns of the function.
    fn rows_of(
        &mut self,
        name: &str,
        args: Vec<(Scalar, Span)>,
        span: Span,
    ) -> Result<(Scalar, Columns), SqlError> {
        let types: Vec<_> = args.iter().map(|(arg, _)| arg.ty()).collect();
        let func = set_function(name, &types).map_err(|e| e.at(self.pos(span)))?;
        let columns = func.columns.clone();
        Ok((self.apply(func, args)?, columns))
    }

    /// `json_to_record(…) AS t(a int, b text)`: the alias says which columns there are.
    fn defined_rows_in_from(
        &mut self,
        name: &str,
        args: Vec<(Scalar, Span)>,
        ordinality: bool,
        alias: Option<&TableAlias>,
        span: Span,
    ) -> Result<FromItem, SqlError> {
        let missing = || {
            SqlError::syntax(
                "a column definition list is required for functions returning \"record\"",
            )
            .at(self.pos(span))
        };
        let alias = alias.filter(|alias| !alias.columns.is_empty()).ok_or_else(missing)?;
        if ordinality {
            return Err(SqlError::syntax(
                "WITH ORDINALITY cannot be used with a column definition list",
            )
            .at(self.pos(span)));
        }
        let mut fields: Vec<pgtypes::record::Field> = Vec::with_capacity(alias.columns.len());
        for column in &alias.columns {
            let ty = column.data_type.as_ref().ok_or_else(missing)?;
            let ty = super::typename::type_in(ty, self.catalog)?;
            fields.push((Arc::from(super::fold(&column.name)), ty));
        }
        let types: Vec<_> = args.iter().map(|(arg, _)| arg.ty()).collect();
        let func = set_function(name, &types).map_err(|e| e.at(self.pos(span)))?;
        let func = FuncRef(Arc::new((*func.0).clone().with_fields(&fields)));
        let array = self.apply(func, args)?;
        let made = self.fresh(name, array.ty().element());
        let rel = Rel::Function(FunctionScan {
            function: SetFunction::Unnest,
            args: vec![array],
            columns: vec![made.clone()],
            ordinality: None,
        });
        let mut exprs: Vec<(RelColumn, Scalar)> = Vec::with_capacity(fields.len());
        for (at, (name, ty)) in fields.iter().enumerate() {
            let row = Scalar::Column(made.id, made.ty);
            exprs.push((self.fresh(name.clone(), *ty), field_at(row, at, *ty)));
        }
        let names: Vec<RelColumn> = exprs.iter().map(|(column, _)| column.clone()).collect();
        let rel = Rel::Project { input: Box::new(rel), exprs };
        let alias = TableAlias { columns: Vec::new(), ..alias.clone() };
        self.item(rel, plain_columns(&names), name, None, Vec::new(), Some(&alias))
    }

    /// Such a function in FROM.
    pub(crate) fn rows_in_from(
        &mut self,
        name: &str,
        args: Vec<(Scalar, Span)>,
        ordinality: bool,
        alias: Option<&TableAlias>,
        span: Span,
    ) -> Result<FromItem, SqlError> {
        if registry::needs_columns(name) {
            return self.defined_rows_in_from(name, args, ordinality, alias, span);
        }
        let (array, columns) = self.rows_of(name, args, span)?;
        let element = array.ty().element();
        let is_row = element.id == TypeId::Record;
        // A single column without a name of its own is called like the table.
        let called: Arc<str> = match alias {
            Some(alias) if columns.len() == 1 && columns[0].0 == name => {
                Arc::from(super::fold(&alias.name))
            }
            _ => Arc::from(columns[0].0),
        };
        let made = self.fresh(called.clone(), if is_row { element } else { columns[0].1 });
        let ordinality = ordinality.then(|| self.fresh("ordinality", PgType::INT8));
        let mut rel = Rel::Function(FunctionScan {
            function: SetFunction::Unnest,
            args: vec![array],
            columns: vec![made.clone()],
            ordinality: ordinality.clone(),
        });
        let mut names = vec![made.clone()];
        if is_row {
            let mut exprs: Vec<(RelColumn, Scalar)> = Vec::with_capacity(columns.len() + 1);
            for (at, (name, ty)) in columns.iter().enumerate() {
                let name = if columns.len() == 1 { called.clone() } else { Arc::from(*name) };
                let row = Scalar::Column(made.id, made.ty);
                exprs.push((self.fresh(name, *ty), field_at(row, at, *ty)));
            }
            names = exprs.iter().map(|(column, _)| column.clone()).collect();
            let kept = |column: &RelColumn| (column.clone(), Scalar::Column(column.id, column.ty));
            exprs.extend(ordinality.iter().map(kept));
            rel = Rel::Project { input: Box::new(rel), exprs };
        }
        names.extend(ordinality);
        let mut item = self.item(rel, plain_columns(&names), name, None, Vec::new(), alias)?;
        item.tables[0].is_value = names.len() == 1;
        if alias.is_none() {
            item.tables[0].schema = None;
            item.tables[0].alias = Arc::from(name);
        }
        Ok(item)
    }

    /// Any set-returning function of a select list: a column that the select joins laterally.
    pub(crate) fn rows_in_list(
        &mut self,
        name: &str,
        args: Vec<(Scalar, Span)>,
        span: Span,
        collected: &mut Collected,
    ) -> Result<Scalar, SqlError> {
        if registry::needs_columns(name) {
            return Err(
                SqlError::unsupported(format!("{name} in a select list")).at(self.pos(span))
            );
        }
        let series = SetFunction::by_name(name) == Some(SetFunction::GenerateSeries);
        if series && collected.functions.is_empty() {
            let (args, types) =
                self.set_function_args(SetFunction::GenerateSeries, name, args, span)?;
            let column = self.fresh(name, types[0]);
            let scalar = Scalar::Column(column.id, types[0]);
            let (function, columns) = (SetFunction::GenerateSeries, vec![column]);
            collected.functions.push(FunctionScan { function, args, columns, ordinality: None });
            return Ok(scalar);
        }
        let array = match SetFunction::by_name(name) {
            Some(SetFunction::Unnest) => {
                let (mut args, types) =
                    self.set_function_args(SetFunction::Unnest, name, args, span)?;
                if types.len() > 1 {
                    return Err(SqlError::unsupported(format!(
                        "{name} with several arrays in a select list"
                    ))
                    .at(self.pos(span)));
                }
                args.swap_remove(0)
            }
            _ => self.rows_of(name, args, span)?.0,
        };
        let ty = array.ty().element().base();
        let column = self.fresh(name, ty);
        let scalar = Scalar::Column(column.id, ty);
        let scan = match collected.functions.as_mut_slice() {
            [] => {
                let (args, columns) = (vec![array], vec![column]);
                let function = SetFunction::Unnest;
                collected.functions.push(FunctionScan {
                    function,
                    args,
                    columns,
                    ordinality: None,
                });
                return Ok(unwrapped(scalar));
            }
            [first, ..] => first,
        };
        if scan.function == SetFunction::GenerateSeries {
            let types: Vec<PgType> = scan.args.iter().map(Scalar::ty).collect();
            let func = set_function("generate_series", &types).map_err(|_| {
                SqlError::unsupported("this generate_series beside another set-returning function")
                    .at(self.pos(span))
            })?;
            let args = std::mem::take(&mut scan.args);
            scan.function = SetFunction::Unnest;
            let ty = func.result;
            scan.args = vec![Scalar::Call { func, args, ty }];
        }
        scan.args.push(array);
        scan.columns.push(column);
        Ok(unwrapped(scalar))
    }
}

/// A row of one field stands for it: rows whose column is an array.
fn unwrapped(scalar: Scalar) -> Scalar {
    match pgtypes::record::fields(scalar.ty()).as_deref() {
        Some([(_, ty)]) if ty.array => field_at(scalar, 0, *ty),
        _ => scalar,
    }
}

/// Whether a name is one of a set-returning function.
pub(crate) fn is_set_function(name: &str) -> bool {
    SetFunction::by_name(name).is_some() || registry::is_set_function(name)
}
