//! Evaluates expressions that call functions which wait: as `ir::eval` does, in the same order, with the
//! same operands left alone where the result is known without them.

use std::time::Duration;

use base::Timestamp;
use futures::future::BoxFuture;
use kv::{AdvisoryKey, Scope, XactStatus};
use pgtypes::{Datum, EvalEnv, xid8};

use super::waiting::Work;
use super::waiting_hoist::{calls_one, is_one};
use crate::ir::{Scalar, eval};
use crate::session::{ViewContext, is_sequence_function};
use crate::{SqlError, SqlState};

/// Longer sleeps end by a cancel or a timeout anyway.
const SLEEP_MAX: Duration = Duration::from_secs(365 * 86_400);

pub(crate) type Value<'a> = BoxFuture<'a, Result<Datum, SqlError>>;

/// Who answers calls of functions that wait.
pub(crate) trait Waits: Sync {
    fn call<'a>(&'a self, function: &'a str, args: &'a [Datum]) -> Value<'a>;
}

/// Evaluates expressions over the slots of a row.
#[derive(Clone, Copy)]
pub(crate) struct Waiting<'a> {
    pub(crate) calls: &'a dyn Waits,
    pub(crate) env: &'a EvalEnv,
    pub(crate) slots: &'a [Datum],
    pub(crate) params: &'a [Datum],
}

impl<'a> Waiting<'a> {
    pub(crate) fn value(self, scalar: &'a Scalar) -> Value<'a> {
        Box::pin(async move {
            if !calls_one(scalar) {
                return eval(scalar, self.env, self.slots, self.params);
            }
            match scalar {
                Scalar::Call { func, args, .. } => {
                    let mut values = Vec::with_capacity(args.len());
                    for arg in args {
                        values.push(self.value(arg).await?);
                    }
                    match is_one(scalar) {
                        true => self.calls.call(func.name, &values).await,
                        false => Ok(func.call(self.env, &values)?),
                    }
                }
                Scalar::And(args) => self.logic(args, false).await,
                Scalar::Or(args) => self.logic(args, true).await,
                Scalar::Case { whens, otherwise, .. } => {
                    for (condition, result) in whens {
                        if self.value(condition).await? == Datum::Bool(true) {
                            return self.value(result).await;
                        }
                    }
                    self.value(otherwise).await
                }
                Scalar::Coalesce(args, _) => {
                    for arg in args {
                        let value = self.value(arg).await?;
                        if !value.is_null() {
                            return Ok(value);
                        }
                    }
                    Ok(Datum::Null)
                }
                // All others need all of their operands.
                strict => {
                    let mut known = strict.clone();
                    let waiting = strict.children().into_iter().zip(known.children_mut());
                    for (child, known) in waiting.filter(|(child, _)| calls_one(child)) {
                        *known = Scalar::Literal(self.value(child).await?, child.ty());
                    }
                    eval(&known, self.env, self.slots, self.params)
                }
            }
        })
    }

    /// AND (`stop` false) and OR (`stop` true).
    async fn logic(self, args: &'a [Scalar], stop: bool) -> Result<Datum, SqlError> {
        let mut unknown = false;
        for arg in args {
            match self.value(arg).await? {
                Datum::Bool(value) if value == stop => return Ok(Datum::Bool(stop)),
                Datum::Null => unknown = true,
                _ => {}
            }
        }
        Ok(if unknown { Datum::Null } else { Datum::Bool(!stop) })
    }
}

impl Work {
    /// The value of an expression over the slots of a row.
    pub(super) fn value<'a>(&'a self, scalar: &'a Scalar, slots: &'a [Datum]) -> Value<'a> {
        let (env, params) = (&self.ctx.env, &self.ctx.params);
        Waiting { calls: self, env, slots, params }.value(scalar)
    }

    async fn answer(&self, function: &str, args: &[Datum]) -> Result<Datum, SqlError> {
        let view = self.ctx.session.downcast_ref::<ViewContext>();
        let view = view.ok_or_else(|| SqlError::internal("a function without its session"))?;
        match function {
            "pg_advisory_unlock_all" => {
                view.info.advisory.unlock_all().await;
                Ok(Datum::text(""))
            }
            // All others are strict.
            _ if args.iter().any(Datum::is_null) => Ok(Datum::Null),
            "pg_xact_status" | "txid_status" => {
                let id = match args {
                    [Datum::Int8(id)] if function == "pg_xact_status" => xid8::number(*id),
                    [Datum::Int8(id)] => id.cast_unsigned(),
                    _ => return Err(SqlError::internal("a transaction's id of another type")),
                };
                status(view, id).await
            }
            "pg_sleep" | "pg_sleep_for" => {
                let seconds = match args {
                    [Datum::Float8(seconds)] => *seconds,
                    [Datum::Interval(interval)] => interval.span_micros() as f64 / 1e6,
                    _ => return Err(SqlError::internal("a sleep of another type")),
                };
                // Not a number, and times past: no sleep at all.
                let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
                view.info.engine.db().sleep(time.min(SLEEP_MAX)).await;
                Ok(Datum::text(""))
            }
            sequence if is_sequence_function(sequence) => {
                let calls = view.sequence_calls(self.ctx.txn.options().read_only);
                calls.ask(sequence, args).await
            }
            lock => advisory(view, lock, args).await,
        }
    }
}

impl Waits for Work {
    fn call<'a>(&'a self, function: &'a str, args: &'a [Datum]) -> Value<'a> {
        Box::pin(self.answer(function, args))
    }
}

async fn status(view: &ViewContext, id: u64) -> Result<Datum, SqlError> {
    Ok(match view.info.engine.db().xact_status(Timestamp(id)).await? {
        XactStatus::InProgress => Datum::text("in progress"),
        XactStatus::Committed => Datum::text("committed"),
        XactStatus::Aborted => Datum::text("aborted"),
        XactStatus::Unknown => Datum::Null,
        XactStatus::InFuture => {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("transaction ID {id} is in the future"),
            ));
        }
    })
}

async fn advisory(view: &ViewContext, function: &str, args: &[Datum]) -> Result<Datum, SqlError> {
    let (locks, database) = (&view.info.advisory, view.info.database);
    let key = match args {
        [Datum::Int8(key)] => AdvisoryKey::One(database, *key),
        [Datum::Int4(a), Datum::Int4(b)] => AdvisoryKey::Two(database, *a, *b),
        _ => return Err(SqlError::internal(format!("{function} of {args:?}"))),
    };
    let exclusive = !function.ends_with("_shared");
    if function.contains("unlock") {
        let held = locks.unlock(key, exclusive).await;
        if !held {
            let mode = if exclusive { "ExclusiveLock" } else { "ShareLock" };
            view.info.warn(SqlError::new(
                SqlState::WARNING,
                format!("you don't own a lock of type {mode}"),
            ));
        }
        return Ok(Datum::Bool(held));
    }
    let tries = function.starts_with("pg_try_");
    let scope = match function.contains("_xact_") {
        true => Scope::Transaction,
        false => Scope::Session,
    };
    let taken = locks.lock(key, exclusive, scope, !tries, view.lock_timeout).await?;
    Ok(if tries { Datum::Bool(taken) } else { Datum::text("") })
}
