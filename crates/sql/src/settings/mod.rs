//! Which settings a session has, what they may be, and what they are now.
//!
//! A setting that changes nothing here is listed only where every client sends it and its value is
//! a promise we keep anyway (`standard_conforming_strings = on`); other values are refused. A name
//! with a dot is the user's own and holds any text, as in PostgreSQL.
//!
//! # Levels
//!
//! ```text
//!   start-up packet -> session default   (RESET returns to it)
//!   SET             -> session value     (undone if its transaction rolls back)
//!   SET LOCAL       -> until the end of the transaction
//! ```

pub mod cluster;
mod parse;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use pgtypes::EvalEnv;

use crate::{SqlError, SqlState};

pub use parse::{parse_bool, parse_bytes, parse_millis};
pub use table::{Kind, SETTINGS, Setting};

/// The settings of one session.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Session defaults that differ from the table's.
    defaults: BTreeMap<String, String>,
    /// Values that differ from the defaults.
    values: BTreeMap<String, String>,
    /// Values at the beginning of the transaction, when it changed some.
    before: Option<BTreeMap<String, String>>,
    /// What SET LOCAL hides: the value to return to at commit; `None` for "not set".
    local: BTreeMap<String, Option<String>>,
    /// Raised by each change.
    generation: u64,
    /// What `"$user"` in the search path stands for.
    user: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            defaults: BTreeMap::new(),
            values: BTreeMap::new(),
            before: None,
            local: BTreeMap::new(),
            generation: 1,
            user: String::new(),
        }
    }
}

/// Settings that say as whom the session acts.
const WHO: [&str; 2] = ["role", "session_authorization"];

/// Schemas that no role's name stands for.
const SYSTEM_SCHEMAS: [&str; 4] = ["", "conclave", "information_schema", "pg_catalog"];

/// A savepoint's memory of the settings.
#[derive(Debug, Clone)]
pub struct SettingsMark {
    values: BTreeMap<String, String>,
    local: BTreeMap<String, Option<String>>,
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.name.eq_ignore_ascii_case(name))
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(
        SqlState::UNDEFINED_OBJECT,
        format!("unrecognized configuration parameter \"{name}\""),
    )
}

impl Settings {
    /// The value of a setting.
    pub fn get(&self, name: &str) -> Result<String, SqlError> {
        let lower = name.to_ascii_lowercase();
        if let Some(value) = self.values.get(&lower).or_else(|| self.defaults.get(&lower)) {
            return Ok(value.clone());
        }
        find(name).map(|s| s.default.to_owned()).ok_or_else(|| unknown(name))
    }

    /// The value of a setting of the table. A name that is not in it is a mistake of ours.
    pub fn known(&self, name: &'static str) -> &str {
        let stored = self.values.get(name).or_else(|| self.defaults.get(name));
        stored.map_or_else(|| find(name).expect("a setting of the table").default, String::as_str)
    }

    /// Sets a default for the session: what the start-up packet says.
    pub fn set_default(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        let (name, value) = check(name, value)?;
        self.generation += 1;
        self.defaults.insert(name, value);
        Ok(())
    }

    /// The value of a setting, if SET has given it one.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Says what the session itself decides: whose it is, and what for.
    pub fn tell(&mut self, user: &str, connected: &str, superuser: bool) {
        user.clone_into(&mut self.user);
        let superuser = if superuser { "on" } else { "off" };
        self.defaults.insert("is_superuser".to_owned(), superuser.to_owned());
        self.defaults.insert("session_authorization".to_owned(), connected.to_owned());
    }

    /// SET. Returns the canonical name and value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(String, String), SqlError> {
        let (name, value) = check(name, value)?;
        self.remember();
        self.local.remove(&name);
        self.generation += 1;
        self.values.insert(name.clone(), value.clone());
        Ok((name, value))
    }

    /// SET LOCAL.
    pub fn set_local(&mut self, name: &str, value: &str) -> Result<(String, String), SqlError> {
        let (name, value) = check(name, value)?;
        self.remember();
        let hidden = self.values.get(&name).cloned();
        self.local.entry(name.clone()).or_insert(hidden);
        self.generation += 1;
        self.values.insert(name.clone(), value.clone());
        Ok((name, value))
    }

    /// RESET.
    pub fn reset(&mut self, name: &str) -> Result<(String, String), SqlError> {
        let lower = name.to_ascii_lowercase();
        if let Some(setting) = find(name)
            && setting.kind == Kind::ReadOnly
        {
            return Err(read_only(setting.name));
        }
        if find(name).is_none() && !lower.contains('.') {
            return Err(unknown(name));
        }
        self.remember();
        self.generation += 1;
        self.values.remove(&lower);
        let value = self.get(name).unwrap_or_default();
        Ok((find(name).map_or(lower, |s| s.name.to_owned()), value))
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) {
        self.remember();
        self.generation += 1;
        // As whom the session acts is not among what RESET ALL resets.
        self.values.retain(|name, _| WHO.contains(&name.as_str()));
    }

    fn remember(&mut self) {
        if self.before.is_none() {
            self.before = Some(self.values.clone());
        }
    }

    /// The transaction committed: SET stays, SET LOCAL goes.
    pub fn commit(&mut self) {
        self.before = None;
        for (name, hidden) in std::mem::take(&mut self.local) {
            self.generation += 1;
            match hidden {
                Some(value) => self.values.insert(name, value),
                None => self.values.remove(&name),
            };
        }
    }

    /// The transaction rolled back: all it set is undone.
    pub fn rollback(&mut self) {
        self.local.clear();
        if let Some(before) = self.before.take() {
            self.generation += 1;
            self.values = before;
        }
    }

    /// The state to return to at ROLLBACK TO.
    #[must_use]
    pub fn mark(&self) -> SettingsMark {
        SettingsMark { values: self.values.clone(), local: self.local.clone() }
    }

    /// ROLLBACK TO.
    pub fn rollback_to(&mut self, mark: &SettingsMark) {
        self.generation += 1;
        self.values = mark.values.clone();
        self.local = mark.local.clone();
    }

    /// Raised by each change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Name, value and description of every setting: SHOW ALL.
    pub fn all(&self) -> Vec<(&'static str, String, &'static str)> {
        SETTINGS.iter().map(|s| (s.name, self.known(s.name).to_owned(), s.description)).collect()
    }

    /// Schemas of `search_path`, in order. `"$user"` is the one named like the current role, unless that
    /// is a schema of the system's.
    #[must_use]
    pub fn search_path(&self) -> Vec<String> {
        let own = (!SYSTEM_SCHEMAS.contains(&self.user.as_str())).then_some(&self.user);
        let schemas = parse::identifiers(self.known("search_path")).into_iter();
        schemas
            .filter_map(|schema| match schema.as_str() {
                "$user" => own.cloned(),
                _ => Some(schema),
            })
            .collect()
    }

    /// What kernels need to know, times and identity apart.
    pub fn fill(&self, env: &mut EvalEnv) {
        parse::fill(self, env);
        env.settings = Arc::new(
            SETTINGS
                .iter()
                .map(|s| (s.name.to_ascii_lowercase(), self.known(s.name).to_owned()))
                .chain(self.defaults.clone())
                .chain(self.values.clone())
                .collect(),
        );
    }
}

fn read_only(name: &str) -> SqlError {
    SqlError::new(SqlState("55P02"), format!("parameter \"{name}\" cannot be changed"))
}

/// What `set_config` would set, checked. No value is the default.
pub(crate) fn checked(name: &str, value: Option<&str>) -> Result<(String, String), SqlError> {
    let default = || find(name).map(|s| s.default);
    check(name, value.or_else(default).unwrap_or(""))
}

/// The canonical name and value, or why it is refused.
fn check(name: &str, value: &str) -> Result<(String, String), SqlError> {
    let Some(setting) = find(name) else {
        // A qualified name is the user's own.
        if name.contains('.') {
            return Ok((name.to_ascii_lowercase(), value.to_owned()));
        }
        return Err(unknown(name));
    };
    let value = parse::canonical(setting, value)?;
    Ok((setting.name.to_ascii_lowercase(), value))
}
