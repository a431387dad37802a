//! Reading the past: what time `AS OF SYSTEM TIME` means, and running a statement at it.
//!
//! Times count by the oracle's clock. *Now*, from which intervals are counted and above which nothing
//! can be read, is a timestamp drawn for the purpose; where the oracle does not answer, the newest that
//! this node knows, so that replicas which know the past can be read while the oracle's node is down.
//!
//! ```text
//!   BEGIN AS OF …             the block is a transaction of that snapshot, read-only
//!   SELECT … AS OF …          in a block of the same time: as any other statement
//!                             in another block: refused
//!                             else: in a transaction of its own, which takes the place of the
//!                             implicit one for as long as the statement runs
//! ```
//!
//! Names are looked up in the catalog as of that time.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use catalog::CatalogSnapshot;
use kv::TxnOptions;
use pgtypes::datetime::{arith, local_to_utc};
use pgtypes::env::{FOLLOWER_READ_LAG_MILLIS, UNIX_EPOCH_MICROS};
use pgtypes::{Datum, EvalEnv, PgType, TypeId};
use sqlparser::ast::{self, Expr};

use super::modes::Modes;
use super::script::{Parsed, Past};
use super::transaction::Block;
use super::{Session, catalog_of};
use crate::{SqlError, SqlState};

/// How long the oracle is waited for.
const DRAW_PATIENCE: Duration = Duration::from_secs(1);

impl Session {
    /// The time that a statement's clauses say.
    pub(super) async fn time_of(&mut self, past: &Past, text: &str) -> Result<Timestamp, SqlError> {
        self.refresh_env();
        let now = self.newest_timestamp().await?;
        let mut said: Option<Timestamp> = None;
        for time in &past.times {
            let at = self.time(time, now, text).map_err(|e| e.at(past.position))?;
            if said.is_some_and(|before| before != at) {
                let several = "AS OF SYSTEM TIME with different times in one statement";
                return Err(SqlError::unsupported(several).at(past.position));
            }
            said = Some(at);
        }
        said.ok_or_else(|| SqlError::internal("a historic statement without a time"))
    }

    async fn newest_timestamp(&self) -> Result<Timestamp, SqlError> {
        let db = &self.engine.db;
        let known = db.newest_known();
        match tokio::time::timeout(DRAW_PATIENCE, db.now()).await {
            Ok(Ok(now)) => Ok(now),
            _ if known > Timestamp::ZERO => Ok(known),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Ok(db.now().await?),
        }
    }

    fn time(&self, time: &Expr, now: Timestamp, text: &str) -> Result<Timestamp, SqlError> {
        let at = if is_follower_read(time) {
            Timestamp::from_millis(now.millis().saturating_sub(FOLLOWER_READ_LAG_MILLIS))
        } else if is_constant(time) {
            resolve(&self.literal(time, text)?, now, &self.env)?
        } else {
            let what =
                "AS OF SYSTEM TIME with anything but a constant or follower_read_timestamp()";
            return Err(SqlError::unsupported(what));
        };
        if at > now {
            return Err(refused("cannot specify timestamp in the future").detail(format!(
                "It is {}, and now is {}.",
                decimal(at),
                decimal(now)
            )));
        }
        if at == Timestamp::ZERO {
            return Err(refused("AS OF SYSTEM TIME: zero timestamp is invalid"));
        }
        Ok(at)
    }

    /// Runs what follows at another time than the transaction's, until [`Session::leave_past`]; in the
    /// transaction itself if it is at that time.
    pub(super) fn enter_past(&mut self, at: Timestamp) -> Result<(), SqlError> {
        match self.tx.block {
            Block::Explicit if self.tx.modes.as_of == Some(at) => return Ok(()),
            Block::Explicit | Block::Failed => {
                return Err(SqlError::unsupported(
                    "AS OF SYSTEM TIME inside a transaction of another time",
                )
                .hint("Use BEGIN AS OF SYSTEM TIME, or SET TRANSACTION AS OF SYSTEM TIME first."));
            }
            Block::Idle | Block::Implicit => {}
        }
        let modes = Modes { read_only: true, as_of: Some(at), ..self.tx.modes };
        self.tx.step_aside(modes);
        Ok(())
    }

    /// The transaction that stepped aside goes on.
    pub(super) fn leave_past(&mut self) {
        self.tx.step_back();
    }

    /// The catalog as of the time that a statement, or the block it stands in, says; nothing if that
    /// is now.
    pub(super) async fn past_catalog(
        &mut self,
        parsed: &Parsed,
        text: &str,
    ) -> Result<Option<Arc<CatalogSnapshot>>, SqlError> {
        let at = match parsed {
            Parsed::AsOf(historic) => self.time_of(&historic.past, text).await?,
            _ => match self.block_time() {
                Some(at) => at,
                None => return Ok(None),
            },
        };
        let options = TxnOptions { as_of: Some(at), ..TxnOptions::default() };
        let txn = self.engine.db.begin(options);
        txn.begin_statement().await?;
        catalog_of(&self.engine, &txn).await.map(Some)
    }

    /// The time of the block, if it is in the past.
    pub(super) fn block_time(&self) -> Option<Timestamp> {
        self.tx.modes.as_of.filter(|_| self.tx.block != Block::Idle)
    }
}

fn refused(message: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn is_follower_read(time: &Expr) -> bool {
    let Expr::Function(function) = time else { return false };
    let name = function.name.to_string();
    let bare = match &function.args {
        ast::FunctionArguments::None => true,
        ast::FunctionArguments::List(list) => list.args.is_empty(),
        ast::FunctionArguments::Subquery(_) => false,
    };
    bare && (name.eq_ignore_ascii_case("follower_read_timestamp")
        || name.eq_ignore_ascii_case("pg_catalog.follower_read_timestamp"))
}

fn is_constant(time: &Expr) -> bool {
    match time {
        Expr::Value(value) => !matches!(value.value, ast::Value::Placeholder(_)),
        Expr::TypedString(_) => true,
        Expr::UnaryOp { op: ast::UnaryOperator::Minus | ast::UnaryOperator::Plus, expr }
        | Expr::Cast { expr, .. }
        | Expr::Nested(expr) => is_constant(expr),
        Expr::Interval(interval) => is_constant(&interval.value),
        _ => false,
    }
}

fn resolve(time: &Datum, now: Timestamp, env: &EvalEnv) -> Result<Timestamp, SqlError> {
    match time {
        Datum::Null => Err(refused("AS OF SYSTEM TIME: the time is NULL")),
        Datum::Text(text) => of_text(text.trim(), now, env),
        Datum::Timestamptz(micros) => of_micros(*micros),
        Datum::Timestamp(local) => of_micros(local_to_utc(*local, env)?),
        Datum::Date(days) => {
            of_micros(local_to_utc(pgtypes::datetime::date_to_timestamp(*days)?, env)?)
        }
        Datum::Interval(interval) => {
            let from = i64::try_from(now.millis()).unwrap_or(i64::MAX) * 1000 - UNIX_EPOCH_MICROS;
            of_micros(arith::timestamptz_add(from, *interval, env)?)
        }
        Datum::Int2(n) => of_decimal(&n.to_string()),
        Datum::Int4(n) => of_decimal(&n.to_string()),
        Datum::Int8(n) => of_decimal(&n.to_string()),
        numeric @ Datum::Numeric(_) => of_decimal(&pgtypes::text_of(numeric, PgType::NUMERIC, env)),
        _ => Err(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            "AS OF SYSTEM TIME: expected a timestamp, a decimal or an interval",
        )),
    }
}

/// A timestamp, a decimal, or an interval, whichever it can be.
fn of_text(text: &str, now: Timestamp, env: &EvalEnv) -> Result<Timestamp, SqlError> {
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') && !text.is_empty() {
        return of_decimal(text);
    }
    for ty in [PgType::TIMESTAMPTZ, PgType::new(TypeId::Interval)] {
        if let Ok(value) = pgtypes::parse_text(text, ty, env) {
            return resolve(&value, now, env);
        }
    }
    Err(refused("AS OF SYSTEM TIME: value is neither timestamp, decimal, nor interval")
        .detail(format!("It is \"{text}\".")))
}

fn of_micros(micros: i64) -> Result<Timestamp, SqlError> {
    let out_of_range = || refused("AS OF SYSTEM TIME: the time is out of range");
    if pgtypes::datetime::is_infinite(micros) {
        return Err(out_of_range());
    }
    let unix = micros.checked_add(UNIX_EPOCH_MICROS).ok_or_else(out_of_range)?;
    let millis = u64::try_from(unix.div_euclid(1000)).map_err(|_| out_of_range())?;
    of_parts(millis, 0).ok_or_else(out_of_range)
}

/// Nanoseconds since the Unix epoch, and behind the point the logical part in ten digits.
fn of_decimal(text: &str) -> Result<Timestamp, SqlError> {
    let wrong = || refused("AS OF SYSTEM TIME: the decimal is no timestamp");
    let (nanos, logical) = text.split_once('.').unwrap_or((text, "0"));
    let millis = nanos.parse::<u64>().map_err(|_| wrong())? / 1_000_000;
    if logical.len() > 10 || !logical.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let logical: u64 = format!("{logical:0<10}").parse().map_err(|_| wrong())?;
    of_parts(millis, logical).ok_or_else(wrong)
}

fn of_parts(millis: u64, logical: u64) -> Option<Timestamp> {
    let fits =
        millis < 1 << (64 - Timestamp::LOGICAL_BITS) && logical < 1 << Timestamp::LOGICAL_BITS;
    fits.then(|| Timestamp(Timestamp::from_millis(millis).0 + logical))
}

/// As [`of_decimal`] reads it.
fn decimal(ts: Timestamp) -> String {
    let (millis, counter) = parts(ts);
    format!("{}.{counter:010}", u128::from(millis) * 1_000_000)
}

/// Milliseconds, and the counter within them.
pub(super) fn parts(ts: Timestamp) -> (u64, u32) {
    let counter = ts.0 - Timestamp::from_millis(ts.millis()).0;
    (ts.millis(), u32::try_from(counter).unwrap_or(u32::MAX))
}
