//! A secure cluster: three nodes over TLS, passwords, client certificates, and who is kept out.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::secure::{connect, make_certs};
use crate::support::{Cluster, conclave, eventually};
use tokio_postgres::Client;
use workload::Connector;

fn code(outcome: Result<Client, tokio_postgres::Error>) -> String {
    let Err(error) = outcome else { panic!("it got in") };
    error.code().map_or_else(|| format!("{error:?}"), |code| code.code().to_owned())
}

fn psql() -> Option<PathBuf> {
    let found = [Path::new("/usr/bin/psql"), Path::new("/usr/lib/postgresql/15/bin/psql")];
    found.into_iter().find(|path| path.exists()).map(Path::to_owned)
}

/// What psql says, and whether it is content. The home folder is an empty one.
fn run_psql(home: &Path, conninfo: &str, password: Option<&str>) -> Option<(bool, String)> {
    let mut command = Command::new(psql()?);
    command.args(["-X", "-At", "-w", conninfo, "-c", "SELECT current_user"]).env("HOME", home);
    match password {
        Some(password) => command.env("PGPASSWORD", password),
        None => command.env_remove("PGPASSWORD"),
    };
    let output = command.output().expect("psql runs");
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).trim().to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_serve_those_who_prove_who_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let certs = folder.path().join("certs");
    make_certs(&certs, &["conclave"]);
    let dir = certs.to_str().expect("UTF-8");
    let cluster = Cluster::secure(3, dir).await;

    // The superuser, by its certificate; it makes a role with a password.
    let admin = connect(&cluster, &certs, "conclave", None).await.expect("by certificate");
    let setup = "CREATE ROLE alice LOGIN PASSWORD 'sesame'; CREATE ROLE bob LOGIN;
        CREATE ROLE late LOGIN PASSWORD 'x' VALID UNTIL '2020-01-01';
        CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 10)";
    admin.batch_execute(setup).await.expect("made");

    let alice = connect(&cluster, &certs, "alice", Some("sesame")).await.expect("by password");
    let denied = alice.batch_execute("SELECT * FROM t").await.expect_err("not hers");
    assert_eq!(denied.code().expect("a code").code(), "42501");
    let user = alice.query_one("SELECT current_user::text", &[]).await.expect("a row");
    assert_eq!(user.get::<_, String>(0), "alice");

    // A wrong password, an expired one, a role without one, and no role at all look the same.
    for (user, password) in
        [("alice", "Sesame"), ("late", "x"), ("bob", "x"), ("nobody", "x"), ("conclave_", "x")]
    {
        assert_eq!(code(connect(&cluster, &certs, user, Some(password)).await), "28P01", "{user}");
    }

    // In the clear nothing is served.
    let url = format!(
        "host=127.0.0.1 port={} user=alice password=sesame sslmode=disable",
        cluster.nodes[0].ports.sql
    );
    assert_eq!(code(Connector::default().connect(&url).await), "28000");

    // An authority that is not this cluster's is not believed, nor what it has signed.
    let foreign = folder.path().join("foreign");
    make_certs(&foreign, &["conclave"]);
    assert!(connect(&cluster, &foreign, "conclave", None).await.is_err());
    let mixed = folder.path().join("mixed");
    std::fs::create_dir(&mixed).expect("a folder");
    std::fs::copy(certs.join("ca.crt"), mixed.join("ca.crt")).expect("copied");
    for file in ["client.conclave.crt", "client.conclave.key"] {
        std::fs::copy(foreign.join(file), mixed.join(file)).expect("copied");
    }
    assert!(connect(&cluster, &mixed, "conclave", None).await.is_err());

    psql_agrees(&cluster, &certs, folder.path());
    the_commands_agree(&cluster, dir);
}

fn psql_agrees(cluster: &Cluster, certs: &Path, home: &Path) {
    let base = format!(
        "host=localhost port={} dbname=conclave sslmode=verify-full sslrootcert={}/ca.crt",
        cluster.nodes[1].ports.sql,
        certs.display()
    );
    let with = |more: &str, password| run_psql(home, &format!("{base} {more}"), password);
    let Some((ok, said)) = with("user=alice", Some("sesame")) else { return };
    assert!(ok && said == "alice", "{said}");
    let bound = with("user=alice channel_binding=require", Some("sesame")).expect("psql");
    assert_eq!(bound, (true, "alice".to_owned()));
    let (ok, said) = with("user=alice", Some("wrong")).expect("psql");
    assert!(!ok && said.contains("password authentication failed for user \"alice\""), "{said}");
    let own = format!(
        "user=conclave sslcert={0}/client.conclave.crt sslkey={0}/client.conclave.key",
        certs.display()
    );
    assert_eq!(with(&own, None).expect("psql"), (true, "conclave".to_owned()));
    let (ok, said) = with("user=alice sslmode=disable", Some("sesame")).expect("psql");
    assert!(!ok && said.contains("no encryption"), "{said}");
}

fn the_commands_agree(cluster: &Cluster, dir: &str) {
    let rpc = cluster.nodes[2].rpc();
    let status = conclave(&["status", "--rpc", &rpc, "--certs-dir", dir]);
    assert!(status.success && status.text.contains("live"), "{}", status.text);
    assert!(!conclave(&["status", "--rpc", &rpc]).success, "in the clear");
    let url = format!("postgres://conclave@localhost:{}/conclave", cluster.nodes[2].ports.sql);
    let shell =
        conclave(&["sql", "--certs-dir", dir, "-u", &url, "-t", "-e", "SELECT session_user"]);
    assert!(shell.success && shell.text.contains("conclave"), "{}", shell.text);
    let url = format!("postgres://alice:sesame@localhost:{}/conclave", cluster.nodes[2].ports.sql);
    let shell =
        conclave(&["sql", "--certs-dir", dir, "-u", &url, "-t", "-e", "SELECT session_user"]);
    assert!(shell.success && shell.text.contains("alice"), "{}", shell.text);
    let url = format!("postgres://alice:no@localhost:{}/conclave", cluster.nodes[2].ports.sql);
    let shell = conclave(&["sql", "--certs-dir", dir, "-u", &url, "-e", "SELECT 1"]);
    assert!(!shell.success && shell.text.contains("password authentication failed"));
    let url = format!("postgres://conclave@localhost:{}/conclave", cluster.nodes[0].ports.sql);
    let check = conclave(&[
        "check",
        "--certs-dir",
        dir,
        "--url",
        &url,
        "--workload",
        "append",
        "--seconds",
        "2",
    ]);
    assert!(check.success, "{}", check.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_foreign_certificate_stays_outside() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certs, foreign) = (folder.path().join("certs"), folder.path().join("foreign"));
    make_certs(&certs, &["conclave", "alice"]);
    make_certs(&foreign, &[]);
    let dir = certs.to_str().expect("UTF-8");
    let mut cluster = Cluster::secure_with_stranger(dir, foreign.to_str().expect("UTF-8")).await;
    // It asks again and again, and is refused each time by those inside.
    eventually("a refusal", || async {
        let log = cluster.nodes[0].log_tail() + &cluster.nodes[1].log_tail();
        if log.contains("refused a connection") { Ok(()) } else { Err(log) }
    })
    .await;
    let nodes = || {
        let status =
            conclave(&["status", "--json", "--rpc", &cluster.nodes[0].rpc(), "--certs-dir", dir]);
        let status: serde_json::Value = serde_json::from_str(&status.text).expect("JSON");
        status["nodes"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(nodes(), 2, "the stranger is no member");
    // A user's certificate is none of a node's, and only the superuser's may ask for the status.
    let alice = folder.path().join("alice");
    std::fs::create_dir(&alice).expect("a folder");
    for (from, to) in [
        ("ca.crt", "ca.crt"),
        ("client.alice.crt", "client.conclave.crt"),
        ("client.alice.key", "client.conclave.key"),
    ] {
        std::fs::copy(certs.join(from), alice.join(to)).expect("copied");
    }
    let alice = alice.to_str().expect("UTF-8");
    let refused = conclave(&["status", "--rpc", &cluster.nodes[0].rpc(), "--certs-dir", alice]);
    assert!(!refused.success && refused.text.contains("certificate"), "{}", refused.text);
    cluster.nodes[2].kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_page_is_served_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let certs = folder.path().join("certs");
    make_certs(&certs, &["conclave"]);
    let dir = certs.to_str().expect("UTF-8");
    let cluster = Cluster::secure(1, dir).await;
    let port = cluster.nodes[0].ports.http;
    assert!(!crate::support::http_get(port, "/health").await.contains("200 OK"), "in the clear");
    let ca = certs::Folder::new(&certs).authorities().expect("the authority");
    let config = std::sync::Arc::new(certs::client_config(&ca, None).expect("a client"));
    let page = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let name = certs::server_name("localhost").expect("a name");
        let client = certs::rustls::ClientConnection::new(config, name).expect("a client");
        let socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("HTTP");
        let mut stream = certs::rustls::StreamOwned::new(client, socket);
        let ask = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).expect("sent");
        let mut page = String::new();
        drop(stream.read_to_string(&mut page));
        page
    });
    let page = page.await.expect("answered");
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
}
