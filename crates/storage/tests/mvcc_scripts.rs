//! Runs `scripts/mvcc`: what versions, locks, records and garbage collection do, one behaviour a
//! file.
//!
//! ```text
//!   put ts=5 [txn=5] a=1 b=2      versions                  del ts=7 [txn=7] a b
//!   get a ts=6                    newest a                  by a txn=5 [from=0]
//!   scan [start [end]] ts=20 [reverse=yes] [rows=2] [bytes=9] [txn=5]
//!   changed start [end] from=5 to=9                         key=yes: of the key only
//!   lock txn=5 min=6 a=1 b=2      [kind=put|delete|only] [primary=a] [parallel=yes]
//!   locks [start [end]]           unlock a
//!   record a txn=5 commit=7 [settled=yes] | rollback=yes    outcome a txn=5, forget a txn=5
//!   gc ts=20 [bytes=1000] [once=yes]                        collect below=20
//!   split [start [end]]           stats                     dump
//! ```

use std::error::Error;
use std::fmt::Write as _;

use base::{Key, KeyRange, NodeId, Timestamp, TxnId};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use storage::mvcc::{self, Lock, LockKind, ScanOptions, TxnRecord};
use storage::{Engine as _, EngineRead, Family, IterOptions, MemEngine, WriteBatch};

type Answer = Result<String, Box<dyn Error>>;

#[derive(Default)]
struct Script {
    engine: MemEngine,
}

#[test]
fn mvcc_scripts() {
    let directory = std::path::Path::new("scripts/mvcc");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("the scripts") {
        let path = entry.expect("a script").path();
        println!("{}", path.display());
        goldenscript::run(&mut Script::default(), &path).expect("runs");
        count += 1;
    }
    assert!(count > 10, "only {count} scripts in {directory:?}");
}

/// The arguments of a command, taken one by one.
struct Args<'a>(ArgumentConsumer<'a>);

impl<'a> Args<'a> {
    fn named(&mut self, name: &str) -> Option<&'a str> {
        self.0.take_key(name)
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, Box<dyn Error>> {
        Ok(self.named(name).map(str::parse).transpose()?)
    }

    fn ts(&mut self, name: &str) -> Result<Timestamp, Box<dyn Error>> {
        Ok(Timestamp(self.number(name)?.ok_or_else(|| format!("{name}= is missing"))?))
    }

    fn txn(&mut self) -> Result<Option<TxnId>, Box<dyn Error>> {
        Ok(self.number("txn")?.map(TxnId))
    }

    fn yes(&mut self, name: &str) -> bool {
        self.named(name).is_some()
    }

    fn word(&mut self) -> Option<&'a str> {
        self.0.next_pos()
    }

    fn key(&mut self) -> Result<&'a [u8], Box<dyn Error>> {
        Ok(self.word().ok_or("a key is missing")?.as_bytes())
    }

    fn span(&mut self) -> KeyRange {
        let mut key = || Key::from(self.word().unwrap_or_default().as_bytes().to_vec());
        KeyRange { start: key(), end: key() }
    }

    fn pairs(&mut self) -> Vec<(&'a [u8], &'a [u8])> {
        let pairs = std::iter::from_fn(|| self.0.next_key());
        pairs.map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn show_span(span: &KeyRange) -> String {
    span.to_string()
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Answer {
        let mut args = Args(command.consume_args());
        let answer = match command.name.as_str() {
            "put" | "del" | "lock" | "unlock" | "record" | "forget" => {
                self.write(command, &mut args)
            }
            "get" | "newest" | "by" | "scan" | "changed" => self.read(command, &mut args),
            "locks" | "outcome" => self.states(command, &mut args),
            "gc" => self.gc(&mut args),
            "collect" => {
                let below = args.ts("below")?;
                let page =
                    mvcc::collect_records(&self.engine, &KeyRange::ALL, below, usize::MAX, 0)?;
                self.engine.write(&page.batch)?;
                Ok(format!("{} dropped", page.dropped))
            }
            "split" => Ok(match mvcc::split_key(&self.engine, &args.span())? {
                Some(key) => format!("at {key}"),
                None => "not possible".into(),
            }),
            "stats" => {
                let stats = mvcc::span_stats(&self.engine, &args.span())?;
                Ok(format!("{} keys, {} versions", stats.keys, stats.versions))
            }
            "dump" => self.dump(),
            name => Err(format!("unknown command {name}").into()),
        }?;
        args.0.reject_next()?;
        Ok(answer)
    }
}

impl Script {
    fn write(&mut self, command: &Command, args: &mut Args<'_>) -> Answer {
        let mut batch = WriteBatch::new();
        match command.name.as_str() {
            "put" => {
                let ts = args.ts("ts")?;
                let txn = args.txn()?.unwrap_or(ts.into());
                for (key, value) in args.pairs() {
                    mvcc::put_version(&mut batch, key, ts, txn, Some(value));
                }
            }
            "del" => {
                let ts = args.ts("ts")?;
                let txn = args.txn()?.unwrap_or(ts.into());
                while let Some(key) = args.word() {
                    mvcc::put_version(&mut batch, key.as_bytes(), ts, txn, None);
                }
            }
            "lock" => place_locks(&mut batch, args)?,
            "unlock" => mvcc::delete_lock(&mut batch, args.key()?),
            "record" => {
                let (key, txn) = (args.key()?, args.txn()?.ok_or("txn= is missing")?);
                let record = match args.number("commit")? {
                    Some(ts) => {
                        let settled = args.yes("settled");
                        TxnRecord::Committed { ts: Timestamp(ts), settled }
                    }
                    None if args.yes("rollback") => TxnRecord::RolledBack,
                    None => return Err("commit= or rollback=yes is missing".into()),
                };
                mvcc::put_record(&mut batch, key, txn, record);
            }
            _ => {
                let key = args.key()?;
                mvcc::delete_record(&mut batch, key, args.txn()?.ok_or("txn= is missing")?);
            }
        }
        self.engine.write(&batch)?;
        Ok(String::new())
    }

    fn read(&self, command: &Command, args: &mut Args<'_>) -> Answer {
        let engine = &self.engine as &dyn EngineRead;
        let none = || "none".to_owned();
        let answer = match command.name.as_str() {
            "get" => {
                let found = mvcc::get_at(engine, args.key()?, args.ts("ts")?)?;
                found.map_or_else(none, |version| {
                    format!("{} @{}", text(&version.value), version.ts)
                })
            }
            "newest" => {
                let key = args.key()?;
                let found = mvcc::newest_version(engine, key)?;
                assert_eq!(found.as_ref().map(|newest| newest.ts), mvcc::newest_ts(engine, key)?);
                found.map_or_else(none, |newest| {
                    let value = newest.value.map_or("deleted".into(), |value| text(&value));
                    format!("{value} @{} by {}", newest.ts, newest.txn)
                })
            }
            "by" => {
                let txn = args.txn()?.ok_or("txn= is missing")?;
                let from = Timestamp(args.number("from")?.unwrap_or(0));
                let found = mvcc::version_by(engine, args.key()?, txn, from)?;
                found.map_or_else(none, |ts| format!("@{ts}"))
            }
            "changed" => {
                let (from, to) = (args.ts("from")?, args.ts("to")?);
                if args.yes("key") {
                    let found = mvcc::changed_key(engine, args.key()?, from, to)?;
                    found.map_or_else(none, |ts| format!("@{ts}"))
                } else {
                    let found = mvcc::changed_in_span(engine, &args.span(), from, to)?;
                    found.map_or_else(none, |(key, ts)| format!("{key} @{ts}"))
                }
            }
            _ => return self.scan(args),
        };
        Ok(format!("{command} → {answer}"))
    }

    fn scan(&self, args: &mut Args<'_>) -> Answer {
        let ts = args.ts("ts")?;
        let size = |n: Option<u64>| usize::try_from(n.unwrap_or(0));
        let options = ScanOptions {
            reverse: args.yes("reverse"),
            max_rows: size(args.number("rows")?)?,
            max_bytes: size(args.number("bytes")?)?,
            txn: args.txn()?,
            skip_locks: false,
        };
        let page = mvcc::scan_at(&self.engine, &args.span(), ts, options)?;
        let mut out = String::new();
        for row in &page.rows {
            writeln!(out, "{}={} @{}", row.key, text(&row.value), row.ts)?;
        }
        for (key, lock) in &page.locks {
            writeln!(out, "{key} is locked by {} from {}", lock.txn, lock.min_commit_ts)?;
        }
        match page.resume {
            Some(rest) => writeln!(out, "more in {}", show_span(&rest))?,
            None => writeln!(out, "end")?,
        }
        Ok(out)
    }

    fn states(&self, command: &Command, args: &mut Args<'_>) -> Answer {
        if command.name == "outcome" {
            let txn = args.txn()?.ok_or("txn= is missing")?;
            let record = mvcc::get_record(&self.engine, args.key()?, txn)?;
            let answer = match record {
                None => "unknown".into(),
                Some(TxnRecord::RolledBack) => "rolled back".into(),
                Some(TxnRecord::Committed { ts, settled }) => {
                    format!("committed @{ts}{}", if settled { ", settled" } else { "" })
                }
            };
            return Ok(format!("{command} → {answer}"));
        }
        let locks = mvcc::locks_in_span(&self.engine, &args.span(), 0, |_| true)?;
        let mut out = String::new();
        for (key, lock) in locks {
            assert_eq!(mvcc::get_lock(&self.engine, key.as_bytes())?.as_ref(), Some(&lock));
            let Lock { txn, kind, min_commit_ts, primary, parallel, secondaries, .. } = &lock;
            write!(out, "{key} {kind:?} {} by {txn} from {min_commit_ts}", text(&lock.value))?;
            write!(out, ", primary {primary}{}", if *parallel { ", parallel" } else { "" })?;
            if !secondaries.is_empty() {
                write!(out, " with {secondaries:?}")?;
            }
            writeln!(out)?;
        }
        if out.is_empty() { Ok("no locks".into()) } else { Ok(out) }
    }

    fn gc(&mut self, args: &mut Args<'_>) -> Answer {
        let safe_point = args.ts("ts")?;
        let bytes = usize::try_from(args.number("bytes")?.unwrap_or(u64::from(u32::MAX)))?;
        let (once, mut span, mut out) = (args.yes("once"), args.span(), String::new());
        loop {
            let page = mvcc::gc(&self.engine, &span, safe_point, bytes, 0)?;
            self.engine.write(&page.batch)?;
            write!(out, "{} dropped", page.dropped)?;
            let Some(key) = page.resume else { break Ok(out) };
            writeln!(out, ", more from {key}")?;
            if once {
                break Ok(out);
            }
            span.start = key;
        }
    }

    /// All versions and locks, newest version first.
    fn dump(&self) -> Answer {
        let mut out = String::new();
        let iter = |family| self.engine.iter(family, &KeyRange::ALL, IterOptions::default());
        let mut versions = iter(Family::Data)?;
        let mut found = versions.seek_to_first()?;
        let mut key = Vec::new();
        while found {
            let (user, ts) = mvcc::encoding::split_data_key(versions.key())?;
            key.clear();
            mvcc::encoding::decode_user_key(user, &mut key)?;
            let value = mvcc::get_at(&self.engine, &key, ts)?;
            let value = value.map_or("deleted".into(), |version| text(&version.value));
            writeln!(out, "{}@{ts} {value}", text(&key))?;
            found = versions.next()?;
        }
        if out.is_empty() { Ok("nothing".into()) } else { Ok(out) }
    }
}

fn place_locks(batch: &mut WriteBatch, args: &mut Args<'_>) -> Result<(), Box<dyn Error>> {
    let txn = args.txn()?.ok_or("txn= is missing")?;
    let min_commit_ts = args.ts("min")?;
    let kind = match args.named("kind") {
        None | Some("put") => LockKind::Put,
        Some("delete") => LockKind::Delete,
        Some("only") => LockKind::LockOnly,
        Some(kind) => return Err(format!("unknown kind {kind}").into()),
    };
    let (primary, parallel) = (args.named("primary"), args.yes("parallel"));
    let pairs = args.pairs();
    let keys: Vec<Key> = pairs.iter().map(|(key, _)| key.to_vec().into()).collect();
    let first = keys.first().ok_or("a key is missing")?;
    let primary = primary.map_or(first.clone(), |key| key.as_bytes().to_vec().into());
    for (key, value) in &pairs {
        let is_primary = primary.as_bytes() == *key;
        let secondaries = if is_primary && parallel { keys[1..].to_vec() } else { vec![] };
        let lock = Lock {
            txn,
            start_ts: Timestamp(txn.0),
            primary: primary.clone(),
            kind,
            value: value.to_vec().into(),
            ttl_ms: 3000,
            min_commit_ts,
            parallel,
            secondaries,
            coordinator: NodeId(1),
            incarnation: 7,
        };
        mvcc::put_lock(batch, key, &lock);
    }
    Ok(())
}
