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
//! Where results are hashed, rows are, whatever `hash-threshold` says.
//!
//! With a reference, each record runs there first: one that fails there as well is set aside, for it says
//! what another system does.

mod replay;
mod script;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use sqllogictest::{DefaultColumnType, Record};

use crate::connect::Connector;
use crate::error::CheckError;
use replay::Replay;
use wire::connect;

/// Failures of one file that are told in full.
const TOLD: usize = 40;

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
    /// Another server, usually PostgreSQL, on which the files run too: what fails on both is set aside.
    #[arg(long, value_name = "URL")]
    pub reference: Option<String>,
}

/// Where files run, and as what.
#[derive(Debug, Clone)]
pub struct Target {
    /// Servers as URLs.
    pub urls: Vec<String>,
    /// A server that decides which records count.
    pub reference: Option<String>,
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
    /// Records that fail on the reference as well.
    pub aside: usize,
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
    let (urls, labels, reference) = (args.url.clone(), args.label.clone(), args.reference.clone());
    let target = Target { urls, reference, engine: "conclave", labels, connector };
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, &mut files)?;
    }
    let mut all = true;
    for (n, file) in files.iter().enumerate() {
        let database = format!("test_{}_{n}", std::process::id());
        let outcome = runtime.block_on(run(file, &target, &database))?;
        let (passed, failed) = (outcome.passed, outcome.failures.len());
        let aside = match outcome.aside {
            0 => String::new(),
            n => format!(", {n} set aside"),
        };
        println!("{}: {passed} passed, {failed} failed{aside}", file.display());
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
    let servers = target.urls.first().into_iter().chain(&target.reference);
    for url in servers.clone() {
        setup(target, url, format!("CREATE DATABASE {database}")).await?;
    }
    let outcome = run_text(&text, file, target, database).await;
    if outcome.failures.is_empty() {
        for url in servers {
            setup(target, url, format!("DROP DATABASE {database}")).await?;
        }
    }
    Ok(outcome)
}

async fn setup(target: &Target, url: &str, statement: String) -> Result<(), CheckError> {
    let admin = connect(&target.connector, url, None)
        .await
        .map_err(|error| CheckError::no_node(url, &error))?;
    let done = admin.batch_execute(&statement).await;
    done.map_err(|error| CheckError::Setup { statement, reason: format!("{error:?}") })
}

async fn run_text(text: &str, file: &Path, target: &Target, database: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let labels: Vec<&str> =
        target.labels.iter().map(String::as_str).chain([target.engine]).collect();
    let text = script::readable(text, &labels);
    let name: Arc<str> = file.display().to_string().into();
    let records = match sqllogictest::parse_with_name::<DefaultColumnType>(&text, name) {
        Ok(records) => records,
        Err(error) => {
            outcome.failures.push(error.to_string());
            return outcome;
        }
    };
    let of_sqlite = file.extension().is_some_and(|e| e == "test");
    let on = |urls| Replay::new(target, urls, database, of_sqlite);
    let mut tested = on(&target.urls);
    let mut reference = target.reference.as_ref().map(|url| on(std::slice::from_ref(url)));
    for record in records {
        let counts = match &record {
            Record::Halt { .. } => break,
            Record::Statement { .. } | Record::Query { .. } => true,
            _ => false,
        };
        let aside = match &mut reference {
            Some(reference) => reference.run(record.clone()).await.is_err(),
            None => false,
        };
        match tested.run(record).await {
            Ok(()) => outcome.passed += usize::from(counts),
            Err(_) if aside => outcome.aside += 1,
            Err(error) => outcome.failures.push(error),
        }
    }
    outcome
}
