//! What a client sees of transactions that the server runs again: nothing but their results.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::support::raw::{Answer, Raw, bind, execute, parse, query, sync};
use crate::support::{Server, soon};

async fn fill(server: &Server) -> Client {
    let client = server.client().await;
    let setup = "CREATE TABLE t (id int PRIMARY KEY, n int);
                 INSERT INTO t SELECT g, g * 10 FROM generate_series(1, 9) g";
    client.batch_execute(setup).await.expect("a table");
    client
}

fn statement(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", "", &[]), execute("", 0)].concat()
}

/// Returns when somebody holds a row.
async fn until_locked(server: &Server) {
    soon("a lock", async {
        while server.cluster.lock_counts().1 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Returns when nobody holds a row.
async fn until_free(server: &Server) {
    soon("the end of all locks", async {
        while server.cluster.lock_counts() != (0, 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Overtakes whoever has read row 1 and written row 2: the row changes, and the write has to lie above
/// the change because row 2 was read after it.
async fn overtake(client: &Client) {
    client.batch_execute("UPDATE t SET n = 777 WHERE id = 1").await.expect("an update");
    client.batch_execute("SELECT n FROM t WHERE id = 2").await.expect("a read");
}

fn tags(answers: &[Answer]) -> String {
    answers.iter().map(|answer| answer.tag).collect()
}

fn rows(answers: &[Answer]) -> Vec<String> {
    let rows = answers.iter().filter(|answer| answer.tag == 'D');
    // One column: its count, then the length of its text.
    rows.map(|row| String::from_utf8_lossy(&row.body[6..]).into_owned()).collect()
}

#[tokio::test]
async fn a_batch_that_was_overtaken_is_written_anew_at_sync() {
    let server = Server::start().await;
    let client = fill(&server).await;
    let mut raw = Raw::connect(server.address).await;
    let batch = [
        statement("SELECT n FROM t WHERE id = 1"),
        statement("UPDATE t SET n = n + 1 WHERE id = 2"),
        statement("SELECT n FROM t WHERE id = 2"),
    ];
    until_free(&server).await;
    raw.send(&batch.concat()).await;
    until_locked(&server).await;
    overtake(&client).await;
    raw.send(&sync()).await;
    let answers = raw.until_ready().await;
    assert_eq!(tags(&answers), "12DC12C12DCZ", "{answers:?}");
    assert_eq!(rows(&answers), ["777", "21"]);
}

#[tokio::test]
async fn a_lone_statement_that_was_overtaken_is_run_again_at_sync() {
    let server = Server::start().await;
    let client = fill(&server).await;
    let mut raw = Raw::connect(server.address).await;
    let sql = "UPDATE t SET n = (SELECT n FROM t WHERE id = 1) WHERE id = 2 RETURNING n";
    until_free(&server).await;
    raw.send(&statement(sql)).await;
    until_locked(&server).await;
    overtake(&client).await;
    raw.send(&sync()).await;
    let answers = raw.until_ready().await;
    assert_eq!(tags(&answers), "12DCZ", "{answers:?}");
    assert_eq!(rows(&answers), ["777"]);
}

#[tokio::test]
async fn a_batch_beyond_the_results_buffer_is_told_to_try_again() {
    let server = Server::start().await;
    let client = fill(&server).await;
    for (size, survives) in [("64kB", true), ("1kB", false)] {
        client.batch_execute("UPDATE t SET n = 10 WHERE id = 1").await.expect("an update");
        let mut raw = Raw::connect(server.address).await;
        raw.tags(&query(&format!("SET results_buffer_size = '{size}'"))).await;
        let batch = [
            statement("SELECT n || repeat(' ', 4000) FROM t WHERE id = 1"),
            statement("UPDATE t SET n = n + 1 WHERE id = 2"),
        ];
        until_free(&server).await;
        raw.send(&batch.concat()).await;
        until_locked(&server).await;
        overtake(&client).await;
        raw.send(&sync()).await;
        let answers = raw.until_ready().await;
        if survives {
            assert_eq!(tags(&answers), "12DC12CZ", "{answers:?}");
            assert_eq!(rows(&answers)[0].trim_end(), "777");
        } else {
            assert_eq!(tags(&answers), "12DC12CEZ", "{answers:?}");
            let error = answers.iter().find(|answer| answer.tag == 'E').expect("an error");
            assert_eq!(error.code(), "40001");
        }
        assert!(raw.works().await);
    }
}

#[tokio::test]
async fn a_block_in_several_messages_is_repeated_if_it_tells_the_same() {
    let server = Server::start().await;
    let client = fill(&server).await;
    let mut raw = Raw::connect(server.address).await;
    for sql in ["BEGIN", "SELECT n FROM t WHERE id = 3", "UPDATE t SET n = n + 1 WHERE id = 2"] {
        let answer = raw.tags(&[statement(sql), sync()].concat()).await;
        assert!(!answer.contains('E'), "{sql}: {answer}");
    }
    // The row is written, and says the same.
    client.batch_execute("UPDATE t SET n = n WHERE id = 3").await.expect("an update");
    client.batch_execute("SELECT n FROM t WHERE id = 2").await.expect("a read");
    assert_eq!(raw.tags(&[statement("COMMIT"), sync()].concat()).await, "12CZ");
    let row = client.query_one("SELECT n FROM t WHERE id = 2", &[]).await.expect("a row");
    assert_eq!(row.get::<_, i32>(0), 21);
}

#[tokio::test]
async fn a_session_that_idles_in_a_transaction_is_ended() {
    let server = Server::start().await;
    let client = fill(&server).await;
    let cases =
        [("idle_in_transaction_session_timeout", "25P03"), ("transaction_timeout", "25P04")];
    for (setting, code) in cases {
        let mut raw = Raw::connect(server.address).await;
        raw.tags(&query(&format!("SET {setting} = '50ms'"))).await;
        // Outside of a transaction it may idle.
        assert!(raw.works().await);
        let before = Instant::now();
        raw.send(&query("BEGIN; UPDATE t SET n = 0 WHERE id = 1")).await;
        raw.until_ready().await;
        let farewell = raw.until_ready().await;
        assert!(before.elapsed() >= Duration::from_millis(49), "{:?}", before.elapsed());
        assert_eq!(farewell.len(), 1, "{farewell:?}");
        assert_eq!(farewell[0].field(b'S').as_deref(), Some("FATAL"));
        assert_eq!(farewell[0].code(), code);
        // Its lock is gone.
        client.batch_execute("UPDATE t SET n = 5 WHERE id = 1").await.expect("the row is free");
    }
}

#[tokio::test]
async fn a_transaction_that_lasts_too_long_ends_its_session_in_the_middle_of_a_statement() {
    let server = Server::start().await;
    let client = fill(&server).await;
    client.batch_execute("BEGIN; UPDATE t SET n = 0 WHERE id = 1").await.expect("a lock");
    for extended in [false, true] {
        let mut raw = Raw::connect(server.address).await;
        raw.tags(&query("SET transaction_timeout = '50ms'")).await;
        let update = "UPDATE t SET n = 1 WHERE id = 1";
        raw.send(&if extended { statement(update) } else { query(update) }).await;
        let answers = raw.until_ready().await;
        let last = answers.last().expect("an answer");
        assert_eq!((last.field(b'S').as_deref(), &*last.code()), (Some("FATAL"), "25P04"));
        assert!(raw.next().await.is_none(), "the connection is closed");
    }
    client.batch_execute("COMMIT").await.expect("undisturbed");
}

/// COPY data as messages; the end of it, too.
fn data(rows: &str) -> Vec<u8> {
    let length = u32::try_from(rows.len() + 4).expect("short");
    [b"d".as_slice(), &length.to_be_bytes(), rows.as_bytes()].concat()
}

const COPY_DONE: &[u8] = b"c\0\0\0\x04";

/// Overtakes a COPY that has begun: its table changes, and its rows have to lie above the change because
/// somebody has looked for them since.
async fn overtake_copy(client: &Client, default: i32) {
    let change = format!("ALTER TABLE t ALTER n SET DEFAULT {default}");
    client.batch_execute(&change).await.expect("a default");
    count(client).await;
}

/// Reads up to CopyInResponse.
async fn until_copy(raw: &mut Raw) -> String {
    let mut tags = String::new();
    while !tags.ends_with('G') {
        tags.push(raw.next().await.expect("an answer").tag);
    }
    tags
}

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM t", &[]).await.expect("a count").get(0)
}

#[tokio::test]
async fn a_copy_outside_of_a_transaction_is_run_again_with_what_the_client_has_sent() {
    let server = Server::start().await;
    let client = fill(&server).await;
    let mut raw = Raw::connect(server.address).await;
    raw.send(&query("COPY t FROM STDIN")).await;
    assert_eq!(until_copy(&mut raw).await, "G");
    raw.send(&data("10\t1\n11\t")).await;
    overtake_copy(&client, 7).await;
    raw.send(&[&data("1\n12\t1\n"), COPY_DONE].concat()).await;
    let answers = raw.until_ready().await;
    assert_eq!(tags(&answers), "CZ", "{answers:?}");
    assert_eq!(count(&client).await, 12);

    // The extended protocol, whose transaction ends with Sync.
    raw.send(&statement("COPY t FROM STDIN")).await;
    assert_eq!(until_copy(&mut raw).await, "12G");
    raw.send(&data("20\t1\n")).await;
    overtake_copy(&client, 8).await;
    raw.send(&[&data("21\t1\n"), COPY_DONE, &sync()].concat()).await;
    let answers = raw.until_ready().await;
    assert_eq!(tags(&answers), "CZ", "{answers:?}");
    assert_eq!(count(&client).await, 14);
}

/// What came before it was sent along with CopyInResponse.
#[tokio::test]
async fn a_copy_behind_other_statements_of_its_transaction_is_not_run_again() {
    let server = Server::start().await;
    let client = fill(&server).await;
    let mut raw = Raw::connect(server.address).await;
    raw.send(&query("INSERT INTO t VALUES (30, 1); COPY t FROM STDIN")).await;
    assert_eq!(until_copy(&mut raw).await, "CG");
    raw.send(&data("31\t1\n")).await;
    overtake_copy(&client, 7).await;
    raw.send(COPY_DONE).await;
    let answers = raw.until_ready().await;
    assert_eq!(tags(&answers), "EZ", "{answers:?}");
    assert_eq!(answers[0].code(), "40001");
}
