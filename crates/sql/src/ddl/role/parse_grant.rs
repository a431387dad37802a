//! GRANT, REVOKE and ALTER DEFAULT PRIVILEGES, as written.

use sqlparser::ast::Ident;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::parse::{Grant, RoleSpec, RoleStatement, Targets, kind, names, spec, specs};
use crate::bind::fold;
use crate::ddl::parse::{is_word, word};

/// CASCADE or RESTRICT, if said.
pub(super) fn behavior(p: &mut Parser<'_>) -> bool {
    let cascade = is_word(p, "cascade");
    if !cascade {
        is_word(p, "restrict");
    }
    cascade
}

fn granted_by(p: &mut Parser<'_>) -> Result<Option<RoleSpec>, ParserError> {
    if !is_word(p, "granted") {
        return Ok(None);
    }
    word(p, "by")?;
    spec(p).map(Some)
}

/// The privileges of a GRANT, or roles: names, and whether some have columns behind them.
fn granted(p: &mut Parser<'_>) -> Result<(Vec<Ident>, bool), ParserError> {
    let mut columns = false;
    let mut idents = Vec::new();
    if is_word(p, "all") {
        is_word(p, "privileges");
        columns = column_list(p)?;
        return Ok((idents, columns));
    }
    loop {
        idents.push(p.parse_identifier()?);
        columns |= column_list(p)?;
        if !p.consume_token(&Token::Comma) {
            return Ok((idents, columns));
        }
    }
}

fn column_list(p: &mut Parser<'_>) -> Result<bool, ParserError> {
    let has = p.consume_token(&Token::LParen);
    if has {
        p.parse_comma_separated(Parser::parse_identifier)?;
        p.expect_token(&Token::RParen)?;
    }
    Ok(has)
}

pub(super) fn grant(p: &mut Parser<'_>) -> Result<RoleStatement, ParserError> {
    let grant = is_word(p, "grant");
    if !grant {
        word(p, "revoke")?;
    }
    let mut option = false;
    let mut admin = false;
    if !grant && is_word(p, "grant") {
        word(p, "option")?;
        word(p, "for")?;
        option = true;
    } else if !grant && is_word(p, "admin") {
        word(p, "option")?;
        word(p, "for")?;
        admin = true;
    }
    let (idents, columns) = granted(p)?;
    if is_word(p, "on") {
        let targets = targets(p)?;
        let mut rest = grantees(p, grant)?;
        rest.option |= option;
        rest.columns = columns;
        rest.privileges = idents.iter().map(|i| i.value.clone()).collect();
        return Ok(RoleStatement::Privileges(rest, targets));
    }
    word(p, if grant { "to" } else { "from" })?;
    let members = specs(p)?;
    if grant && is_word(p, "with") {
        word(p, "admin")?;
        word(p, "option")?;
        admin = true;
    }
    let granted_by = granted_by(p)?;
    behavior(p);
    let roles = idents.iter().map(fold).collect();
    Ok(RoleStatement::Membership { grant, roles, members, admin, granted_by })
}

/// From TO or FROM on.
fn grantees(p: &mut Parser<'_>, grant: bool) -> Result<Grant, ParserError> {
    word(p, if grant { "to" } else { "from" })?;
    let grantees = specs(p)?;
    let mut option = false;
    if grant && is_word(p, "with") {
        word(p, "grant")?;
        word(p, "option")?;
        option = true;
    }
    let granted_by = granted_by(p)?;
    let cascade = !grant && behavior(p);
    let (privileges, columns) = (Vec::new(), false);
    Ok(Grant { grant, privileges, columns, grantees, option, cascade, granted_by })
}

fn targets(p: &mut Parser<'_>) -> Result<Targets, ParserError> {
    let objects = |p: &mut Parser<'_>| p.parse_comma_separated(|p| p.parse_object_name(false));
    if is_word(p, "all") {
        let kind = p.parse_identifier()?.value.to_lowercase();
        word(p, "in")?;
        word(p, "schema")?;
        let schemas = names(p)?;
        return Ok(match kind.as_str() {
            "tables" => Targets::AllTables(schemas),
            "sequences" => Targets::AllSequences(schemas),
            "functions" | "procedures" | "routines" => Targets::AllFunctions(schemas),
            _ => return p.expected("TABLES, SEQUENCES or FUNCTIONS", p.peek_token()),
        });
    }
    if is_word(p, "sequence") {
        return objects(p).map(Targets::Sequences);
    }
    if is_word(p, "schema") {
        return names(p).map(Targets::Schemas);
    }
    if is_word(p, "database") {
        return names(p).map(Targets::Databases);
    }
    if is_word(p, "function") || is_word(p, "procedure") || is_word(p, "routine") {
        let functions = p.parse_comma_separated(|p| {
            let name = p.parse_object_name(false)?;
            if p.consume_token(&Token::LParen) {
                while !p.consume_token(&Token::RParen) {
                    if p.next_token().token == Token::EOF {
                        return p.expected(")", p.peek_token());
                    }
                }
            }
            Ok(name)
        })?;
        return Ok(Targets::Functions(functions));
    }
    for (first, what) in [
        ("domain", "DOMAIN"),
        ("type", "TYPE"),
        ("language", "LANGUAGE"),
        ("tablespace", "TABLESPACE"),
        ("foreign", "FOREIGN"),
        ("large", "LARGE OBJECT"),
        ("parameter", "PARAMETER"),
    ] {
        if is_word(p, first) {
            loop {
                let next = p.peek_token().token;
                let ends = |w: &str| w.eq_ignore_ascii_case("to") || w.eq_ignore_ascii_case("from");
                match next {
                    Token::EOF => return p.expected("TO", p.peek_token()),
                    Token::Word(w) if ends(&w.value) => break,
                    _ => drop(p.next_token()),
                }
            }
            return Ok(Targets::Unsupported(what.to_owned()));
        }
    }
    is_word(p, "table");
    objects(p).map(Targets::Tables)
}

/// ALTER DEFAULT PRIVILEGES, from FOR on.
pub(super) fn defaults(p: &mut Parser<'_>) -> Result<RoleStatement, ParserError> {
    let mut roles = Vec::new();
    let mut schemas = Vec::new();
    loop {
        if is_word(p, "for") {
            kind(p)?;
            roles = specs(p)?;
        } else if is_word(p, "in") {
            word(p, "schema")?;
            schemas = names(p)?;
        } else {
            break;
        }
    }
    let grant = is_word(p, "grant");
    if !grant {
        word(p, "revoke")?;
    }
    let option = !grant && is_word(p, "grant");
    if option {
        word(p, "option")?;
        word(p, "for")?;
    }
    let (idents, columns) = granted(p)?;
    word(p, "on")?;
    let kind = p.parse_identifier()?.value.to_lowercase();
    let mut rest = grantees(p, grant)?;
    rest.option |= option;
    rest.columns = columns;
    rest.privileges = idents.iter().map(|i| i.value.clone()).collect();
    Ok(RoleStatement::Defaults { roles, schemas, grant: rest, kind })
}
