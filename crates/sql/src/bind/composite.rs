//! Whole rows and their fields: `t` as a value, `(value).field`, `table.column[1].field`.

use std::sync::Arc;

use pgtypes::{Datum, PgType, record, registry};
use sqlparser::ast::{AccessExpr, Expr, Ident, Spanned, Subscript};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::expr::Cx;
use super::resolve::Context;
use super::scope::{Scope, ScopeColumn, ScopeTable};
use super::{Binder, fold};
use crate::error::{SqlError, SqlState};
use crate::ir::{ColId, FuncRef, Rel, RelColumn, Scalar};

/// Most dimensions of an array.
const DIMENSIONS_MAX: usize = 6;

/// Subscripts of an array.
pub(super) struct Bounds {
    /// One per dimension, or two, where it begins and where it ends, of a slice.
    pub(super) bounds: Vec<Scalar>,
    /// Which of them are not given, a bit each.
    pub(super) left_out: i32,
    pub(super) is_slice: bool,
}

/// The refusal of subscripts where a type takes none.
pub(super) fn no_subscripts(ty: PgType) -> SqlError {
    let name = ty.sql_name();
    let message = format!("cannot subscript type {name} because it does not support subscripting");
    SqlError::new(SqlState::DATATYPE_MISMATCH, message)
}

impl Binder<'_> {
    /// A table's name where a column's may stand: all of its row.
    pub(crate) fn whole_row(&self, scope: &Scope<'_>, name: &str) -> Option<Scalar> {
        let mut level = Some(scope);
        while let Some(at) = level {
            if let Some(table) = at.tables.iter().find(|table| *table.alias == *name) {
                return Some(match table.columns.as_slice() {
                    [only] if table.is_value => Scalar::Column(only.column.id, only.column.ty),
                    _ => row_of_table(table),
                });
            }
            level = at.parent;
        }
        None
    }

    /// `root.a[1].b`: names up to the first subscript are a column's, unless `root` is in parentheses.
    pub(crate) fn field_access(
        &mut self,
        root: &Expr,
        chain: &[AccessExpr],
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let span = root.span();
        let mut names: Vec<Ident> = match root {
            Expr::Identifier(ident) => vec![ident.clone()],
            Expr::CompoundIdentifier(parts) => parts.clone(),
            _ => Vec::new(),
        };
        let mut chain = chain;
        if !names.is_empty() {
            while let [AccessExpr::Dot(Expr::Identifier(name)), rest @ ..] = chain {
                names.push(name.clone());
                chain = rest;
            }
        }
        let mut scalar = match names.as_slice() {
            [] => self.expr(root, cx)?,
            [name] => self.expr(&Expr::Identifier(name.clone()), cx)?,
            several => self.qualified_column(several, cx.scope)?,
        };
        while let Some(first) = chain.first() {
            if let AccessExpr::Dot(field) = first {
                let Expr::Identifier(field) = field else {
                    return Err(SqlError::unsupported(format!("field selection .{field}"))
                        .at(self.pos(span)));
                };
                scalar = self.field(scalar, field, span)?;
                chain = &chain[1..];
                continue;
            }
            let subscript = |access: &&AccessExpr| matches!(access, AccessExpr::Subscript(_));
            let (subscripts, rest) = chain.split_at(chain.iter().take_while(subscript).count());
            scalar = self.subscripts(scalar, subscripts, span, cx)?;
            chain = rest;
        }
        Ok(scalar)
    }

    /// `(value).name`.
    pub(crate) fn field(
        &mut self,
        value: Scalar,
        name: &Ident,
        span: Span,
    ) -> Result<Scalar, SqlError> {
        if name.value == STAR {
            return Err(SqlError::syntax("row expansion via \"*\" is not supported here")
                .at(self.pos(span)));
        }
        let name = fold(name);
        let ty = value.ty();
        if ty.array || ty.id != pgtypes::TypeId::Record {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!(
                    "column notation .{name} applied to type {}, which is not a composite type",
                    ty.sql_name()
                ),
            )
            .at(self.pos(span)));
        }
        let fields = record::fields(ty);
        let found = fields.iter().flat_map(|fields| fields.iter()).position(|(n, _)| **n == *name);
        match (found, fields) {
            (Some(at), Some(fields)) => Ok(field_at(value, at, fields[at].1)),
            _ => Err(SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("could not identify column \"{name}\" in record data type"),
            )
            .at(self.pos(span))),
        }
    }

    /// `array[i][j]`, `array[low:high]`.
    fn subscripts(
        &mut self,
        mut scalar: Scalar,
        chain: &[AccessExpr],
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        // A name is an array of its bytes, from 0.
        if scalar.ty().same(PgType::NAME)
            && let [AccessExpr::Subscript(Subscript::Index { index })] = chain
        {
            return self.byte_of_name(scalar, index, span, cx);
        }
        if scalar.ty().same(PgType::new(pgtypes::TypeId::Jsonb)) {
            return self.json_subscripts(scalar, chain, span, cx);
        }
        if !scalar.ty().array {
            return Err(no_subscripts(scalar.ty()).at(self.pos(span)));
        }
        let Bounds { bounds, left_out, is_slice } = self.bounds(chain, cx)?;
        if is_slice {
            let func = registry::slice_of(scalar.ty(), bounds.len() / 2);
            let ty = scalar.ty();
            let mut args = vec![scalar, Scalar::Literal(Datum::Int4(left_out), PgType::INT4)];
            args.extend(bounds);
            scalar = Scalar::Call { func: FuncRef(Arc::new(func)), args, ty };
        } else if !bounds.is_empty() {
            let ty = scalar.ty().element();
            scalar = Scalar::Element { array: Box::new(scalar), indexes: bounds, ty };
        }
        Ok(scalar)
    }

    /// What a chain of subscripts says, of integers.
    pub(super) fn bounds(
        &mut self,
        chain: &[AccessExpr],
        cx: &mut Cx<'_, '_>,
    ) -> Result<Bounds, SqlError> {
        let mut bounds = Vec::new();
        let mut left_out = 0;
        let is_slice = chain
            .iter()
            .any(|access| matches!(access, AccessExpr::Subscript(Subscript::Slice { .. })));
        for access in chain {
            match access {
                // Beside a slice, a subscript alone is where a slice from 1 ends.
                AccessExpr::Subscript(Subscript::Index { index }) if is_slice => {
                    bounds.push(Scalar::Literal(Datum::Int4(1), PgType::INT4));
                    bounds.push(self.subscript(index, cx)?);
                }
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    bounds.push(self.subscript(index, cx)?);
                }
                AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                    if stride.is_some() {
                        return Err(SqlError::syntax("syntax error at or near \":\""));
                    }
                    for bound in [lower_bound, upper_bound] {
                        match bound {
                            Some(bound) => bounds.push(self.subscript(bound, cx)?),
                            None => {
                                left_out |= 1 << bounds.len();
                                bounds.push(Scalar::null(PgType::INT4));
                            }
                        }
                    }
                }
                AccessExpr::Dot(_) => {
                    return Err(SqlError::internal("a field between subscripts"));
                }
            }
        }
        if chain.len() > DIMENSIONS_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!(
                    "number of array dimensions ({}) exceeds the maximum allowed ({DIMENSIONS_MAX})",
                    chain.len()
                ),
            ));
        }
        Ok(Bounds { bounds, left_out, is_slice })
    }

    /// `json['key'][1]` is what `->` gets.
    fn json_subscripts(
        &mut self,
        mut scalar: Scalar,
        chain: &[AccessExpr],
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        for access in chain {
            let AccessExpr::Subscript(Subscript::Index { index }) = access else {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    "jsonb subscript does not support slices",
                )
                .at(self.pos(span)));
            };
            let key = self.expr(index, cx)?;
            let pair = vec![(scalar, span), (key, index.span())];
            scalar = self.operator("->", pair, span)?;
        }
        Ok(scalar)
    }

    /// `name[n]`, a `"char"`.
    fn byte_of_name(
        &mut self,
        name: Scalar,
        index: &Expr,
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let index = self.subscript(index, cx)?;
        let one = Scalar::Literal(Datum::Int4(1), PgType::INT4);
        let from = self.operator("+", vec![(index, span), (one.clone(), span)], span)?;
        let letter = self.call("substr", vec![(name, span), (from, span), (one, span)], span)?;
        self.explicit(letter, PgType::new(pgtypes::TypeId::Char), span)
    }

    fn subscript(&mut self, expr: &Expr, cx: &mut Cx<'_, '_>) -> Result<Scalar, SqlError> {
        let scalar = self.expr(expr, cx)?;
        let span = expr.span();
        match self.try_coerce(scalar, PgType::INT4, Context::Assignment, span)? {
            Some(scalar) => Ok(scalar),
            None => Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                "array subscript must have type integer",
            )
            .at(self.pos(span))),
        }
    }

    /// What `(value).*` expands to.
    pub(crate) fn all_fields(
        &mut self,
        value: &Scalar,
        span: Span,
    ) -> Result<Vec<(Arc<str>, Scalar)>, SqlError> {
        let fields = record::fields(value.ty()).filter(|_| !value.ty().array);
        let fields = fields.ok_or_else(|| {
            let message = format!("type {} is not composite", value.ty().sql_name());
            SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).at(self.pos(span))
        })?;
        let each = fields.iter().enumerate();
        Ok(each.map(|(at, (n, ty))| (n.clone(), field_at(value.clone(), at, *ty))).collect())
    }

    /// Adds the system column `tableoid` to a table, where the statement mentions it.
    pub(crate) fn with_table_oid(&mut self, rel: Rel, oid: u32) -> (Rel, Vec<ScopeColumn>) {
        let mentions = |sql: &str| sql.contains("tableoid") || sql.contains("TABLEOID");
        if !*self.mentions_table_oid.get_or_init(|| mentions(self.sql)) {
            return (rel, Vec::new());
        }
        let same = |column: RelColumn| {
            let scalar = Scalar::Column(column.id, column.ty);
            (column, scalar)
        };
        let mut exprs: Vec<_> = rel.columns().into_iter().map(same).collect();
        let made = self.fresh("tableoid", PgType::OID);
        exprs.push((made.clone(), Scalar::Literal(Datum::Oid(oid), PgType::OID)));
        let rel = Rel::Project { input: Box::new(rel), exprs };
        (rel, vec![ScopeColumn { column: made, origin: None }])
    }
}

/// What stands for `*` behind a row: sqlparser takes a name there only.
const STAR: &str = "\0*";

/// `(row).*` as the field of that name.
pub(super) fn with_star_marks(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for at in 2..tokens.len() {
        if let [a, b, c] = &tokens[at - 2..=at]
            && (&a.token, &b.token, &c.token) == (&Token::RParen, &Token::Period, &Token::Mul)
        {
            tokens[at].token = Token::make_word(STAR, Some('"'));
        }
    }
    tokens
}

/// `(row).*` without the star.
pub(crate) fn before_star(expr: &Expr) -> Option<Expr> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return None };
    let (last, chain) = access_chain.split_last()?;
    let AccessExpr::Dot(Expr::Identifier(name)) = last else { return None };
    if name.value != STAR {
        return None;
    }
    Some(match chain {
        [] => (**root).clone(),
        chain => Expr::CompoundFieldAccess { root: root.clone(), access_chain: chain.to_vec() },
    })
}

/// A field of a row by its number, from 0.
pub(crate) fn field_at(row: Scalar, at: usize, ty: PgType) -> Scalar {
    match row {
        Scalar::Row(mut fields) if at < fields.len() => fields.swap_remove(at),
        Scalar::Relabel(inner, _) if matches!(*inner, Scalar::Row(_)) => field_at(*inner, at, ty),
        row => {
            let func = FuncRef(Arc::new(registry::field_of(row.ty(), ty)));
            let at = i32::try_from(at).unwrap_or(i32::MAX);
            let at = Scalar::Literal(Datum::Int4(at), PgType::INT4);
            Scalar::Call { func, args: vec![row, at], ty }
        }
    }
}

/// NULL where an outer join found no row, as far as a key tells.
fn row_of_table(table: &ScopeTable) -> Scalar {
    let field = |column: &ScopeColumn| {
        let RelColumn { id, name, ty } = &column.column;
        ((name.clone(), *ty), Scalar::Column(*id, *ty))
    };
    let (fields, values): (Vec<record::Field>, Vec<Scalar>) =
        table.columns.iter().map(field).unzip();
    let ty = record::row_type(&fields);
    let row = Scalar::Relabel(Box::new(Scalar::Row(values)), ty);
    let is_key = |id: &ColId| table.columns.iter().find(|c| c.column.id == *id);
    match table.primary_key.first().and_then(is_key) {
        None => row,
        Some(key) => {
            let key = Scalar::Column(key.column.id, key.column.ty);
            let whens = vec![(Scalar::IsNull(Box::new(key)), Scalar::null(ty))];
            Scalar::Case { whens, otherwise: Box::new(row), ty }
        }
    }
}
