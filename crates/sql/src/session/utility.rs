//! Statements the session carries out itself: everything without expressions to bind.

use std::sync::Arc;

use pgtypes::PgType;
use sqlparser::ast::{self, Statement};

use super::Session;
use super::api::{ResultColumn, Sink};
use super::execute::{Job, Tag};
use super::modes::Control;
use super::script::Parsed;
use super::{set, who};
use crate::bind::fold;
use crate::copy::CopyStatement;
use crate::{SqlError, SqlState, copy, ddl};

/// A column of a result that no table holds.
pub(super) fn text_column(name: &str) -> ResultColumn {
    ResultColumn { name: name.into(), ty: PgType::TEXT, table: 0, column: 0 }
}

/// Columns of the result of a utility statement.
pub(super) fn columns(
    parsed: &Parsed,
    session: &Session,
) -> Result<Option<Arc<[ResultColumn]>>, SqlError> {
    if let Parsed::ClusterSetting(command) = parsed {
        return Ok(command.columns());
    }
    if let Parsed::Fetch(fetch) = parsed {
        return Ok(session.fetched_columns(fetch));
    }
    let Some(statement) = parsed.statement() else { return Ok(None) };
    Ok(match statement {
        Statement::ShowVariable { variable } => Some(set::show_columns(variable).into()),
        Statement::Execute { name: Some(name), .. } => {
            let name = name.to_string();
            session.prepared(&name).and_then(|p| p.columns().cloned())
        }
        _ => None,
    })
}

/// Runs it.
pub(super) async fn run(
    session: &mut Session,
    job: Job<'_>,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    match job.parsed {
        Parsed::Empty => Ok(Tag::Empty),
        Parsed::Copy(copy) => run_copy(session, copy, job, sink).await,
        Parsed::SplitAt(split) => {
            begin(session)?;
            ddl::split_at(session, split, job.text).await
        }
        Parsed::Ddl(own) => {
            begin(session)?;
            session.refuse_if_read_only(own.verb())?;
            ddl::run_own(session, own, job.text, sink).await
        }
        Parsed::Role(statement) => {
            begin(session)?;
            ddl::run_role(session, statement, sink).await
        }
        Parsed::SetConstraints { names, deferred } => {
            begin(session)?;
            ddl::set_constraints(session, names.as_deref(), *deferred, sink).await
        }
        Parsed::Maintenance { verb, tables, analyze } => {
            session.refuse_if_failed()?;
            let tables = ddl::owned_tables(session, tables).await?;
            if *analyze {
                for table in &tables {
                    crate::statistics::analyze(&session.engine, table, false).await?;
                }
            }
            Ok(Tag::Text(verb))
        }
        // What is acknowledged is durable already.
        Parsed::Checkpoint => {
            match session.authority_now().has(catalog::role::CHECKPOINT_ROLE_ID) {
                true => Ok(Tag::Text("CHECKPOINT")),
                false => Err(crate::privilege::insufficient(
                    "must be superuser or have privileges of pg_checkpoint to do CHECKPOINT",
                )),
            }
        }
        Parsed::Declare(declare) => session.declare(declare, job, sink).await,
        Parsed::Fetch(fetch) => session.fetch_cursor(fetch, sink).await,
        Parsed::Close(name) => session.close_cursor(name.as_deref()),
        Parsed::ClusterSetting(command) => command.run(session, sink).await,
        Parsed::Control(control) => run_control(session, control, sink).await,
        Parsed::ControlAsOf(control, past) => {
            session.refuse_if_failed()?;
            let at = session.time_of(past, job.text).await?;
            let control = control
                .at(at)
                .ok_or_else(|| SqlError::unsupported("AS OF SYSTEM TIME here").at(past.position))?;
            run_control(session, &control, sink).await
        }
        Parsed::Sql(statement) => run_statement(session, statement, job, sink).await,
        Parsed::AsOf(historic) => {
            session.refuse_if_failed()?;
            let what = format!("AS OF SYSTEM TIME in {}", ddl::verb(&historic.statement));
            Err(SqlError::unsupported(what).at(historic.past.position))
        }
    }
}

async fn run_control(
    session: &mut Session,
    control: &Control,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    match control {
        Control::Begin { modes, start } => session.begin(modes, *start, sink),
        Control::Commit { chain } => session.commit(*chain, sink).await,
        Control::Rollback { chain } => session.rollback(*chain, sink).await,
        Control::Savepoint(name) => session.savepoint(name.clone()),
        Control::Release(name) => session.release(name),
        Control::RollbackTo(name) => session.rollback_to(name, sink).await,
        Control::SetTransaction(modes) => {
            session.refuse_if_failed()?;
            set::set_transaction(session, modes, sink)
        }
        Control::SetSession(modes) => {
            session.refuse_if_failed()?;
            set::set_session(session, modes, sink)
        }
        Control::Unsupported(what) => Err(SqlError::unsupported(what)),
    }
}

/// A statement that works on data or descriptors begins.
fn begin(session: &mut Session) -> Result<(), SqlError> {
    session.refuse_if_failed()?;
    session.refresh_env();
    session.begin_implicit();
    session.tick();
    Ok(())
}

async fn run_copy(
    session: &mut Session,
    statement: &CopyStatement,
    job: Job<'_>,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    begin(session)?;
    if statement.from {
        session.refuse_if_read_only("COPY FROM")?;
    }
    copy::run(session, statement, job.text, sink).await
}

async fn run_statement(
    session: &mut Session,
    statement: &Statement,
    job: Job<'_>,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    session.refuse_if_failed()?;
    match statement {
        Statement::Set(set) => match who::of_set(set)? {
            Some(change) => session.become_other(&change, sink).await,
            None => set::run_set(session, set, sink),
        },
        Statement::ShowVariable { variable } => set::show(session, variable, sink),
        Statement::Reset(reset) => set::reset(session, &reset.reset, sink),
        Statement::Discard { object_type } => discard(session, *object_type, sink).await,
        Statement::Deallocate { name, .. } => deallocate(session, name),
        Statement::Prepare { name, data_types, statement } => {
            prepare(session, &fold(name), data_types, statement).await
        }
        Statement::Lock(lock) => super::table_lock::lock(session, lock).await,
        Statement::UNLISTEN { channel } => Ok(super::table_lock::unlisten(channel)),
        Statement::Execute { .. } => Box::pin(execute(session, statement, job, sink)).await,
        Statement::Query(query) if ddl::into_of(query).is_some() => {
            begin(session)?;
            session.refuse_if_read_only("SELECT INTO")?;
            ddl::select_into(session, query, job.text, sink).await
        }
        other => {
            begin(session)?;
            session.refuse_if_read_only(ddl::verb(other))?;
            ddl::run(session, other, job.text, sink).await
        }
    }
}

async fn discard(
    session: &mut Session,
    what: ast::DiscardObject,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    match what {
        ast::DiscardObject::ALL => {
            if session.tx.block == super::transaction::Block::Explicit {
                return Err(SqlError::new(
                    SqlState::ACTIVE_SQL_TRANSACTION,
                    "DISCARD ALL cannot run inside a transaction block",
                ));
            }
            session.prepared.clear();
            session.cursors.clear();
            session.info.sequences.discard();
            session.drop_temp().await;
            session.settings.reset_all();
            session.reset_who(true, sink)?;
            set::report_all(session, sink);
            Ok(Tag::Text("DISCARD ALL"))
        }
        // Plans are keyed by catalog version: a stale one is never used.
        ast::DiscardObject::PLANS => Ok(Tag::Text("DISCARD PLANS")),
        ast::DiscardObject::SEQUENCES => {
            session.info.sequences.discard();
            Ok(Tag::Text("DISCARD SEQUENCES"))
        }
        ast::DiscardObject::TEMP => {
            session.refuse_in_block("DISCARD TEMP")?;
            session.drop_temp().await;
            Ok(Tag::Text("DISCARD TEMP"))
        }
    }
}

fn deallocate(session: &mut Session, name: &ast::Ident) -> Result<Tag, SqlError> {
    if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all") {
        session.prepared.clear();
        return Ok(Tag::Text("DEALLOCATE ALL"));
    }
    let name = fold(name);
    match session.prepared.remove(&name) {
        Some(_) => Ok(Tag::Text("DEALLOCATE")),
        None => Err(no_statement(&name)),
    }
}

fn no_statement(name: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_SQL_STATEMENT_NAME,
        format!("prepared statement \"{name}\" does not exist"),
    )
}

async fn prepare(
    session: &mut Session,
    name: &str,
    types: &[ast::DataType],
    statement: &Statement,
) -> Result<Tag, SqlError> {
    let declared: Result<Vec<Option<PgType>>, SqlError> =
        types.iter().map(|t| session.type_named(t).map(Some)).collect();
    let text = statement.to_string();
    let prepared = session.prepare(&text, &declared?).await?;
    session.name_statement(name, prepared, true)?;
    Ok(Tag::Text("PREPARE"))
}

async fn execute(
    session: &mut Session,
    statement: &Statement,
    job: Job<'_>,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let Statement::Execute { name: Some(name), parameters, immediate: false, into, using, .. } =
        statement
    else {
        return Err(SqlError::unsupported("EXECUTE IMMEDIATE"));
    };
    if !into.is_empty() || !using.is_empty() {
        return Err(SqlError::unsupported("EXECUTE … INTO or USING"));
    }
    let name = crate::bind::name_parts(name)?.join(".");
    let prepared = session.prepared(&name).ok_or_else(|| no_statement(&name))?;
    if prepared.params().len() != parameters.len() {
        return Err(SqlError::syntax(format!(
            "wrong number of parameters for prepared statement \"{name}\""
        ))
        .detail(format!(
            "Expected {} parameters but got {}.",
            prepared.params().len(),
            parameters.len()
        )));
    }
    session.refresh_env();
    let mut params = Vec::with_capacity(parameters.len());
    for (expr, ty) in parameters.iter().zip(prepared.params()) {
        params.push(session.constant(expr, *ty, job.text)?);
    }
    let params: Arc<[pgtypes::Datum]> = params.into();
    let inner = Job {
        text: &prepared.text,
        parsed: &prepared.parsed,
        prepared: Some(&prepared),
        params: &params,
        lone: job.lone,
    };
    session.run(inner, sink).await
}

impl Session {
    /// The value of an expression without columns, as the type that it has.
    pub(super) fn literal(&self, expr: &ast::Expr, text: &str) -> Result<pgtypes::Datum, SqlError> {
        let catalog = self.engine.catalog.cached();
        let view = self.view(&catalog);
        let scalar =
            crate::bind::Binder::new(&view, &self.env, text).bind_expr_over(expr, &[], None)?;
        crate::ir::eval(&scalar, &self.env, &[], &[])
    }

    /// The value of an expression without columns, as `ty`.
    pub(crate) fn constant(
        &self,
        expr: &ast::Expr,
        ty: PgType,
        text: &str,
    ) -> Result<pgtypes::Datum, SqlError> {
        let catalog = self.known_catalog();
        let view = self.view(&catalog);
        let scalar =
            crate::bind::Binder::new(&view, &self.env, text).bind_expr_over(expr, &[], Some(ty))?;
        crate::ir::eval(&scalar, &self.env, &[], &[])
    }
}
