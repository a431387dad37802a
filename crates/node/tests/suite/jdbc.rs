//! What a Java application sees through PostgreSQL's own driver, on a cluster of three nodes.
//!
//! Skipped with a word where Java or the driver is missing: it is Debian's libpostgresql-jdbc-java, which
//! `.ci/setup.sh clients` installs. In CI (`CONCLAVE_CLIENTS=required`) it fails.

use std::path::Path;
use std::time::Duration;

use crate::support::Cluster;
use crate::support::secure::{PASSWORD, give_password, make_certs};

const DRIVER: &str = "/usr/share/java/postgresql.jar";
const PROGRAM: &str = "tests/jdbc/RoundTrip.java";

/// Runs the program against the second of three nodes; `None` where there is no Java.
async fn run(cluster: &Cluster, settings: &str, more: &[&str]) -> Option<()> {
    if !Path::new(DRIVER).exists() {
        let required = std::env::var("CONCLAVE_CLIENTS").is_ok_and(|value| value == "required");
        assert!(!required, "{DRIVER} is not installed");
        eprintln!("skipped: {DRIVER} is not installed");
        return None;
    }
    let second = &cluster.nodes[1];
    let port = second.ports.sql;
    let url = format!("jdbc:postgresql://127.0.0.1:{port}/conclave?user=conclave{settings}");
    let mut java = tokio::process::Command::new("java");
    java.args(["-cp", DRIVER, PROGRAM, &url]).args(more).kill_on_drop(true);
    let run = tokio::time::timeout(Duration::from_secs(240), java.output()).await;
    let output = match run.expect("the program ends") {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: java cannot be started: {error}");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.ends_with("all is well\n"), "{said}\n{complained}");
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jdbc_driver_works_on_any_node() {
    let cluster = Cluster::start(3, &[]).await;
    cluster.nodes[1].connect().await;
    if run(&cluster, "", &[]).await.is_none() {
        return;
    }
    // What it left behind is on the other nodes as well.
    for node in &cluster.nodes {
        let row = node.connect().await.query_one("SELECT count(*) FROM left_behind", &[]).await;
        assert_eq!(row.expect("the table is there").get::<_, i64>(0), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jdbc_driver_lists_keys_and_indexes() {
    let cluster = Cluster::start(3, &[]).await;
    cluster.nodes[1].connect().await;
    run(&cluster, "", &["keys"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jdbc_driver_works_over_tls() {
    let certs = tempfile::tempdir().expect("a folder");
    make_certs(certs.path(), &["conclave"]);
    let folder = certs.path().to_str().expect("UTF-8");
    let cluster = Cluster::secure(3, folder).await;
    give_password(&cluster, certs.path()).await;
    let settings = format!("&password={PASSWORD}&sslmode=verify-full&sslrootcert={folder}/ca.crt");
    run(&cluster, &settings, &["keys"]).await;
}
