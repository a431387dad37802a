//! The table, and the same figures as CSV.

use std::fmt::Write;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use crate::error::BenchError;
use crate::pgbench::{Outcome, Run};
use crate::server::Kind;

/// One figure.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) server: Kind,
    /// `None`: loading the tables.
    pub(crate) run: Option<Run>,
    pub(crate) outcome: Outcome,
}

impl Measured {
    /// The row of the table: same work on every server.
    pub(crate) fn work(&self) -> String {
        match &self.run {
            None => "load, rows".to_owned(),
            Some(run) if run.clients == 1 => format!("{}, 1 client", run.workload),
            Some(run) => format!("{}, {} clients", run.workload, run.clients),
        }
    }
}

/// The different kinds of work, in the order they were done.
pub(crate) fn works(results: &[Measured]) -> Vec<String> {
    let mut works = Vec::new();
    for result in results {
        let work = result.work();
        if !works.contains(&work) {
            works.push(work);
        }
    }
    works
}

/// The figure of one kind of work on one server.
pub(crate) fn figure<'a>(
    results: &'a [Measured],
    work: &str,
    server: Kind,
) -> Option<&'a Measured> {
    results.iter().find(|r| r.server == server && r.work() == work)
}

/// How many times its baseline a server does; `None` for a baseline, or without one.
pub(crate) fn ratio(results: &[Measured], work: &str, server: Kind) -> Option<f64> {
    let baseline = server.baseline();
    if baseline == server {
        return None;
    }
    let ours = figure(results, work, server)?.outcome.per_second;
    let theirs = figure(results, work, baseline)?.outcome.per_second;
    (theirs > 0.0).then(|| ours / theirs)
}

fn servers(results: &[Measured]) -> Vec<Kind> {
    let mut servers = Vec::new();
    for result in results {
        if !servers.contains(&result.server) {
            servers.push(result.server);
        }
    }
    servers
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
pub(crate) fn print(results: &[Measured]) {
    let servers = servers(results);
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    let mut header = vec!["per second".to_owned()];
    for server in &servers {
        header.push(server.to_string());
        if server.baseline() != *server {
            header.push("ratio".to_owned());
        }
    }
    table.set_header(header);
    for work in works(results) {
        let mut row = vec![work.clone()];
        for &server in &servers {
            row.push(cell(figure(results, &work, server)));
            if server.baseline() != server {
                let ratio = ratio(results, &work, server);
                row.push(ratio.map_or_else(|| "–".to_owned(), |r| format!("{r:.2}x")));
            }
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

fn cell(measured: Option<&Measured>) -> String {
    match measured.map(|m| m.outcome) {
        None => "–".to_owned(),
        Some(o) if o.failed > 0 => format!("{:.0} ({} failed)", o.per_second, o.failed),
        Some(o) => format!("{:.0}", o.per_second),
    }
}

pub(crate) fn write_csv(results: &[Measured], folder: &Path) -> Result<(), BenchError> {
    let mut text = String::from("server,work,per_second,latency_ms,failed,ratio\n");
    for result in results {
        let work = result.work();
        let ratio = ratio(results, &work, result.server);
        let o = result.outcome;
        writeln!(
            text,
            "\"{}\",\"{work}\",{:.1},{:.3},{},{}",
            result.server,
            o.per_second,
            o.latency_ms,
            o.failed,
            ratio.map_or_else(String::new, |r| format!("{r:.3}")),
        )
        .expect("writing to memory does not fail");
    }
    write_file(folder, "bench.csv", &text)
}

/// Writes a file into the folder of results, which is made when missing.
pub(crate) fn write_file(folder: &Path, name: &str, text: &str) -> Result<(), BenchError> {
    let path = folder.join(name);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|source| BenchError::File { path, source })
}

#[expect(clippy::print_stderr, reason = "the last word of a failed run is for its user")]
pub(crate) fn complain(error: &BenchError) {
    use std::error::Error;
    eprint!("conclave-bench: {error}");
    if let Some(cause) = error.source() {
        eprint!(": {cause}");
    }
    eprintln!();
}
