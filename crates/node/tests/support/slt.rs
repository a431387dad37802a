//! The sqllogictest runner's view of a server: the simple protocol, so that text is the server's.

use std::path::{Path, PathBuf};

use sqllogictest::{DBOutput, DefaultColumnType, Runner};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A connection that runs files.
pub(crate) struct Wire {
    client: Client,
    engine: &'static str,
}

#[async_trait::async_trait]
impl sqllogictest::AsyncDB for Wire {
    type Error = tokio_postgres::Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Self::Error> {
        let mut rows = Vec::new();
        let mut columns = None;
        let mut count = 0;
        for message in self.client.simple_query(sql).await? {
            match message {
                SimpleQueryMessage::RowDescription(description) => {
                    columns = Some(description.len())
                }
                SimpleQueryMessage::Row(row) => rows.push(
                    (0..row.len())
                        .map(|n| match row.get(n) {
                            None => "NULL".to_owned(),
                            Some("") => "(empty)".to_owned(),
                            Some(text) => text.to_owned(),
                        })
                        .collect(),
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

    fn error_sql_state(error: &Self::Error) -> Option<String> {
        error.code().map(|code| code.code().to_owned())
    }
}

/// The project's SQL files, in order.
pub(crate) fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sql-tests");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no SQL files in {}", root.display());
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "slt") {
            files.push(path);
        }
    }
}

/// Runs one file in a database of its own; several connections of the file go to the servers in
/// turn. Answers what was wrong.
pub(crate) async fn run(file: &Path, ports: &[u16], database: &str) -> Result<(), String> {
    run_as("conclave", file, ports, database).await
}

/// The same against another server, whose name is a label of the records.
pub(crate) async fn run_as(
    engine: &'static str,
    file: &Path,
    ports: &[u16],
    database: &str,
) -> Result<(), String> {
    let admin = connect(ports[0], "conclave").await.map_err(|e| e.to_string())?;
    let create = format!("CREATE DATABASE {database}");
    admin.batch_execute(&create).await.map_err(|e| format!("{create}: {e:?}"))?;
    let mut next = 0;
    let mut runner = Runner::new(|| {
        let port = ports[next % ports.len()];
        next += 1;
        async move { connect(port, database).await.map(|client| Wire { client, engine }) }
    });
    let outcome = runner.run_file_async(file).await;
    outcome.map_err(|error| format!("{}: {error}", file.display()))
}

async fn connect(port: u16, database: &str) -> Result<Client, tokio_postgres::Error> {
    let config = format!("host=127.0.0.1 port={port} user=conclave dbname={database}");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}
