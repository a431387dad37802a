//! A cycle in words: its class, what each edge rests on, and what the transactions did.
//!
//! ```text
//!   T1 appended 3 to k5, and T2 read k5 up to it.                    T1 before T2 (wr)
//!   T2 read k7 = nothing without 4, which T1 appended.               T2 before T1 (rw)
//!
//!   T1  SERIALIZABLE, process 0, 10 to 25
//!       append 3 to k5         UPDATE lists SET v = v || 3 WHERE k = 5
//! ```

use std::fmt::Write as _;

use crate::anomaly::{Anomaly, Class};
use crate::edge::{Edge, Kind, Proof};
use crate::history::{Action, Key, Outcome, Row, Snapshot, Txn, Value};
use crate::trace::{Trace, show_list};

/// Statements told of one transaction, at most: those about the keys of the cycle come first.
const OPS_TOLD: usize = 12;

/// The anomaly that a cycle is.
pub(crate) fn anomaly(trace: &Trace<'_>, cycle: Vec<Edge>) -> Anomaly {
    let mut text = String::new();
    for edge in &cycle {
        let (from, to) = (trace.txn(edge.from), trace.txn(edge.to));
        let line = format!("{}.", sentence(edge, from, to));
        let order = format!("T{} before T{} ({})", from.id, to.id, short(edge.kind));
        writeln!(text, "  {line:<70} {order}").expect("strings grow");
    }
    let keys: Vec<Key> = cycle.iter().filter_map(|edge| key(&edge.proof)).collect();
    for edge in &cycle {
        tell(&mut text, trace.txn(edge.from), &keys);
    }
    Anomaly {
        class: class(&cycle),
        real_time: cycle.iter().any(|edge| edge.kind == Kind::RealTime),
        txns: cycle.iter().map(|edge| trace.txn(edge.from).id).collect(),
        text,
        cycle,
    }
}

fn is_rw(edge: &Edge) -> bool {
    matches!(edge.kind, Kind::Rw | Kind::RwPredicate)
}

fn class(cycle: &[Edge]) -> Class {
    let rw = cycle.iter().filter(|edge| is_rw(edge)).count();
    let next = cycle.iter().cycle().skip(1);
    let adjacent = cycle.iter().zip(next).any(|(a, b)| is_rw(a) && is_rw(b));
    let has = |kind: Kind| cycle.iter().any(|edge| edge.kind == kind);
    match rw {
        0 if has(Kind::Wr) => Class::G1c,
        0 => Class::G0,
        1 if cycle.len() == 2 && has(Kind::Ww) && key(&cycle[0].proof) == key(&cycle[1].proof) => {
            Class::LostUpdate
        }
        1 => Class::GSingle,
        _ if !adjacent => Class::GNonadjacent,
        _ if has(Kind::RwPredicate) => Class::G2,
        _ => Class::G2Item,
    }
}

fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Ww => "ww",
        Kind::Wr => "wr",
        Kind::Rw => "rw",
        Kind::RwPredicate => "rw, by a scan",
        Kind::RealTime => "real time",
    }
}

fn key(proof: &Proof) -> Option<Key> {
    match proof {
        Proof::Appended { key, .. }
        | Proof::Overwrote { key, .. }
        | Proof::Saw { key, .. }
        | Proof::Missed { key, .. } => Some(*key),
        Proof::Clock => None,
    }
}

fn sentence(edge: &Edge, from: &Txn, to: &Txn) -> String {
    let (from, to) = (from.id, to.id);
    match edge.proof {
        Proof::Appended { key, first, then } => {
            format!("T{from} appended {first} to {key}, and T{to} {then} behind it")
        }
        Proof::Overwrote { key, first, then } => {
            format!("T{from} wrote {key} = {first}, which T{to} replaced by {then}")
        }
        Proof::Saw { key, value, list: true } => {
            format!("T{from} appended {value} to {key}, and T{to} read {key} up to it")
        }
        Proof::Saw { key, value, list: false } => {
            format!("T{from} wrote {key} = {value}, and T{to} read it")
        }
        Proof::Missed { key, saw, value, list } => {
            let saw = match (saw, list) {
                (None, _) => "nothing".to_owned(),
                (Some(saw), true) => format!("[… {saw}]"),
                (Some(saw), false) => saw.to_string(),
            };
            let wrote = if list { "appended" } else { "wrote" };
            format!("T{from} read {key} = {saw}, not yet {value}, which T{to} {wrote}")
        }
        Proof::Clock => format!("T{from} was acknowledged before T{to} began"),
    }
}

fn tell(text: &mut String, txn: &Txn, keys: &[Key]) {
    let how = match (txn.snapshot, txn.outcome) {
        (Some(Snapshot::AsOf(_)), _) => ", of a past snapshot",
        (Some(Snapshot::Now), _) => ", read only",
        (None, Outcome::Unknown) => ", outcome unknown to its client",
        (None, Outcome::Ok | Outcome::Failed) => "",
    };
    let ends = match txn.outcome {
        Outcome::Ok | Outcome::Failed => format!("{} to {}", txn.invoked, txn.completed),
        Outcome::Unknown => format!("from {}", txn.invoked),
    };
    let (id, level, process) = (txn.id, txn.level, txn.process);
    writeln!(text, "\n  T{id}  {level}{how}, process {process}, {ends}").expect("strings grow");
    let about = |action: &Action| match action {
        Action::Append(key, _)
        | Action::List(key, _)
        | Action::Write(key, _)
        | Action::Read(key, _) => keys.contains(key),
        Action::Scan(scan) => keys.iter().any(|key| (scan.from..scan.to).contains(key)),
    };
    let all = txn.ops.len() <= OPS_TOLD;
    let told = txn.ops.iter().filter(|op| all || about(&op.action)).take(OPS_TOLD);
    let mut count = 0;
    for op in told {
        count += 1;
        let line =
            format!("      {:<40} {}", show(&op.action), op.sql.as_deref().unwrap_or_default());
        writeln!(text, "{}", line.trim_end()).expect("strings grow");
    }
    if count < txn.ops.len() {
        writeln!(text, "      and {} more", txn.ops.len() - count).expect("strings grow");
    }
}

fn show(action: &Action) -> String {
    match action {
        Action::Append(key, value) => format!("append {value} to {key}"),
        Action::List(key, list) => format!("read {key}: {}", show_list(list)),
        Action::Write(key, value) => format!("write {key} = {value}"),
        Action::Read(key, Some(value)) => format!("read {key}: {value}"),
        Action::Read(key, None) => format!("read {key}: nothing"),
        Action::Scan(scan) => {
            let rows: Vec<String> = scan
                .rows
                .iter()
                .map(|Row(key, value)| match value {
                    Value::Number(number) => format!("{key}={number}"),
                    Value::List(list) => format!("{key}={}", show_list(list)),
                })
                .collect();
            format!("scan {} to {}: {}", scan.from, scan.to, rows.join(" "))
        }
    }
}
