//! The files in `sql-tests/`, over the wire: against one node, and against three with small ranges.

use crate::support::{Cluster, slt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_files_pass_on_one_node() {
    let cluster = Cluster::single(&[]);
    slt::run("conclave", slt::files(), &[cluster.nodes[0].ports.sql]).await;
}

/// What the files say is what PostgreSQL says: run by `make test-against-postgres`, which starts one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: make test-against-postgres"]
async fn sql_files_pass_on_postgresql() {
    let port = std::env::var("POSTGRES_PORT").expect("POSTGRES_PORT").parse().expect("a port");
    let mut files = slt::files();
    files.retain(|file| {
        let text = std::fs::read_to_string(file).expect("a file");
        !text.lines().any(|line| line == "# Not in PostgreSQL.")
    });
    slt::run("postgresql", files, &[port]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_files_pass_on_three_nodes() {
    let cluster = Cluster::start(3, &["--range-size", "1MiB"]).await;
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.ports.sql).collect();
    slt::run("conclave", slt::files(), &ports).await;
}
