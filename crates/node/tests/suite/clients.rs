//! Clients as people use them: each a program in its own language under `clients/`, against a real node, one
//! that is insecure and one that is secure.
//!
//! `.ci/setup.sh clients` installs what they need: Debian's packages, and a Python environment and Node
//! modules under `~/.cache/conclave/clients`. Where something is missing a test says so and is skipped; in
//! CI (`CONCLAVE_CLIENTS=required`) it fails.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::Cluster;
use crate::support::secure::{PASSWORD, give_password, make_certs};
use tokio::process::Command;

const SCRIPTS: &str = "tests/clients";
const ODBC_DRIVERS: &str = "/usr/lib";
/// How long a program may take, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where `.ci/setup.sh clients` puts things.
fn installed() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache")
    });
    cache.join("conclave/clients")
}

/// Says that something is not installed; in CI that is a failure.
fn skip(what: impl std::fmt::Display) {
    let required = std::env::var("CONCLAVE_CLIENTS").is_ok_and(|value| value == "required");
    assert!(!required, "{what} is not installed: run .ci/setup.sh clients");
    eprintln!("skipped: {what} is not installed (.ci/setup.sh clients does it)");
}

fn python() -> Option<PathBuf> {
    let python = installed().join("python/bin/python");
    if !python.exists() {
        skip(python.display());
        return None;
    }
    Some(python)
}

/// A program of PostgreSQL's, if it is there and of version 15, whose output the tests know.
async fn postgres_program(name: &str) -> Option<PathBuf> {
    let versioned = Path::new("/usr/lib/postgresql/15/bin").join(name);
    let program = if versioned.exists() { versioned } else { PathBuf::from(name) };
    let output = Command::new(&program).arg("--version").output().await.ok();
    let version = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    if version.is_some_and(|version| version.contains(") 15.")) {
        return Some(program);
    }
    skip(format!("{name} 15"));
    None
}

/// A node, and how clients get in.
struct Server {
    cluster: Cluster,
    settings: Vec<(&'static str, String)>,
    _certs: Option<tempfile::TempDir>,
}

/// How a client of a secure node says who it is. The server proves who it is to all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Password,
    Certificate,
}

impl Server {
    fn insecure() -> Server {
        Server { cluster: Cluster::single(&[]), settings: Vec::new(), _certs: None }
    }

    async fn secure(proof: Proof) -> Server {
        let certs = tempfile::tempdir().expect("a folder");
        make_certs(certs.path(), &["conclave"]);
        let cluster = Cluster::single_secure(certs.path().to_str().expect("UTF-8"));
        give_password(&cluster, certs.path()).await;
        let file = |name: &str| certs.path().join(name).to_str().expect("UTF-8").to_owned();
        let mut settings = vec![
            ("PGSSLMODE", "verify-full".to_owned()),
            ("PGSSLROOTCERT", file("ca.crt")),
            ("NODE_EXTRA_CA_CERTS", file("ca.crt")),
        ];
        match proof {
            Proof::Password => settings.push(("PGPASSWORD", PASSWORD.to_owned())),
            Proof::Certificate => settings.extend([
                ("PGSSLCERT", file("client.conclave.crt")),
                ("PGSSLKEY", file("client.conclave.key")),
            ]),
        }
        Server { cluster, settings, _certs: Some(certs) }
    }

    async fn both(proof: Proof) -> [Server; 2] {
        [Server::insecure(), Server::secure(proof).await]
    }
}

fn on_node(mut command: Command, server: &Server) -> Command {
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", server.cluster.nodes[0].ports.sql.to_string())
        .env("PGUSER", "conclave")
        .env("PGDATABASE", "conclave")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(server.settings.iter().map(|(name, value)| (*name, value)))
        .current_dir(SCRIPTS)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a program to its end, which must be a good one.
async fn output_of(command: Command, server: &Server) -> Output {
    let mut command = on_node(command, server);
    let shown = format!("{command:?}");
    let run = tokio::time::timeout(PATIENCE, command.output()).await.expect("the program ends");
    let output = run.expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{said}\n{complained}");
    output
}

/// Runs a script that says `all is well` at its end.
async fn run(mut command: Command, script: &str, server: &Server) -> String {
    command.arg(script);
    let output = output_of(command, server).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.ends_with("all is well\n"), "{said}");
    said
}

async fn run_python(script: &str) {
    let Some(python) = python() else { return };
    for server in Server::both(Proof::Password).await {
        run(Command::new(&python), script, &server).await;
    }
}

#[tokio::test]
async fn psycopg_3_works() {
    run_python("psycopg3.py").await;
}

#[tokio::test]
async fn psycopg_2_works() {
    run_python("psycopg2_client.py").await;
}

#[tokio::test]
async fn asyncpg_works() {
    run_python("asyncpg_client.py").await;
}

#[tokio::test]
async fn sqlalchemy_and_alembic_work() {
    run_python("sqlalchemy_client.py").await;
}

#[tokio::test]
async fn django_works() {
    run_python("django_client.py").await;
}

#[tokio::test]
async fn odbc_works() {
    let Some(python) = python() else { return };
    let find = Command::new("find").args([ODBC_DRIVERS, "-name", "psqlodbcw.so"]).output().await;
    let found = find.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let Some(driver) = found.lines().next() else { return skip("psqlodbcw.so") };
    for server in Server::both(Proof::Password).await {
        let mut command = Command::new(&python);
        command.env("ODBC_DRIVER", driver);
        run(command, "odbc_client.py", &server).await;
    }
}

#[tokio::test]
async fn node_postgres_sequelize_and_knex_work() {
    let modules = installed().join("node");
    if !modules.join("node_modules/pg").exists() {
        return skip(modules.display());
    }
    if Command::new("node").arg("--version").output().await.is_err() {
        return skip("node");
    }
    for server in Server::both(Proof::Password).await {
        let mut command = Command::new("node");
        command.env("NODE_CLIENTS", &modules);
        run(command, "node_client.mjs", &server).await;
    }
}

/// What psql's `\d` and its kin print is what they print of PostgreSQL 15.
#[tokio::test]
async fn psql_describes_everything() {
    let Some(psql) = postgres_program("psql").await else { return };
    let want = std::fs::read_to_string(Path::new(SCRIPTS).join("psql.out")).expect("psql.out");
    for server in Server::both(Proof::Certificate).await {
        let mut setup = Command::new(&psql);
        setup.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "schema.sql"]);
        output_of(setup, &server).await;
        let mut describe = Command::new(&psql);
        describe.args(["-X", "-q", "-a", "-P", "pager=off", "-f", "psql.sql"]);
        let output = output_of(describe, &server).await;
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        for (n, (said, want)) in said.lines().zip(want.lines()).enumerate() {
            assert_eq!(said, want, "line {} of psql.out\n{complained}", n + 1);
        }
        assert_eq!(said.lines().count(), want.lines().count(), "lines\n{complained}");
        assert_eq!(complained, "");
    }
}

/// A dump read back gives the same dump.
#[tokio::test]
async fn pg_dump_is_read_back() {
    let (Some(psql), Some(pg_dump)) =
        (postgres_program("psql").await, postgres_program("pg_dump").await)
    else {
        return;
    };
    let [first, second] = &Server::both(Proof::Certificate).await;
    let mut setup = Command::new(&psql);
    setup.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "schema.sql", "-f", "data.sql"]);
    output_of(setup, first).await;
    let dump = |server| {
        let command = Command::new(&pg_dump);
        async move {
            let output = output_of(command, server).await;
            let text = String::from_utf8(output.stdout).expect("a dump is text");
            // A random word that psql takes back.
            let plain =
                |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
            text.lines().filter(plain).collect::<Vec<_>>().join("\n")
        }
    };
    let restore = async |dumped: &str, to: &Server| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), dumped).expect("a file");
        let mut restore = Command::new(&psql);
        restore.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file.path());
        output_of(restore, to).await;
    };
    let dumped = dump(first).await;
    assert!(dumped.contains("it's\\ta tab"), "the data is in it");
    restore(&dumped, second).await;
    assert_eq!(dump(second).await, dumped);
}

#[tokio::test]
async fn pgbench_runs_in_every_protocol() {
    let Some(pgbench) = postgres_program("pgbench").await else { return };
    for server in Server::both(Proof::Password).await {
        let mut init = Command::new(&pgbench);
        init.args(["-i", "-q", "-s", "1"]);
        output_of(init, &server).await;
        for protocol in ["simple", "extended", "prepared"] {
            let mut bench = Command::new(&pgbench);
            bench.args(["-n", "-c", "2", "-t", "20", "-M", protocol]);
            let output = output_of(bench, &server).await;
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("number of transactions actually processed: 40/40"), "{said}");
        }
    }
}

/// Metadata of a thousand tables, as SQLAlchemy, Django and JDBC ask for it. The bound is loose, for a
/// debug build beside other tests; the program prints what it measured.
#[tokio::test]
async fn metadata_of_a_thousand_tables_is_quick() {
    let Some(python) = python() else { return };
    let server = Server::insecure();
    let said = run(Command::new(python), "metadata.py", &server).await;
    println!("{said}");
    for line in said.lines().filter(|line| line.ends_with(" ms")) {
        let millis = line.split(' ').rev().nth(1).and_then(|number| number.parse::<f64>().ok());
        assert!(millis.expect("a number") < 2_000.0, "{said}");
    }
}
