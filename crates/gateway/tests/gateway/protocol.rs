//! What the gateway makes of messages, good and bad, byte by byte.

use std::time::Duration;

use crate::support::raw::{
    Raw, bind, describe_portal, execute, length, message, parse, query, startup, sync,
};
use crate::support::{Server, soon};
use gateway::GatewayConfig;
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn garbage_ends_one_connection_and_no_other() {
    let server = Server::start().await;
    let mut bystander = Raw::connect(server.address).await;
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0xff; 64],
        &[0; 64],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\x09\0\x02\0\0\0",
    ];
    for bytes in garbage {
        let mut raw = Raw::open(server.address).await;
        raw.send(bytes).await;
        let answers = raw.until_ready().await;
        assert_eq!(answers.len(), 1, "{} gave {answers:?}", bytes.escape_ascii());
        assert_eq!(answers[0].field(b'S').as_deref(), Some("FATAL"));
    }
    let mut raw = Raw::connect(server.address).await;
    raw.send(b"\x01\x02\x03\x04\x05\x06").await;
    let answers = raw.until_ready().await;
    assert_eq!(answers.last().map(|answer| answer.code()).as_deref(), Some("08P01"));
    assert!(bystander.works().await);
}

#[tokio::test]
async fn bodies_that_lie_fail_the_message_only() {
    let server = Server::start().await;
    let mut raw = Raw::connect(server.address).await;
    assert_eq!(raw.error(&message('Q', b"no end")).await.code(), "08P01");
    assert_eq!(raw.error(&message('Q', b"select '\xff'\0")).await.code(), "22021");
    let mut bytes = message('P', b"\0select 1\0\xff\xff");
    bytes.extend(bind("", "", &[]));
    bytes.extend(execute("", 0));
    bytes.extend(sync());
    assert_eq!(raw.tags(&bytes).await, "EZ");
    let mut bytes = message('B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff");
    bytes.extend(sync());
    assert_eq!(raw.error(&bytes).await.code(), "08P01");
    assert!(raw.works().await);
}

#[tokio::test]
async fn a_message_over_the_limit_is_skipped_and_refused() {
    let config = GatewayConfig { message_bytes_max: 1 << 20, ..GatewayConfig::default() };
    let server = Server::start_with(config).await;
    let mut raw = Raw::connect(server.address).await;
    let literal = format!("select '{}'", "x".repeat(8 << 20));
    assert_eq!(raw.error(&query(&literal)).await.code(), "54000");
    assert!(raw.works().await);
    let mut bytes = parse("", &literal);
    bytes.extend(bind("", "", &[]));
    bytes.extend(sync());
    assert_eq!(raw.error(&bytes).await.code(), "54000");
    assert!(raw.works().await);
    // A name of that size is no statement that grew too large but a broken client.
    raw.send(&[b'E', 0x10, 0, 0, 0]).await;
    assert_eq!(raw.next().await.map(|answer| answer.code()).as_deref(), Some("08P01"));
}

#[tokio::test]
async fn an_error_discards_everything_up_to_sync() {
    let server = Server::start().await;
    let mut raw = Raw::connect(server.address).await;
    let mut bytes = parse("", "select nonsense from nowhere");
    bytes.extend(bind("", "", &[]));
    bytes.extend(describe_portal(""));
    bytes.extend(execute("", 0));
    bytes.extend(query("select 1"));
    bytes.extend(sync());
    bytes.extend(query("select 1"));
    assert_eq!(raw.tags(&bytes).await, "EZ");
    let rest = raw.until_ready().await;
    assert_eq!(rest.iter().map(|answer| answer.tag).collect::<String>(), "TDCZ");
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order() {
    let server = Server::start().await;
    let mut raw = Raw::connect(server.address).await;
    let mut bytes = parse("s", "select 1");
    for _ in 0..20 {
        bytes.extend(bind("", "s", &[]));
        bytes.extend(describe_portal(""));
        bytes.extend(execute("", 0));
    }
    bytes.extend(sync());
    bytes.extend(query("select 1"));
    bytes.extend(bind("", "s", &[]));
    bytes.extend(execute("", 0));
    bytes.extend(sync());
    let expected = format!("1{}Z", "2TDC".repeat(20));
    assert_eq!(raw.tags(&bytes).await, expected);
    assert_eq!(raw.tags(b"").await, "TDCZ");
    assert_eq!(raw.tags(b"").await, "2DCZ");
}

#[tokio::test]
async fn a_portal_gives_as_many_rows_as_asked() {
    let server = Server::start().await;
    let mut raw = Raw::connect(server.address).await;
    assert_eq!(raw.tags(&query("begin")).await, "CZ");
    let mut bytes = parse("", "values (1), (2), (3), (4), (5)");
    bytes.extend(bind("p", "", &[]));
    bytes.extend(execute("p", 2));
    bytes.extend(execute("p", 2));
    bytes.extend(sync());
    assert_eq!(raw.tags(&bytes).await, "12DDsDDsZ");
    let mut bytes = execute("p", 2);
    bytes.extend(sync());
    assert_eq!(raw.tags(&bytes).await, "DCZ");
    // Portals end with their transaction.
    assert_eq!(raw.tags(&query("commit")).await, "CZ");
    assert_eq!(raw.error(&bytes).await.code(), "34000");
}

#[tokio::test]
async fn names_that_are_taken_or_missing_are_errors() {
    let server = Server::start().await;
    let mut raw = Raw::connect(server.address).await;
    let run = |first: Vec<u8>| [first, sync()].concat();
    assert_eq!(raw.tags(&run(parse("s", "select 1"))).await, "1Z");
    assert_eq!(raw.error(&run(parse("s", "select 1"))).await.code(), "42P05");
    assert_eq!(raw.error(&run(bind("", "none", &[]))).await.code(), "26000");
    assert_eq!(raw.error(&run(bind("", "s", &["1"]))).await.code(), "08P01");
    assert_eq!(raw.error(&run(execute("none", 0))).await.code(), "34000");
    assert_eq!(raw.error(&run(describe_portal("none"))).await.code(), "34000");
    assert_eq!(raw.tags(&run(message('C', b"Ss\0"))).await, "3Z");
    assert_eq!(raw.error(&run(bind("", "s", &[]))).await.code(), "26000");
    assert_eq!(raw.tags(&query("")).await, "IZ");
}

#[tokio::test]
async fn the_start_is_negotiated() {
    let server = Server::start().await;
    let mut raw = Raw::open(server.address).await;
    for code in [80_877_103_u32, 80_877_104] {
        raw.send(&[&length(8)[..], &code.to_be_bytes()].concat()).await;
        assert_eq!(raw.stream.read_u8().await.expect("one byte comes back"), b'N');
    }
    raw.send(&startup(2, &[("user", "conclave"), ("_pq_.future", "on")])).await;
    let answers = raw.until_ready().await;
    let tags: String = answers.iter().map(|answer| answer.tag).collect();
    assert!(tags.starts_with("vRS") && tags.ends_with("SKZ"), "{tags}");
    assert!(raw.works().await);

    let refused = [
        (vec![("user", "nobody"), ("database", "conclave")], "28000"),
        (vec![("user", "conclave"), ("database", "nowhere")], "3D000"),
        (vec![("database", "conclave")], "28000"),
        (vec![("user", "conclave"), ("replication", "true")], "0A000"),
    ];
    for (parameters, code) in refused {
        let (_, answers) = Raw::connect_with(server.address, &parameters).await;
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0].code(), code);
        assert_eq!(answers[0].field(b'S').as_deref(), Some("FATAL"));
    }
}

#[tokio::test]
async fn slots_and_patience_are_bounded() {
    let config = GatewayConfig {
        connections_max: 2,
        startup_timeout: Duration::from_millis(200),
        ..GatewayConfig::default()
    };
    let server = Server::start_with(config).await;
    let mut first = Raw::connect(server.address).await;
    let second = Raw::connect(server.address).await;
    let parameters = [("user", "conclave"), ("database", "conclave")];
    let (_, answers) = Raw::connect_with(server.address, &parameters).await;
    assert_eq!(answers[0].code(), "53300");
    drop(second);
    soon("a free slot", async {
        while Raw::connect_with(server.address, &parameters).await.1.len() == 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut silent = Raw::open(server.address).await;
    silent.send(&length(100)).await;
    assert_eq!(silent.next().await.map(|answer| answer.code()).as_deref(), Some("08P01"));
    assert!(first.works().await);
}

#[tokio::test]
async fn shutdown_waits_for_transactions_up_to_the_deadline() {
    let config =
        GatewayConfig { drain_timeout: Duration::from_millis(700), ..GatewayConfig::default() };
    let mut server = Server::start_with(config).await;
    let mut idle = Raw::connect(server.address).await;
    let mut quick = Raw::connect(server.address).await;
    let mut slow = Raw::connect(server.address).await;
    assert_eq!(quick.tags(&query("begin")).await, "CZ");
    assert_eq!(slow.tags(&query("begin")).await, "CZ");
    let ended = server.shut_down();
    assert_eq!(idle.next().await.map(|answer| answer.code()).as_deref(), Some("57P01"));
    assert!(idle.next().await.is_none());
    assert!(quick.works().await);
    assert_eq!(quick.tags(&query("commit")).await, "CZ");
    assert_eq!(quick.next().await.map(|answer| answer.code()).as_deref(), Some("57P01"));
    assert_eq!(slow.next().await.map(|answer| answer.code()).as_deref(), Some("57P01"));
    soon("the end of serving", ended).await.expect("serving does not panic");
}
