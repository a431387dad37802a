//! The sqllogictest runner's view of a server: the simple protocol, so that text is the server's.

use std::sync::Arc;

use parking_lot::Mutex;
use sqllogictest::{DBOutput, DefaultColumnType};
use tokio_postgres::{Client, Config, Error, SimpleQueryMessage};

use crate::connect::Connector;

/// How values are printed before they are compared.
#[derive(Debug, Clone)]
pub(super) enum Printed {
    AsSent,
    /// By the types that a record names: integers cut to whole numbers, truth as 1 and 0, reals with three
    /// digits, text with `@` for what can't be seen.
    BySqlite(Vec<DefaultColumnType>),
}

impl Printed {
    fn value(&self, column: usize, text: Option<&str>) -> String {
        let Some(text) = text else { return "NULL".to_owned() };
        let ty = match self {
            Printed::BySqlite(types) => types.get(column),
            Printed::AsSent => None,
        };
        match (ty, text) {
            (_, "") => "(empty)".to_owned(),
            (Some(DefaultColumnType::Integer), "t") => "1".to_owned(),
            (Some(DefaultColumnType::Integer), "f") => "0".to_owned(),
            (Some(DefaultColumnType::Integer), text) => match text.split_once('.') {
                Some((whole, _)) if text.parse::<f64>().is_ok() => match whole {
                    "-0" | "" | "-" => "0".to_owned(),
                    whole => whole.to_owned(),
                },
                _ => text.to_owned(),
            },
            (Some(DefaultColumnType::FloatingPoint), text) => match text.parse::<f64>() {
                Ok(value) => format!("{value:.3}"),
                Err(_) => text.to_owned(),
            },
            (Some(DefaultColumnType::Text), text) => {
                text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '@' }).collect()
            }
            (_, text) => text.to_owned(),
        }
    }
}

/// What a server has said, or why it has said nothing.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.as_db_error().map_or_else(|| .0.to_string(), |told| told.message().to_owned()))]
pub(super) struct Failed(#[from] Error);

/// A connection that runs records.
pub(super) struct Wire {
    pub(super) client: Client,
    pub(super) engine: &'static str,
    pub(super) printed: Arc<Mutex<Printed>>,
}

#[async_trait::async_trait]
impl sqllogictest::AsyncDB for Wire {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let messages = self.client.simple_query(sql).await?;
        let printed = self.printed.lock();
        let mut rows = Vec::new();
        let mut columns = None;
        let mut count = 0;
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(described) => columns = Some(described.len()),
                SimpleQueryMessage::Row(row) => rows.push(
                    (0..row.len()).map(|column| printed.value(column, row.get(column))).collect(),
                ),
                SimpleQueryMessage::CommandComplete(n) => count = n,
                _ => {}
            }
        }
        Ok(match columns {
            Some(columns) => DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows },
            None => DBOutput::StatementComplete(count),
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        self.engine
    }

    fn error_sql_state(error: &Failed) -> Option<String> {
        error.0.code().map(|code| code.code().to_owned())
    }
}

/// Connects to the database of that name, or that of the URL.
pub(super) async fn connect(
    connector: &Connector,
    url: &str,
    database: Option<&str>,
) -> Result<Client, Error> {
    let mut config: Config = url.parse()?;
    if let Some(database) = database {
        config.dbname(database);
    }
    connector.connect_with(config).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_by_type() {
        use DefaultColumnType::{FloatingPoint, Integer, Text};
        let printed = Printed::BySqlite(vec![Integer, FloatingPoint, Text]);
        let cases = [
            (0, "12.7500", "12"),
            (0, "-0.5", "0"),
            (0, "-3.5", "-3"),
            (0, "a.b", "a.b"),
            (0, "t", "1"),
            (2, "t", "t"),
            (1, "2", "2.000"),
            (1, "NaN", "NaN"),
            (2, "a\u{e9}\n", "a@@"),
            (2, "", "(empty)"),
        ];
        for (column, sent, wanted) in cases {
            assert_eq!(printed.value(column, Some(sent)), wanted, "{sent}");
        }
        assert_eq!(printed.value(0, None), "NULL");
        assert_eq!(Printed::AsSent.value(0, Some("1.5")), "1.5");
    }
}
