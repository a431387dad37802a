//! The project's SQL files, by the runner of `conclave test`.

use std::path::{Path, PathBuf};

use workload::Connector;
use workload::suite::{self, Target};

/// The project's SQL files, in order.
pub(crate) fn files() -> Vec<PathBuf> {
    let root = Path::new("../../sql-tests");
    let mut files = Vec::new();
    suite::collect(root, &mut files).expect("the folder of SQL files");
    assert!(!files.is_empty(), "no SQL files in {}", root.display());
    files
}

/// Runs files, each in a database of its own; several connections of a file go to the servers in turn.
/// Panics with what was wrong.
pub(crate) async fn run(engine: &'static str, files: Vec<PathBuf>, ports: &[u16]) {
    let url = |port| format!("postgres://conclave@127.0.0.1:{port}/conclave");
    let (urls, labels) = (ports.iter().map(url).collect(), Vec::new());
    let connector = Connector::default();
    let target = Target { urls, reference: None, engine, labels, connector };
    let mut failures = Vec::new();
    for (n, file) in files.into_iter().enumerate() {
        let ran = suite::run(&file, &target, &format!("file_{n}")).await;
        failures.extend(ran.unwrap_or_else(|e| panic!("{}: {e}", file.display())).failures);
    }
    let told = failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(failures.is_empty(), "{} records failed, the first of them:\n{told}", failures.len());
}
