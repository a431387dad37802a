//! What a person reads after a run.

use std::time::Duration;

use checker::{History, Outcome, Report};
use comfy_table::{CellAlignment, Table, presets};

use crate::args::CheckArgs;
use crate::run::Outlook;
use crate::timeline::{Event, Second};

/// Rows of the timeline, at most; a longer run has several seconds in a row.
const ROWS: usize = 60;
const BAR: usize = 40;

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
pub(crate) fn print(args: &CheckArgs, outlook: &Outlook) {
    println!("{}", timeline(&outlook.seconds, &outlook.events));
    println!("{}\n", counts(outlook));
    if !outlook.pauses.is_empty() {
        println!("{}\n", pauses(&outlook.pauses));
    }
    if !outlook.errors.is_empty() {
        println!("{}\n", errors(outlook));
    }
    for exit in &outlook.exits {
        println!("{exit}");
    }
    for checked in &outlook.checked {
        for anomaly in &checked.anomalies {
            println!("{:?}: {}\n", checked.workload, anomaly.trim_end());
        }
    }
    let verdict = if outlook.valid() { "no anomaly" } else { "ANOMALIES" };
    let past = if outlook.as_of { ", snapshots of the past too" } else { "" };
    println!("{verdict} at {}{past}", args.level.level());
}

/// One line on standard output.
#[expect(clippy::print_stdout, reason = "for whoever asked for it")]
pub(crate) fn note(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
pub(crate) fn print_recheck(history: &History, found: &Report) {
    println!(
        "{} transactions: {} ok, {} failed, {} unknown of which {} were seen; {} dependencies",
        history.txns.len(),
        history.count(Outcome::Ok),
        history.count(Outcome::Failed),
        history.count(Outcome::Unknown),
        found.revealed,
        found.edges,
    );
    for anomaly in &found.anomalies {
        println!("\n{anomaly}");
    }
    for (class, count) in &found.counts {
        println!("{count} × {class}");
    }
    println!("{}", if found.valid() { "no anomaly" } else { "ANOMALIES" });
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.to_vec());
    table
}

fn right(table: &mut Table, columns: std::ops::Range<usize>) {
    for n in columns {
        if let Some(column) = table.column_mut(n) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Throughput per second, with the faults beside it.
fn timeline(seconds: &[Second], events: &[Event]) -> String {
    let step = seconds.len().div_ceil(ROWS).max(1);
    let rows: Vec<(u32, u32, u32)> = seconds
        .chunks(step)
        .map(|chunk| {
            let sum = |of: fn(&Second) -> u32| chunk.iter().map(of).sum::<u32>();
            (sum(|s| s.ok), sum(|s| s.failed), sum(|s| s.unknown))
        })
        .collect();
    let most = rows.iter().map(|row| row.0).max().unwrap_or(0).max(1);
    let mut table = table(&["second", "ok", "failed", "unknown", "", ""]);
    for (n, (ok, failed, unknown)) in rows.iter().enumerate() {
        let within = |at: u64| usize::try_from(at / 1_000_000).is_ok_and(|s| s / step == n);
        let begins = events.iter().filter(|e| within(e.at)).map(|e| e.text.clone());
        let ends = events.iter().filter(|e| e.until.is_some_and(within));
        let notes: Vec<String> = begins.chain(ends.map(|e| format!("end of {}", e.text))).collect();
        let bar = "█".repeat((*ok as usize * BAR).div_ceil(most as usize));
        table.add_row([
            (n * step).to_string(),
            ok.to_string(),
            failed.to_string(),
            unknown.to_string(),
            bar,
            notes.join(", "),
        ]);
    }
    right(&mut table, 0..4);
    table.to_string()
}

fn counts(outlook: &Outlook) -> String {
    let header = ["workload", "ok", "failed", "unknown", "snapshots", "anomalies", "checked"];
    let mut table = table(&header);
    for checked in &outlook.checked {
        table.add_row([
            format!("{:?}", checked.workload),
            checked.ok.to_string(),
            checked.failed.to_string(),
            checked.unknown.to_string(),
            checked.snapshots.to_string(),
            checked.count.to_string(),
            checked.checked.clone(),
        ]);
    }
    right(&mut table, 1..6);
    table.to_string()
}

fn pauses(pauses: &[(String, Duration)]) -> String {
    let mut table = table(&["fault", "longest pause of the other nodes"]);
    for (fault, pause) in pauses {
        table.add_row([fault.clone(), format!("{:.2} s", pause.as_secs_f64())]);
    }
    table.to_string()
}

fn errors(outlook: &Outlook) -> String {
    let mut table = table(&["error", "times", "for example"]);
    for (code, seen) in &outlook.errors {
        let example: String = seen.first.chars().take(160).collect();
        table.add_row([code.clone(), seen.count.to_string(), example]);
    }
    right(&mut table, 1..2);
    table.to_string()
}
