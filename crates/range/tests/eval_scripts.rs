//! Runs the golden scripts under `scripts/eval/`: one range's evaluator over an engine in memory.
//! `UPDATE_GOLDENFILES=1 cargo test -p range --test eval_scripts` rewrites them.
//!
//! Proposals are applied at the end of each command, unless it is tagged `[hold]`; `apply` applies what
//! was held. An answer is printed with the name of who asked, when it comes.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use base::{Key, KeyRange, NodeId, Timestamp};
use bytes::Bytes;
use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use proto::kv::{self, kv_error::Error as E, range_request::Request, range_response::Response};
use range::eval::{Config, Effect, Evaluator, ProposalId, Token, read_closed};
use storage::{Engine, MemEngine, WriteBatch, mvcc};
use txn::Rules;
use txn::lock_table::Strength;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Range {
    engine: MemEngine,
    evaluator: Evaluator,
    now: u64,
    next: u64,
    asked: BTreeMap<Token, String>,
    log: VecDeque<(ProposalId, WriteBatch)>,
}

#[test]
fn eval() {
    let folder = Path::new("scripts/eval");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    for path in paths {
        let mut range = Range {
            engine: MemEngine::new(),
            evaluator: Evaluator::new(KeyRange::ALL, Timestamp(1), Config::default()),
            now: 1_000_000,
            next: 1,
            asked: BTreeMap::new(),
            log: VecDeque::new(),
        };
        goldenscript::run(&mut range, &path).expect("the script runs");
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// `t12` or `t12@n3`.
fn txn(text: &str) -> Result<kv::TxnMeta> {
    let (txn, node) = text.split_once('@').unwrap_or((text, "n1"));
    let id = txn.trim_start_matches('t').parse()?;
    let coordinator = node.trim_start_matches('n').parse()?;
    Ok(kv::TxnMeta { id, start_ts: id, isolation: 0, coordinator, incarnation: 1 })
}

fn number(args: &mut ArgumentConsumer<'_>, name: &str) -> Result<u64> {
    Ok(args.take_key(name).map(str::parse).transpose()?.unwrap_or(0))
}

fn rest(args: &mut ArgumentConsumer<'_>) -> Vec<Bytes> {
    std::iter::from_fn(|| args.next_pos()).map(bytes).collect()
}

/// `x=1` puts, `x=` deletes, `x=1@7` puts what was seen at version 7, `x=new/1` must not exist.
fn writes(args: &mut ArgumentConsumer<'_>) -> Result<(Vec<kv::Write>, Vec<u32>)> {
    let (mut writes, mut must_not_exist) = (Vec::new(), Vec::new());
    while let Some((key, text)) = args.next_key() {
        let (text, seen_ts) = match text.split_once('@') {
            Some((text, seen)) => (text, Some(seen.parse()?)),
            None => (text, None),
        };
        let text = match text.strip_prefix("new/") {
            Some(text) => {
                must_not_exist.push(writes.len() as u32);
                text
            }
            None => text,
        };
        let kind = if text.is_empty() { kv::write::Kind::Delete } else { kv::write::Kind::Put };
        writes.push(kv::Write { kind: kind as i32, key: bytes(key), value: bytes(text), seen_ts });
    }
    Ok((writes, must_not_exist))
}

/// `a-c,x-z`
fn spans(text: &str) -> Vec<kv::Span> {
    let spans = text.split(',').filter_map(|span| span.split_once('-'));
    let span = |(from, to)| kv::Span { start: bytes(from), end: bytes(to), ..kv::Span::default() };
    spans.map(span).collect()
}

/// How a lock is asked for: timeout, strength, whether to wait.
fn how(args: &mut ArgumentConsumer<'_>) -> Result<(u64, kv::Strength, kv::WaitPolicy)> {
    let timeout_ms = number(args, "timeout")?;
    let strength = match args.take_key("strength").unwrap_or("update") {
        "key-share" => kv::Strength::KeyShare,
        "share" => kv::Strength::Share,
        "no-key-update" => kv::Strength::NoKeyUpdate,
        _ => kv::Strength::Update,
    };
    let wait = match args.take_key("wait") {
        Some("no") => kv::WaitPolicy::Nowait,
        Some("skip") => kv::WaitPolicy::SkipLocked,
        _ => kv::WaitPolicy::Block,
    };
    Ok((timeout_ms, strength, wait))
}

fn points(keys: &str) -> Vec<kv::Span> {
    keys.split(',')
        .filter(|k| !k.is_empty())
        .map(|k| match k.split_once('@') {
            // A row locked and not written, seen at that version; `_key`: by KEY SHARE.
            Some((k, seen)) => {
                let key = Key(bytes(k));
                kv::Span {
                    end: key.next().0,
                    start: key.0,
                    from_ts: seen.trim_end_matches("_key").parse().ok(),
                    may_change: seen.ends_with("_key"),
                }
            }
            None => {
                let key = Key(bytes(k));
                kv::Span { end: key.next().0, start: key.0, ..kv::Span::default() }
            }
        })
        .collect()
}

impl Runner for Range {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String> {
        let mut args = command.consume_args();
        let mut out = String::new();
        match command.name.as_str() {
            "apply" => {}
            "dump" => self.dump(&mut out)?,
            "advance" => {
                self.now += args.next_pos().ok_or("milliseconds")?.parse::<u64>()? * 1000;
                let mut effects = Vec::new();
                self.evaluator.tick(&self.engine, self.now, &mut effects);
                self.take(effects, &mut out)?;
            }
            "gone" => {
                let node: u64 = args.next_pos().ok_or("node")?.trim_start_matches('n').parse()?;
                let mut effects = Vec::new();
                let node = NodeId(node);
                self.evaluator.node_gone(&self.engine, self.now, node, 1, &mut effects);
                self.take(effects, &mut out)?;
            }
            "silent" => {
                let node: u64 = args.next_pos().ok_or("node")?.trim_start_matches('n').parse()?;
                let mut effects = Vec::new();
                let node = NodeId(node);
                self.evaluator.node_silent(&self.engine, self.now, node, 1, &mut effects);
                self.take(effects, &mut out)?;
            }
            "pushed" => {
                let who = txn(args.next_pos().ok_or("transaction")?)?;
                let min = Timestamp(number(&mut args, "to")?);
                let mut effects = Vec::new();
                let id = base::TxnId(who.id);
                self.evaluator.pushed(&self.engine, self.now, id, min, &mut effects);
                self.take(effects, &mut out)?;
            }
            "new_leader" => {
                let low_water = Timestamp(number(&mut args, "low_water")?);
                let mut effects = Vec::new();
                let error = E::NotLeader(kv::NotLeader::default());
                self.evaluator.step_down(&error, &mut effects);
                self.take(effects, &mut out)?;
                self.log.clear();
                self.evaluator = Evaluator::new(KeyRange::ALL, low_water, Config::default());
            }
            // As a new leader that the old one has told of its locks; what is in flight is applied.
            "hand_over" => {
                let low_water = Timestamp(number(&mut args, "low_water")?);
                let mut effects = Vec::new();
                let error = E::NotLeader(kv::NotLeader::default());
                let locks = self.evaluator.hand_over(&error, &mut effects);
                self.take(effects, &mut out)?;
                self.apply(&mut out)?;
                self.evaluator = Evaluator::new(KeyRange::ALL, low_water, Config::default());
                for lock in &locks {
                    writeln!(out, "{} {}", lock.owner.txn, lock.place)?;
                    self.evaluator.install(lock);
                }
            }
            "close" => {
                let closed = self.evaluator.close_at(Timestamp(number(&mut args, "to")?));
                writeln!(out, "closed at {closed}")?;
            }
            // A follower that has applied all there is, and was promised that much.
            "follower" => {
                let closed = Timestamp(number(&mut args, "closed")?);
                let name = args.next_pos().ok_or("request")?.to_owned();
                let (who, request) = self.request(&name, &mut args)?;
                match read_closed(&self.engine, &Key::MIN, closed, &Rules::ALL, &request)? {
                    Some(response) => writeln!(out, "{who}: {}", shown(response))?,
                    None => writeln!(out, "{who}: ask the leader")?,
                }
            }
            "worth" => {
                let (point, records) = (number(&mut args, "to")?, number(&mut args, "records")?);
                let worth = self.evaluator.is_worth_collecting(
                    Timestamp(point),
                    Timestamp(if records == 0 { point } else { records }),
                    0,
                );
                writeln!(out, "{}", if worth { "worth a pass" } else { "nothing to collect" })?;
            }
            name => {
                let (who, request) = self.request(name, &mut args)?;
                let token = Token(self.next);
                self.next += 1;
                self.asked.insert(token, who);
                let (mut effects, before) = (Vec::new(), self.log.len());
                self.evaluator.request(&self.engine, self.now, token, request, &mut effects);
                self.take(effects, &mut out)?;
                let proposed = self.log.len() > before;
                match self.asked.get(&token) {
                    Some(who) if !proposed => writeln!(out, "{who} waits")?,
                    Some(who) if context.tags.contains("hold") => writeln!(out, "{who} in flight")?,
                    _ => {}
                }
            }
        }
        args.reject_next()?;
        if !context.tags.contains("hold") {
            self.apply(&mut out)?;
        }
        self.evaluator.check_invariants();
        Ok(out)
    }
}

impl Range {
    fn request(
        &mut self,
        name: &str,
        args: &mut ArgumentConsumer<'_>,
    ) -> Result<(String, kv::RangeRequest)> {
        let who = args.next_pos().ok_or("who")?.to_owned();
        let meta = if who.starts_with('t') { Some(txn(&who)?) } else { None };
        let txn_id = meta.map_or(0, |meta| meta.id);
        let read_ts = number(args, "read_ts")?.max(txn_id);
        let exact_ts = number(args, "exact")?;
        let request = match name {
            "get" => Request::Get(kv::Get { read_ts: number(args, "ts")?, keys: rest(args) }),
            "scan" => Request::Scan(kv::Scan {
                read_ts: number(args, "ts")?,
                max_rows: number(args, "limit")?,
                span: Some(kv::Span {
                    start: bytes(args.take_key("from").unwrap_or("")),
                    end: bytes(args.take_key("to").unwrap_or("")),
                    ..kv::Span::default()
                }),
                reverse: args.next_pos().is_some(),
                ..kv::Scan::default()
            }),
            "lock" => {
                let (timeout_ms, strength, wait) = how(args)?;
                Request::LockKeys(kv::LockKeys {
                    keys: rest(args),
                    strength: strength as i32,
                    wait: wait as i32,
                    want_values: true,
                    timeout_ms,
                })
            }
            // Spans as a-c,x-z; read at `read_ts`.
            "claim" => {
                let (timeout_ms, strength, wait) = how(args)?;
                Request::LockSpans(kv::LockSpans {
                    spans: spans(args.next_pos().ok_or("spans")?),
                    strength: strength as i32,
                    wait: wait as i32,
                    timeout_ms,
                    read_ts,
                })
            }
            "release" => {
                let spans = spans(args.take_key("spans").unwrap_or(""));
                let keys: Vec<_> = rest(args);
                let ended = keys.is_empty() && spans.is_empty();
                Request::ReleaseLocks(kv::ReleaseLocks { ended, keys, spans })
            }
            "commit" => {
                let read_spans = points(args.take_key("reads").unwrap_or(""));
                let (writes, must_not_exist) = writes(args)?;
                Request::CommitOnePhase(kv::CommitOnePhase {
                    writes,
                    read_spans,
                    read_ts,
                    exact_ts,
                    locked: vec![],
                    locked_span: None,
                    must_not_exist,
                })
            }
            "prewrite" => {
                let primary = bytes(args.take_key("primary").ok_or("primary")?);
                let list = args.take_key("list").map(|l| l.split(',').map(bytes).collect());
                let (writes, must_not_exist) = writes(args)?;
                Request::Prewrite(kv::Prewrite {
                    writes,
                    primary,
                    parallel: args.next_pos() != Some("plain"),
                    secondaries: list.unwrap_or_default(),
                    exact_ts,
                    read_ts,
                    ttl_ms: 1000,
                    must_not_exist,
                })
            }
            "refresh" => Request::Refresh(kv::Refresh {
                from_ts: number(args, "from")?,
                to_ts: number(args, "to")?,
                spans: points(args.next_pos().ok_or("keys")?),
            }),
            "heartbeat" => Request::Heartbeat(kv::Heartbeat { primary: rest(args).remove(0) }),
            "resolve" => {
                let commit_ts = number(args, "at")?;
                Request::Resolve(kv::Resolve { txn_id, keys: rest(args), commit_ts })
            }
            "end" => {
                let commit_ts = number(args, "at")?;
                let primary = bytes(args.next_pos().ok_or("primary")?);
                let settled = args.next_pos().is_some();
                Request::EndTxn(kv::EndTxn { txn_id, primary, commit_ts, settled })
            }
            "query" => {
                let push_above_ts = number(args, "push")?;
                let primary = bytes(args.next_pos().ok_or("primary")?);
                let (coordinator, incarnation) = (1, 1);
                Request::QueryTxn(kv::QueryTxn {
                    txn_id,
                    primary,
                    push_above_ts,
                    coordinator,
                    incarnation,
                })
            }
            "check" => {
                Request::CheckKeys(kv::CheckKeys { txn_id, keys: rest(args), prevent: true })
            }
            "load" => {
                let ts = number(args, "at")?;
                let fill = args.take_key("fill").is_some();
                let (writes, _) = writes(args)?;
                let row = |w: kv::Write| kv::KeyValue { key: w.key, value: w.value };
                Request::Load(kv::Load { rows: writes.into_iter().map(row).collect(), ts, fill })
            }
            "collect" => Request::Collect(kv::Collect {
                safe_point: number(args, "to")?,
                records_below: args.take_key("records").map(str::parse).transpose()?,
            }),
            other => return Err(format!("unknown command {other}").into()),
        };
        let of_txn = !matches!(
            request,
            Request::Resolve(_) | Request::EndTxn(_) | Request::QueryTxn(_) | Request::CheckKeys(_)
        );
        let meta = meta.filter(|_| of_txn);
        Ok((who, kv::RangeRequest { range_id: 1, txn: meta, request: Some(request) }))
    }

    fn apply(&mut self, out: &mut String) -> Result<()> {
        while let Some((proposal, batch)) = self.log.pop_front() {
            self.engine.write(&batch)?;
            let mut effects = Vec::new();
            self.evaluator.applied(&self.engine, self.now, proposal, &mut effects);
            self.take(effects, out)?;
        }
        Ok(())
    }

    fn take(&mut self, effects: Vec<Effect>, out: &mut String) -> Result<()> {
        for effect in effects {
            match effect {
                Effect::Respond { token, response } => {
                    let who = self.asked.remove(&token).ok_or("E4: answered twice")?;
                    writeln!(out, "{who}: {}", shown(response))?;
                }
                Effect::Propose { proposal, batch } => self.log.push_back((proposal, batch)),
                Effect::Notice { to, notice } => {
                    let behind: Vec<String> = notice
                        .blockers
                        .iter()
                        .map(|b| format!("t{}", b.txn.map_or(0, |t| t.id)))
                        .collect();
                    writeln!(out, "to {to}: t{} waits for {}", notice.waiter, behind.join(", "))?;
                }
                Effect::Settle(lock) => writeln!(
                    out,
                    "settle {} on {}, primary {}",
                    lock.owner.txn, lock.key, lock.primary
                )?,
            }
        }
        Ok(())
    }

    fn dump(&self, out: &mut String) -> Result<()> {
        for (key, lock) in mvcc::locks_in_span(&self.engine, &KeyRange::ALL, 0, |_| true)? {
            writeln!(out, "{key} replicated lock of {} from {}", lock.txn, lock.min_commit_ts)?;
        }
        for row in self.evaluator.lock_rows() {
            let what = match row.strength {
                Strength::KeyShare => "KS",
                Strength::Share => "S",
                Strength::NoKeyUpdate => "NKU",
                Strength::Update => "U",
            };
            let how = if row.granted { "holds" } else { "waits" };
            writeln!(out, "{} {} {how} {what}", row.place, row.owner.txn)?;
        }
        let mut at = Timestamp::MAX.prev();
        while at > Timestamp::ZERO {
            let page = mvcc::scan_at(&self.engine, &KeyRange::ALL, at, Default::default())?;
            let Some(newest) = page.rows.iter().map(|row| row.ts).max() else { break };
            for row in page.rows.iter().filter(|row| row.ts == newest) {
                writeln!(out, "{}@{} {}", row.key, row.ts, row.value.escape_ascii())?;
            }
            at = newest.prev();
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn value(value: &kv::OptionalValue) -> String {
    if value.present { text(&value.value) } else { "none".into() }
}

fn shown(response: kv::RangeResponse) -> String {
    if let Some(error) = response.error.and_then(|e| e.error) {
        return match error {
            E::LockConflict(e) => format!(
                "{} is held by t{}{}",
                text(&e.key),
                e.holder,
                if e.timed_out {
                    format!(", timed out after {} ms", e.waited_ms)
                } else {
                    String::new()
                }
            ),
            E::TimestampTooLow(e) => format!("too low, at least {}", e.min_ts),
            E::RefreshFailed(e) => format!("{} changed at {}", text(&e.key), e.version_ts),
            E::WriteConflict(e) => format!("{} has a version at {}", text(&e.key), e.version_ts),
            E::KeyExists(e) => format!("{} exists", text(&e.key)),
            E::TxnGone(e) => format!("gone: {}", e.reason),
            E::BelowGc(e) => format!("below the collection point {}", e.safe_point),
            E::NotLeader(_) => "not the leader".into(),
            E::Ambiguous(_) => "ambiguous".into(),
            other => format!("{other:?}"),
        };
    }
    match response.response.expect("an answer") {
        Response::Get(r) => r.values.iter().map(value).collect::<Vec<_>>().join(" "),
        Response::Scan(r) => {
            let mut rows: Vec<String> =
                r.rows.iter().map(|r| format!("{}={}", text(&r.key), text(&r.value))).collect();
            if let Some(rest) = r.resume {
                rows.push(format!("more from {}", KeyRange::from(rest)));
            }
            rows.join(" ")
        }
        Response::LockKeys(r) => {
            let locked = r.keys.iter().map(|k| match (&k.value, k.locked) {
                (_, false) => "skipped".into(),
                (Some(v), _) => format!("{}@{}", value(v), k.version_ts),
                (None, _) => format!("@{}", k.version_ts),
            });
            format!("locked {}", locked.collect::<Vec<String>>().join(" "))
        }
        Response::LockedSpans(r) if r.version_ts == 0 => "claimed".into(),
        Response::LockedSpans(r) => {
            format!("claimed, {} changed at {}", text(&r.key), r.version_ts)
        }
        Response::Committed(r) => format!("committed at {}", r.commit_ts),
        Response::Prewritten(r) => format!("placed, at least {}", r.min_commit_ts),
        Response::Done(_) => "done".into(),
        Response::TxnState(r) => match r.state() {
            kv::txn_state::State::Committed => format!("committed at {}", r.commit_ts),
            kv::txn_state::State::Pending => format!("pending, at least {}", r.min_commit_ts),
            kv::txn_state::State::Staging => {
                let keys: Vec<String> = r.secondaries.iter().map(|k| text(k)).collect();
                format!("staging from {}, also {}", r.min_commit_ts, keys.join(" "))
            }
            kv::txn_state::State::RolledBack => "rolled back".into(),
            kv::txn_state::State::Unknown => "unknown".into(),
        },
        Response::CheckKeys(r) => {
            let keys = r.keys.iter().map(|k| match k.state() {
                kv::checked_key::State::Locked => format!("locked@{}", k.ts),
                kv::checked_key::State::Committed => format!("committed@{}", k.ts),
                kv::checked_key::State::Prevented => "prevented".into(),
                kv::checked_key::State::Missing => "missing".into(),
            });
            keys.collect::<Vec<String>>().join(" ")
        }
        Response::Collected(r) => {
            format!("dropped {}{}", r.dropped, if r.more { ", more to come" } else { "" })
        }
        other => format!("{other:?}"),
    }
}
