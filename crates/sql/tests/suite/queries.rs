//! Queries end to end against what PostgreSQL 15 answers.
//!
//! `tests/queries/*.test` are blocks of statements and the answer of a PostgreSQL 15 server: column
//! names in brackets, rows, command tag; or SQLSTATE, position and message. Where a block says
//! `# differs: …`, the answer below it is ours and the line says why.

use std::fmt::Write as _;
use std::path::Path;

use crate::support::{TextSink, connect, engine};
use sql::session::{Session, Sink};

async fn answer(session: &mut Session, sql: &str) -> String {
    let mut sink = Recorder::default();
    if let Err(error) = session.simple(sql, &mut sink).await {
        let fields = error.fields();
        let mut line = format!("ERROR {}", fields.code);
        if let Some(position) = fields.position {
            write!(line, " at {position}").expect("strings take everything");
        }
        write!(line, ": {}", fields.message).expect("strings take everything");
        // PostgreSQL describes the columns before it evaluates LIMIT; we afterwards.
        if sink.0.lines.last().is_some_and(|last| last.starts_with('[')) {
            sink.0.lines.pop();
        }
        sink.0.lines.push(line);
    }
    sink.0.lines.join("\n")
}

/// A text sink that also shows the names of columns.
#[derive(Default)]
struct Recorder(TextSink);

impl Sink for Recorder {
    fn environment(&mut self, env: &pgtypes::EvalEnv) {
        self.0.environment(env);
    }

    fn columns(&mut self, columns: &[sql::session::ResultColumn]) -> Result<(), sql::SqlError> {
        let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
        self.0.lines.push(format!("[{}]", names.join(", ")));
        self.0.columns(columns)
    }

    fn row(&mut self, row: &[pgtypes::Datum]) -> Result<(), sql::SqlError> {
        self.0.row(row)
    }

    fn complete(&mut self, tag: &str) {
        self.0.complete(tag);
    }

    fn empty(&mut self) {
        self.0.empty();
    }

    fn notice(&mut self, _: sql::session::Severity, _: &sql::SqlError) {}

    fn parameter_status(&mut self, _: &str, _: &str) {}

    fn mark(&self) -> u64 {
        self.0.mark()
    }

    fn rewind(&mut self, mark: u64) -> bool {
        self.0.rewind(mark)
    }

    fn flush(&mut self) -> futures::future::BoxFuture<'_, Result<(), sql::SqlError>> {
        self.0.flush()
    }

    fn copy_in_start(
        &mut self,
        shape: sql::session::CopyShape,
    ) -> futures::future::BoxFuture<'_, Result<(), sql::SqlError>> {
        self.0.copy_in_start(shape)
    }

    fn copy_in(
        &mut self,
    ) -> futures::future::BoxFuture<'_, Result<Option<bytes::Bytes>, sql::SqlError>> {
        self.0.copy_in()
    }

    fn copy_out_start(&mut self, shape: sql::session::CopyShape) {
        self.0.copy_out_start(shape);
    }

    fn copy_out(&mut self, data: &[u8]) {
        self.0.copy_out(data);
    }

    fn copy_out_done(&mut self) {
        self.0.copy_out_done();
    }
}

/// Runs one file, with small queries row by row or all by plans; the difference to what it expects,
/// block by block.
async fn differences(path: &Path, row_execution: &str) -> String {
    let text = std::fs::read_to_string(path).expect("the file is there");
    let engine = engine();
    let mut session = connect(&engine).await;
    answer(&mut session, &format!("SET row_execution = {row_execution}")).await;
    let mut report = String::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let (head, expected) = block.split_once("\n----").unwrap_or((block, ""));
        let lines = head.lines().filter(|line| !line.starts_with('#'));
        let sql = lines.collect::<Vec<_>>().join("\n");
        if sql.is_empty() {
            continue;
        }
        let got = answer(&mut session, &sql).await;
        if got != expected.trim_start_matches('\n') {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            write!(report, "--- {name}\n{sql}\n---- expected{expected}\n---- got\n{got}\n\n")
                .expect("strings take everything");
        }
    }
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn queries_answer_as_postgresql_does() {
    let folder = Path::new("tests/queries");
    let only = std::env::var("QUERIES").unwrap_or_default();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.to_string_lossy().contains(&only))
        .collect();
    files.sort();
    let mut report = String::new();
    for file in files {
        for row_execution in ["on", "off"] {
            report.push_str(&differences(&file, row_execution).await);
        }
    }
    assert!(report.is_empty(), "\n{report}");
}
