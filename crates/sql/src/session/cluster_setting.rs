//! SET, RESET and SHOW CLUSTER SETTING.

use std::sync::Arc;

use pgtypes::Datum;
use sqlparser::ast::{Expr, ObjectName, UnaryOperator, Value};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::Session;
use super::api::{ResultColumn, Sink};
use super::execute::Tag;
use super::utility::text_column;
use crate::SqlError;
use crate::bind::name_parts;
use crate::settings::cluster::{self, CLUSTER_SETTINGS};

/// A statement about the cluster's settings.
#[derive(Debug, Clone)]
pub(crate) enum ClusterSetting {
    /// `SET`; `None` is DEFAULT, and `RESET`.
    Put {
        name: ObjectName,
        value: Option<String>,
        verb: &'static str,
    },
    Show(ObjectName),
    ShowAll,
}

/// Whether a statement that begins with SET, RESET or SHOW is one of these.
pub(super) fn is_cluster_setting(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace().skip(1).take(3).map(str::to_ascii_lowercase);
    let cluster = words.next().map(|word| if word == "all" { words.next() } else { Some(word) });
    cluster.flatten().as_deref() == Some("cluster")
}

pub(super) fn parse_cluster_setting(
    parser: &mut Parser<'_>,
) -> Result<ClusterSetting, ParserError> {
    let verb = parser.next_token();
    let verb = verb.token.to_string().to_ascii_uppercase();
    let all = parser.parse_keyword(Keyword::ALL);
    word(parser, &["cluster"])?;
    let settings = word(parser, &["setting", "settings"])? == "settings";
    if verb == "SHOW" && (settings || all) {
        return Ok(ClusterSetting::ShowAll);
    }
    let name = parser.parse_object_name(false)?;
    Ok(match verb.as_str() {
        "SHOW" => ClusterSetting::Show(name),
        "RESET" => ClusterSetting::Put { name, value: None, verb: "RESET CLUSTER SETTING" },
        _ => {
            if !parser.consume_token(&Token::Eq) && !parser.parse_keyword(Keyword::TO) {
                let found = parser.peek_token();
                return parser.expected("= or TO", found);
            }
            let value = parse_value(parser)?;
            ClusterSetting::Put { name, value, verb: "SET CLUSTER SETTING" }
        }
    })
}

fn word(parser: &mut Parser<'_>, wanted: &[&str]) -> Result<String, ParserError> {
    let token = parser.next_token();
    match &token.token {
        Token::Word(found) if wanted.iter().any(|w| found.value.eq_ignore_ascii_case(w)) => {
            Ok(found.value.to_ascii_lowercase())
        }
        _ => parser.expected(wanted[0], token),
    }
}

fn parse_value(parser: &mut Parser<'_>) -> Result<Option<String>, ParserError> {
    if parser.parse_keyword(Keyword::DEFAULT) {
        return Ok(None);
    }
    let at = parser.peek_token();
    let text = |value: &Expr| match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            Value::Number(number, _) => Some(number.to_string()),
            _ => None,
        },
        _ => None,
    };
    match parser.parse_expr()? {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            Ok(text(&expr).map(|value| format!("-{value}")))
        }
        value => match text(&value) {
            Some(value) => Ok(Some(value)),
            None => parser.expected("a string or a number", at),
        },
    }
}

impl ClusterSetting {
    pub(super) fn columns(&self) -> Option<Arc<[ResultColumn]>> {
        match self {
            ClusterSetting::Put { .. } => None,
            ClusterSetting::Show(name) => Some(Arc::new([text_column(&name.to_string())])),
            ClusterSetting::ShowAll => {
                let names = ["variable", "value", "default_value", "description"];
                Some(names.map(text_column).into())
            }
        }
    }

    pub(super) async fn run(
        &self,
        session: &mut Session,
        sink: &mut dyn Sink,
    ) -> Result<Tag, SqlError> {
        session.refuse_if_failed()?;
        let named = |name| cluster::ClusterSetting::named(&name_parts(name)?.join("."));
        let db = session.engine.db.clone();
        match self {
            ClusterSetting::Put { name, value, verb } => {
                session.refuse_in_block(verb)?;
                session.authority_now().must_be_superuser("change settings of the cluster")?;
                let setting = named(name)?;
                let value = match value {
                    Some(value) => cluster::show(setting.parse(value)?),
                    None => String::new(),
                };
                db.set_cluster_setting(setting.name, &value).await?;
                return Ok(Tag::Text(verb));
            }
            ClusterSetting::Show(name) => {
                let setting = named(name)?;
                let value = setting.among(&db.cluster_settings().await?);
                self.begin_rows(session, sink)?;
                sink.row(&[Datum::text(cluster::show(value))])?;
            }
            ClusterSetting::ShowAll => {
                let set = db.cluster_settings().await?;
                self.begin_rows(session, sink)?;
                for setting in CLUSTER_SETTINGS {
                    let (value, default) = (setting.among(&set), setting.default);
                    sink.row(&[
                        Datum::text(setting.name),
                        Datum::text(cluster::show(value)),
                        Datum::text(cluster::show(default)),
                        Datum::text(setting.description),
                    ])?;
                }
            }
        }
        Ok(Tag::Text("SHOW"))
    }

    fn begin_rows(&self, session: &Session, sink: &mut dyn Sink) -> Result<(), SqlError> {
        sink.environment(&session.env);
        sink.columns(&self.columns().unwrap_or_default())
    }
}
