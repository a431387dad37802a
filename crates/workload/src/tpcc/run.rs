//! Loads, plays one of the two games, checks the conditions, tells.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::TpccArgs;
use super::conditions::broken;
use super::input::{Input, Kind};
use super::load::load;
use super::random::Random;
use super::schema::{DISTRICTS, Scale};
use super::sequence;
use super::terminal::{DATABASE, Terminal};
use crate::connect::Connector;
use crate::error::CheckError;
use crate::server::{Made, Server};

/// What was done, and what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// New-Order transactions that were committed.
    pub new_orders: u64,
    /// Transactions that were begun again, because others were in the way.
    pub retries: u64,
    /// Answers that differ, tables that differ, conditions that do not hold; empty if all is well.
    pub findings: Vec<String>,
    /// How long it went on.
    pub time: Duration,
    /// How long each transaction took on the tested server.
    pub(super) took: BTreeMap<Kind, Vec<Duration>>,
    /// How long all of a kind took on the reference.
    pub(super) theirs: BTreeMap<Kind, Duration>,
}

impl Report {
    /// Counts a transaction.
    pub(super) fn done(&mut self, input: &Input, scale: Scale, took: Duration) {
        self.new_orders += u64::from(input.kind() == Kind::NewOrder && !input.is_void(scale));
        self.took.entry(input.kind()).or_default().push(took);
    }

    /// Transactions of all kinds.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.took.values().map(Vec::len).sum()
    }

    /// New orders of a minute.
    #[must_use]
    pub fn tpm_c(&self) -> f64 {
        self.new_orders as f64 * 60.0 / self.time.as_secs_f64().max(1e-6)
    }

    fn add(&mut self, other: Report) {
        self.new_orders += other.new_orders;
        self.retries += other.retries;
        self.findings.extend(other.findings);
        self.time = self.time.max(other.time);
        for (kind, took) in other.took {
            self.took.entry(kind).or_default().extend(took);
        }
    }
}

/// Runs the transactions and prints how they went. True if nothing is wrong.
///
/// # Errors
///
/// A server does not answer or refuses the tables, or a file can't be read or written.
#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
pub fn tpcc(args: &TpccArgs) -> Result<bool, CheckError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CheckError::Spawn { program: "a runtime".to_owned(), source })?;
    let mut report = runtime.block_on(run(args))?;
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
    for (kind, took) in &mut report.took {
        took.sort_unstable();
        let at = |percent: usize| millis(took[(took.len() - 1) * percent / 100]);
        let mean = took.iter().sum::<Duration>() / u32::try_from(took.len()).unwrap_or(u32::MAX);
        let theirs = report.theirs.get(kind).map_or_else(String::new, |theirs| {
            let theirs = *theirs / u32::try_from(took.len()).unwrap_or(u32::MAX);
            let ratio = mean.as_secs_f64() / theirs.as_secs_f64().max(1e-9);
            format!(", theirs {}, {ratio:.1}x", millis(theirs))
        });
        println!(
            "{:<11} {:>7}  mean {}{theirs}; half {}, 95 % {}, longest {}",
            format!("{kind:?}"),
            took.len(),
            millis(mean),
            at(50),
            at(95),
            at(100)
        );
    }
    for finding in &report.findings {
        println!("{finding}");
    }
    let (count, time, retries) = (report.transactions(), report.time, report.retries);
    println!("{count} transactions in {time:.1?}, {:.0} tpmC, {retries} retries", report.tpm_c());
    match report.findings.len() {
        0 => println!("the consistency conditions hold; nothing differs"),
        findings => println!("{findings} findings"),
    }
    Ok(report.findings.is_empty())
}

/// Loads, runs the transactions, and checks the conditions on every server.
///
/// # Errors
///
/// A server does not answer or refuses the tables, or a file can't be read or written.
pub async fn run(args: &TpccArgs) -> Result<Report, CheckError> {
    let scale = Scale::of(args)?;
    let connector = match &args.certs_dir {
        Some(folder) => Connector::secure_for(folder, &args.url[0])?,
        None => Connector::default(),
    };
    let patience = Duration::from_secs(args.patience);
    let servers: Vec<&String> = args.url.iter().take(1).chain(&args.against).collect();
    for url in &servers {
        load(&Server::open(url, &connector, DATABASE, Made::Anew, patience).await?, scale).await?;
    }
    let mut report = match (args.terminals, args.seconds) {
        (Some(terminals), Some(seconds)) => {
            at_once(args, &connector, scale, terminals, Duration::from_secs(seconds)).await?
        }
        _ => sequence::play(args, &connector, scale).await?,
    };
    for url in servers {
        let mut server = Server::open(url, &connector, DATABASE, Made::Before, patience).await?;
        let broken = broken(&mut server).await;
        report.findings.extend(broken.into_iter().map(|what| format!("{url}: {what}")));
    }
    Ok(report)
}

/// Terminals beside each other.
async fn at_once(
    args: &TpccArgs,
    connector: &Connector,
    scale: Scale,
    terminals: u64,
    time: Duration,
) -> Result<Report, CheckError> {
    let patience = Duration::from_secs(args.patience);
    let mut running = Vec::new();
    let count = usize::try_from(terminals).unwrap_or(usize::MAX);
    for (url, n) in args.url.iter().cycle().take(count).zip(0..) {
        let terminal = Terminal::open(url, connector, patience).await?;
        running.push(tokio::spawn(work(terminal, scale, n, time)));
    }
    let mut report = Report::default();
    for task in running {
        report.add(task.await.expect("a terminal does not panic"));
    }
    Ok(report)
}

/// One terminal, until its time is over or the server fails it.
async fn work(mut terminal: Terminal, scale: Scale, n: i32, time: Duration) -> Report {
    let mut report = Report::default();
    let mut random = Random::new(scale.seed, &[n + 1]);
    let (w, own) = (n % scale.warehouses + 1, n / scale.warehouses % DISTRICTS + 1);
    let start = Instant::now();
    while start.elapsed() < time {
        let input = Input::next(&mut random, scale, w, own);
        let began = Instant::now();
        match terminal.perform(&input, SystemTime::now()).await {
            Ok(_) => report.done(&input, scale, began.elapsed()),
            Err(trouble) => {
                let code = trouble.code().to_owned();
                report.findings.push(format!("terminal {n}: {input:?}: {code} {trouble}"));
                break;
            }
        }
    }
    report.time = start.elapsed();
    report.retries = terminal.retries;
    report
}
