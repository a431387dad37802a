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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_files_pass_on_three_nodes() {
    let cluster = Cluster::start(3, &["--range-size", "1MiB"]).await;
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.ports.sql).collect();
    run_all(&ports).await;
}
