//! As whom a session acts: who connected, SET SESSION AUTHORIZATION, SET ROLE.
//!
//! ```text
//!   connected as ──▶ session_user ──▶ current_user        what each may become:
//!                 SET SESSION        SET ROLE             session_user   a superuser: anybody
//!                 AUTHORIZATION                           current_user   what it is a member of
//! ```
//!
//! Both are settings, so that a rollback takes them back and SET LOCAL ends with its transaction.
//! What the current role may do is computed once per catalog and role ([`Session::authority`]).

use std::sync::Arc;

use catalog::{CatalogSnapshot, DatabaseId, Role, RoleId};
use sqlparser::ast::{ContextModifier, Expr, Set, SetSessionAuthorizationParamKind, Value};

use super::api::{Severity, Sink};
use super::transaction::Block;
use super::{Session, Tag};
use crate::bind::{fold, name_parts};
use crate::privilege::{Authority, insufficient};
use crate::{SqlError, SqlState};

/// The value of the setting `role` that stands for none.
const NONE: &str = "none";

/// Who a session is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Who {
    /// The role that connected.
    pub(crate) connected: RoleId,
    /// By SET SESSION AUTHORIZATION.
    session: Option<String>,
    /// By SET ROLE.
    current: Option<String>,
    pub(crate) database: DatabaseId,
}

impl Who {
    /// The role that connected, and nothing set.
    pub(crate) fn connected(role: RoleId, database: DatabaseId) -> Who {
        Who { connected: role, session: None, current: None, database }
    }

    fn session_role<'a>(&self, catalog: &'a CatalogSnapshot) -> Option<&'a Arc<Role>> {
        match &self.session {
            Some(name) => catalog.role(name),
            None => catalog.role_by_id(self.connected),
        }
    }

    fn role<'a>(&self, catalog: &'a CatalogSnapshot) -> Option<&'a Arc<Role>> {
        match &self.current {
            Some(name) => catalog.role(name),
            None => self.session_role(catalog),
        }
    }

    /// What it may do under a catalog.
    pub(crate) fn authority(&self, catalog: &CatalogSnapshot) -> Authority {
        Authority::of(catalog, self.database, self.role(catalog).map(|role| &**role))
    }
}

/// A change of who the session is.
pub(super) enum Become {
    /// SET ROLE; `None`: NONE.
    Role { name: Option<String>, local: bool },
    /// SET SESSION AUTHORIZATION; `None`: DEFAULT.
    Session { name: Option<String>, local: bool },
}

/// What a SET says about who the session is, if it does.
pub(super) fn of_set(set: &Set) -> Result<Option<Become>, SqlError> {
    let is_local = |scope: &Option<ContextModifier>| matches!(scope, Some(ContextModifier::Local));
    Ok(match set {
        Set::SetRole { context_modifier, role_name } => {
            let name = role_name.as_ref().map(fold).filter(|name| name != NONE);
            Some(Become::Role { name, local: is_local(context_modifier) })
        }
        Set::SetSessionAuthorization(param) => {
            let name = match &param.kind {
                SetSessionAuthorizationParamKind::Default => None,
                SetSessionAuthorizationParamKind::User(ident) => Some(fold(ident)),
            };
            let local = matches!(param.scope, ContextModifier::Local);
            Some(Become::Session { name, local })
        }
        Set::SingleAssignment { scope, hivevar: false, variable, values } => {
            // Names of settings are the same in any case, quoted or not.
            let setting = name_parts(variable)?.join(".").to_ascii_lowercase();
            let name = match values.as_slice() {
                [Expr::Identifier(ident)] => {
                    let plain = ident.quote_style.is_none();
                    Some(fold(ident)).filter(|name| !(plain && name == "default"))
                }
                [Expr::Value(value)] => match &value.value {
                    Value::SingleQuotedString(text) => Some(text.clone()),
                    _ => None,
                },
                _ => None,
            };
            let local = is_local(scope);
            match setting.as_str() {
                "role" => Some(Become::Role { name: name.filter(|n| n != NONE), local }),
                "session_authorization" => Some(Become::Session { name, local }),
                _ => None,
            }
        }
        _ => None,
    })
}

impl Session {
    /// SET ROLE and SET SESSION AUTHORIZATION.
    pub(super) async fn become_other(
        &mut self,
        change: &Become,
        sink: &mut dyn Sink,
    ) -> Result<Tag, SqlError> {
        let (Become::Role { local, .. } | Become::Session { local, .. }) = change;
        if *local && self.tx.block != Block::Explicit {
            sink.notice(
                Severity::Warning,
                &SqlError::new(
                    SqlState::NO_ACTIVE_SQL_TRANSACTION,
                    "SET LOCAL can only be used in transaction blocks",
                ),
            );
            return Ok(Tag::Text("SET"));
        }
        let txn = {
            self.begin_statement();
            self.statement_txn().await?
        };
        let catalog = self.visible_catalog(&txn).await?;
        let before = self.told();
        match change {
            Become::Role { name, .. } => {
                if let Some(name) = name {
                    let session = self.who.session_role(&catalog).map(|role| role.id);
                    may_set_role(&catalog, self.database, session, name)?;
                }
                self.set_who("role", name.as_deref(), *local)?;
            }
            Become::Session { name, .. } => {
                if let Some(name) = name {
                    may_set_session(&catalog, self.who.connected, name)?;
                }
                self.set_who("session_authorization", name.as_deref(), *local)?;
                self.set_who("role", None, *local)?;
            }
        }
        // The catalog that decided also says what the new role may do.
        self.refresh_env();
        self.set_names(&catalog);
        self.tell_who(&before, sink);
        Ok(Tag::Text("SET"))
    }

    fn set_who(
        &mut self,
        setting: &'static str,
        name: Option<&str>,
        local: bool,
    ) -> Result<(), SqlError> {
        match (name, local) {
            (None, false) => self.settings.reset(setting)?,
            (None, true) => {
                let value = match setting {
                    "role" => NONE.to_owned(),
                    _ => self.connected_name.clone(),
                };
                self.settings.set_local(setting, &value)?
            }
            (Some(name), true) => self.settings.set_local(setting, name)?,
            (Some(name), false) => self.settings.set(setting, name)?,
        };
        Ok(())
    }

    /// 22023 or 42501 if a setting says who the session is, and may not have the value. Settings may be
    /// given by `set_config` as well as by SET.
    pub(super) fn may_assign(&self, name: &str, value: &str) -> Result<(), SqlError> {
        let catalog = self.engine.catalog.cached();
        match name.to_ascii_lowercase().as_str() {
            "role" if value != NONE => {
                let session = self.who.session_role(&catalog).map(|role| role.id);
                may_set_role(&catalog, self.database, session, value)
            }
            "session_authorization" => may_set_session(&catalog, self.who.connected, value),
            _ => Ok(()),
        }
    }

    /// RESET ROLE and RESET SESSION AUTHORIZATION.
    pub(crate) fn reset_who(
        &mut self,
        session: bool,
        sink: &mut dyn Sink,
    ) -> Result<Tag, SqlError> {
        let before = self.told();
        self.settings.reset("role")?;
        if session {
            self.settings.reset("session_authorization")?;
        }
        if self.tx.block == Block::Idle {
            self.settings.commit();
        }
        self.refresh_env();
        self.tell_who(&before, sink);
        Ok(Tag::Text("RESET"))
    }

    /// What a client has been told of who the session is.
    fn told(&self) -> (bool, String) {
        (self.authority.is_superuser(), self.env.session_user.clone())
    }

    /// Tells the client what has changed of it.
    fn tell_who(&self, before: &(bool, String), sink: &mut dyn Sink) {
        let (superuser, session_user) = self.told();
        if superuser != before.0 {
            sink.parameter_status("is_superuser", if superuser { "on" } else { "off" });
        }
        if session_user != before.1 {
            sink.parameter_status("session_authorization", &session_user);
        }
    }

    /// Who the settings say the session is.
    pub(super) fn who_by_settings(&self) -> Who {
        let current = Some(self.settings.known("role"));
        Who {
            session: self.settings.given("session_authorization").map(str::to_owned),
            current: current.filter(|name| *name != NONE).map(str::to_owned),
            ..self.who.clone()
        }
    }

    /// Names of the session's and the current role.
    pub(super) fn who_names(&self) -> (String, String) {
        let session = self.who.session.clone().unwrap_or_else(|| self.connected_name.clone());
        let current = self.who.current.clone().unwrap_or_else(|| session.clone());
        (session, current)
    }

    /// What the current role may do, under the catalog that the session knows names of.
    pub(crate) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// The same by a catalog that names are not known of yet.
    pub(crate) fn authority_under(&self, catalog: &CatalogSnapshot) -> Authority {
        self.who.authority(catalog)
    }

    /// The same by the newest catalog that this node knows, for what reads none.
    pub(crate) fn authority_now(&mut self) -> Authority {
        self.refresh_env();
        self.who.authority(&self.engine.catalog.cached())
    }

    /// What the session's role may do, whatever SET ROLE has made of it.
    pub(crate) fn session_authority(&self, catalog: &CatalogSnapshot) -> Authority {
        let role = self.who.session_role(catalog).map(|role| &**role);
        Authority::of(catalog, self.database, role)
    }
}

/// 22023 or 42501 unless a session may take on the role.
pub(super) fn may_set_role(
    catalog: &CatalogSnapshot,
    database: DatabaseId,
    session: Option<RoleId>,
    name: &str,
) -> Result<(), SqlError> {
    let role = wanted(catalog, name)?;
    match session.is_some_and(|session| catalog.is_member(session, role.id, database)) {
        true => Ok(()),
        false => Err(insufficient(format!("permission denied to set role \"{name}\""))),
    }
}

/// 22023 or 42501 unless who connected may pass for the role.
pub(super) fn may_set_session(
    catalog: &CatalogSnapshot,
    connected: RoleId,
    name: &str,
) -> Result<(), SqlError> {
    let role = wanted(catalog, name)?;
    let superuser = catalog.role_by_id(connected).is_some_and(|r| r.superuser);
    match superuser || role.id == connected {
        true => Ok(()),
        false => Err(insufficient("permission denied to set session authorization")),
    }
}

fn wanted<'a>(catalog: &'a CatalogSnapshot, name: &str) -> Result<&'a Arc<Role>, SqlError> {
    catalog.role(name).ok_or_else(|| {
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("role \"{name}\" does not exist"))
    })
}
