//! Runs the golden scripts under `scripts/`. `UPDATE_GOLDENFILES=1 cargo test -p checker --test scripts`
//! rewrites them.
//!
//! ```text
//!   t1: begin [level=rc|rr|ser] [snapshot] [asof=T]     each begin, commit and abort is one instant later
//!   t1: append k 3      t1: list k 1 2 3
//!   t1: write k 7       t1: read k 7        t1: read k
//!   t1: scan 0 10 1=7 2=8                   t1: scan 0 10 1="[1,2]"
//!   t1: commit [ts=N]   t1: abort           t1: unknown
//!   check [rc|rr|ser]   [timestamps]        bank 100   floor 0   set   forks   causal   ids   lines
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use checker::invariants::{Violation, forks, growing, sums, values};
use checker::{
    Action, History, Key, Level, Op, Options, Outcome, Row, Scan, Snapshot, Txn, Value, check,
};
use goldenscript::{Command, Context, Runner};

type Fallible<T> = Result<T, Box<dyn Error>>;

#[test]
fn scripts() {
    let folder = Path::new("scripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    for path in paths {
        goldenscript::run(&mut Script::default(), &path).expect("the script runs");
    }
}

/// Transactions by number, those not yet ended too.
#[derive(Default)]
struct Script {
    txns: BTreeMap<u64, Txn>,
    clock: u64,
}

fn level(text: &str) -> Fallible<Level> {
    match text {
        "rc" => Ok(Level::ReadCommitted),
        "rr" => Ok(Level::RepeatableRead),
        "ser" => Ok(Level::Serializable),
        other => Err(format!("no level: {other}").into()),
    }
}

fn key(text: &str) -> Fallible<Key> {
    Ok(Key(text.trim_start_matches('k').parse()?))
}

fn words(command: &Command) -> Vec<&str> {
    let mut args = command.consume_args();
    std::iter::from_fn(|| args.next_pos()).collect()
}

impl Script {
    fn history(&self) -> History {
        History { txns: self.txns.values().cloned().collect() }
    }

    fn in_txn(&mut self, id: u64, command: &Command) -> Fallible<()> {
        let words = words(command);
        let named = |name: &str| command.consume_args().take_key(name);
        if command.name == "begin" {
            self.clock += 1;
            let as_of = named("asof").map(str::parse).transpose()?;
            let snapshot = if as_of.is_some() {
                Some(Snapshot::AsOf(as_of))
            } else {
                words.contains(&"snapshot").then_some(Snapshot::Now)
            };
            self.txns.insert(
                id,
                Txn {
                    id,
                    process: u32::try_from(id)?,
                    invoked: self.clock,
                    completed: u64::MAX,
                    outcome: Outcome::Unknown,
                    level: level(named("level").unwrap_or("ser"))?,
                    snapshot,
                    commit_ts: None,
                    ops: Vec::new(),
                },
            );
            return Ok(());
        }
        let txn = self.txns.get_mut(&id).ok_or("not begun")?;
        let outcome = match command.name.as_str() {
            "commit" => Outcome::Ok,
            "abort" => Outcome::Failed,
            "unknown" => Outcome::Unknown,
            other => {
                txn.ops.push(op(other, command)?);
                return Ok(());
            }
        };
        self.clock += 1;
        (txn.outcome, txn.completed) = (outcome, self.clock);
        txn.commit_ts = named("ts").map(str::parse).transpose()?;
        Ok(())
    }

    fn check(&self, command: &Command) -> Fallible<String> {
        let words = words(command);
        let trust_timestamps = words.contains(&"timestamps");
        let of = words.iter().find(|word| **word != "timestamps");
        let options = Options { level: of.map(|word| level(word)).transpose()?, trust_timestamps };
        let report = match check(&self.history(), &options) {
            Ok(report) => report,
            Err(error) => return Ok(format!("refused: {error}\n")),
        };
        let mut text = String::new();
        if report.valid() {
            writeln!(text, "valid, {} committed", report.committed)?;
        }
        let counts: usize = report.counts.values().sum();
        assert_eq!(report.anomalies.len(), counts, "scripts are small");
        for anomaly in &report.anomalies {
            // Only what differs from script to script: the transactions' own lines repeat the script.
            let story = anomaly.text.split("\n\n").next().unwrap_or_default();
            writeln!(text, "{}\n{}", anomaly.title(), story.trim_end())?;
        }
        Ok(text)
    }
}

fn op(name: &str, command: &Command) -> Fallible<Op> {
    let words = words(command);
    let first = key(words.first().ok_or("a key is missing")?)?;
    let number = |n: usize| -> Fallible<i64> { Ok(words.get(n).ok_or("no value")?.parse()?) };
    let action = match name {
        "append" => Action::Append(first, number(1)?),
        "list" => Action::List(
            first,
            words[1..].iter().map(|word| word.parse()).collect::<Result<_, _>>()?,
        ),
        "write" => Action::Write(first, number(1)?),
        "read" => Action::Read(first, words.get(1).map(|word| word.parse()).transpose()?),
        "scan" => {
            let mut args = command.consume_args();
            let rows = std::iter::from_fn(|| args.next_key())
                .map(|(of, value)| Ok(Row(key(of)?, serde_json::from_str::<Value>(value)?)))
                .collect::<Fallible<_>>()?;
            Action::Scan(Scan { from: first, to: key(words[1])?, rows })
        }
        other => return Err(format!("unknown command {other}").into()),
    };
    Ok(Op::from(action))
}

fn told(found: Vec<Violation>) -> String {
    if found.is_empty() {
        return "holds\n".to_owned();
    }
    found.into_iter().map(|violation| violation.text + "\n").collect()
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Fallible<String> {
        if let Some(prefix) = &context.prefix {
            self.in_txn(prefix.trim_start_matches('t').parse()?, command)?;
            return Ok(String::new());
        }
        let history = self.history();
        let number = || -> Fallible<i64> {
            Ok(words(command).first().ok_or("a number is missing")?.parse()?)
        };
        Ok(match command.name.as_str() {
            "check" => self.check(command)?,
            "bank" => told(sums::check(&history, sums::Total::Exactly(number()?))),
            "floor" => told(sums::check(&history, sums::Total::AtLeast(number()?))),
            "set" => told(growing::check(&history)),
            "forks" => told(forks::long_forks(&history)),
            "causal" => told(forks::causal_reverses(&history)),
            "ids" => told(values::duplicate_ids(&history)),
            "only" => {
                let only = number()?;
                told(values::outside(&history, |value| value == only))
            }
            "story" => {
                let report = check(&history, &Options::default())?;
                report.anomalies.iter().map(ToString::to_string).collect()
            }
            "lines" => {
                let mut lines = Vec::new();
                history.write_lines(&mut lines)?;
                assert_eq!(History::read_lines(lines.as_slice())?, history, "lines read back");
                String::from_utf8(lines)?
            }
            "clear" => {
                *self = Script::default();
                String::new()
            }
            other => return Err(format!("unknown command {other}").into()),
        })
    }
}
