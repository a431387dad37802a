//! What a Java application sees through PostgreSQL's own driver.
//!
//! Skipped with a word where Java or the driver is missing: it is Debian's libpostgresql-jdbc-java.

use std::path::Path;

use crate::support::{Server, soon};

const DRIVER: &str = "/usr/share/java/postgresql.jar";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/jdbc/RoundTrip.java");

#[tokio::test(flavor = "multi_thread")]
async fn the_jdbc_driver_works() {
    if !Path::new(DRIVER).exists() {
        eprintln!("skipped: {DRIVER} is not installed");
        return;
    }
    let server = Server::start().await;
    let url =
        format!("jdbc:postgresql://127.0.0.1:{}/conclave?user=conclave", server.address.port());
    let mut java = tokio::process::Command::new("java");
    java.args(["-cp", DRIVER, PROGRAM, &url]).kill_on_drop(true);
    let run = tokio::time::timeout(std::time::Duration::from_secs(120), java.output()).await;
    let output = match run.expect("the program ends") {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: java cannot be started: {error}");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.ends_with("all is well\n"), "{said}\n{complained}");
    let client = soon("another client", server.client()).await;
    client.simple_query("select 1").await.expect("the gateway still serves");
}
