//! One server under comparison: a database of its own, a connection, statements with a deadline.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio_postgres::{Client, Config, Error, SimpleQueryMessage};

use crate::compare::{Answer, Row};
use crate::connect::Connector;
use crate::error::CheckError;

/// How long beyond the server's own limit an answer may take.
const GRACE: Duration = Duration::from_secs(5);

/// Bytes of a message of COPY, about.
const COPY_BYTES: usize = 64 << 10;

/// A server, with a database of this command's own.
pub(crate) struct Server {
    url: String,
    connector: Connector,
    database: String,
    client: Client,
    limit: Duration,
}

/// Where the database comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It is made, and dropped first if it is there.
    Anew,
    /// It is there.
    Before,
}

impl Server {
    /// Connects to a database. `limit`: of a statement.
    pub(crate) async fn open(
        url: &str,
        connector: &Connector,
        database: &str,
        made: Made,
        limit: Duration,
    ) -> Result<Server, CheckError> {
        if made == Made::Anew {
            Self::make(url, connector, database).await?;
        }
        let client = connect(url, connector, database, limit).await?;
        let (url, connector) = (url.to_owned(), connector.clone());
        Ok(Server { url, connector, database: database.to_owned(), client, limit })
    }

    async fn make(url: &str, connector: &Connector, database: &str) -> Result<(), CheckError> {
        let admin =
            connector.connect(url).await.map_err(|error| CheckError::no_node(url, &error))?;
        for verb in ["DROP DATABASE IF EXISTS", "CREATE DATABASE"] {
            let statement = format!("{verb} {database}");
            let done = admin.batch_execute(&statement).await;
            done.map_err(|error| CheckError::Setup { statement, reason: format!("{error:?}") })?;
        }
        Ok(())
    }

    /// The connection.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a statement that prepares what is measured.
    pub(crate) async fn setup(&self, sql: &str) -> Result<(), CheckError> {
        let done = self.client.batch_execute(sql).await;
        done.map_err(|error| self.refused(sql, &error))
    }

    /// Sends lines to a statement `COPY … FROM STDIN`.
    pub(crate) async fn copy(
        &self,
        sql: &str,
        lines: impl Iterator<Item = String>,
    ) -> Result<(), CheckError> {
        let refused = |error: Error| self.refused(sql, &error);
        let sink = self.client.copy_in::<_, Bytes>(sql).await.map_err(refused)?;
        let mut sink = std::pin::pin!(sink);
        let mut buffer = BytesMut::with_capacity(COPY_BYTES * 2);
        for line in lines {
            buffer.extend_from_slice(line.as_bytes());
            buffer.extend_from_slice(b"\n");
            if buffer.len() >= COPY_BYTES {
                sink.send(buffer.split().freeze()).await.map_err(refused)?;
            }
        }
        sink.send(buffer.freeze()).await.map_err(refused)?;
        sink.finish().await.map(drop).map_err(refused)
    }

    /// What a statement `COPY … TO STDOUT` sends.
    pub(crate) async fn copied(&self, sql: &str) -> Result<Vec<u8>, CheckError> {
        let refused = |error: Error| self.refused(sql, &error);
        let stream = self.client.copy_out(sql).await.map_err(refused)?;
        let mut stream = std::pin::pin!(stream);
        let mut all = Vec::new();
        while let Some(part) = stream.next().await {
            all.extend_from_slice(&part.map_err(refused)?);
        }
        Ok(all)
    }

    fn refused(&self, sql: &str, error: &Error) -> CheckError {
        let statement = sql.chars().take(200).collect();
        CheckError::Setup { statement, reason: format!("{}: {error:?}", self.url) }
    }

    /// Drops the database.
    pub(crate) async fn close(self) {
        let (url, connector, database) = (self.url, self.connector, self.database);
        drop(self.client);
        if let Ok(admin) = connector.connect(&url).await {
            drop(admin.batch_execute(&format!("DROP DATABASE {database}")).await);
        }
    }

    /// Runs a statement for its effect.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    /// What the server says to a statement: columns by describing it, rows by the simple protocol.
    pub(crate) async fn ask(&mut self, sql: &str) -> Answer {
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
    let gone = |error: Error| CheckError::no_node(url, &error);
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
