//! What can be wrong with a statement, in the words of PostgreSQL's error protocol.
//!
//! Everything below `sql` has errors with one variant per remedy; here they become the fields a
//! client sees. The SQLSTATE decides what drivers do next (retry on 40001, reconnect on 57P01), so
//! it survives every conversion: an error of a kernel that travelled through DataFusion keeps its
//! code (see `From<DataFusionError>`).

use std::fmt;

use base::Key;
use datafusion::error::DataFusionError;
use kv::{KvError, SerializationCause};
use pgtypes::TypeError;

/// A five character SQLSTATE.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub &'static str);

impl SqlState {
    /// The five characters.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! states {
    ($($name:ident $code:literal $doc:literal),* $(,)?) => {
        impl SqlState {
            $(#[doc = $doc] pub const $name: SqlState = SqlState($code);)*
        }
    };
}

states! {
    WARNING "01000" "Done, with a remark.",
    CONNECTION_FAILURE "08006" "The connection broke.",
    PROTOCOL_VIOLATION "08P01" "A message the protocol does not allow here.",
    FEATURE_NOT_SUPPORTED "0A000" "Parsed, but not carried out here.",
    CARDINALITY_VIOLATION "21000" "A scalar subquery returned more than one row.",
    STRING_DATA_RIGHT_TRUNCATION "22001" "A value too long for its type.",
    NUMERIC_VALUE_OUT_OF_RANGE "22003" "A number too large for its type.",
    DATETIME_FIELD_OVERFLOW "22008" "A date or time out of range.",
    DIVISION_BY_ZERO "22012" "Division by zero.",
    INVALID_PARAMETER_VALUE "22023" "A value an option or function refuses.",
    INVALID_ROW_COUNT_IN_LIMIT "2201W" "LIMIT below zero.",
    INVALID_ROW_COUNT_IN_OFFSET "2201X" "OFFSET below zero.",
    CHARACTER_NOT_IN_REPERTOIRE "22021" "A byte sequence that is not UTF-8.",
    INVALID_TEXT_REPRESENTATION "22P02" "Text that is no value of the type.",
    INVALID_BINARY_REPRESENTATION "22P03" "Bytes that are no value of the type.",
    BAD_COPY_FILE_FORMAT "22P04" "A line of COPY data with the wrong shape.",
    NOT_NULL_VIOLATION "23502" "NULL in a NOT NULL column.",
    FOREIGN_KEY_VIOLATION "23503" "A reference to a row that does not exist.",
    UNIQUE_VIOLATION "23505" "A duplicate key.",
    CHECK_VIOLATION "23514" "A CHECK constraint is not met.",
    INVALID_CURSOR_STATE "24000" "The cursor is not in a state for this.",
    ACTIVE_SQL_TRANSACTION "25001" "Not inside a transaction block.",
    READ_ONLY_SQL_TRANSACTION "25006" "A write in a read-only transaction.",
    NO_ACTIVE_SQL_TRANSACTION "25P01" "There is no transaction in progress.",
    TRANSACTION_TIMEOUT "25P04" "The transaction lasted too long; the session ends.",
    IN_FAILED_SQL_TRANSACTION "25P02" "The transaction failed earlier.",
    INVALID_SQL_STATEMENT_NAME "26000" "No such prepared statement.",
    INVALID_AUTHORIZATION "28000" "The role may not connect.",
    INVALID_PASSWORD "28P01" "Wrong password.",
    INVALID_GRANT_OPERATION "0LP01" "What cannot be granted, or not like that.",
    DEPENDENT_OBJECTS_STILL_EXIST "2BP01" "Others hang on the object.",
    INVALID_SAVEPOINT "3B001" "No such savepoint.",
    INVALID_CATALOG_NAME "3D000" "No such database.",
    INVALID_SCHEMA_NAME "3F000" "No such schema.",
    INVALID_CURSOR_NAME "34000" "No such cursor or portal.",
    TRANSACTION_ROLLBACK "40000" "Rolled back, for good.",
    SERIALIZATION_FAILURE "40001" "Retry the transaction.",
    STATEMENT_COMPLETION_UNKNOWN "40003" "The commit may or may not have happened.",
    DEADLOCK_DETECTED "40P01" "The youngest of a cycle of waits.",
    INSUFFICIENT_PRIVILEGE "42501" "Not allowed.",
    SYNTAX_ERROR "42601" "Does not parse.",
    INVALID_NAME "42602" "No possible name.",
    DUPLICATE_COLUMN "42701" "The column is named twice.",
    AMBIGUOUS_COLUMN "42702" "Several columns have that name.",
    UNDEFINED_COLUMN "42703" "No such column.",
    UNDEFINED_OBJECT "42704" "No such type, index, constraint or setting.",
    DUPLICATE_OBJECT "42710" "The object exists.",
    DUPLICATE_ALIAS "42712" "The table name is used twice in FROM.",
    AMBIGUOUS_FUNCTION "42725" "Several functions or operators match.",
    GROUPING_ERROR "42803" "An aggregate or ungrouped column in the wrong place.",
    DATATYPE_MISMATCH "42804" "A type that does not fit here.",
    WRONG_OBJECT_TYPE "42809" "The object is of another kind.",
    CANNOT_COERCE "42846" "There is no such cast.",
    UNDEFINED_FUNCTION "42883" "No such function or operator.",
    UNDEFINED_TABLE "42P01" "No such table.",
    UNDEFINED_PARAMETER "42P02" "No such parameter.",
    DUPLICATE_CURSOR "42P03" "The cursor exists.",
    DUPLICATE_DATABASE "42P04" "The database exists.",
    DUPLICATE_PREPARED_STATEMENT "42P05" "The prepared statement exists.",
    DUPLICATE_SCHEMA "42P06" "The schema exists.",
    DUPLICATE_TABLE "42P07" "The table or index exists.",
    AMBIGUOUS_PARAMETER "42P08" "A parameter with two types.",
    AMBIGUOUS_ALIAS "42P09" "Several tables have that name.",
    INVALID_COLUMN_REFERENCE "42P10" "A reference to a select item that is not allowed here.",
    INVALID_TABLE_DEFINITION "42P16" "A table that cannot be.",
    INDETERMINATE_DATATYPE "42P18" "The type of a parameter cannot be inferred.",
    INVALID_RECURSION "42P19" "A recursive query of the wrong shape.",
    WINDOWING_ERROR "42P20" "A window function in the wrong place.",
    OUT_OF_MEMORY "53200" "The statement needs more than --sql-memory.",
    TOO_MANY_CONNECTIONS "53300" "No connection slot is left.",
    PROGRAM_LIMIT_EXCEEDED "54000" "Larger than the program allows.",
    STATEMENT_TOO_COMPLEX "54001" "Nested too deeply.",
    TOO_MANY_COLUMNS "54011" "More than 1,600 columns.",
    TOO_MANY_ARGUMENTS "54023" "More than 65,535 parameters.",
    OBJECT_NOT_IN_PREREQUISITE_STATE "55000" "The object is not in a state for this.",
    OBJECT_IN_USE "55006" "The object is used by others.",
    LOCK_NOT_AVAILABLE "55P03" "Somebody else holds the lock.",
    QUERY_CANCELED "57014" "Cancelled by the user or a timeout.",
    ADMIN_SHUTDOWN "57P01" "The node shuts down.",
    CANNOT_CONNECT_NOW "57P03" "The node is not ready.",
    SNAPSHOT_TOO_OLD "72000" "The time is older than what garbage collection has kept.",
    INTERNAL_ERROR "XX000" "A fault of ours.",
    DATA_CORRUPTED "XX001" "Stored data is damaged.",
}

/// One error as a client sees it. Boxed, so that results stay small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError(Box<Fields>);

/// The fields of a [`SqlError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// SQLSTATE.
    pub code: SqlState,
    /// Primary message, PostgreSQL's wording.
    pub message: String,
    /// Secondary message.
    pub detail: Option<String>,
    /// What to try.
    pub hint: Option<String>,
    /// 1-based position in the statement text, in characters.
    pub position: Option<usize>,
    /// Schema of the object concerned.
    pub schema: Option<String>,
    /// Table concerned.
    pub table: Option<String>,
    /// Column concerned.
    pub column: Option<String>,
    /// Constraint or unique index concerned.
    pub constraint: Option<String>,
    /// The conflict between transactions that it tells of: what an explanation needs.
    pub conflict: Option<Box<KvError>>,
}

/// What may mend a conflict with other transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The snapshot has moved already: undo the statement's writes and run it again.
    Statement,
    /// A new snapshot. The key at which the old one was overtaken, if one is known.
    Conflict(Option<Key>),
    /// The transaction is gone and has to begin anew.
    Transaction,
}

impl SqlError {
    /// An error with a code and a message.
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        SqlError(Box::new(Fields {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            schema: None,
            table: None,
            column: None,
            constraint: None,
            conflict: None,
        }))
    }

    /// 0A000: parsed, but not carried out. `what` names the clause.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// 42601 with PostgreSQL's wording is up to the caller.
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(SqlState::SYNTAX_ERROR, message)
    }

    /// XX000: cannot happen, but must not take the node down either.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, message)
    }

    /// 42P02: `$n` where no values came along.
    pub(crate) fn no_parameter(index: usize) -> Self {
        Self::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter ${}", index + 1))
    }

    /// 57014.
    pub fn cancelled() -> Self {
        Self::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
    }

    /// 55P03, after `lock_timeout`.
    pub(crate) fn lock_timeout() -> Self {
        Self::new(SqlState::LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout")
    }

    /// 57P01, of a session that `pg_terminate_backend` ends.
    pub fn terminated() -> Self {
        let message = "terminating connection due to administrator command";
        Self::new(SqlState::ADMIN_SHUTDOWN, message)
    }

    /// The fields.
    pub fn fields(&self) -> &Fields {
        &self.0
    }

    /// What may mend it; none is known of most errors.
    pub(crate) fn retry(&self) -> Option<Retry> {
        match self.0.conflict.as_deref()? {
            KvError::Restatement => Some(Retry::Statement),
            KvError::Serialization { cause: SerializationCause::RolledBack, .. }
            | KvError::Deadlock { .. } => Some(Retry::Transaction),
            KvError::Serialization { key, .. } => Some(Retry::Conflict(key.clone())),
            _ => None,
        }
    }

    /// SQLSTATE.
    pub fn code(&self) -> SqlState {
        self.0.code
    }

    /// Primary message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Sets the detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Sets the hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Sets the position unless one is known already: the innermost knows best.
    #[must_use]
    pub fn at(mut self, position: Option<usize>) -> Self {
        if self.0.position.is_none() {
            self.0.position = position;
        }
        self
    }

    /// Replaces the position: the text was part of a longer one.
    #[must_use]
    pub fn with_position(mut self, position: usize) -> Self {
        self.0.position = Some(position);
        self
    }

    /// Sets the table concerned.
    #[must_use]
    pub fn table(mut self, schema: impl Into<String>, table: impl Into<String>) -> Self {
        self.0.schema = Some(schema.into());
        self.0.table = Some(table.into());
        self
    }

    /// Sets the column concerned.
    #[must_use]
    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.0.column = Some(column.into());
        self
    }

    /// Sets the constraint concerned.
    #[must_use]
    pub fn constraint(mut self, constraint: impl Into<String>) -> Self {
        self.0.constraint = Some(constraint.into());
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)
    }
}

impl std::error::Error for SqlError {}

impl From<TypeError> for SqlError {
    fn from(error: TypeError) -> Self {
        let mut sql = SqlError::new(SqlState(error.sqlstate), error.message);
        sql.0.detail = error.detail;
        sql.0.hint = error.hint;
        sql
    }
}

impl From<KvError> for SqlError {
    /// Duplicate keys are better reported by whoever knows the index's name; conflicts are explained by
    /// the session before the client hears of them.
    fn from(error: KvError) -> Self {
        let conflict = match &error {
            KvError::Serialization { .. }
            | KvError::Restatement
            | KvError::Deadlock { .. }
            | KvError::LockNotAvailable { .. } => Some(Box::new(error.clone())),
            _ => None,
        };
        let mut sql = of_kv(error);
        sql.0.conflict = conflict;
        sql
    }
}

fn of_kv(error: KvError) -> SqlError {
    let message = error.to_string();
    match error {
        KvError::Serialization { cause: SerializationCause::ReadChanged(_), .. } => SqlError::new(
            SqlState::SERIALIZATION_FAILURE,
            "could not serialize access due to read/write dependencies among transactions",
        )
        .detail(message),
        KvError::Serialization { .. } => SqlError::new(
            SqlState::SERIALIZATION_FAILURE,
            "could not serialize access due to concurrent update",
        )
        .detail(message),
        KvError::LocksExhausted { .. } => {
            SqlError::new(SqlState::OUT_OF_MEMORY, "out of shared memory").detail(message).hint(
                "Lock fewer rows in one transaction, or start the nodes with a higher \
                 --range-locks.",
            )
        }
        KvError::Restatement => SqlError::new(
            SqlState::SERIALIZATION_FAILURE,
            "could not serialize access due to concurrent update",
        ),
        KvError::Deadlock { victim, cycle } => {
            let waits: Vec<String> = cycle
                .iter()
                .map(|e| format!("Transaction {} waits for {} at {}.", e.waiter, e.holder, e.key))
                .collect();
            let error = SqlError::new(SqlState::DEADLOCK_DETECTED, "deadlock detected");
            if waits.is_empty() {
                error.detail(format!("Transaction {victim} was chosen to end it."))
            } else {
                error.detail(waits.join("\n"))
            }
        }
        KvError::LockNotAvailable { timed_out: true, .. } => SqlError::lock_timeout(),
        KvError::LockNotAvailable { timed_out: false, .. } => {
            SqlError::new(SqlState::LOCK_NOT_AVAILABLE, "could not obtain lock on row")
        }
        KvError::DuplicateKey { .. } => SqlError::new(
            SqlState::UNIQUE_VIOLATION,
            "duplicate key value violates unique constraint",
        ),
        KvError::Ambiguous { .. } => SqlError::new(SqlState::STATEMENT_COMPLETION_UNKNOWN, message),
        KvError::Unavailable { .. } => SqlError::new(SqlState::CANNOT_CONNECT_NOW, message),
        KvError::TooLarge { .. } => SqlError::new(SqlState::OUT_OF_MEMORY, message).hint(
            "Write fewer rows per transaction, or start the nodes with a higher --txn-memory.",
        ),
        KvError::OutOfMemory { .. } => SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory")
            .detail(format!(
                "What transactions and statements of this node may use is used up: {message}."
            ))
            .hint(
                "Write fewer rows per transaction, or start the nodes with a higher --sql-memory.",
            ),
        KvError::SnapshotTooOld { .. } => {
            SqlError::new(SqlState::SNAPSHOT_TOO_OLD, "snapshot too old")
                .detail(message)
                .hint("Read a later time, or keep old versions longer: SET CLUSTER SETTING gc.ttl.")
        }
        KvError::DeclaredAborted { xact } => SqlError::new(
            SqlState::TRANSACTION_ROLLBACK,
            "the transaction was taken for abandoned and is rolled back",
        )
        .detail(format!("Somebody asked for the status of transaction {}.", xact.0))
        .hint("Begin a new transaction."),
        KvError::Overloaded { .. } => SqlError::new(SqlState::TOO_MANY_CONNECTIONS, message),
        KvError::Corrupt { .. } => SqlError::new(SqlState::DATA_CORRUPTED, message),
        KvError::NotUsable(_) => SqlError::new(SqlState("25000"), message),
        KvError::Invalid(_) => SqlError::internal(message),
    }
}

/// Lets our own errors travel through a plan and come out with all their fields.
impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        if let Some(found) = TypeError::from_datafusion(&error) {
            return found.clone().into();
        }
        if let Some(found) = find_sql_error(&error) {
            return found.clone();
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(what) => {
                SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory").detail(what.clone())
            }
            DataFusionError::NotImplemented(what) => SqlError::unsupported(what),
            DataFusionError::ArrowError(arrow, _) => from_arrow(arrow),
            other => SqlError::internal(other.strip_backtrace()),
        }
    }
}

fn from_arrow(error: &arrow::error::ArrowError) -> SqlError {
    use arrow::error::ArrowError;
    match error {
        ArrowError::DivideByZero => TypeError::division_by_zero().into(),
        ArrowError::ArithmeticOverflow(_) => TypeError::out_of_range("bigint").into(),
        ArrowError::OffsetOverflowError(_) => {
            SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a batch of text or bytes exceeds 2 GB")
        }
        other => SqlError::internal(other.to_string()),
    }
}

fn find_sql_error(error: &DataFusionError) -> Option<&SqlError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<SqlError>() {
            return Some(found);
        }
        // `source` of External skips the boxed error itself.
        next = match error.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            _ => match error.downcast_ref::<arrow::error::ArrowError>() {
                Some(arrow::error::ArrowError::ExternalError(inner)) => Some(inner.as_ref()),
                _ => error.source(),
            },
        };
    }
    None
}

impl From<catalog::CodecError> for SqlError {
    fn from(error: catalog::CodecError) -> Self {
        use catalog::CodecError;
        let message = error.to_string();
        match error {
            CodecError::Corrupt(_) => SqlError::new(SqlState::DATA_CORRUPTED, message),
            CodecError::KeyTooLarge { .. } | CodecError::RowTooLarge { .. } => {
                SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
            }
            CodecError::NullInKey => SqlError::new(SqlState::NOT_NULL_VIOLATION, message),
            CodecError::NotIndexable => SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message),
            CodecError::Value(_) => SqlError::internal(message),
        }
    }
}
