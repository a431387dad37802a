//! The files in `sql-tests/`, over the wire: against one node, and against three with small ranges.

mod support;

use support::{Cluster, slt};

async fn run_all(ports: &[u16]) {
    let mut failures = Vec::new();
    for (n, file) in slt::files().into_iter().enumerate() {
        if let Err(failure) = slt::run(&file, ports, &format!("file_{n}")).await {
            failures.push(failure);
        }
    }
    assert!(failures.is_empty(), "{} files failed:\n{}", failures.len(), failures.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_files_pass_on_one_node() {
    let cluster = Cluster::single(&[]);
    run_all(&[cluster.nodes[0].ports.sql]).await;
}

/// What the files say is what PostgreSQL says: run by `make test-against-postgres`, which starts one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: make test-against-postgres"]
async fn sql_files_pass_on_postgresql() {
    let port = std::env::var("POSTGRES_PORT").expect("POSTGRES_PORT").parse().expect("a port");
    let mut failures = Vec::new();
    for (n, file) in slt::files().into_iter().enumerate() {
        let text = std::fs::read_to_string(&file).expect("a file");
        if text.lines().any(|line| line == "# Not in PostgreSQL.") {
            continue;
        }
        let database = format!("file_{n}");
        if let Err(failure) = slt::run_as("postgresql", &file, &[port], &database).await {
            failures.push(failure);
        }
    }
    assert!(failures.is_empty(), "{} files failed:\n{}", failures.len(), failures.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_files_pass_on_three_nodes() {
    let cluster = Cluster::start(3, &["--range-size", "1MiB"]).await;
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.ports.sql).collect();
    run_all(&ports).await;
}
