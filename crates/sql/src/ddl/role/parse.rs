//! Statements on roles and privileges, as written.
//!
//! sqlparser knows some of them, for many dialects at once; PostgreSQL's are read here in full.

use sqlparser::ast::{Expr, Ident, ObjectName};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::parse_grant::{behavior, defaults, grant};
use crate::bind::fold;
use crate::ddl::parse::{is_word, word};

/// A statement on roles or privileges.
#[derive(Debug, Clone)]
pub(crate) enum RoleStatement {
    /// CREATE ROLE, USER, GROUP.
    Create { name: RoleSpec, login: bool, options: Vec<RoleOption> },
    /// ALTER ROLE … options.
    Alter { role: RoleSpec, options: Vec<RoleOption> },
    /// ALTER GROUP … ADD or DROP USER.
    AlterGroup { role: RoleSpec, add: bool, members: Vec<RoleSpec> },
    /// ALTER ROLE … SET and RESET.
    Configure { role: RoleSpec, change: Configuration },
    /// ALTER ROLE … RENAME TO.
    Rename { role: RoleSpec, name: String },
    /// DROP ROLE.
    Drop { if_exists: bool, roles: Vec<RoleSpec> },
    /// GRANT and REVOKE of memberships.
    Membership {
        grant: bool,
        roles: Vec<String>,
        members: Vec<RoleSpec>,
        /// WITH ADMIN OPTION, ADMIN OPTION FOR.
        admin: bool,
        granted_by: Option<RoleSpec>,
    },
    /// GRANT and REVOKE of privileges.
    Privileges(Grant, Targets),
    /// ALTER DEFAULT PRIVILEGES.
    Defaults { roles: Vec<RoleSpec>, schemas: Vec<String>, grant: Grant, kind: String },
    /// REASSIGN OWNED.
    Reassign { from: Vec<RoleSpec>, to: RoleSpec },
    /// DROP OWNED.
    DropOwned { roles: Vec<RoleSpec>, cascade: bool },
    /// ALTER SCHEMA … OWNER TO.
    SchemaOwner { schema: String, owner: RoleSpec },
    /// ALTER DATABASE … OWNER TO.
    DatabaseOwner { database: String, owner: RoleSpec },
    /// COMMENT ON ROLE.
    Comment { role: RoleSpec, comment: Option<String> },
    /// RESET SESSION AUTHORIZATION.
    ResetSessionAuthorization,
    /// What is understood, and not carried out.
    Unsupported(String),
}

/// A role as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RoleSpec {
    Name(String),
    Current,
    Session,
    Public,
}

/// An option of CREATE and ALTER ROLE.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RoleOption {
    Superuser(bool),
    CreateDb(bool),
    CreateRole(bool),
    Inherit(bool),
    Login(bool),
    ConnectionLimit(i64),
    Password(Option<String>),
    ValidUntil(String),
    /// IN ROLE.
    In(Vec<RoleSpec>),
    /// ROLE, and with the admin option ADMIN.
    Members(Vec<RoleSpec>, bool),
    /// What is refused by name.
    Unsupported(&'static str),
}

impl RoleOption {
    /// What must not be said twice.
    pub(super) fn kind(&self) -> (std::mem::Discriminant<RoleOption>, bool) {
        (std::mem::discriminant(self), matches!(self, RoleOption::Members(_, true)))
    }
}

/// A setting of a role.
#[derive(Debug, Clone)]
pub(crate) enum Configuration {
    Set(String, Vec<Expr>),
    Reset(String),
    ResetAll,
}

/// What is granted or revoked, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) grant: bool,
    /// Names of privileges; none: ALL.
    pub(crate) privileges: Vec<String>,
    /// Some stand with a list of columns.
    pub(crate) columns: bool,
    pub(crate) grantees: Vec<RoleSpec>,
    /// WITH GRANT OPTION, GRANT OPTION FOR.
    pub(crate) option: bool,
    pub(crate) cascade: bool,
    pub(crate) granted_by: Option<RoleSpec>,
}

/// What privileges are about.
#[derive(Debug, Clone)]
pub(crate) enum Targets {
    Tables(Vec<ObjectName>),
    Sequences(Vec<ObjectName>),
    Schemas(Vec<String>),
    Databases(Vec<String>),
    /// Functions, with what stands in their parentheses.
    Functions(Vec<ObjectName>),
    AllTables(Vec<String>),
    AllSequences(Vec<String>),
    AllFunctions(Vec<String>),
    Unsupported(String),
}

/// Whether the first words say that a statement is one of these.
pub(crate) fn is_role_statement(first: &[String], all: &[String]) -> bool {
    let word = |n: usize| first.get(n).map_or("", String::as_str);
    match (word(0), word(1)) {
        ("grant" | "revoke" | "reassign", _) => true,
        ("create" | "alter" | "drop", "role" | "user" | "group") => true,
        ("drop", "owned") => true,
        ("alter", "default") => word(2) == "privileges",
        ("alter", "schema" | "database") => {
            all.windows(2).any(|pair| pair[0] == "owner" && pair[1] == "to")
        }
        ("comment", "on") => word(2) == "role",
        ("reset", "session") => word(2) == "authorization",
        _ => false,
    }
}

/// Parses one of these.
pub(crate) fn parse_role_statement(p: &mut Parser<'_>) -> Result<RoleStatement, ParserError> {
    if is_word(p, "create") {
        return create(p);
    }
    if is_word(p, "alter") {
        return alter(p);
    }
    if is_word(p, "drop") {
        if is_word(p, "owned") {
            word(p, "by")?;
            let roles = specs(p)?;
            return Ok(RoleStatement::DropOwned { roles, cascade: behavior(p) });
        }
        kind(p)?;
        if is_word(p, "mapping") {
            return unsupported(p, "DROP USER MAPPING");
        }
        let if_exists = p.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        return Ok(RoleStatement::Drop { if_exists, roles: specs(p)? });
    }
    if is_word(p, "reassign") {
        word(p, "owned")?;
        word(p, "by")?;
        let from = specs(p)?;
        word(p, "to")?;
        return Ok(RoleStatement::Reassign { from, to: spec(p)? });
    }
    if is_word(p, "reset") {
        word(p, "session")?;
        word(p, "authorization")?;
        return Ok(RoleStatement::ResetSessionAuthorization);
    }
    if is_word(p, "comment") {
        word(p, "on")?;
        word(p, "role")?;
        let role = spec(p)?;
        word(p, "is")?;
        let comment = match p.parse_keyword(Keyword::NULL) {
            true => None,
            false => Some(p.parse_literal_string()?),
        };
        return Ok(RoleStatement::Comment { role, comment });
    }
    grant(p)
}

/// ROLE, USER or GROUP.
pub(super) fn kind(p: &mut Parser<'_>) -> Result<&'static str, ParserError> {
    let found = ["role", "user", "group"].into_iter().find(|kind| is_word(p, kind));
    match found {
        Some(kind) => Ok(kind),
        None => p.expected("ROLE", p.peek_token()),
    }
}

/// The rest is of no interest.
fn unsupported(p: &mut Parser<'_>, what: &str) -> Result<RoleStatement, ParserError> {
    while p.next_token().token != Token::EOF {}
    Ok(RoleStatement::Unsupported(what.to_owned()))
}

fn create(p: &mut Parser<'_>) -> Result<RoleStatement, ParserError> {
    let kind = kind(p)?;
    if kind == "user" && is_word(p, "mapping") {
        return unsupported(p, "CREATE USER MAPPING");
    }
    let name = spec(p)?;
    is_word(p, "with");
    let options = role_options(p)?;
    Ok(RoleStatement::Create { name, login: kind == "user", options })
}

fn alter(p: &mut Parser<'_>) -> Result<RoleStatement, ParserError> {
    if is_word(p, "default") {
        word(p, "privileges")?;
        return defaults(p);
    }
    if is_word(p, "schema") {
        let schema = name(p)?;
        word(p, "owner")?;
        word(p, "to")?;
        return Ok(RoleStatement::SchemaOwner { schema, owner: spec(p)? });
    }
    if is_word(p, "database") {
        let database = name(p)?;
        word(p, "owner")?;
        word(p, "to")?;
        return Ok(RoleStatement::DatabaseOwner { database, owner: spec(p)? });
    }
    let kind = kind(p)?;
    if kind == "user" && is_word(p, "mapping") {
        return unsupported(p, "ALTER USER MAPPING");
    }
    if kind != "group" && is_word(p, "all") {
        return unsupported(p, "ALTER ROLE ALL");
    }
    let role = spec(p)?;
    if is_word(p, "rename") {
        word(p, "to")?;
        return Ok(RoleStatement::Rename { role, name: name(p)? });
    }
    if kind == "group" {
        let add = is_word(p, "add");
        if !add {
            word(p, "drop")?;
        }
        word(p, "user")?;
        return Ok(RoleStatement::AlterGroup { role, add, members: specs(p)? });
    }
    if is_word(p, "in") {
        return unsupported(p, "ALTER ROLE … IN DATABASE");
    }
    if is_word(p, "set") {
        let setting = setting_name(p)?;
        if !p.consume_token(&Token::Eq) {
            word(p, "to")?;
        }
        if is_word(p, "default") {
            return Ok(RoleStatement::Configure { role, change: Configuration::Reset(setting) });
        }
        let values = p.parse_comma_separated(Parser::parse_expr)?;
        return Ok(RoleStatement::Configure { role, change: Configuration::Set(setting, values) });
    }
    if is_word(p, "reset") {
        let change = match is_word(p, "all") {
            true => Configuration::ResetAll,
            false => Configuration::Reset(setting_name(p)?),
        };
        return Ok(RoleStatement::Configure { role, change });
    }
    is_word(p, "with");
    Ok(RoleStatement::Alter { role, options: role_options(p)? })
}

fn setting_name(p: &mut Parser<'_>) -> Result<String, ParserError> {
    if is_word(p, "time") {
        word(p, "zone")?;
        p.prev_token();
        return Ok("timezone".to_owned());
    }
    let name = p.parse_object_name(false)?;
    Ok(name.to_string().to_lowercase())
}

fn role_options(p: &mut Parser<'_>) -> Result<Vec<RoleOption>, ParserError> {
    type Flag = fn(bool) -> RoleOption;
    const FLAGS: [(&str, Flag); 5] = [
        ("superuser", RoleOption::Superuser),
        ("createdb", RoleOption::CreateDb),
        ("createrole", RoleOption::CreateRole),
        ("inherit", RoleOption::Inherit),
        ("login", RoleOption::Login),
    ];
    let mut options = Vec::new();
    'options: while !matches!(p.peek_token().token, Token::EOF | Token::SemiColon) {
        for (name, option) in FLAGS {
            if is_word(p, name) {
                options.push(option(true));
                continue 'options;
            }
            if is_word(p, &format!("no{name}")) {
                options.push(option(false));
                continue 'options;
            }
        }
        // What no role has.
        if is_word(p, "noreplication") || is_word(p, "nobypassrls") {
            continue;
        }
        options.push(if is_word(p, "replication") {
            RoleOption::Unsupported("REPLICATION")
        } else if is_word(p, "bypassrls") {
            RoleOption::Unsupported("BYPASSRLS")
        } else if is_word(p, "connection") {
            word(p, "limit")?;
            RoleOption::ConnectionLimit(integer(p)?)
        } else if is_word(p, "unencrypted") {
            word(p, "password")?;
            p.parse_literal_string()?;
            RoleOption::Unsupported("UNENCRYPTED PASSWORD")
        } else if is_word(p, "encrypted") {
            word(p, "password")?;
            RoleOption::Password(Some(p.parse_literal_string()?))
        } else if is_word(p, "password") {
            match p.parse_keyword(Keyword::NULL) {
                true => RoleOption::Password(None),
                false => RoleOption::Password(Some(p.parse_literal_string()?)),
            }
        } else if is_word(p, "valid") {
            word(p, "until")?;
            RoleOption::ValidUntil(p.parse_literal_string()?)
        } else if is_word(p, "in") {
            kind(p)?;
            RoleOption::In(specs(p)?)
        } else if is_word(p, "role") || is_word(p, "user") {
            RoleOption::Members(specs(p)?, false)
        } else if is_word(p, "admin") {
            RoleOption::Members(specs(p)?, true)
        } else if is_word(p, "sysid") {
            RoleOption::Unsupported("SYSID")
        } else {
            return p.expected("an option of a role", p.peek_token());
        });
    }
    Ok(options)
}

fn integer(p: &mut Parser<'_>) -> Result<i64, ParserError> {
    let sign = if p.consume_token(&Token::Minus) { "-" } else { "" };
    let token = p.next_token();
    match &token.token {
        Token::Number(digits, _) => match format!("{sign}{digits}").parse() {
            Ok(number) => Ok(number),
            Err(_) => p.expected("an integer", token),
        },
        _ => p.expected("an integer", token),
    }
}

fn name(p: &mut Parser<'_>) -> Result<String, ParserError> {
    Ok(fold(&p.parse_identifier()?))
}

pub(super) fn names(p: &mut Parser<'_>) -> Result<Vec<String>, ParserError> {
    p.parse_comma_separated(name)
}

pub(super) fn spec(p: &mut Parser<'_>) -> Result<RoleSpec, ParserError> {
    is_word(p, "group");
    Ok(spec_of(&p.parse_identifier()?))
}

/// The role that an identifier stands for.
pub(crate) fn spec_of(ident: &Ident) -> RoleSpec {
    let name = fold(ident);
    if ident.quote_style.is_some() {
        return RoleSpec::Name(name);
    }
    match name.as_str() {
        "current_user" | "current_role" | "user" => RoleSpec::Current,
        "session_user" => RoleSpec::Session,
        "public" => RoleSpec::Public,
        _ => RoleSpec::Name(name),
    }
}

pub(super) fn specs(p: &mut Parser<'_>) -> Result<Vec<RoleSpec>, ParserError> {
    p.parse_comma_separated(spec)
}
