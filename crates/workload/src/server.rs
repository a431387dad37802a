//! One server under comparison: a database of its own, a connection, statements with a deadline.

use std::time::Duration;

use tokio_postgres::{Client, Config, Error, SimpleQueryMessage};

use super::compare::{Answer, Row};
use crate::connect::Connector;
use crate::error::CheckError;

/// How long beyond the server's own limit an answer may take.
const GRACE: Duration = Duration::from_secs(5);

/// A server, with a database of this command's own.
pub(super) struct Server {
    url: String,
    connector: Connector,
    database: String,
    client: Client,
    limit: Duration,
}

impl Server {
    /// Makes the database anew and connects to it.
    pub(super) async fn open(
        url: &str,
        connector: &Connector,
        database: &str,
        limit: Duration,
    ) -> Result<Server, CheckError> {
        let admin = connector
            .connect(url)
            .await
            .map_err(|error| CheckError::NoNode(format!("{url}: {error}")))?;
        for verb in ["DROP DATABASE IF EXISTS", "CREATE DATABASE"] {
            let statement = format!("{verb} {database}");
            let done = admin.batch_execute(&statement).await;
            done.map_err(|error| CheckError::Setup { statement, reason: format!("{error:?}") })?;
        }
        let client = connect(url, connector, database, limit).await?;
        let (url, connector) = (url.to_owned(), connector.clone());
        Ok(Server { url, connector, database: database.to_owned(), client, limit })
    }

    /// Drops the database.
    pub(super) async fn close(self) {
        let (url, connector, database) = (self.url, self.connector, self.database);
        drop(self.client);
        if let Ok(admin) = connector.connect(&url).await {
            drop(admin.batch_execute(&format!("DROP DATABASE {database}")).await);
        }
    }

    /// Runs a statement for its effect.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    /// What the server says to a statement: columns by describing it, rows by the simple protocol.
    pub(super) async fn ask(&mut self, sql: &str) -> Answer {
        let asked = tokio::time::timeout(self.limit + GRACE, answer(&self.client, sql)).await;
        let lost = match asked {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) if error.code().is_some_and(|code| code.code() != "57014") => {
                let told = error.as_db_error().map_or_else(String::new, |e| e.message().to_owned());
                return Answer::Error(error.code().map_or("", |c| c.code()).to_owned(), told);
            }
            Ok(Err(error)) => format!("{error:?}"),
            Err(_) => format!("no answer within {:?}", self.limit + GRACE),
        };
        if self.client.is_closed() || asked_too_long(&lost) {
            let again = connect(&self.url, &self.connector, &self.database, self.limit).await;
            if let Ok(client) = again {
                self.client = client;
            }
        }
        Answer::Lost(lost)
    }
}

fn asked_too_long(lost: &str) -> bool {
    lost.starts_with("no answer")
}

async fn connect(
    url: &str,
    connector: &Connector,
    database: &str,
    limit: Duration,
) -> Result<Client, CheckError> {
    let gone = |error: Error| CheckError::NoNode(format!("{url}: {error}"));
    let mut config: Config = url.parse().map_err(gone)?;
    config.dbname(database);
    let client = connector.connect_with(config).await.map_err(gone)?;
    let limit = limit.as_millis();
    let settings = format!("SET statement_timeout = {limit}; SET timezone = 'UTC'");
    client.batch_execute(&settings).await.map_err(gone)?;
    Ok(client)
}

async fn answer(client: &Client, sql: &str) -> Result<Answer, Error> {
    let described = client.prepare(sql).await?;
    let columns = described.columns().iter().map(|c| (c.name().to_owned(), c.type_().oid()));
    let columns = columns.collect();
    let (mut rows, mut count): (Vec<Row>, u64) = (Vec::new(), 0);
    for message in client.simple_query(sql).await? {
        match message {
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|n| row.get(n).map(ToOwned::to_owned)).collect());
            }
            SimpleQueryMessage::CommandComplete(n) => count = n,
            _ => {}
        }
    }
    Ok(Answer::Rows { columns, rows, count })
}
