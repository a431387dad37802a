//! Which error does a client see, and with which SQLSTATE?
//!
//! Errors of statements arrive with their code ([`SqlError`]); what goes wrong in the protocol
//! itself gets its code here and nowhere else.

use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use sql::{SqlError, SqlState};

use crate::frame::Violation;

/// What an error ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// The statement.
    Statement,
    /// The connection.
    Connection,
}

/// The message that tells a client of an error.
pub(crate) fn error_response(error: &SqlError, ends: Ends) -> ErrorResponse {
    let severity = match ends {
        Ends::Statement => "ERROR",
        Ends::Connection => "FATAL",
    };
    ErrorResponse::new(fields(severity, error))
}

/// The message that tells a client of a notice.
pub(crate) fn notice_response(severity: &str, notice: &SqlError) -> NoticeResponse {
    NoticeResponse::new(fields(severity, notice))
}

fn fields(severity: &str, error: &SqlError) -> Vec<(u8, String)> {
    let known = error.fields();
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', known.code.as_str().to_owned()),
        (b'M', text(&known.message)),
    ];
    let optional = [
        (b'D', &known.detail),
        (b'H', &known.hint),
        (b's', &known.schema),
        (b't', &known.table),
        (b'c', &known.column),
        (b'n', &known.constraint),
    ];
    fields
        .extend(optional.into_iter().filter_map(|(key, value)| Some((key, text(value.as_ref()?)))));
    fields.extend(known.position.map(|position| (b'P', position.to_string())));
    fields
}

/// A zero byte would end the field in the middle and the message with it.
fn text(value: &str) -> String {
    value.replace('\0', "\u{fffd}")
}

pub(crate) fn invalid_message() -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, "invalid message format")
}

pub(crate) fn invalid_utf8(bytes: &[u8]) -> SqlError {
    let shown: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
    let message = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
    SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
}

pub(crate) fn violation(violation: &Violation) -> SqlError {
    match violation {
        Violation::Version(..) => {
            SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, violation.to_string())
        }
        Violation::Type(_) | Violation::Length(_) | Violation::Startup => {
            SqlError::new(SqlState::PROTOCOL_VIOLATION, violation.to_string())
        }
    }
}

pub(crate) fn message_too_large(bytes: usize, bytes_max: usize) -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "message is too large")
        .detail(format!("It has {bytes} bytes; the limit is {bytes_max}."))
}

pub(crate) fn row_too_large(bytes: usize) -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "row of the result is too large")
        .detail(format!("It has {bytes} bytes on the wire."))
}

pub(crate) fn connection_lost() -> SqlError {
    SqlError::new(SqlState::CONNECTION_FAILURE, "connection to client lost")
}

pub(crate) fn too_many_connections() -> SqlError {
    SqlError::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")
}

pub(crate) fn startup_timeout() -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, "canceling authentication due to timeout")
}

pub(crate) fn shutting_down() -> SqlError {
    let message = "terminating connection due to administrator command";
    SqlError::new(SqlState::ADMIN_SHUTDOWN, message)
        .hint("The node shuts down. Connect again, to another node of the cluster.")
}

pub(crate) fn idle_in_transaction() -> SqlError {
    let message = "terminating connection due to idle-in-transaction timeout";
    SqlError::new(SqlState("25P03"), message)
}

pub(crate) fn transaction_timeout() -> SqlError {
    let message = "terminating connection due to transaction timeout";
    SqlError::new(SqlState::TRANSACTION_TIMEOUT, message)
}

pub(crate) fn no_user() -> SqlError {
    let message = "no PostgreSQL user name specified in startup packet";
    SqlError::new(SqlState::INVALID_AUTHORIZATION, message)
}

pub(crate) fn no_portal(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

pub(crate) fn portal_exists(name: &str) -> SqlError {
    SqlError::new(SqlState::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists"))
}

pub(crate) fn no_statement(name: &str) -> SqlError {
    let message = match name {
        "" => "unnamed prepared statement does not exist".to_owned(),
        name => format!("prepared statement \"{name}\" does not exist"),
    };
    SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
}

pub(crate) fn statement_exists(name: &str) -> SqlError {
    let message = format!("prepared statement \"{name}\" already exists");
    SqlError::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message)
}

pub(crate) fn wrong_parameter_count(name: &str, given: usize, wanted: usize) -> SqlError {
    let message = format!(
        "bind message supplies {given} parameters, but prepared statement \"{name}\" \
         requires {wanted}"
    );
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
}

pub(crate) fn wrong_format_count(what: &str, formats: usize, values: usize) -> SqlError {
    let message = format!("bind message has {formats} {what} formats but {values} {what}s");
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
}

pub(crate) fn unknown_format(code: i16) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {code}"))
}

pub(crate) fn unknown_type(oid: u32) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist"))
}

pub(crate) fn copy_failed(reason: &str) -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, format!("COPY from stdin failed: {reason}"))
}

pub(crate) fn unexpected_in_copy(tag: u8) -> SqlError {
    let message = format!("unexpected message type 0x{tag:02X} during COPY from stdin");
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
}

pub(crate) fn unsupported(what: &str) -> SqlError {
    SqlError::unsupported(what)
}
