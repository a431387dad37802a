//! Loads, asks, compares, tells.

use std::time::{Duration, Instant};

use super::TpchArgs;
use super::answers::{keep, kept};
use super::queries::{QUERIES, Query};
use super::tables::load;
use crate::compare::{Answer, Sorted, difference};
use crate::connect::Connector;
use crate::error::CheckError;
use crate::server::{Made, Server};

/// The name of the database.
const DATABASE: &str = "tpch";
/// Rows of an answer that differs, or was not compared, that are told.
const TOLD: usize = 5;

/// How an answer compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There was nothing to compare with.
    Alone,
    /// It is the reference's.
    Same,
    /// It is not: how, and both beginnings.
    Differs(String),
    /// There is no answer: what the server said.
    Failed(String),
}

/// What became of a query.
#[derive(Debug, Clone)]
pub struct Asked {
    /// From 1 to 22.
    pub number: u8,
    /// Rows of the tested server's answer.
    pub rows: usize,
    /// How it compares.
    pub verdict: Verdict,
    /// How long the tested server took.
    pub ours: Duration,
    /// How long the reference took.
    pub theirs: Option<Duration>,
}

/// Runs the queries and prints a line for each. True if nothing differs.
///
/// # Errors
///
/// A server does not answer or refuses the tables, or a file can't be read or written.
#[expect(clippy::print_stdout, reason = "the lines are what the command is for")]
pub fn tpch(args: &TpchArgs) -> Result<bool, CheckError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CheckError::Spawn { program: "a runtime".to_owned(), source })?;
    let asked = runtime.block_on(ask_all(args, |asked| println!("{}", line(asked))))?;
    let total = |of: fn(&Asked) -> Duration| asked.iter().map(of).sum::<Duration>();
    let (ours, theirs) = (total(|a| a.ours), total(|a| a.theirs.unwrap_or_default()));
    let good = asked.iter().filter(|a| matches!(a.verdict, Verdict::Same | Verdict::Alone));
    let good = good.count();
    let beside =
        if args.against.is_some() { format!(" beside {theirs:.1?}") } else { String::new() };
    println!("{good} of {} as they should be, {ours:.1?}{beside}", asked.len());
    Ok(good == asked.len())
}

fn line(asked: &Asked) -> String {
    let millis = |time: Duration| format!("{:>9.1} ms", time.as_secs_f64() * 1_000.0);
    let theirs = asked.theirs.map_or_else(String::new, |theirs| {
        let ratio = asked.ours.as_secs_f64() / theirs.as_secs_f64().max(1e-6);
        format!("{}  {ratio:>6.2}x", millis(theirs))
    });
    let (word, more) = match &asked.verdict {
        Verdict::Alone => ("", ""),
        Verdict::Same => ("same", ""),
        Verdict::Differs(how) => ("differs", how.as_str()),
        Verdict::Failed(why) => ("failed", why.as_str()),
    };
    let (number, rows, ours) = (asked.number, asked.rows, millis(asked.ours));
    let line = format!("Q{number:02}  {rows:>5} rows  {word:<7} {ours} {theirs}");
    let more = more.lines().map(|line| format!("\n     {line}"));
    line.trim_end().to_owned() + &more.collect::<String>()
}

/// Runs the queries; each is told when it is done.
///
/// # Errors
///
/// A server does not answer or refuses the tables, or a file can't be read or written.
pub async fn ask_all(
    args: &TpchArgs,
    mut told: impl FnMut(&Asked),
) -> Result<Vec<Asked>, CheckError> {
    if args.against.is_some() && args.expected.is_some() {
        let both = "--against and --expected: one of them is right, not both";
        return Err(CheckError::Refused(both.to_owned()));
    }
    let connector = match &args.certs_dir {
        Some(folder) => Connector::secure_for(folder, &args.url)?,
        None => Connector::default(),
    };
    let mut tested = open(args, &connector, &args.url).await?;
    let mut reference = match &args.against {
        Some(url) => Some(open(args, &connector, url).await?),
        None => None,
    };
    let wanted = |query: &&Query| args.queries.is_empty() || args.queries.contains(&query.number);
    let mut all = Vec::new();
    for query in QUERIES.iter().filter(wanted) {
        let asked = ask(args, query, &mut tested, reference.as_mut()).await?;
        told(&asked);
        all.push(asked);
    }
    Ok(all)
}

async fn open(args: &TpchArgs, connector: &Connector, url: &str) -> Result<Server, CheckError> {
    let made = if args.loaded { Made::Before } else { Made::Anew };
    let patience = Duration::from_secs(args.patience);
    let server = Server::open(url, connector, DATABASE, made, patience).await?;
    if !args.loaded {
        load(&server, args.scale).await?;
    }
    Ok(server)
}

async fn ask(
    args: &TpchArgs,
    query: &Query,
    tested: &mut Server,
    reference: Option<&mut Server>,
) -> Result<Asked, CheckError> {
    let (number, sql) = (query.number, query.sql(args.scale));
    let start = Instant::now();
    let answer = tested.ask(&sql).await;
    let ours = start.elapsed();
    if let Some(folder) = &args.keep {
        keep(folder, number, &answer)?;
    }
    let (right, theirs) = match (reference, &args.expected) {
        (Some(reference), _) => {
            let start = Instant::now();
            (Some(reference.ask(&sql).await), Some(start.elapsed()))
        }
        (None, Some(folder)) => (Some(kept(folder, number)?), None),
        (None, None) => (None, None),
    };
    let rows = match &answer {
        Answer::Rows { rows, .. } => rows.len(),
        Answer::Error(..) | Answer::Lost(_) => 0,
    };
    let verdict = match (&answer, right) {
        (Answer::Lost(why), _) => Verdict::Failed(why.clone()),
        (Answer::Error(state, message), None) => Verdict::Failed(format!("{state} {message}")),
        (Answer::Rows { .. }, None) => Verdict::Alone,
        (_, Some(right)) => match difference(&right, &answer, Sorted::By(query.sorted_by)) {
            None => Verdict::Same,
            Some(how) => {
                let (right, answer) = (right.told("right", TOLD), answer.told("tested", TOLD));
                Verdict::Differs(format!("{how}\n{right}{answer}"))
            }
        },
    };
    Ok(Asked { number, rows, verdict, ours, theirs })
}
