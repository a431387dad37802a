//! From text to a plan: parse, bind, compile, cache.

use std::sync::Arc;

use catalog::{CatalogSnapshot, Table};
use pgtypes::{EvalEnv, PgType};
use sqlparser::ast;

use super::cache::{CacheKey, Plan, Planned, Prepared};
use super::engine::count;
use super::execute::Job;
use super::script::{Parsed, parse_one};
use super::xact::XactId;
use super::{ResultColumn, Session, View, utility};
use crate::bind::{self, Binder};
use crate::ir::{ColId, OutputColumn, RelColumn, Scalar, Statement};
use crate::point::{self, Defaults};
use crate::{SqlError, SqlState, privilege};

/// RowDescription of bound columns.
pub(crate) fn result_columns(columns: &[OutputColumn]) -> Vec<ResultColumn> {
    columns
        .iter()
        .map(|c| ResultColumn {
            name: c.name.clone(),
            ty: c.ty,
            table: c.origin.map_or(0, |(table, _)| table),
            column: c.origin.map_or(0, |(_, n)| i16::try_from(n + 1).unwrap_or(0)),
        })
        .collect()
}

/// Defaults of columns, bound on demand.
pub(crate) struct CatalogDefaults<'a> {
    pub(crate) view: View<'a>,
    pub(crate) env: &'a EvalEnv,
}

impl Defaults for CatalogDefaults<'_> {
    fn default_of(&self, table: &Table, position: usize) -> Result<Scalar, SqlError> {
        let column = &table.columns[position];
        if let Some(sequence) = column.sequence {
            let sql = format!("nextval('{sequence}'::regclass)");
            return bind_default(&self.view, self.env, &sql, column.ty);
        }
        match &column.default {
            None => Ok(Scalar::Literal(pgtypes::Datum::Null, column.ty)),
            Some(sql) => bind_default(&self.view, self.env, sql, column.ty),
        }
    }

    fn over_row(&self, table: &Table, sql: &str, ty: Option<PgType>) -> Result<Scalar, SqlError> {
        bind_over_row(&self.view, self.env, table, sql, ty)
    }

    fn referenced_positions(&self, table: &Table) -> Vec<usize> {
        let keys = self.view.catalog.references_to(table.id);
        keys.flat_map(|(_, _, key)| table.positions(&key.referenced)).collect()
    }

    fn schema_of(&self, table: &Table) -> String {
        self.view.catalog.schema_by_id(table.schema).map_or_else(String::new, |s| s.name.clone())
    }
}

/// Binds a default expression.
pub(crate) fn bind_default(
    view: &View<'_>,
    env: &EvalEnv,
    sql: &str,
    ty: PgType,
) -> Result<Scalar, SqlError> {
    bind_stored(view, env, sql, &[], Some(ty))
}

/// The tree of an expression that a descriptor holds.
pub(crate) fn stored_expr(sql: &str) -> Result<ast::Expr, SqlError> {
    let statement = bind::parse(&format!("SELECT {sql}"))?;
    let expr = match statement.first() {
        Some(ast::Statement::Query(query)) => match &*query.body {
            ast::SetExpr::Select(select) => match select.projection.first() {
                Some(ast::SelectItem::UnnamedExpr(expr)) => Some(expr.clone()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    expr.ok_or_else(|| SqlError::internal(format!("stored expression: {sql}")))
}

/// Binds a stored expression over the slots of a table's row.
pub(crate) fn bind_over_row(
    view: &View<'_>,
    env: &EvalEnv,
    table: &Table,
    sql: &str,
    ty: Option<PgType>,
) -> Result<Scalar, SqlError> {
    let columns: Vec<RelColumn> = (0u32..)
        .zip(&table.columns)
        .map(|(id, c)| RelColumn { id: ColId(id), name: c.name.as_str().into(), ty: c.ty })
        .collect();
    let layout: Vec<ColId> = columns.iter().map(|c| c.id).collect();
    bind_stored(view, env, sql, &columns, ty)?.over(&layout)
}

fn bind_stored(
    view: &View<'_>,
    env: &EvalEnv,
    sql: &str,
    columns: &[RelColumn],
    ty: Option<PgType>,
) -> Result<Scalar, SqlError> {
    Binder::new(view, env, sql).bind_expr_over(&stored_expr(sql)?, columns, ty)
}

impl Session {
    /// Parses and plans a statement, or takes it from the cache.
    pub async fn parse(
        &mut self,
        sql: &str,
        declared: &[Option<PgType>],
    ) -> Result<Arc<Prepared>, SqlError> {
        let result = self.prepare(sql, declared).await;
        if result.is_err() {
            self.fail();
        }
        result
    }

    /// Whether statements are planned under a catalog that others do not see, so that plans are not
    /// shared (S3).
    fn has_own_catalog(&self) -> bool {
        self.tx.changed_catalog || self.block_time().is_some()
    }

    /// A statement of the simple protocol that somebody has prepared under the same text.
    pub(super) fn cached(&mut self, text: &str) -> Option<Arc<Prepared>> {
        if self.has_own_catalog() {
            return None;
        }
        self.refresh_env();
        let key =
            CacheKey { text: text.into(), declared: Vec::new(), context: self.context.clone() };
        let version = self.engine.catalog.cached().version();
        let fits = |p: &Arc<Prepared>| p.params().is_empty() && p.is_described_under(version);
        self.engine.plans.get(&key).filter(fits)
    }

    pub(super) async fn prepare(
        &mut self,
        sql: &str,
        declared: &[Option<PgType>],
    ) -> Result<Arc<Prepared>, SqlError> {
        self.refresh_env();
        let key = CacheKey {
            text: sql.into(),
            declared: declared.to_vec(),
            context: self.context.clone(),
        };
        if !self.has_own_catalog()
            && let Some(prepared) = self.engine.plans.get(&key)
            && prepared.is_described_under(self.engine.catalog.cached().version())
        {
            return Ok(prepared);
        }
        let pieces = super::script::split(sql);
        let parsed = match pieces.as_slice() {
            [] => Parsed::Empty,
            [piece] => parse_one(piece.text).map_err(|e| shift(e, sql, piece.start))?,
            _ => {
                return Err(SqlError::syntax(
                    "cannot insert multiple commands into a prepared statement",
                ));
            }
        };
        let text = pieces.first().map_or("", |p| p.text);
        let offset = pieces.first().map_or(0, |p| p.start);
        let prepared =
            self.describe(text, parsed, declared).await.map_err(|e| shift(e, sql, offset))?;
        let prepared = Arc::new(prepared);
        if !self.has_own_catalog() && !matches!(prepared.parsed, Parsed::AsOf(_)) {
            self.engine.plans.put(key, prepared.clone());
        }
        Ok(prepared)
    }

    /// Binds a parsed statement to learn its parameters and columns.
    pub(super) async fn describe(
        &mut self,
        text: &str,
        parsed: Parsed,
        declared: &[Option<PgType>],
    ) -> Result<Prepared, SqlError> {
        if !is_bindable(&parsed) {
            let columns = utility::columns(&parsed, self)?;
            let params = declared.iter().map(|t| t.unwrap_or(PgType::TEXT)).collect();
            return Ok(Prepared::new(text, parsed, params, columns));
        }
        self.refuse_if_failed()?;
        let catalog = match self.past_catalog(&parsed, text).await? {
            Some(catalog) => catalog,
            None => self.catalog_for_planning().await?,
        };
        let (planned, params) = self.plan(text, &parsed, declared, &catalog)?;
        let columns = columns_of(&planned.plan);
        let prepared =
            Prepared::new(text, parsed, params, columns).described_under(catalog.version());
        if !self.tx.changed_catalog {
            prepared.keep(Arc::new(planned));
        }
        Ok(prepared)
    }

    /// A catalog good enough to describe by: a run validates it.
    async fn catalog_for_planning(&mut self) -> Result<Arc<CatalogSnapshot>, SqlError> {
        if let Some(catalog) = &self.tx.catalog {
            return Ok(catalog.clone());
        }
        super::current_catalog(&self.engine).await.map(|catalog| self.with_temp(catalog))
    }

    /// Plans a statement under a catalog.
    pub(super) fn plan(
        &mut self,
        text: &str,
        parsed: &Parsed,
        declared: &[Option<PgType>],
        catalog: &Arc<CatalogSnapshot>,
    ) -> Result<(Planned, Vec<PgType>), SqlError> {
        count(&self.engine.metrics.plans);
        self.set_names(catalog);
        let Some(statement) = parsed.statement() else {
            return Err(SqlError::internal("a utility statement has no plan"));
        };
        let view = self.view(catalog);
        let mut bound = Binder::new(&view, &self.env, text).bind(statement, declared)?;
        bound.statement.fold();
        let denied =
            privilege::check(catalog, self.database, &self.authority, &bound.accesses).err();
        let accesses = bound.accesses;
        let xact_id = XactId::in_statement(&bound.statement);
        let defaults = CatalogDefaults { view, env: &self.env };
        let plan = match point::compile(&bound.statement, &defaults)? {
            Some(plan) => Plan::Point(Box::new(plan)),
            None => Plan::Bound(Box::new(bound.statement)),
        };
        let (version, context) = (catalog.version(), self.context.clone());
        let planned = Planned { version, context, plan, denied, accesses, xact_id };
        Ok((planned, bound.params))
    }

    /// A statement that has a point plan, without it.
    pub(super) fn bind_again(&mut self, job: &Job<'_>) -> Result<Statement, SqlError> {
        let catalog = self.known_catalog();
        self.set_names(&catalog);
        let Some(statement) = job.parsed.statement() else {
            return Err(SqlError::internal("a utility statement has no plan"));
        };
        let params = job.prepared.map_or(&[][..], |prepared| prepared.params());
        let declared: Vec<Option<PgType>> = params.iter().copied().map(Some).collect();
        let view = self.view(&catalog);
        let mut bound = Binder::new(&view, &self.env, job.text).bind(statement, &declared)?;
        bound.statement.fold();
        Ok(bound.statement)
    }

    /// Names as this session sees them.
    pub(crate) fn view<'a>(&self, catalog: &'a CatalogSnapshot) -> View<'a> {
        View::of_session(catalog, self.database, self.search_path(), &self.authority)
    }

    /// The type that a name stands for, as the transaction sees it.
    pub(super) fn type_named(&self, name: &ast::DataType) -> Result<PgType, SqlError> {
        let catalog = self.known_catalog();
        bind::type_in(name, &self.view(&catalog))
    }

    /// The type of an oid that a client has named.
    #[must_use]
    pub fn type_of_oid(&self, oid: u32) -> Option<PgType> {
        let catalog = self.known_catalog();
        let of = |oid: u32| catalog.enum_by_id(oid).map(|_| PgType::enumeration(oid));
        PgType::from_oid(oid)
            .or_else(|| of(oid))
            .or_else(|| of(oid.checked_sub(1)?).map(PgType::to_array))
    }

    /// The plan of a prepared statement under `catalog`.
    pub(super) fn plan_for(
        &mut self,
        prepared: &Prepared,
        catalog: &Arc<CatalogSnapshot>,
    ) -> Result<Arc<Planned>, SqlError> {
        if !self.tx.changed_catalog
            && let Some(planned) = prepared.current()
            && planned.version == catalog.version()
            && *planned.context == *self.context
        {
            return Ok(planned);
        }
        let declared: Vec<Option<PgType>> = prepared.params().iter().copied().map(Some).collect();
        let (planned, _) = self.plan(&prepared.text, &prepared.parsed, &declared, catalog)?;
        if columns_of(&planned.plan).as_deref() != prepared.columns().map(|c| &c[..]) {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "cached plan must not change result type",
            ));
        }
        let planned = Arc::new(planned);
        if !self.tx.changed_catalog {
            prepared.keep(planned.clone());
        }
        Ok(planned)
    }
}

/// Whether the binder knows what to do with it.
pub(super) fn is_bindable(parsed: &Parsed) -> bool {
    if let Some(ast::Statement::Query(query)) = parsed.statement() {
        return crate::ddl::into_of(query).is_none();
    }
    matches!(
        parsed.statement(),
        Some(
            ast::Statement::Insert(_)
                | ast::Statement::Update(_)
                | ast::Statement::Delete(_)
                | ast::Statement::Explain { .. }
        )
    )
}

fn columns_of(plan: &Plan) -> Option<Arc<[ResultColumn]>> {
    match plan {
        Plan::Point(point) => point.columns().cloned(),
        Plan::Bound(statement) => bound_columns(statement),
    }
}

fn bound_columns(statement: &Statement) -> Option<Arc<[ResultColumn]>> {
    statement.columns().map(|c| result_columns(c).into())
}

/// Moves an error's position from a piece to the whole text.
pub(super) fn shift(error: SqlError, script: &str, start: usize) -> SqlError {
    match error.fields().position {
        Some(position) if start > 0 => {
            let before = script[..start].chars().count();
            error.with_position(position + before)
        }
        _ => error,
    }
}
