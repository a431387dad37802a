//! TPC-H's queries and TPC-C's transactions answer as PostgreSQL 15 does; TPC-C's conditions hold on a cluster.
//!
//! The answers in `tests/tpc/` are PostgreSQL's: the same commands with `--keep` instead of `--expected`, on it,
//! make them anew. Scales are small; `make tpch` and `make tpcc` compare at larger ones.

use crate::support::{Cluster, conclave};

const TPCH: [&str; 5] = ["tpch", "--scale", "0.01", "--expected", "tests/tpc/tpch"];
const TPCC: [&str; 11] = [
    "tpcc",
    "--warehouses",
    "2",
    "--items",
    "200",
    "--customers",
    "30",
    "--transactions",
    "150",
    "--expected",
    "tests/tpc/tpcc.txt",
];

fn passes(args: &[&str], urls: &[String]) {
    let mut args = args.to_vec();
    args.extend(urls.iter().flat_map(|url| ["--url", url]));
    let run = conclave(&args);
    assert!(run.success, "{args:?}\n{}", run.text);
}

#[test]
fn tpch_queries_answer_as_postgresql_does() {
    let cluster = Cluster::single(&[]);
    passes(&TPCH, &[cluster.nodes[0].url()]);
}

#[test]
fn tpcc_transactions_answer_as_postgresql_does() {
    let cluster = Cluster::single(&[]);
    passes(&TPCC, &[cluster.nodes[0].url()]);
}

/// What is kept is what PostgreSQL says: run by `make test-against-postgres`, which starts one.
#[test]
#[ignore = "needs PostgreSQL: make test-against-postgres"]
fn tpc_answers_pass_on_postgresql() {
    let port = std::env::var("POSTGRES_PORT").expect("POSTGRES_PORT");
    let url = [format!("postgres://conclave@127.0.0.1:{port}/conclave")];
    passes(&TPCH, &url);
    passes(&TPCC, &url);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tpcc_conditions_hold_with_terminals_on_three_nodes() {
    let cluster = Cluster::start(3, &["--range-size", "1MiB"]).await;
    let urls: Vec<String> = cluster.nodes.iter().map(crate::support::Node::url).collect();
    let terminals = [
        "tpcc",
        "--warehouses",
        "2",
        "--items",
        "500",
        "--customers",
        "60",
        "--terminals",
        "9",
        "--seconds",
        "8",
    ];
    passes(&terminals, &urls);
}
