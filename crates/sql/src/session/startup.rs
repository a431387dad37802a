//! What a start-up packet says about settings, and whether the role may connect at all.

use catalog::{CatalogSnapshot, Database, DatabaseId, Privileges, Role};

use super::{Engine, who};
use crate::privilege::{Authority, Object, insufficient};
use crate::{SqlError, SqlState};

/// 42501 if the role may not connect to the database, 53300 if it has too many sessions here.
pub(super) fn may_connect(
    engine: &Engine,
    authority: &Authority,
    role: &Role,
    database: &Database,
) -> Result<(), SqlError> {
    if !authority.may(&Object::from(database), Privileges::CONNECT) {
        return Err(insufficient(format!("permission denied for database \"{}\"", database.name))
            .detail("User does not have CONNECT privilege."));
    }
    let limit = usize::try_from(role.connection_limit).unwrap_or(usize::MAX);
    if !role.superuser && limit <= engine.db.sessions_of(&role.name) {
        return Err(SqlError::new(
            SqlState::TOO_MANY_CONNECTIONS,
            format!("too many connections for role \"{}\"", role.name),
        ));
    }
    Ok(())
}

/// Whether a session may begin with a setting that says as whom it acts.
pub(super) fn check(
    catalog: &CatalogSnapshot,
    database: DatabaseId,
    role: &Role,
    name: &str,
    value: &str,
) -> Result<(), SqlError> {
    match name.to_ascii_lowercase().as_str() {
        "role" if value != "none" => who::may_set_role(catalog, database, Some(role.id), value),
        "session_authorization" if value != role.name => {
            Err(insufficient("permission denied to set session authorization"))
        }
        _ => Ok(()),
    }
}

/// Settings in a start-up packet, those in `options` (`-c name=value`) included.
pub(super) fn settings(startup: &[(String, String)]) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    for (name, value) in startup {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => settings.extend(parse_options(value)),
            name if name.starts_with("_pq_.") => {}
            _ => settings.push((name.clone(), value.clone())),
        }
    }
    settings
}

/// `-c name=value --name=value`, with backslashes before spaces.
fn parse_options(options: &str) -> Vec<(String, String)> {
    let mut words = vec![String::new()];
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => words.last_mut().expect("never empty").extend(chars.next()),
            c if c.is_whitespace() => words.push(String::new()),
            c => words.last_mut().expect("never empty").push(c),
        }
    }
    let mut settings = Vec::new();
    let mut words = words.into_iter().filter(|w| !w.is_empty());
    while let Some(word) = words.next() {
        let assignment = match word.as_str() {
            "-c" => words.next(),
            w => w.strip_prefix("--").or_else(|| w.strip_prefix("-c")).map(str::to_owned),
        };
        if let Some((name, value)) = assignment.as_deref().and_then(|a| a.split_once('=')) {
            settings.push((name.replace('-', "_"), value.to_owned()));
        }
    }
    settings
}
