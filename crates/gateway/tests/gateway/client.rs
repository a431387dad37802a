//! What an application sees through tokio-postgres, which speaks the extended protocol in binary.

use crate::support::{Server, soon};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Client, SimpleQueryMessage};

/// A value as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wire(Vec<u8>);

impl<'a> FromSql<'a> for Wire {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Wire {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

/// Every type of the first issue: name, a value as PostgreSQL prints it, its binary form.
const TYPES: &[(&str, &str, &[u8])] = &[
    ("smallint", "-7", b"\xff\xf9"),
    ("int", "2147483647", b"\x7f\xff\xff\xff"),
    ("bigint", "-9223372036854775808", b"\x80\0\0\0\0\0\0\0"),
    ("real", "1.5", b"\x3f\xc0\0\0"),
    ("double precision", "0.1", b"\x3f\xb9\x99\x99\x99\x99\x99\x9a"),
    ("numeric(10,2)", "1234.50", b"\0\x02\0\0\0\0\0\x02\x04\xd2\x13\x88"),
    ("boolean", "t", b"\x01"),
    ("text", "h\u{e9}llo", b"h\xc3\xa9llo"),
    ("varchar(5)", "abc", b"abc"),
    ("char(4)", "ab  ", b"ab  "),
    ("bytea", "\\xdeadbeef", b"\xde\xad\xbe\xef"),
    ("date", "2024-02-29", b"\0\0\x22\x79"),
    ("time", "12:34:56.789", b"\0\0\0\x0a\x8b\xe6\x26\x08"),
    ("timestamp", "2000-01-02 00:00:01", b"\0\0\0\x14\x1d\xe6\xa2\x40"),
    ("timestamptz", "2000-01-02 00:00:01+00", b"\0\0\0\x14\x1d\xe6\xa2\x40"),
    ("interval", "1 year 2 mons 3 days 00:00:04", b"\0\0\0\0\0\x3d\x09\0\0\0\0\x03\0\0\0\x0e"),
    (
        "uuid",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        b"\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11",
    ),
    ("jsonb", "{\"a\": [1, null]}", b"\x01{\"a\": [1, null]}"),
];

async fn text_of(client: &Client, sql: &str) -> Option<String> {
    let messages = client.simple_query(sql).await.expect("the query is valid");
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

async fn code_of(client: &Client, sql: &str) -> SqlState {
    let error = client.batch_execute(sql).await.expect_err("the statement fails");
    error.code().cloned().unwrap_or_else(|| panic!("{error} is not the server's"))
}

#[tokio::test]
async fn every_type_goes_both_ways_as_text_and_in_binary() {
    let server = Server::start().await;
    let client = server.client().await;
    for (name, text, binary) in TYPES {
        let create =
            format!("drop table if exists t; create table t (id int primary key, v {name})");
        client.batch_execute(&create).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let value = Wire(binary.to_vec());
        client
            .execute("insert into t values (1, $1), (2, null)", &[&value])
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let literal = format!("insert into t values (3, '{text}')");
        client.batch_execute(&literal).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let rows = client.query("select v from t order by id", &[]).await.expect("it is a table");
        let values: Vec<Option<Wire>> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(values, [Some(value.clone()), None, Some(value)], "{name} in binary");
        for id in [1, 3] {
            let shown = text_of(&client, &format!("select v from t where id = {id}")).await;
            assert_eq!(shown.as_deref(), Some(*text), "{name} as text");
        }
    }
}

#[tokio::test]
async fn errors_have_their_codes_and_fields() {
    let server = Server::start().await;
    let client = server.client().await;
    client
        .batch_execute("create table t (id int primary key, v int); insert into t values (1, 1)")
        .await
        .expect("the table is new");
    for (sql, code) in [
        ("selec 1", "42601"),
        ("select * from nowhere", "42P01"),
        ("select nothing from t", "42703"),
        ("select 1 / 0", "22012"),
        ("select 2147483647 + 1", "22003"),
        ("select 'x'::int", "22P02"),
        ("insert into t values (1, 2)", "23505"),
        ("insert into t values (null, 2)", "23502"),
    ] {
        assert_eq!(code_of(&client, sql).await.code(), code, "{sql}");
    }
    let error = client.batch_execute("insert into t values (1, 2)").await.expect_err("a duplicate");
    let error = error.as_db_error().expect("the server says so");
    assert_eq!(error.constraint(), Some("t_pkey"));
    assert_eq!(error.table(), Some("t"));
    assert_eq!(error.detail(), Some("Key (id)=(1) already exists."));
    let error = client.batch_execute("select 1;\nselect nothing\nfrom t").await;
    let error = error.expect_err("there is no such column");
    let position = error.as_db_error().and_then(|error| error.position().cloned());
    assert_eq!(position, Some(tokio_postgres::error::ErrorPosition::Original(18)));
    client.batch_execute("begin").await.expect("no transaction is open");
    assert_eq!(code_of(&client, "select 1 / 0").await.code(), "22012");
    assert_eq!(code_of(&client, "select 1").await.code(), "25P02");
    client.batch_execute("rollback").await.expect("it can always be rolled back");
    assert_eq!(text_of(&client, "select count(*) from t").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn transactions_are_rolled_back_and_committed() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.batch_execute("create table t (id int primary key)").await.expect("the table is new");
    let transaction = client.transaction().await.expect("none is open");
    transaction.execute("insert into t values ($1)", &[&1]).await.expect("it is new");
    transaction.rollback().await.expect("it is open");
    let transaction = client.transaction().await.expect("none is open");
    let inserted = transaction.execute("insert into t values ($1)", &[&2]).await;
    assert_eq!(inserted.expect("it is new"), 1);
    transaction.commit().await.expect("nobody is in its way");
    let rows = client.query("select id from t", &[]).await.expect("it is a table");
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [2]);
}

#[tokio::test]
async fn a_cancel_request_ends_a_wait_for_a_lock() {
    let server = Server::start().await;
    let (holder, waiter) = (server.client().await, server.client().await);
    holder
        .batch_execute("create table t (id int primary key, v int); insert into t values (1, 1)")
        .await
        .expect("the table is new");
    holder.batch_execute("begin; update t set v = 2 where id = 1").await.expect("nobody else");
    let cancel = waiter.cancel_token();
    let waiting =
        tokio::spawn(
            async move { waiter.execute("update t set v = 3 where id = $1", &[&1]).await },
        );
    let waited = soon("the cancelled statement", async {
        while !waiting.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            cancel.cancel_query(tokio_postgres::NoTls).await.expect("the gateway listens");
        }
        waiting.await.expect("it does not panic")
    })
    .await;
    let error = waited.expect_err("it was cancelled");
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
    holder.batch_execute("commit").await.expect("nobody is in its way");
}

#[tokio::test]
async fn copy_takes_and_gives_rows() {
    let server = Server::start().await;
    let client = server.client().await;
    client.batch_execute("create table t (id int primary key, v text)").await.expect("it is new");
    let sink = client.copy_in("copy t from stdin").await.expect("it is a table");
    let mut sink = std::pin::pin!(sink);
    // Lines are cut anywhere.
    let data: String = (0..3000).map(|id| format!("{id}\tvalue {id}\n")).collect();
    for piece in data.as_bytes().chunks(777) {
        sink.send(Bytes::copy_from_slice(piece)).await.expect("the gateway reads");
    }
    assert_eq!(sink.as_mut().finish().await.expect("the rows are new"), 3000);
    let out = client.copy_out("copy t to stdout").await.expect("it is a table");
    let chunks: Vec<Bytes> = out.try_collect().await.expect("all of it comes");
    assert_eq!(chunks.concat().len(), data.len());

    let sink = client.copy_in::<_, Bytes>("copy t from stdin").await.expect("it is a table");
    let mut sink = std::pin::pin!(sink);
    sink.send(Bytes::from_static(b"no number\tx\n")).await.expect("the gateway reads");
    let error = sink.finish().await.expect_err("the line is wrong");
    assert_eq!(error.code().map(SqlState::code), Some("22P02"), "{error:?}");
    // A client that gives up: nothing of it stays.
    let sink = client.copy_in::<_, Bytes>("copy t from stdin").await.expect("it is a table");
    {
        let mut sink = Box::pin(sink);
        sink.send(Bytes::from_static(b"9999\tx\n")).await.expect("the gateway reads");
    }
    let count = text_of(&client, "select count(*) from t").await;
    assert_eq!(count.as_deref(), Some("3000"));
}

#[tokio::test]
async fn queries_in_flight_together_do_not_mix() {
    let server = Server::start().await;
    let client = server.client().await;
    let statement = client.prepare("select $1::int + 1").await.expect("it is valid");
    let asked = (0..100).map(|n| {
        let (client, statement) = (&client, &statement);
        async move {
            let row = client.query_one(statement, &[&n]).await.expect("it is valid");
            (n, row.get::<_, i32>(0))
        }
    });
    for (n, answer) in futures::future::join_all(asked).await {
        assert_eq!(answer, n + 1);
    }
}

#[tokio::test]
async fn parameter_types_are_inferred() {
    let server = Server::start().await;
    let client = server.client().await;
    client
        .batch_execute("create table t (id int primary key, balance int, note text)")
        .await
        .expect("the table is new");
    let statement = client
        .prepare("update t set balance = balance + $1, note = $2 where id = $3")
        .await
        .expect("the types can be inferred");
    assert_eq!(statement.params(), [Type::INT4, Type::TEXT, Type::INT4]);
    let statement = client.prepare("select id, note from t where id = $1").await.expect("valid");
    let columns: Vec<_> =
        statement.columns().iter().map(|c| (c.name(), c.type_().clone())).collect();
    assert_eq!(columns, [("id", Type::INT4), ("note", Type::TEXT)]);
}

/// The protocol counts parameters with 16 bits.
#[tokio::test]
async fn a_statement_has_as_many_parameters_as_the_protocol_can_count() {
    let server = Server::start().await;
    let client = server.client().await;
    client
        .batch_execute("CREATE TABLE p (a int PRIMARY KEY, b int, c int)")
        .await
        .expect("a table");
    let rows = 65_535 / 3;
    let values: Vec<String> =
        (0..rows).map(|n| format!("(${}, ${}, ${})", 3 * n + 1, 3 * n + 2, 3 * n + 3)).collect();
    let numbers: Vec<i32> = (0..rows * 3).collect();
    let params: Vec<&(dyn ToSql + Sync)> =
        numbers.iter().map(|n| n as &(dyn ToSql + Sync)).collect();
    let insert = format!("INSERT INTO p VALUES {}", values.join(", "));
    assert_eq!(client.execute(&insert, &params).await.expect("they fit"), 21_845);
    let row = client.query_one("SELECT count(*), max(c) FROM p", &[]).await.expect("rows");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i32>(1)), (21_845, 65_534));

    let asked: Vec<String> = (1..=65_535).map(|n| format!("${n}::int")).collect();
    let listed = format!("SELECT count(*) FROM p WHERE a IN ({})", asked.join(", "));
    let row = client.query_one(&listed, &params).await.expect("they fit");
    assert_eq!(row.get::<_, i64>(0), 21_845);

    for number in ["65536", "4294967297"] {
        let error = client.prepare(&format!("SELECT ${number}::int")).await;
        let error = error.expect_err("there is no such parameter");
        assert_eq!(error.code(), Some(&SqlState::UNDEFINED_PARAMETER), "{number}: {error:?}");
    }
    assert!(client.query_one("SELECT 1", &[]).await.is_ok());
}
