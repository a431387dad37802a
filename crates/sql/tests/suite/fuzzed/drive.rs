//! Feeds a session with text and COPY data that somebody made up: there is an answer or an error, never a
//! panic, and never one that says the mistake was ours (XX000).
//!
//! Used by the properties beside it and by the targets in `crates/gateway/fuzz/`, which include it by path.

use std::collections::VecDeque;

use bytes::Bytes;
use sql::SqlError;
use sql::session::{Session, SessionOptions};
use tokio::runtime::Runtime;

use crate::support::{TextSink, engine};

/// A format of COPY, with options that change how it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Format {
    Text,
    Delimited,
    Csv,
    QuotedCsv,
    Binary,
}

impl Format {
    pub(crate) const ALL: [Format; 5] =
        [Format::Text, Format::Delimited, Format::Csv, Format::QuotedCsv, Format::Binary];

    fn options(self) -> &'static str {
        match self {
            Format::Text => "FORMAT text",
            Format::Delimited => "FORMAT text, DELIMITER ',', NULL 'x'",
            Format::Csv => "FORMAT csv",
            Format::QuotedCsv => {
                "FORMAT csv, HEADER, QUOTE '''', ESCAPE '\\', DELIMITER ';', FORCE_NULL (b)"
            }
            Format::Binary => "FORMAT binary",
        }
    }
}

/// A session with some tables.
pub(crate) struct Driver {
    runtime: Runtime,
    session: Session,
}

const TABLES: &str = "
    CREATE TABLE t (a int PRIMARY KEY, b text, c numeric(6,2), d date, e jsonb, f int[], g boolean);
    CREATE TABLE u (a int REFERENCES t, v varchar(3), w interval, x timestamptz, y bytea, z uuid);
    CREATE TABLE copied (a int, b text, c numeric(6,2), f int[], g boolean);
    CREATE VIEW s AS SELECT a, count(*) AS n FROM u GROUP BY a;
    CREATE SEQUENCE q;
    INSERT INTO t VALUES (1, 'x', 1.5, '2024-01-01', '{}', '{1,2}', true)";

impl Driver {
    pub(crate) fn new() -> Driver {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let session = runtime.block_on(async {
            let options = SessionOptions {
                user: "conclave".to_owned(),
                database: "conclave".to_owned(),
                ..SessionOptions::default()
            };
            let session = Session::new(engine(), options).await;
            let mut session = session.expect("the superuser connects");
            let mut sink = TextSink::default();
            session.simple(TABLES, &mut sink).await.expect("tables");
            session
        });
        Driver { runtime, session }
    }

    /// Parses and binds a statement; nothing is carried out.
    pub(crate) fn bind(&mut self, text: &str) -> Result<(), SqlError> {
        let session = &mut self.session;
        let bound = self.runtime.block_on(async {
            let bound = session.parse(text, &[]).await.map(drop);
            session.sync(&mut TextSink::default()).await.expect("nothing was begun");
            bound
        });
        checked(text.as_bytes(), bound)
    }

    /// Reads COPY data in pieces that end at these places; answers what the table holds then.
    pub(crate) fn copy(
        &mut self,
        format: Format,
        data: &[u8],
        cuts: &[usize],
    ) -> Result<Vec<String>, SqlError> {
        let mut input = VecDeque::new();
        let mut from = 0;
        for &cut in cuts.iter().filter(|&&cut| cut < data.len()).chain([&data.len()]) {
            if cut > from {
                input.push_back(Bytes::copy_from_slice(&data[from..cut]));
                from = cut;
            }
        }
        let session = &mut self.session;
        let copied = self.runtime.block_on(async {
            let mut sink = TextSink::reading(input);
            let copy = format!("BEGIN; COPY copied FROM STDIN ({})", format.options());
            let copied = session.simple(&copy, &mut sink).await;
            let mut sink = TextSink::default();
            let copied = match copied {
                Ok(()) => {
                    let all = "SELECT * FROM copied ORDER BY copied::text";
                    session.simple(all, &mut sink).await.expect("rows that are there are read");
                    Ok(sink.lines)
                }
                Err(error) => Err(error),
            };
            session.simple("ROLLBACK", &mut TextSink::default()).await.expect("it ends");
            copied
        });
        checked(data, copied)
    }
}

fn checked<T>(input: &[u8], result: Result<T, SqlError>) -> Result<T, SqlError> {
    if let Err(error) = &result {
        let fields = error.fields();
        let (code, message) = (fields.code.to_string(), &fields.message);
        assert!(!code.starts_with("XX"), "{code} {message}: {}", input.escape_ascii());
    }
    result
}
