//! Scripts of interleaved transactions, and what each level makes of them.
//!
//! ```text
//!   # why this must be so
//!   setup> CREATE TABLE …           before the sessions begin; `test` is there already
//!   1> BEGIN                        session 1 sends; nothing said: it must succeed
//!   2> UPDATE …
//!      all: waits                   session 2 waits for a lock
//!   1> COMMIT
//!      2 rc: 1 rows                 thereby session 2 goes on, at READ COMMITTED
//!      2 rr, ser: ERROR 40001
//!   check> SELECT …                 by somebody else, outside of a transaction
//!      all: 1|10 / 2|20
//! ```
//!
//! An outcome is the rows of a SELECT (or `none`), `n rows` of a write, `ok`, `waits`, or an error.
//! `waits` is asked of the server, not guessed from silence: as many requests wait for locks as sessions
//! have no answer. The runner does not know whether the server is a process or a fake.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An isolation level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Level {
    pub(crate) const ALL: [Level; 4] =
        [Level::ReadUncommitted, Level::ReadCommitted, Level::RepeatableRead, Level::Serializable];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::ReadUncommitted => "read uncommitted",
            Level::ReadCommitted => "read committed",
            Level::RepeatableRead => "repeatable read",
            Level::Serializable => "serializable",
        }
    }

    /// READ UNCOMMITTED promises what READ COMMITTED does.
    fn is_meant_by(self, word: &str) -> bool {
        match word {
            "all" => true,
            "rc" => matches!(self, Level::ReadUncommitted | Level::ReadCommitted),
            "rr" => self == Level::RepeatableRead,
            "ser" => self == Level::Serializable,
            other => panic!("no level is called {other:?}"),
        }
    }
}

/// What a statement came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<String>,
    pub(crate) count: u64,
}

/// One session. An error is its SQLSTATE, then its message.
pub(crate) trait Client: Send {
    fn run(&mut self, sql: String) -> BoxFuture<'_, Result<Answer, String>>;
}

/// What the sessions talk to.
pub(crate) trait Server: Sync {
    fn connect(&self) -> BoxFuture<'_, Box<dyn Client>>;
    /// Requests that wait for locks.
    fn waiting(&self) -> BoxFuture<'_, usize>;
}

#[derive(Debug)]
struct Step {
    line: usize,
    who: String,
    sql: String,
    /// Session (none: the step's own), levels, outcome.
    expected: Vec<(Option<String>, String, String)>,
}

/// A parsed script.
#[derive(Debug)]
pub(crate) struct Script {
    name: String,
    steps: Vec<Step>,
}

impl Script {
    /// All scripts of a folder, by name.
    pub(crate) fn all(folder: &str) -> Vec<Script> {
        let mut scripts: Vec<Script> = std::fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("{folder}: {error}"))
            .map(|entry| entry.expect("a file").path())
            .map(|path| {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                Script::parse(name, &std::fs::read_to_string(&path).expect("it is text"))
            })
            .collect();
        scripts.sort_by(|a, b| a.name.cmp(&b.name));
        assert!(scripts.len() >= 15, "the matrix is incomplete: {} scripts", scripts.len());
        scripts
    }

    fn parse(name: String, text: &str) -> Script {
        let mut steps: Vec<Step> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if let Some(expectation) = line.strip_prefix("   ") {
                let (whom, outcome) = expectation.split_once(": ").expect("levels: outcome");
                let (session, levels) = match whom.split_once(' ') {
                    Some((n, levels)) if n.parse::<u32>().is_ok() => (Some(n.to_owned()), levels),
                    _ => (None, whom),
                };
                let step = steps.last_mut().expect("an expectation follows a step");
                step.expected.push((session, levels.to_owned(), outcome.to_owned()));
            } else {
                let (who, sql) = line.split_once("> ").expect("session> statement");
                let (who, sql) = (who.to_owned(), sql.to_owned());
                steps.push(Step { line: at + 1, who, sql, expected: Vec::new() });
            }
        }
        Script { name, steps }
    }

    /// Plays it at one level and panics where it does not go as it should.
    pub(crate) async fn play(&self, server: &dyn Server, level: Level) {
        let mut stage = Stage {
            server,
            level,
            sessions: BTreeMap::new(),
            pending: BTreeMap::new(),
            script: &self.name,
        };
        for step in &self.steps {
            stage.step(step).await;
        }
        assert!(stage.pending.is_empty(), "{}: sessions are left waiting", self.name);
    }
}

type Outcome = Result<Answer, String>;

struct Session {
    send: mpsc::UnboundedSender<(String, oneshot::Sender<Outcome>)>,
}

struct Stage<'a> {
    server: &'a dyn Server,
    level: Level,
    sessions: BTreeMap<String, Session>,
    /// Statements without an answer: the text, and where the answer will come.
    pending: BTreeMap<String, (String, oneshot::Receiver<Outcome>)>,
    script: &'a str,
}

impl Stage<'_> {
    async fn step(&mut self, step: &Step) {
        let mine = self.wanted(step, None).unwrap_or_else(|| match shape(&step.sql) {
            Shape::Rows | Shape::Count => panic!("{}: nothing expected", self.at(step)),
            Shape::Nothing => "ok".to_owned(),
        });
        self.send(&step.who, &step.sql).await;
        if mine == "waits" {
            self.until_waiting(step).await;
        } else {
            self.finish(step, &step.who, &mine).await;
        }
        let others: Vec<String> =
            step.expected.iter().filter_map(|(session, ..)| session.clone()).collect();
        for session in others {
            if let Some(wanted) = self.wanted(step, Some(&session))
                && self.pending.contains_key(&session)
            {
                self.finish(step, &session, &wanted).await;
            }
        }
    }

    fn at(&self, step: &Step) -> String {
        format!("{} at {}, line {}, {}", self.script, self.level.name(), step.line, step.sql)
    }

    fn wanted(&self, step: &Step, session: Option<&str>) -> Option<String> {
        let meant = |levels: &str| levels.split(", ").any(|word| self.level.is_meant_by(word));
        step.expected
            .iter()
            .find(|(whose, levels, _)| whose.as_deref() == session && meant(levels))
            .map(|(_, _, outcome)| outcome.clone())
    }

    async fn send(&mut self, who: &str, sql: &str) {
        if !self.sessions.contains_key(who) {
            let session = self.open(who).await;
            self.sessions.insert(who.to_owned(), session);
        }
        let (answer, answered) = oneshot::channel();
        let sent = self.sessions[who].send.send((sql.to_owned(), answer));
        sent.expect("the session is there");
        self.pending.insert(who.to_owned(), (sql.to_owned(), answered));
    }

    async fn open(&self, who: &str) -> Session {
        let mut client = self.server.connect().await;
        if who != "check" && who != "setup" {
            let set = format!("SET default_transaction_isolation = '{}'", self.level.name());
            client.run(set).await.expect("the level is known");
        }
        let (send, mut receive) = mpsc::unbounded_channel::<(String, oneshot::Sender<Outcome>)>();
        tokio::spawn(async move {
            while let Some((sql, answer)) = receive.recv().await {
                // The script may have failed meanwhile.
                drop(answer.send(client.run(sql).await));
            }
        });
        Session { send }
    }

    async fn until_waiting(&mut self, step: &Step) {
        let waiting = async {
            loop {
                let (_, answered) = self.pending.get_mut(&step.who).expect("just sent");
                if let Ok(outcome) = answered.try_recv() {
                    return Some(outcome);
                }
                if self.server.waiting().await >= self.pending.len() {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(None) => {}
            Ok(Some(outcome)) => panic!("{}: does not wait: {outcome:?}", self.at(step)),
            Err(_) => panic!("{}: neither waits nor ends", self.at(step)),
        }
    }

    async fn finish(&mut self, step: &Step, who: &str, wanted: &str) {
        let (sql, answered) = self.pending.remove(who).expect("something was sent");
        let outcome = match tokio::time::timeout(PATIENCE, answered).await {
            Ok(outcome) => outcome.expect("the session answers"),
            Err(_) => panic!("{}: session {who} gets no answer", self.at(step)),
        };
        let shown = match &outcome {
            Err(error) => format!("ERROR {error}"),
            Ok(answer) => match shape(&sql) {
                Shape::Rows if answer.rows.is_empty() => "none".to_owned(),
                Shape::Rows => answer.rows.join(" / "),
                Shape::Count => format!("{} rows", answer.count),
                Shape::Nothing => "ok".to_owned(),
            },
        };
        let same = match wanted.starts_with("ERROR") {
            true => shown.starts_with(wanted),
            false => shown == wanted,
        };
        assert!(same, "{}: session {who} got {shown:?}, not {wanted:?}", self.at(step));
    }
}

enum Shape {
    Rows,
    Count,
    Nothing,
}

fn shape(sql: &str) -> Shape {
    match sql.split(' ').next().expect("a word") {
        "SELECT" => Shape::Rows,
        "UPDATE" | "DELETE" | "INSERT" => Shape::Count,
        _ => Shape::Nothing,
    }
}
