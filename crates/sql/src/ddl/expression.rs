//! Expressions that descriptors hold as SQL: defaults, CHECK, generated columns.
//!
//! Relations are named by oid in them (`'16400'::regclass`), so that they mean the same whatever the
//! search path is, and go on to after a rename. [`shown`] puts the names back.

use std::convert::Infallible;
use std::ops::ControlFlow;

use catalog::{Column, Table};
use pgtypes::{PgType, TypeId};
use sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Value, VisitMut,
    VisitorMut,
};

use super::Ddl;
use crate::bind::fold;
use crate::ir::deparse::deparse;
use crate::ir::{ColId, RelColumn, Scalar};
use crate::session::Session;
use crate::{SqlError, SqlState};

/// What an expression is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Default,
    Check,
    Generated,
    IndexExpression,
    IndexPredicate,
    Transform,
}

impl Use {
    fn name(self) -> &'static str {
        match self {
            Use::Default => "DEFAULT expression",
            Use::Check => "check constraint",
            Use::Generated => "column generation expression",
            Use::IndexExpression => "index expression",
            Use::IndexPredicate => "index predicate",
            Use::Transform => "transform expression",
        }
    }
}

/// Binds an expression over columns once, to see that it fits, and gives its text to be stored.
pub(super) fn stored(
    session: &Session,
    ddl: &Ddl,
    expr: &Expr,
    columns: &[Column],
    target: Option<PgType>,
    use_of: Use,
    text: &str,
) -> Result<(String, Scalar), SqlError> {
    let view = session.view(&ddl.catalog);
    let over: Vec<RelColumn> = (0u32..)
        .zip(columns)
        .map(|(id, c)| RelColumn { id: ColId(id), name: c.name.as_str().into(), ty: c.ty })
        .collect();
    let bound =
        crate::bind::Binder::new(&view, session.env(), text).bind_expr_over(expr, &over, target)?;
    if bound.has_subquery() {
        return Err(SqlError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("cannot use subquery in {}", use_of.name()),
        ));
    }
    if use_of != Use::Default && crate::session::has_sequence_call(&bound) {
        return Err(SqlError::unsupported(format!("nextval or setval in a {}", use_of.name())));
    }
    // The text leaves the length of the column alone: `1.5`, not `1.50`.
    let plain = crate::bind::Binder::new(&view, session.env(), text).bind_expr_over(
        expr,
        &over,
        target.map(PgType::base),
    )?;
    // What it names is stored by oid, for who asks what depends on it.
    let names_relations =
        plain.any(&mut |node| matches!(node, Scalar::Literal(_, ty) if ty.id == TypeId::Regclass));
    if !names_relations
        && let Some(sql) = deparse(&plain, columns, session.env())
        && let Ok(again) = crate::session::stored_expr(&sql)
        && crate::bind::Binder::new(&view, session.env(), &sql)
            .bind_expr_over(&again, &over, target)
            .is_ok_and(|again| again.ty().same(bound.ty()))
    {
        return Ok((sql, bound));
    }
    // As it was written, then.
    let mut named = expr.clone();
    let mut names = ByOid { session, error: None };
    let ControlFlow::Continue(()) = named.visit(&mut names);
    match names.error {
        Some(error) => Err(error),
        None => Ok((named.to_string().replace("'::REGCLASS", "'::regclass"), bound)),
    }
}

struct ByOid<'a> {
    session: &'a Session,
    error: Option<SqlError>,
}

impl ByOid<'_> {
    /// Names an enumeration so that the search path does not matter; false if it is another type.
    fn name_enum(&self, data_type: &mut DataType) -> bool {
        use sqlparser::ast::ArrayElemTypeDef;
        match data_type {
            DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => self.name_enum(element),
            DataType::Custom(name, args) if args.is_empty() => {
                let names = self.session.env().names.0.as_ref();
                let found = names.and_then(|n| n.oid_of(TypeId::Regtype, &name.to_string()));
                let Some(oid) = found else { return false };
                let stored = super::enums::stored_name(oid);
                let ident = Ident::with_quote('"', stored.trim_matches('"'));
                *data_type = DataType::Custom(vec![ident].into(), Vec::new());
                true
            }
            _ => false,
        }
    }

    fn replace(&mut self, expr: &mut Expr) {
        let text = match expr {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => text.clone(),
                _ => return,
            },
            Expr::Cast { expr: inner, data_type: DataType::Regclass, .. } => {
                return self.replace_value(inner);
            }
            _ => return,
        };
        let mut inner = expr.clone();
        self.replace_text(&mut inner, &text);
        *expr = Expr::Cast {
            kind: sqlparser::ast::CastKind::DoubleColon,
            expr: Box::new(inner),
            data_type: DataType::Regclass,
            array: false,
            format: None,
        };
    }

    fn replace_value(&mut self, expr: &mut Expr) {
        if let Expr::Value(value) = expr
            && let Value::SingleQuotedString(text) = &value.value
        {
            let text = text.clone();
            self.replace_text(expr, &text);
        }
    }

    fn replace_text(&mut self, expr: &mut Expr, text: &str) {
        let names = self.session.env().names.0.as_ref();
        match names.and_then(|names| names.oid_of(TypeId::Regclass, text)) {
            Some(oid) => {
                *expr = Expr::value(Value::SingleQuotedString(oid.to_string()));
            }
            None if text.parse::<u32>().is_ok() => {}
            None => {
                self.error = Some(SqlError::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("relation \"{text}\" does not exist"),
                ));
            }
        }
    }
}

impl VisitorMut for ByOid<'_> {
    type Break = Infallible;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if let Expr::Cast { data_type, .. }
        | Expr::TypedString(sqlparser::ast::TypedString { data_type, .. }) = expr
            && self.name_enum(data_type)
        {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Cast { expr: inner, data_type: DataType::Regclass, .. } => {
                self.replace_value(inner);
            }
            Expr::Function(function) => {
                let name = function.name.to_string().to_ascii_lowercase();
                let known = matches!(name.as_str(), "nextval" | "currval" | "setval");
                if known
                    && let FunctionArguments::List(list) = &mut function.args
                    && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) =
                        list.args.first_mut()
                {
                    self.replace(first);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Whether stored text names a relation.
pub(super) fn names_relation(sql: &str, oid: u32) -> bool {
    sql.contains(&format!("'{oid}'::regclass"))
}

struct Idents<'a> {
    found: Vec<String>,
    rename: Option<(&'a str, &'a Ident)>,
}

impl Idents<'_> {
    fn see(&mut self, ident: &mut Ident) {
        let name = fold(ident);
        if let Some((from, to)) = self.rename
            && name == from
        {
            *ident = to.clone();
        }
        self.found.push(name);
    }
}

impl VisitorMut for Idents<'_> {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        match expr {
            Expr::Identifier(ident) => self.see(ident),
            Expr::CompoundIdentifier(parts) => {
                if let Some(last) = parts.last_mut() {
                    self.see(last);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Positions of the columns that a tree mentions, in the order of the table.
pub(super) fn columns_of(expr: &Expr, columns: &[Column]) -> Vec<usize> {
    let mut idents = Idents { found: Vec::new(), rename: None };
    let ControlFlow::Continue(()) = expr.clone().visit(&mut idents);
    (0..columns.len()).filter(|&p| idents.found.contains(&columns[p].name)).collect()
}

/// The same of stored text.
pub(crate) fn columns_of_stored(sql: &str, table: &Table) -> Vec<usize> {
    match crate::session::stored_expr(sql) {
        Ok(expr) => columns_of(&expr, &table.columns),
        Err(_) => Vec::new(),
    }
}

/// Stored text after a column was renamed; `columns` are those of the table by now.
pub(super) fn renamed(
    session: &Session,
    ddl: &Ddl,
    sql: &str,
    columns: &[Column],
    (from, to): (&str, &Ident),
    (target, use_of): (Option<PgType>, Use),
) -> Result<String, SqlError> {
    let mut expr = crate::session::stored_expr(sql)?;
    let mut idents = Idents { found: Vec::new(), rename: Some((from, to)) };
    let ControlFlow::Continue(()) = expr.visit(&mut idents);
    stored(session, ddl, &expr, columns, target, use_of, sql).map(|(sql, _)| sql)
}

/// Whether a value depends on the row alone.
pub(super) fn is_immutable(scalar: &Scalar) -> bool {
    use pgtypes::registry::Volatility;
    !scalar.any(&mut |node| match node {
        Scalar::Call { func, .. } => func.volatility != Volatility::Immutable,
        Scalar::Cast { cast, .. } => {
            use pgtypes::ty::Category;
            let zoned = |ty: PgType| ty.id == TypeId::Timestamptz || ty.id.is_oid_like();
            // How a date is written is a setting.
            let is_time = |ty: PgType| ty.category() == Category::DateTime;
            let is_text = |ty: PgType| ty.category() == Category::String;
            let (from, to) = (cast.from, cast.to);
            // So is what a label is called.
            let is_enum = |ty: PgType| ty.id == TypeId::Enum;
            is_enum(from) != is_enum(to)
                || zoned(from) != zoned(to)
                || (is_time(from) && is_text(to))
                || (is_text(from) && is_time(to))
        }
        _ => false,
    })
}

/// Stored text for people: relations by name.
pub(crate) fn shown(sql: &str, name_of: impl Fn(u32) -> Option<String>) -> String {
    let sql = &super::enums::enums_shown(sql);
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql.as_str();
    while let Some(at) = rest.find("'::regclass") {
        let (head, tail) = rest.split_at(at);
        let oid = head.rfind('\'').and_then(|open| {
            let oid: u32 = head[open + 1..].parse().ok()?;
            Some((open, name_of(oid)?))
        });
        match oid {
            Some((open, name)) => {
                out.push_str(&head[..open]);
                out.push('\'');
                out.push_str(&name.replace('\'', "''"));
            }
            None => out.push_str(head),
        }
        out.push_str("'::regclass");
        rest = &tail["'::regclass".len()..];
    }
    out.push_str(rest);
    out
}
