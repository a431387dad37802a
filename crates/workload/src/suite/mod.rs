//! `conclave test`: sqllogictest files, over the wire.
//!
//! ```text
//!   file ── script ──▶ records ── sqllogictest::Runner ──▶ Wire ──▶ server
//!            conditional halts    sorting, hashing,         text of the simple protocol,
//!                                 comparing                 or as SQLite's corpus prints values
//! ```
//!
//! Each file runs in a database of its own. The corpus of the SQLite project asks for every value on a line
//! of its own, and prints it by the type that a record names; files that end with `.test` are taken as such.

mod script;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use parking_lot::Mutex;
use sqllogictest::{Control, DefaultColumnType, QueryExpect, Record, ResultMode, Runner};

use crate::connect::Connector;
use crate::error::CheckError;
use wire::{Printed, Wire, connect};

/// Failures of one file that are told in full.
const TOLD: usize = 10;

/// Flags of `conclave test`.
#[derive(Debug, Clone, Args)]
pub struct SuiteArgs {
    /// Files, or folders of files that end with .slt or .test.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A server. Given several times, the connections of a file go to them in turn.
    #[arg(long, env = "CONCLAVE_URL", value_name = "URL")]
    #[arg(default_value = "postgres://conclave@127.0.0.1:15432/conclave")]
    pub url: Vec<String>,
    /// Folder of certificates, for a secure cluster.
    #[arg(long, env = "CONCLAVE_CERTS_DIR", value_name = "DIR")]
    pub certs_dir: Option<PathBuf>,
    /// What `onlyif` and `skipif` may ask for, besides `conclave`.
    #[arg(long, value_name = "LABEL")]
    pub label: Vec<String>,
}

/// Where files run, and as what.
#[derive(Debug, Clone)]
pub struct Target {
    /// Servers as URLs.
    pub urls: Vec<String>,
    /// The name of the database system, a label too.
    pub engine: &'static str,
    /// Further labels.
    pub labels: Vec<String>,
    /// How they are reached.
    pub connector: Connector,
}

/// What became of a file.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Records that did as they say.
    pub passed: usize,
    /// What the others did, with their places.
    pub failures: Vec<String>,
}

/// Runs files and prints what became of each. True if all passed.
///
/// # Errors
///
/// No server answers, or a path can't be read.
#[expect(clippy::print_stdout, reason = "the outcome is what the command is for")]
pub fn test(args: &SuiteArgs) -> Result<bool, CheckError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CheckError::Spawn { program: "a runtime".to_owned(), source })?;
    let connector = match &args.certs_dir {
        Some(folder) => Connector::secure_for(folder, &args.url[0])?,
        None => Connector::default(),
    };
    let (urls, labels) = (args.url.clone(), args.label.clone());
    let target = Target { urls, engine: "conclave", labels, connector };
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, &mut files)?;
    }
    let mut all = true;
    for (n, file) in files.iter().enumerate() {
        let database = format!("test_{}_{n}", std::process::id());
        let outcome = runtime.block_on(run(file, &target, &database))?;
        let (passed, failed) = (outcome.passed, outcome.failures.len());
        println!("{}: {passed} passed, {failed} failed", file.display());
        for failure in outcome.failures.iter().take(TOLD) {
            println!("{failure}\n");
        }
        all &= failed == 0;
    }
    Ok(all)
}

/// The files at a path, in order.
///
/// # Errors
///
/// It can't be read.
pub fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), CheckError> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let failed = |source| CheckError::File { path: path.to_owned(), source };
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.map_err(failed)?.path());
    }
    found.sort();
    for path in found {
        if path.is_dir() || path.extension().is_some_and(|e| e == "slt" || e == "test") {
            collect(&path, files)?;
        }
    }
    Ok(())
}

/// Runs a file in a database of that name, which it makes and drops again.
///
/// # Errors
///
/// No server answers, the database can't be made, or the file can't be read.
pub async fn run(file: &Path, target: &Target, database: &str) -> Result<Outcome, CheckError> {
    let failed = |source| CheckError::File { path: file.to_owned(), source };
    let text = std::fs::read_to_string(file).map_err(failed)?;
    let admin = connect(&target.connector, &target.urls[0], None)
        .await
        .map_err(|error| CheckError::NoNode(format!("{}: {error}", target.urls[0])))?;
    let setup = async |statement: String| {
        let done = admin.batch_execute(&statement).await;
        done.map_err(|error| CheckError::Setup { statement, reason: format!("{error:?}") })
    };
    setup(format!("CREATE DATABASE {database}")).await?;
    let outcome = run_text(&text, file, target, database).await;
    if outcome.failures.is_empty() {
        setup(format!("DROP DATABASE {database}")).await?;
    }
    Ok(outcome)
}

async fn run_text(text: &str, file: &Path, target: &Target, database: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let labels: Vec<&str> =
        target.labels.iter().map(String::as_str).chain([target.engine]).collect();
    let text = script::without_halts(text, &labels);
    let name: Arc<str> = file.display().to_string().into();
    let records = match sqllogictest::parse_with_name::<DefaultColumnType>(&text, name) {
        Ok(records) => records,
        Err(error) => {
            outcome.failures.push(error.to_string());
            return outcome;
        }
    };
    let printed = Arc::new(Mutex::new(Printed::AsSent));
    let mut next = 0;
    let mut runner = Runner::new(|| {
        let url = target.urls[next % target.urls.len()].clone();
        next += 1;
        let (engine, printed) = (target.engine, printed.clone());
        let connector = target.connector.clone();
        async move {
            let client = connect(&connector, &url, Some(database)).await?;
            Ok(Wire { client, engine, printed })
        }
    });
    for label in &target.labels {
        runner.add_label(label);
    }
    let of_sqlite = file.extension().is_some_and(|e| e == "test");
    if of_sqlite {
        drop(runner.run_async(Record::Control(Control::ResultMode(ResultMode::ValueWise))).await);
    }
    for record in records {
        let counts = match &record {
            Record::Halt { .. } => break,
            Record::Statement { .. } => true,
            Record::Query { expected, .. } => {
                *printed.lock() = match expected {
                    QueryExpect::Results { types, .. } if of_sqlite => {
                        Printed::BySqlite(types.clone())
                    }
                    _ => Printed::AsSent,
                };
                true
            }
            _ => false,
        };
        match runner.run_async(record).await {
            Ok(_) => outcome.passed += usize::from(counts),
            Err(error) => outcome.failures.push(error.to_string()),
        }
    }
    runner.shutdown_async().await;
    outcome
}
