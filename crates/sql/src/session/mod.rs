//! One connection's state, and how its statements run.
//!
//! ```text
//!   simple(text) ──split──▶ prepare ─┐                        ┌─ utility   transactions, SET, DDL, COPY
//!   parse, bind, execute ────────────┴─▶ run, again and again ┼─ point     by key
//!                                        until no conflict    └─ bound     DataFusion, general DML
//! ```
//!
//! # Invariants
//!
//! - **S1** What a statement wrote into the sink is either followed by its tag, or taken back, or
//!   followed by an error.
//! - **S2** A plan runs only under the catalog version it was made for, read by the transaction
//!   that runs it.
//! - **S3** A plan made under a catalog that its own transaction changed is never shared.
//! - **S4** A statement is run again only if nothing of it has been sent, and its transaction only if
//!   nothing has, or if all that was sent comes out the same (`repeat`).
//! - **S5** What became of a commit is known before anything is said of it: neither a cancel nor a
//!   timeout leaves it alone.

mod access;
pub(crate) mod api;
mod as_of;
mod bound;
mod cache;
mod clock;
mod closed;
mod cluster_setting;
pub(crate) mod collect;
mod config;
mod control;
mod copied;
mod cursor;
mod engine;
mod execute;
mod explain;
mod explain_conflict;
mod history;
mod listed;
mod modes;
mod names;
mod plan;
mod portal;
mod premise;
mod repeat;
mod script;
mod sequence;
mod sequence_calls;
mod set;
mod signals;
mod simple;
mod startup;
mod table_lock;
mod temp;
mod transaction;
mod utility;
mod view;
mod who;
mod xact;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use catalog::{CatalogSnapshot, DatabaseId};
use kv::{Activity, AdvisoryLocks, Client, Txn};
use pgtypes::EvalEnv;

pub use api::{CancelHandle, Completion, CopyShape, ResultColumn, Severity, Sink, TxStatus};
pub use cache::Prepared;
pub use engine::{Engine, EngineConfig, EngineMetrics};
pub use portal::Portal;

pub(crate) use bound::{Before, DmlContext};
pub(crate) use clock::wall_micros;
pub(crate) use cursor::CursorInfo;
pub(crate) use execute::{Tag, is_retryable};
pub(crate) use explain_conflict::mode as lock_mode;
pub(crate) use listed::Listed;
pub(crate) use plan::{CatalogDefaults, bind_default, bind_over_row, result_columns, stored_expr};
pub(crate) use script::SplitAt;
pub(crate) use sequence::{Sequences, next_of, state as sequence_state};
pub(crate) use sequence_calls::{
    SequenceCalls, SessionSequences, has_sequence_call, is_sequence_call, is_sequence_function,
};
pub(crate) use set::text_of as setting_text;
pub(crate) use temp::{OnCommit, TEMP_SCHEMA, is_temporary_table};
pub(crate) use view::{SessionInfo, View, ViewContext};
pub(crate) use who::Who;
pub(crate) use xact::XactId;

use crate::exec::Joins;
use crate::exec::measured::Analysis;
use crate::privilege::Authority;
use crate::settings::{SETTINGS, Settings};
use crate::{SqlError, SqlState};
use clock::Deadline;
use cursor::SqlCursor;
use listed::Statements;
use modes::{Level, Modes};
use signals::Listens;
use transaction::{Block, Transaction};

/// Who connects, and how.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The other parameters of the start-up packet.
    pub startup: Vec<(String, String)>,
    /// What `pg_backend_pid()` tells.
    pub backend_pid: i32,
    /// Address of the client, for views.
    pub client_address: Option<String>,
}

/// One connection.
pub struct Session {
    engine: Arc<Engine>,
    database: DatabaseId,
    settings: Settings,
    env: Arc<EvalEnv>,
    /// Generation of the settings that `env` and `context` were made from.
    env_generation: u64,
    /// Settings that binding depends on.
    context: Arc<str>,
    /// Settings that every statement asks for.
    hot: Hot,
    tx: Transaction,
    temp: Arc<temp::TempObjects>,
    overlay: temp::Overlay,
    prepared: Statements,
    cursors: BTreeMap<String, SqlCursor>,
    cancel: CancelHandle,
    _listens: Listens,
    epoch: u64,
    /// Which catalog and settings `env.names` is of. The catalog is kept alive by it, so its address
    /// is not another's.
    names_key: (usize, u64),
    /// Until when the client's statement may take.
    deadline: Deadline,
    /// The script that runs began its transaction: it starts over itself after a conflict.
    restarts_script: bool,
    /// A COPY of the extended protocol that may have to run again at Sync.
    copied: Option<copied::Copied>,
    info: Arc<SessionInfo>,
    /// As whom it acts, and what that role may do.
    who: Who,
    connected_name: String,
    authority: Arc<Authority>,
    /// What others see of this session.
    activity: Arc<Activity>,
    advisory: Arc<AdvisoryLocks>,
    /// EXPLAIN ANALYZE: who watches the plans that run.
    analysis: Option<Arc<Analysis>>,
    /// What an EXPLAIN has to tell, once the statement's transaction has come as far as it tells of.
    explained: Option<explain::Explained>,
    /// How often the running statement was run before.
    reruns: u32,
    /// The running statement is the only one of its message.
    alone: bool,
}

/// Settings that every statement asks for, read once per change.
#[derive(Debug, Clone, Copy)]
struct Hot {
    modes: Modes,
    statement_timeout: Option<Duration>,
    lock_timeout: Option<Duration>,
    transaction_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    /// Bytes of results, and of statements, kept so that a transaction can be repeated.
    results_buffer: usize,
    /// Small queries run without a plan.
    row_execution: bool,
    joins: Joins,
}

impl Hot {
    fn new(settings: &Settings) -> Hot {
        let timeout = |name: &'static str| {
            let millis = crate::settings::parse_millis(settings.known(name)).unwrap_or(0);
            (millis > 0).then(|| Duration::from_millis(millis.unsigned_abs()))
        };
        Hot {
            modes: modes(settings),
            statement_timeout: timeout("statement_timeout"),
            lock_timeout: timeout("lock_timeout"),
            transaction_timeout: timeout("transaction_timeout"),
            idle_timeout: timeout("idle_in_transaction_session_timeout"),
            results_buffer: crate::settings::parse_bytes(settings.known("results_buffer_size"))
                .unwrap_or_default(),
            row_execution: settings.known("row_execution") == "on",
            joins: match (settings.known("enable_hashjoin"), settings.known("enable_nestloop")) {
                (_, "off") => Joins::Hash,
                ("off", _) => Joins::LookUp,
                _ => Joins::Cheapest,
            },
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("user", &self.env.session_user).finish()
    }
}

impl Session {
    /// Opens a session: 28000 if the role does not exist, 3D000 if the database does not.
    pub async fn new(engine: Arc<Engine>, options: SessionOptions) -> Result<Session, SqlError> {
        let catalog = current_catalog(&engine).await?;
        let role = catalog.role(&options.user).ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_AUTHORIZATION,
                format!("role \"{}\" does not exist", options.user),
            )
        })?;
        if !role.login {
            return Err(SqlError::new(
                SqlState::INVALID_AUTHORIZATION,
                format!("role \"{}\" is not permitted to log in", options.user),
            ));
        }
        let database = catalog.database(&options.database).ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_CATALOG_NAME,
                format!("database \"{}\" does not exist", options.database),
            )
        })?;
        let who = Who::connected(role.id, database.id);
        let authority = Arc::new(who.authority(&catalog));
        startup::may_connect(&engine, &authority, role, database)?;
        let mut settings = Settings::default();
        let own = role.settings.iter().cloned();
        for (name, value) in own.chain(startup::settings(&options.startup)) {
            startup::check(&catalog, database.id, role, &name, &value)?;
            settings.set_default(&name, &value)?;
        }
        let mut env = EvalEnv {
            current_user: role.name.clone(),
            session_user: role.name.clone(),
            database: database.name.clone(),
            backend_pid: options.backend_pid,
            version: VERSION.to_owned(),
            ..EvalEnv::default()
        };
        settings.fill(&mut env);
        let hot = Hot::new(&settings);
        let client = Client {
            pid: options.backend_pid,
            user: role.name.clone(),
            database: database.name.clone(),
            address: options.client_address.clone().unwrap_or_default(),
        };
        let now = clock::wall_micros(&engine.db).unsigned_abs();
        let activity = engine.db.open_session(client, now);
        let advisory = Arc::new(AdvisoryLocks::new(engine.db.clone(), activity.clone()));
        let info = Arc::new(SessionInfo {
            engine: engine.clone(),
            advisory: advisory.clone(),
            sequences: sequence_calls::SessionSequences::of(who.clone()),
            database: database.id,
            database_name: database.name.clone(),
            warnings: Default::default(),
            assignments: Default::default(),
        });
        let cancel = CancelHandle::default();
        let mut session = Session {
            database: database.id,
            engine: engine.clone(),
            tx: Transaction::new(hot.modes),
            temp: Arc::default(),
            overlay: temp::Overlay::default(),
            settings,
            env: Arc::new(env),
            env_generation: 0,
            context: "".into(),
            hot,
            prepared: Statements::default(),
            cursors: BTreeMap::new(),
            _listens: Listens::new(&engine, options.backend_pid, &cancel, &activity),
            cancel,
            epoch: 0,
            names_key: (0, 0),
            deadline: Deadline::default(),
            restarts_script: false,
            copied: None,
            info,
            who,
            connected_name: role.name.clone(),
            authority,
            activity,
            advisory,
            analysis: None,
            explained: None,
            reruns: 0,
            alone: false,
        };
        session.refresh_env();
        Ok(session)
    }

    /// Settings that the client is told of, with their values.
    #[must_use]
    pub fn parameter_status(&self) -> Vec<(&'static str, String)> {
        let value = |name: &'static str| match name {
            "session_authorization" => self.env.session_user.clone(),
            _ => self.settings.get(name).unwrap_or_default(),
        };
        SETTINGS.iter().filter(|s| s.reported).map(|s| (s.name, value(s.name))).collect()
    }

    /// What ReadyForQuery tells.
    #[must_use]
    pub fn transaction_status(&self) -> TxStatus {
        match self.tx.block {
            Block::Idle | Block::Implicit => TxStatus::Idle,
            Block::Explicit => TxStatus::InTransaction,
            Block::Failed => TxStatus::Failed,
        }
    }

    /// Cancels what this session runs.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// Settings as kernels and encoders see them.
    #[must_use]
    pub fn env(&self) -> &Arc<EvalEnv> {
        &self.env
    }

    /// Changes whenever a transaction ends: portals of an earlier epoch are gone.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How long the client may idle in a transaction block; `None`: for ever.
    #[must_use]
    pub fn idle_in_transaction_timeout(&self) -> Option<Duration> {
        self.hot.idle_timeout
    }

    /// The prepared statement of that name.
    #[must_use]
    pub fn prepared(&self, name: &str) -> Option<Arc<Prepared>> {
        self.prepared.get(name).cloned()
    }

    /// Names a prepared statement; 42P05 if the name is taken. The empty name is always free.
    pub fn put_prepared(&mut self, name: &str, prepared: Arc<Prepared>) -> Result<(), SqlError> {
        self.name_statement(name, prepared, false)
    }

    /// Likewise, by PREPARE.
    fn name_statement(
        &mut self,
        name: &str,
        prepared: Arc<Prepared>,
        from_sql: bool,
    ) -> Result<(), SqlError> {
        if !name.is_empty() && self.prepared.get(name).is_some() {
            return Err(SqlError::new(
                SqlState::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        self.prepared.put(name, prepared, from_sql);
        Ok(())
    }

    /// Forgets a prepared statement, if there is one.
    pub fn close_prepared(&mut self, name: &str) {
        self.prepared.remove(name);
    }

    /// Ends the session: what is open is rolled back.
    pub async fn close(mut self) {
        self.rollback_transaction().await;
        self.drop_temp().await;
        self.advisory.release_all().await;
    }

    /// The session waits for its client.
    fn rest(&self) {
        let state = match self.tx.block {
            Block::Idle | Block::Implicit => "idle",
            Block::Explicit => "idle in transaction",
            Block::Failed => "idle in transaction (aborted)",
        };
        self.activity.rests(state, clock::wall_micros(&self.engine.db).unsigned_abs());
    }

    /// When a transaction block has lasted too long; `None`: never, or there is none.
    #[must_use]
    pub fn transaction_deadline(&self) -> Option<tokio::time::Instant> {
        Some(self.tx.began? + self.hot.transaction_timeout?)
    }

    /// How much output may be held back so that a statement can be run again.
    #[must_use]
    pub fn results_buffer_size(&self) -> usize {
        self.hot.results_buffer
    }

    /// Brings what is computed from the settings up to date.
    fn refresh_env(&mut self) {
        if self.env_generation == self.settings.generation() {
            return;
        }
        self.env_generation = self.settings.generation();
        let catalog = self.engine.catalog.cached();
        self.activity.set_application(self.settings.known("application_name"));
        self.who = self.who_by_settings();
        self.info.sequences.act_as(self.who.clone());
        self.authority = Arc::new(self.who.authority(&catalog));
        let (session_user, current_user) = self.who_names();
        let superuser = self.authority.is_superuser();
        self.settings.tell(&current_user, &self.connected_name, superuser);
        let env = Arc::make_mut(&mut self.env);
        self.settings.fill(env);
        (env.session_user, env.current_user) = (session_user, current_user);
        env.schemas = self.settings.search_path();
        // Schemas that do not exist are passed over by name resolution and by current_schemas().
        let known = |name: &String| catalog.schema(self.database, name).is_some();
        env.schemas.retain(known);
        self.hot = Hot::new(&self.settings);
        self.context = format!(
            "{}\u{0}{}\u{0}{}\u{0}{}\u{0}{}\u{0}{}\u{0}{}",
            self.database,
            self.temp().generation(),
            self.settings.known("search_path"),
            self.settings.known("timezone"),
            self.settings.known("datestyle"),
            self.settings.known("intervalstyle"),
            self.env.current_user,
        )
        .into();
    }

    /// The clock of a statement that begins, and of its transaction if it is the first.
    fn tick(&mut self) {
        let now = clock::wall_micros(&self.engine.db);
        let env = Arc::make_mut(&mut self.env);
        env.statement_time = now;
        env.transaction = self.tx.modes.shown();
        if self.tx.began.is_none() {
            env.transaction_time = now;
            self.tx.began = Some(tokio::time::Instant::now());
        }
    }

    /// Name, value and description of every setting, those of the transaction among them.
    fn all_settings(&self) -> Vec<(&'static str, String, &'static str)> {
        let modes = self.current_modes().shown();
        let mut all = self.settings.all();
        for (name, value, _) in &mut all {
            if let Some(shown) = modes.setting(name) {
                *value = shown.to_owned();
            }
        }
        all
    }

    /// What the transaction is like; outside of one, what the next will be like.
    fn current_modes(&self) -> Modes {
        match self.tx.block {
            Block::Idle => self.modes(),
            Block::Implicit | Block::Explicit | Block::Failed => self.tx.modes,
        }
    }

    /// What a new transaction is like.
    fn modes(&self) -> Modes {
        self.hot.modes
    }
}

/// What `version()` prints: clients look for the first two words.
const VERSION: &str = concat!(
    "PostgreSQL 15.0 (Conclave ",
    env!("CARGO_PKG_VERSION"),
    "), a distributed SQL database"
);

fn modes(settings: &Settings) -> Modes {
    Modes {
        level: Level::named(settings.known("default_transaction_isolation"))
            .unwrap_or(Level::Serializable),
        read_only: settings.known("default_transaction_read_only") == "on",
        deferrable: settings.known("default_transaction_deferrable") == "on",
        as_of: None,
    }
}

/// The catalog as it is now, read by a transaction of its own.
pub(crate) async fn current_catalog(engine: &Engine) -> Result<Arc<CatalogSnapshot>, SqlError> {
    let txn = engine.db.begin(kv::TxnOptions { read_only: true, ..Default::default() });
    txn.begin_statement().await?;
    let catalog = catalog_of(engine, &txn).await?;
    txn.rollback().await;
    Ok(catalog)
}

async fn catalog_of(engine: &Engine, txn: &Txn) -> Result<Arc<CatalogSnapshot>, SqlError> {
    engine.catalog.snapshot(txn).await.map_err(catalog_error)
}

pub(crate) fn catalog_error(error: catalog::CatalogError) -> SqlError {
    match error {
        catalog::CatalogError::Kv(error) => error.into(),
        corrupt @ catalog::CatalogError::Corrupt { .. } => {
            SqlError::new(SqlState::DATA_CORRUPTED, corrupt.to_string())
        }
    }
}
