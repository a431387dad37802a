//! A session over a cluster in memory, and a sink that keeps what a client would see as text.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use kv::testing::FakeCluster;
use pgtypes::{Datum, EvalEnv, PgType};
use sql::SqlError;
use sql::session::{
    Completion, CopyShape, Engine, EngineConfig, ResultColumn, Session, SessionOptions, Severity,
    Sink,
};

/// Keeps what was written: one line per row, tag, or notice.
#[derive(Default)]
pub(crate) struct TextSink {
    pub lines: Vec<String>,
    pub columns: Vec<ResultColumn>,
    /// What the client sends as COPY data.
    pub input: VecDeque<Bytes>,
    env: EvalEnv,
    /// Nothing can be taken back any more.
    pub sent: bool,
    /// Where what is written anew began, and what stood there.
    aside: Option<(u64, Vec<String>)>,
}

impl TextSink {
    /// One with COPY data to come.
    pub(crate) fn reading(input: VecDeque<Bytes>) -> TextSink {
        TextSink { input, ..TextSink::default() }
    }
}

impl Sink for TextSink {
    fn environment(&mut self, env: &EvalEnv) {
        self.env = env.clone();
    }

    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        self.columns = columns.to_vec();
        Ok(())
    }

    fn row(&mut self, row: &[Datum]) -> Result<(), SqlError> {
        let values: Vec<String> = row
            .iter()
            .zip(&self.columns)
            .map(|(value, column)| {
                let mut out = String::new();
                match value {
                    Datum::Null => out.push_str("NULL"),
                    value => {
                        pgtypes::to_text(value, column.ty, &self.env, &mut out);
                    }
                }
                out
            })
            .collect();
        assert_eq!(row.len(), self.columns.len(), "as many values as columns");
        self.lines.push(values.join("|"));
        Ok(())
    }

    fn complete(&mut self, tag: &str) {
        self.lines.push(format!("-- {tag}"));
    }

    fn empty(&mut self) {
        self.lines.push("-- (empty)".to_owned());
    }

    fn notice(&mut self, severity: Severity, notice: &SqlError) {
        self.lines.push(format!("{}: {}", severity.as_str(), notice.message()));
    }

    fn parameter_status(&mut self, name: &str, value: &str) {
        self.lines.push(format!("{name} = {value}"));
    }

    fn mark(&self) -> u64 {
        self.lines.len() as u64
    }

    fn rewind(&mut self, mark: u64) -> bool {
        if !self.sent {
            self.lines.truncate(mark as usize);
        }
        !self.sent
    }

    fn reopen(&mut self, mark: u64) -> bool {
        if self.sent {
            return false;
        }
        let behind = self.lines.split_off(mark as usize);
        self.aside.get_or_insert((mark, behind));
        true
    }

    fn resume(&mut self, from: u64, to: u64, _: usize) {
        let (began, aside) = self.aside.as_ref().expect("it was reopened");
        self.lines.extend_from_slice(&aside[(from - began) as usize..(to - began) as usize]);
    }

    fn close_reopened(&mut self, from: Option<u64>) {
        let (began, aside) = self.aside.take().expect("it was reopened");
        if let Some(from) = from {
            self.lines.extend_from_slice(&aside[(from - began) as usize..]);
        }
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(async { Ok(()) })
    }

    fn copy_in_start(&mut self, _: CopyShape) -> BoxFuture<'_, Result<(), SqlError>> {
        self.sent = true;
        Box::pin(async { Ok(()) })
    }

    fn copy_in(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>> {
        let next = self.input.pop_front();
        Box::pin(async { Ok(next) })
    }

    fn copy_out_start(&mut self, _: CopyShape) {}

    fn copy_out(&mut self, data: &[u8]) {
        self.lines.push(String::from_utf8_lossy(data).trim_end_matches('\n').to_owned());
    }

    fn copy_out_done(&mut self) {}
}

/// A cluster of one and its SQL layer.
pub(crate) fn engine() -> Arc<Engine> {
    Engine::new(FakeCluster::new().db(), EngineConfig::default())
}

/// A session of the superuser.
pub(crate) async fn connect(engine: &Arc<Engine>) -> Session {
    let options = SessionOptions {
        user: "conclave".to_owned(),
        database: "conclave".to_owned(),
        ..SessionOptions::default()
    };
    Session::new(engine.clone(), options).await.expect("the superuser connects")
}

/// What an error looks like to the client.
fn shown(error: &SqlError) -> String {
    let fields = error.fields();
    let mut text = format!("ERROR {}: {}", fields.code, fields.message);
    if let Some(detail) = &fields.detail {
        text.push_str(&format!(" [{detail}]"));
    }
    text
}

/// Runs a script and returns what the client sees.
pub(crate) async fn run(session: &mut Session, sql: &str) -> String {
    run_with(session, sql, &[]).await
}

/// The same, with COPY data.
pub(crate) async fn run_with(session: &mut Session, sql: &str, input: &[&str]) -> String {
    let input = input.iter().map(|s| Bytes::copy_from_slice(s.as_bytes())).collect();
    let mut sink = TextSink::reading(input);
    if let Err(error) = session.simple(sql, &mut sink).await {
        sink.lines.push(shown(&error));
    }
    sink.lines.join("\n")
}

/// Parse, Bind, Execute, Sync.
pub(crate) async fn extended(
    session: &mut Session,
    sql: &str,
    types: &[Option<PgType>],
    params: Vec<Datum>,
) -> String {
    let mut sink = TextSink::default();
    let result = async {
        let prepared = session.parse(sql, types).await?;
        if let Some(columns) = prepared.columns() {
            sink.columns(columns)?;
        }
        let mut portal = session.bind(prepared, params)?;
        let done = session.execute(&mut portal, 0, &mut sink).await?;
        assert_eq!(done, Completion::Complete, "no row limit was given");
        Ok::<(), SqlError>(())
    }
    .await;
    let result = match result {
        Ok(()) => session.sync(&mut sink).await,
        Err(error) => {
            session.sync(&mut sink).await.expect("nothing is left to commit");
            Err(error)
        }
    };
    if let Err(error) = result {
        sink.lines.push(shown(&error));
    }
    sink.lines.join("\n")
}
