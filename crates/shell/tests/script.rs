//! What a run of the shell prints and how it ends, against a server that plays a script.
//!
//! The server knows a handful of statements and answers each with prepared messages, so these tests
//! need no database and fail only for the shell.

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use shell::{Options, ShellError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A place for output that the test can look at.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panicked")).into_owned()
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(u32::try_from(body.len() + 4).expect("messages are short").to_be_bytes());
    bytes.extend(body);
    bytes
}

fn columns(columns: &[(&str, u32)]) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).expect("few columns").to_be_bytes().to_vec();
    for (name, oid) in columns {
        body.extend(name.as_bytes());
        body.extend([0; 7]);
        body.extend(oid.to_be_bytes());
        body.extend([0; 8]);
    }
    message(b'T', &body)
}

fn row(values: &[Option<&str>]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).expect("few columns").to_be_bytes().to_vec();
    for value in values {
        let length = value.map_or(-1, |value| i32::try_from(value.len()).expect("short"));
        body.extend(length.to_be_bytes());
        body.extend(value.unwrap_or_default().as_bytes());
    }
    message(b'D', &body)
}

fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

fn error(severity: &str, fields: &[(char, &str)]) -> Vec<u8> {
    let mut body = format!("S{severity}\0");
    for (key, value) in fields {
        body.push_str(&format!("{key}{value}\0"));
    }
    body.push('\0');
    let tag = if severity == "NOTICE" { b'N' } else { b'E' };
    message(tag, body.as_bytes())
}

/// The answer to a statement, without ReadyForQuery. `None` breaks the connection.
fn answer(sql: &str) -> Option<Vec<u8>> {
    Some(match sql.trim_end_matches(';') {
        "select 1" => [columns(&[("n", 23)]), row(&[Some("1")]), complete("SELECT 1")].concat(),
        "table t" => [
            columns(&[("id", 20), ("name", 25)]),
            row(&[Some("1"), Some("one")]),
            row(&[Some("20"), None]),
            complete("SELECT 2"),
        ]
        .concat(),
        "insert" => complete("INSERT 0 1"),
        "talk" => [error("NOTICE", &[('C', "00000"), ('M', "hello")]), complete("TALK")].concat(),
        "vanish" => return None,
        other => {
            let position = other.find("nonsense").map_or(1, |at| at + 1).to_string();
            error(
                "ERROR",
                &[('C', "42601"), ('M', "what is that"), ('P', &position), ('H', "Say it again.")],
            )
        }
    })
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let length = stream.read_u32().await?;
    let mut packet = vec![0; usize::try_from(length).expect("it fits") - 4];
    stream.read_exact(&mut packet).await?;
    let mut greeting = message(b'R', &[0; 4]);
    greeting.extend(message(b'S', b"server_version\x0015.0\0"));
    greeting.extend(message(b'K', &[0; 8]));
    greeting.extend(message(b'Z', b"I"));
    stream.write_all(&greeting).await?;
    let mut copied = 0;
    loop {
        let tag = stream.read_u8().await?;
        let length = stream.read_u32().await?;
        let mut body = vec![0; usize::try_from(length).expect("it fits") - 4];
        stream.read_exact(&mut body).await?;
        let bytes = match tag {
            b'Q' => {
                let sql = String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(&body));
                if sql.to_lowercase().starts_with("copy t from stdin") {
                    message(b'G', &[0; 3])
                } else {
                    let Some(mut bytes) = answer(&sql) else { return Ok(()) };
                    bytes.extend(message(b'Z', b"I"));
                    bytes
                }
            }
            b'd' => {
                copied += body.iter().filter(|&&byte| byte == b'\n').count();
                continue;
            }
            b'c' => [complete(&format!("COPY {copied}")), message(b'Z', b"I")].concat(),
            _ => return Ok(()),
        };
        stream.write_all(&bytes).await?;
    }
}

/// How a run ended, what it printed, what it complained about.
async fn run(options: Options) -> (Result<ExitCode, ShellError>, String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let port = listener.local_addr().expect("it is bound").port();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(serve(stream).await);
        }
    });
    let (out, err) = (Paper::default(), Paper::default());
    let options = Options { url: format!("postgres://x@127.0.0.1:{port}/x"), ..options };
    let ended = shell::run_with(options, Box::new(out.clone()), Box::new(err.clone())).await;
    serving.abort();
    (ended, out.text(), err.text())
}

fn statements(sql: &[&str]) -> Options {
    Options { execute: sql.iter().map(|&sql| sql.to_owned()).collect(), ..Options::default() }
}

#[tokio::test]
async fn results_are_shown_in_the_chosen_format() {
    let (ended, out, err) = run(statements(&["table t; insert;", "\\x on", "table t"])).await;
    assert_eq!(ended.expect("it ends"), ExitCode::SUCCESS, "{err}");
    let table = " id | name\n----+------\n  1 | one\n 20 |\n(2 rows)\n\nINSERT 0 1\n";
    let records = "-[ RECORD 1 ]\nid   | 1\nname | one\n-[ RECORD 2 ]\nid   | 20\nname | \n\n";
    assert_eq!(out, format!("{table}Expanded display is on.\n{records}"));
    let csv = Options { csv: true, quiet: true, ..statements(&["table t; insert"]) };
    assert_eq!(run(csv).await.1, "id,name\n1,one\n20,\n");
    let bare = Options { tuples_only: true, ..statements(&["\\pset null ?", "table t"]) };
    assert_eq!(run(bare).await.1, "  1 | one\n 20 | ?\n");
}

#[tokio::test]
async fn a_failed_statement_ends_the_run_with_1() {
    let sql = "select 1;\nsome\n nonsense here; select 1";
    let (ended, out, err) = run(statements(&[sql, "select 1"])).await;
    assert_eq!(ended.expect("it ends"), ExitCode::FAILURE);
    assert_eq!(out.matches("(1 row)").count(), 1, "{out}");
    let expected =
        "ERROR:  what is that\nLINE 2:  nonsense here;\n         ^\nHINT:  Say it again.\n";
    assert_eq!(err, expected);
    let (ended, out, _) = run(Options { keep_going: true, ..statements(&[sql, "select 1"]) }).await;
    assert_eq!(ended.expect("it ends"), ExitCode::FAILURE);
    assert_eq!(out.matches("(1 row)").count(), 3, "{out}");
    let (ended, _, err) = run(statements(&["\\nothing"])).await;
    assert_eq!(ended.expect("it ends"), ExitCode::FAILURE);
    assert!(err.contains("invalid command \\nothing"), "{err}");
}

#[tokio::test]
async fn a_file_may_contain_data_and_errors_name_its_lines() {
    let path = std::env::temp_dir().join(format!("shell-script-{}.sql", std::process::id()));
    let script = "talk;\nCOPY t FROM stdin;\n1;\tx'\n2\t\\N\n\\.\nselect 1;\nnonsense;\n";
    std::fs::write(&path, script).expect("the temporary folder takes files");
    let (ended, out, err) = run(Options { files: vec![path.clone()], ..Options::default() }).await;
    std::fs::remove_file(&path).expect("it was written");
    assert_eq!(ended.expect("it ends"), ExitCode::FAILURE);
    assert!(out.starts_with("TALK\nCOPY 2\n n\n---\n 1\n(1 row)\n"), "{out}");
    let name = path.display();
    assert!(err.starts_with(&format!("{name}:1: NOTICE:  hello\n{name}:7: ERROR:")), "{err}");
}

#[tokio::test]
async fn local_files_are_copied_in() {
    let path = std::env::temp_dir().join(format!("shell-copy-{}.csv", std::process::id()));
    let data = "1,one\n".repeat(50_000);
    std::fs::write(&path, &data).expect("the temporary folder takes files");
    let command = format!("\\copy t from '{}' with (format csv)", path.display());
    let (ended, out, err) = run(statements(&[&command, "select 1"])).await;
    std::fs::remove_file(&path).expect("it was written");
    assert_eq!(ended.expect("it ends"), ExitCode::SUCCESS, "{err}");
    assert!(out.starts_with("COPY 50000\n"), "{out}");
    let (ended, _, err) = run(statements(&["\\copy t from /no/such/file"])).await;
    assert_eq!(ended.expect("it ends"), ExitCode::FAILURE);
    assert!(err.contains("/no/such/file"), "{err}");
}

#[tokio::test]
async fn a_lost_connection_ends_a_script() {
    let (ended, out, _) = run(statements(&["select 1; vanish; select 1"])).await;
    assert!(matches!(ended, Err(ShellError::Lost(_))), "{ended:?}");
    assert_eq!(out.matches("(1 row)").count(), 1, "{out}");
    let options =
        Options { url: "postgres://x@127.0.0.1:1/x".to_owned(), ..statements(&["select 1"]) };
    let ended = shell::run(options).await;
    assert!(matches!(ended, Err(ShellError::Connect { .. })), "{ended:?}");
}
