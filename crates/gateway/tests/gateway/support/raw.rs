//! The protocol byte by byte.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// A message of the server: its tag and its body.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) tag: char,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.tag, self.body.escape_ascii())
    }
}

impl Answer {
    /// A field of an error or notice.
    pub(crate) fn field(&self, key: u8) -> Option<String> {
        assert!(matches!(self.tag, 'E' | 'N'), "{self:?} has no fields");
        let fields = self.body.split(|&byte| byte == 0);
        let found = fields.into_iter().find(|field| field.first() == Some(&key))?;
        Some(String::from_utf8_lossy(&found[1..]).into_owned())
    }

    /// The SQLSTATE of an error.
    pub(crate) fn code(&self) -> String {
        self.field(b'C').expect("every error has a code")
    }
}

/// One connection.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

/// A message of the client.
pub(crate) fn message(tag: char, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(tag).expect("tags are ASCII")];
    bytes.extend(length(body.len() + 4));
    bytes.extend(body);
    bytes
}

pub(crate) fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("messages of tests are short").to_be_bytes()
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message('Q', format!("{sql}\0").as_bytes())
}

pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message('P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

/// Bind with parameters and results as text.
pub(crate) fn bind(portal: &str, statement: &str, values: &[&str]) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
    body.extend(u16::try_from(values.len()).expect("few values").to_be_bytes());
    for value in values {
        body.extend(length(value.len()));
        body.extend(value.as_bytes());
    }
    body.extend([0, 0]);
    message('B', &body)
}

pub(crate) fn describe_portal(name: &str) -> Vec<u8> {
    message('D', format!("P{name}\0").as_bytes())
}

pub(crate) fn execute(portal: &str, rows_max: u32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.extend(rows_max.to_be_bytes());
    message('E', &body)
}

pub(crate) fn sync() -> Vec<u8> {
    message('S', b"")
}

/// A start-up packet of protocol 3.`minor`.
pub(crate) fn startup(minor: u16, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 3];
    body.extend(minor.to_be_bytes());
    for (name, value) in parameters {
        body.extend(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    let mut packet = length(body.len() + 4).to_vec();
    packet.extend(body);
    packet
}

impl Raw {
    /// A socket and nothing said on it.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("the gateway listens") }
    }

    /// A session of the superuser.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[("user", "conclave"), ("database", "conclave")]).await.0
    }

    /// A session, and what the server said at its start.
    pub(crate) async fn connect_with(
        address: SocketAddr,
        parameters: &[(&str, &str)],
    ) -> (Self, Vec<Answer>) {
        let mut raw = Self::open(address).await;
        raw.send(&startup(0, parameters)).await;
        let answers = raw.until_ready().await;
        (raw, answers)
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the gateway reads");
    }

    /// The next message, or `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        soon("an answer", async {
            let tag = self.stream.read_u8().await.ok()?;
            let length = self.stream.read_u32().await.ok()?;
            let mut body = vec![0; usize::try_from(length).expect("it fits") - 4];
            self.stream.read_exact(&mut body).await.ok()?;
            Some(Answer { tag: char::from(tag), body })
        })
        .await
    }

    /// The messages up to ReadyForQuery, or up to the end of the connection.
    pub(crate) async fn until_ready(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(answer) = self.next().await {
            let ready = answer.tag == 'Z';
            answers.push(answer);
            if ready {
                break;
            }
        }
        answers
    }

    /// Sends and returns the tags of the answer up to ReadyForQuery.
    pub(crate) async fn tags(&mut self, bytes: &[u8]) -> String {
        self.send(bytes).await;
        self.until_ready().await.iter().map(|answer| answer.tag).collect()
    }

    /// Sends and returns the error in the answer.
    pub(crate) async fn error(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes).await;
        let answers = self.until_ready().await;
        let found = answers.iter().find(|answer| answer.tag == 'E').cloned();
        found.unwrap_or_else(|| panic!("no error in {answers:?}"))
    }

    /// True if a statement still works.
    pub(crate) async fn works(&mut self) -> bool {
        self.tags(&query("select 1")).await == "TDCZ"
    }
}
