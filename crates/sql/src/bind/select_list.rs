//! Select lists: wildcards, output names, and which columns come straight from a table.

use std::sync::Arc;

use sqlparser::ast::{
    self, AccessExpr, Expr, SelectItem, SelectItemQualifiedWildcardKind, Spanned, TrimWhereField,
    WildcardAdditionalOptions,
};

use super::composite::before_star;
use super::expr::Cx;
use super::scope::{Clause, Collected, Scope, ScopeColumn, origin_of};
use super::typename::type_of;
use super::{Binder, COLUMNS_MAX, fold};
use crate::error::{SqlError, SqlState};
use crate::ir::Scalar;

/// One entry of a select list.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) name: Arc<str>,
    pub(crate) scalar: Scalar,
    pub(crate) origin: Option<(u32, usize)>,
}

impl Binder<'_> {
    /// Binds a select or RETURNING list.
    pub(crate) fn select_list(
        &mut self,
        items: &[SelectItem],
        scope: &Scope<'_>,
        clause: Clause,
        collected: &mut Collected,
    ) -> Result<Vec<Item>, SqlError> {
        let mut result = Vec::with_capacity(items.len());
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) if let Some(row) = before_star(expr) => {
                    let mut cx = Cx::collecting(scope, clause, collected);
                    let value = self.expr(&row, &mut cx)?;
                    let fields = self.all_fields(&value, row.span())?;
                    let item = |(name, scalar)| Item { name, scalar, origin: None };
                    result.extend(fields.into_iter().map(item));
                }
                SelectItem::UnnamedExpr(expr) => {
                    let name = output_name(expr).unwrap_or_else(|| "?column?".to_owned());
                    result.push(self.select_item(expr, name, scope, clause, collected)?);
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    result.push(self.select_item(expr, fold(alias), scope, clause, collected)?);
                }
                SelectItem::ExprWithAliases { .. } => {
                    return Err(SqlError::unsupported("several aliases of one expression"));
                }
                SelectItem::Wildcard(options) => {
                    refuse_options(options)?;
                    if scope.columns.is_empty() && scope.tables.is_empty() {
                        return Err(SqlError::syntax(
                            "SELECT * with no tables specified is not valid",
                        )
                        .at(self.pos(options.wildcard_token.0.span)));
                    }
                    result.extend(scope.columns.iter().map(item_of));
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    refuse_options(options)?;
                    let SelectItemQualifiedWildcardKind::ObjectName(name) = kind else {
                        return Err(SqlError::unsupported("an expression before .*"));
                    };
                    let parts: Option<Vec<ast::Ident>> =
                        name.0.iter().map(|part| part.as_ident().cloned()).collect();
                    let parts = parts.ok_or_else(|| SqlError::unsupported("a computed name"))?;
                    let table = self.table_of(&parts, scope)?;
                    result.extend(table.columns.iter().map(item_of));
                }
            }
        }
        if result.len() > COLUMNS_MAX {
            return Err(too_many_targets());
        }
        Ok(result)
    }

    fn select_item(
        &mut self,
        expr: &Expr,
        name: String,
        scope: &Scope<'_>,
        clause: Clause,
        collected: &mut Collected,
    ) -> Result<Item, SqlError> {
        let scalar = self.expr(expr, &mut Cx::collecting(scope, clause, collected))?;
        let origin = origin_of(scope, &scalar);
        Ok(Item { name: Arc::from(name), scalar, origin })
    }
}

fn item_of(column: &ScopeColumn) -> Item {
    Item {
        name: column.column.name.clone(),
        scalar: Scalar::Column(column.column.id, column.column.ty),
        origin: column.origin,
    }
}

fn refuse_options(options: &WildcardAdditionalOptions) -> Result<(), SqlError> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    if opt_ilike.is_some()
        || opt_exclude.is_some()
        || opt_except.is_some()
        || opt_replace.is_some()
        || opt_rename.is_some()
        || opt_alias.is_some()
    {
        return Err(SqlError::unsupported("an option behind *"));
    }
    Ok(())
}

/// PostgreSQL's name of a column without an alias; `None` is `?column?`.
pub(crate) fn output_name(expr: &Expr) -> Option<String> {
    figure(expr).map(|(name, _)| name)
}

/// The name, and whether it is better than the name of a cast's type around it.
fn figure(expr: &Expr) -> Option<(String, bool)> {
    let strong = |name: &str| Some((name.to_owned(), true));
    match expr {
        Expr::Identifier(ident) => Some((fold(ident), true)),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| (fold(ident), true)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let dot = |access: &AccessExpr| match access {
                AccessExpr::Dot(Expr::Identifier(field)) => Some((fold(field), true)),
                _ => None,
            };
            access_chain.iter().rev().find_map(dot).or_else(|| figure(root))
        }
        Expr::Function(function) => {
            function.name.0.last().and_then(|part| part.as_ident()).map(|ident| (fold(ident), true))
        }
        Expr::Cast { expr, data_type, .. } => match figure(expr) {
            Some((name, true)) => Some((name, true)),
            _ => type_name(data_type).map(|name| (name, false)),
        },
        Expr::TypedString(typed) => type_name(&typed.data_type).map(|name| (name, false)),
        Expr::Interval(_) => Some(("interval".to_owned(), false)),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".to_owned(), false)),
        },
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::IsNormalized { negated: false, .. } => strong("is_normalized"),
        Expr::BinaryOp { op: ast::BinaryOperator::Overlaps, .. } => strong("overlaps"),
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { shorthand: true, .. } => strong("substr"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            None | Some(TrimWhereField::Both) => "btrim",
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
        }),
        // The name of its column, whether it has one of its own or not.
        Expr::Subquery(query) => {
            Some((first_name(&query.body).map_or("?column?".to_owned(), |(name, _)| name), true))
        }
        _ => None,
    }
}

fn first_name(body: &ast::SetExpr) -> Option<(String, bool)> {
    match body {
        ast::SetExpr::Select(select) => match select.projection.first()? {
            SelectItem::UnnamedExpr(expr) => figure(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some((fold(alias), true)),
            SelectItem::Wildcard(_) => match &select.from.first()?.relation {
                ast::TableFactor::Derived { subquery, .. } => first_name(&subquery.body),
                _ => None,
            },
            _ => None,
        },
        ast::SetExpr::Query(query) => first_name(&query.body),
        ast::SetExpr::SetOperation { left, .. } => first_name(left),
        ast::SetExpr::Values(_) => Some(("column1".to_owned(), true)),
        _ => None,
    }
}

fn type_name(data_type: &ast::DataType) -> Option<String> {
    type_of(data_type).ok().map(|ty| ty.id.name().to_owned())
}

/// 54011: what a query returns, sorts and groups by.
pub(super) fn too_many_targets() -> SqlError {
    SqlError::new(
        SqlState::TOO_MANY_COLUMNS,
        format!("target lists can have at most {COLUMNS_MAX} entries"),
    )
}
