//! The same transactions one after another on two servers, or against kept answers.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::TpccArgs;
use super::input::Input;
use super::random::Random;
use super::run::Report;
use super::schema::{DISTRICTS, Scale, TABLES};
use super::terminal::{DATABASE, Terminal, Trouble};
use crate::connect::Connector;
use crate::error::CheckError;
use crate::server::{Made, Server};

/// When the first transaction happens, in seconds; each is a second after the one before.
const FIRST: u64 = 1_767_312_000;
/// Findings after which it ends.
const FINDINGS: usize = 20;
/// The stream of inputs.
const OF_INPUTS: i32 = 0;

/// Plays the transactions and compares answers and tables.
pub(super) async fn play(
    args: &TpccArgs,
    connector: &Connector,
    scale: Scale,
) -> Result<Report, CheckError> {
    let patience = Duration::from_secs(args.patience);
    let mut tested = Terminal::open(&args.url[0], connector, patience).await?;
    let mut reference = match &args.against {
        Some(url) => Some(Terminal::open(url, connector, patience).await?),
        None => None,
    };
    let expected = match &args.expected {
        Some(path) => Some(lines_of(path)?),
        None => None,
    };
    let mut report = Report::default();
    let mut kept = Vec::new();
    let mut random = Random::new(scale.seed, &[OF_INPUTS]);
    let (start, mut n) = (Instant::now(), 0);
    while n < args.transactions && report.findings.len() < FINDINGS {
        let turn = i32::try_from(n % 1_000_000).expect("small");
        let (w, own) = (turn % scale.warehouses + 1, turn / scale.warehouses % DISTRICTS + 1);
        let input = Input::next(&mut random, scale, w, own);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST + n);
        let (shown, took) = perform(&mut tested, &input, at).await?;
        report.done(&input, scale, took);
        let right = match (&mut reference, &expected) {
            (Some(reference), _) => {
                let (shown, took) = perform(reference, &input, at).await?;
                *report.theirs.entry(input.kind()).or_default() += took;
                Some(shown)
            }
            (None, Some(lines)) => {
                let at = usize::try_from(n).expect("as many as lines");
                Some(lines.get(at).cloned().unwrap_or_default())
            }
            (None, None) => None,
        };
        if let Some(right) = right.filter(|right| *right != shown) {
            report.findings.push(format!("transaction {n}\n  {right}\n  {shown}"));
        }
        kept.push(shown);
        n += 1;
    }
    report.time = start.elapsed();
    report.retries = tested.retries;
    let tables = tables(args, connector, &mut kept).await?;
    report.findings.extend(tables);
    if let Some(lines) = &expected {
        let ours = kept.iter().skip(usize::try_from(n).expect("as many as lines"));
        let theirs = lines.iter().filter(|line| line.starts_with("table "));
        let pairs = ours.zip(theirs).filter(|(ours, theirs)| ours != theirs);
        report.findings.extend(pairs.map(|(ours, theirs)| format!("tables\n  {theirs}\n  {ours}")));
    }
    if let Some(path) = &args.keep {
        let text = kept.join("\n") + "\n";
        std::fs::write(path, text)
            .map_err(|source| CheckError::File { path: path.clone(), source })?;
    }
    Ok(report)
}

fn lines_of(path: &Path) -> Result<Vec<String>, CheckError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| CheckError::File { path: path.to_owned(), source })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What a server shows, errors as their SQLSTATE.
async fn perform(
    terminal: &mut Terminal,
    input: &Input,
    at: SystemTime,
) -> Result<(String, Duration), CheckError> {
    let start = Instant::now();
    let shown = match terminal.perform(input, at).await {
        Ok(shown) => shown,
        Err(Trouble::Server(error)) if error.code().is_some() => {
            let told = error.as_db_error().map_or("", |error| error.message());
            let code = error.code().map_or("", |code| code.code());
            format!("{:?}: {code} {told}", input.kind())
        }
        Err(trouble) => return Err(CheckError::NoNode(format!("{input:?}: {trouble}"))),
    };
    Ok((shown, start.elapsed()))
}

/// Compares all tables; a line for each of the tested server's is added to what is kept.
async fn tables(
    args: &TpccArgs,
    connector: &Connector,
    kept: &mut Vec<String>,
) -> Result<Vec<String>, CheckError> {
    let patience = Duration::from_secs(args.patience);
    let open = |url| Server::open(url, connector, DATABASE, Made::Before, patience);
    let tested = open(args.url[0].as_str()).await?;
    let reference = match &args.against {
        Some(url) => Some(open(url.as_str()).await?),
        None => None,
    };
    let mut findings = Vec::new();
    for table in &TABLES {
        let (name, key) = (table.name, table.key);
        let copy = format!("COPY (SELECT * FROM {name} ORDER BY {key}) TO STDOUT");
        let ours = tested.copied(&copy).await?;
        let rows = ours.split(|&byte| byte == b'\n').count() - 1;
        kept.push(format!("table {name}: {rows} rows, {:016x}", hash(&ours)));
        let Some(reference) = &reference else { continue };
        let theirs = reference.copied(&copy).await?;
        if ours == theirs {
            continue;
        }
        let lines = |bytes: &[u8]| -> Vec<String> {
            String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
        };
        let (ours, theirs) = (lines(&ours), lines(&theirs));
        let first = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
        let (ours, theirs) = match first {
            Some((ours, theirs)) => (ours.clone(), theirs.clone()),
            None => (format!("{} rows", ours.len()), format!("{} rows", theirs.len())),
        };
        findings.push(format!("table {name}\n  {theirs}\n  {ours}"));
    }
    Ok(findings)
}

/// FNV-1a: tells tables apart in golden files.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
