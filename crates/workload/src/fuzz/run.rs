//! Rounds of statements, and what is told of those that differ.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::FuzzArgs;
use super::dml::Statement;
use super::known;
use super::schema::Schema;
use super::scope::Generator;
use super::shrink::shrink;
use crate::compare::{Answer, Difference, Sorted, difference};
use crate::connect::Connector;
use crate::error::CheckError;
use crate::server::{Made, Server};

/// Statements tried to make one smaller.
const TRIES: usize = 1500;
/// Rows of an answer that are told.
const TOLD: usize = 8;

/// The servers, and what is known of their differences so far.
struct Pair {
    reference: Server,
    tested: Server,
    schema: Schema,
}

/// What was done.
#[derive(Default)]
struct Tally {
    statements: usize,
    /// Of them, those that failed on both in the same way.
    refused: usize,
    meant: BTreeMap<&'static str, usize>,
    /// Shapes of findings: told once.
    found: BTreeSet<String>,
    repeated: usize,
}

/// Compares until the time is over or there are enough findings; true if there was none.
///
/// # Errors
///
/// A server does not answer, or refuses the tables.
#[expect(clippy::print_stdout, reason = "findings are what the command is for")]
pub fn fuzz(args: &FuzzArgs) -> Result<bool, CheckError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CheckError::Spawn { program: "a runtime".to_owned(), source })?;
    let connector = match &args.certs_dir {
        Some(folder) => Connector::secure_for(folder, &args.url)?,
        None => Connector::default(),
    };
    let mut tally = Tally::default();
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut round = args.round;
    while Instant::now() < end && tally.found.len() < args.findings {
        runtime.block_on(play(args, &connector, round, end, &mut tally))?;
        round += 1;
    }
    let (rounds, statements) = (round - args.round, tally.statements);
    println!("{rounds} rounds, {statements} statements, {} refused by both", tally.refused);
    for (reason, count) in &tally.meant {
        println!("{count} differ as they should: {reason}");
    }
    println!("{} findings, {} repetitions of them", tally.found.len(), tally.repeated);
    Ok(tally.found.is_empty())
}

async fn play(
    args: &FuzzArgs,
    connector: &Connector,
    round: u64,
    end: Instant,
    tally: &mut Tally,
) -> Result<(), CheckError> {
    let mut rng = StdRng::seed_from_u64(args.seed.wrapping_mul(1_000_003).wrapping_add(round));
    let schema = Schema::any(&mut rng);
    let (database, patience) =
        (format!("fuzz_{}", std::process::id()), Duration::from_secs(args.patience));
    let reference = Server::open(&args.against, connector, &database, Made::Anew, patience).await?;
    let tested = Server::open(&args.url, connector, &database, Made::Anew, patience).await?;
    let mut pair = Pair { reference, tested, schema };
    for statement in pair.schema.setup.clone() {
        pair.both(&statement).await?;
    }
    for n in 0..args.statements {
        if Instant::now() > end || tally.found.len() >= args.findings {
            break;
        }
        let (statement, keep) = {
            let mut generator = Generator::new(&mut rng, &pair.schema);
            let statement = generator.statement();
            (statement, generator.chance(0.3))
        };
        tally.statements += 1;
        let place = format!("--seed {} --round {round}, statement {n}", args.seed);
        pair.compare(&statement, keep, &place, tally).await;
    }
    pair.reference.close().await;
    pair.tested.close().await;
    Ok(())
}

impl Pair {
    async fn both(&mut self, sql: &str) -> Result<(), CheckError> {
        for server in [&mut self.reference, &mut self.tested] {
            server.run(sql).await.map_err(|error| CheckError::Setup {
                statement: sql.to_owned(),
                reason: format!("{error:?}"),
            })?;
        }
        Ok(())
    }

    async fn compare(&mut self, statement: &Statement, keep: bool, place: &str, tally: &mut Tally) {
        let sql = statement.node.to_string();
        let keep = keep && statement.writes;
        let (answers, differs) = self.judge(&sql, statement, keep).await;
        let Some(difference) = differs else {
            tally.refused += usize::from(matches!(answers.0, Answer::Error(..)));
            return;
        };
        if let Some(reason) =
            known::reason(&difference, &answers.0, &answers.1, &sql, statement.risky)
        {
            *tally.meant.entry(reason).or_default() += 1;
            return;
        }
        // An error is known by its words: there are too many ways to it.
        let words = match (&difference, &answers.1, &answers.0) {
            (Difference::State(..), Answer::Error(_, words), _)
            | (Difference::State(..), _, Answer::Error(_, words)) => Some(shape(words)),
            _ => None,
        };
        if let Some(words) = &words
            && !tally.found.insert(format!("{difference} {words}"))
        {
            tally.repeated += 1;
            return;
        }
        let pair = Mutex::new(Some(self));
        let node = shrink(statement.node.clone(), TRIES, |sql| {
            let mut held = pair.lock().take();
            let (statement, difference, pair) = (statement, &difference, &pair);
            async move {
                let Some(this) = held.as_mut() else { return false };
                let ordered = statement.order.as_ref().is_none_or(|order| sql.contains(order));
                let same = if *difference == Difference::Order && !ordered {
                    false
                } else {
                    let (answers, differs) = this.judge(&sql, statement, false).await;
                    differs.as_ref() == Some(difference)
                        && known::reason(difference, &answers.0, &answers.1, &sql, statement.risky)
                            .is_none()
                };
                *pair.lock() = held;
                same
            }
        })
        .await;
        let this = pair.into_inner().expect("each try gives it back");
        let least = node.to_string();
        if words.is_none() && !tally.found.insert(format!("{difference} {}", shape(&least))) {
            tally.repeated += 1;
            return;
        }
        let (answers, _) = this.judge(&least, statement, false).await;
        let tables = this.tables_of(&least).await;
        tell(&tables, place, &difference, &least, &answers);
    }

    /// Statements that make the tables a statement names, with the rows that they hold now.
    async fn tables_of(&mut self, sql: &str) -> Vec<String> {
        let mut made = Vec::new();
        for table in &self.schema.tables {
            if !sql.split(|c: char| !c.is_alphanumeric()).any(|word| word == table.name) {
                continue;
            }
            let starts = [
                format!("CREATE TABLE {} ", table.name),
                format!("CREATE INDEX ON {} ", table.name),
            ];
            let setup = self.schema.setup.iter();
            made.extend(setup.filter(|s| starts.iter().any(|start| s.starts_with(start))).cloned());
            let written = table.written();
            let look = format!("SELECT {} FROM {} ORDER BY id", written.join(", "), table.name);
            if let Answer::Rows { rows, .. } = self.reference.ask(&look).await
                && !rows.is_empty()
            {
                let quoted = |value: &Option<String>| match value {
                    Some(value) => format!("'{}'", value.replace('\'', "''")),
                    None => "NULL".to_owned(),
                };
                let row = |row: &Vec<Option<String>>| {
                    format!("({})", row.iter().map(quoted).collect::<Vec<_>>().join(", "))
                };
                let rows: Vec<String> = rows.iter().map(row).collect();
                let (name, columns) = (&table.name, written.join(", "));
                made.push(format!("INSERT INTO {name} ({columns}) VALUES {}", rows.join(", ")));
            }
        }
        made
    }

    /// What both say, the tables included if it writes; kept if it is to be and they agree.
    async fn judge(
        &mut self,
        sql: &str,
        statement: &Statement,
        keep: bool,
    ) -> ((Answer, Answer), Option<Difference>) {
        let ordered = statement.order.as_ref().is_some_and(|order| sql.contains(order));
        let sorted = if ordered { Sorted::All } else { Sorted::No };
        if !statement.writes {
            let (a, b) = tokio::join!(self.reference.ask(sql), self.tested.ask(sql));
            let differs = difference(&a, &b, sorted);
            return ((a, b), differs);
        }
        drop(self.both("BEGIN").await);
        let (a, b) = tokio::join!(self.reference.ask(sql), self.tested.ask(sql));
        let mut answers = (a, b);
        let mut differs = difference(&answers.0, &answers.1, Sorted::No);
        if differs.is_none() && matches!(answers.0, Answer::Rows { .. }) {
            for table in &self.schema.tables {
                let look = format!("SELECT * FROM {} ORDER BY id", table.name);
                let (a, b) = tokio::join!(self.reference.ask(&look), self.tested.ask(&look));
                if difference(&a, &b, Sorted::All).is_some() {
                    (answers, differs) = ((a, b), Some(Difference::Tables));
                    break;
                }
            }
        }
        let end = if keep && differs.is_none() { "COMMIT" } else { "ROLLBACK" };
        drop(self.both(end).await);
        (answers, differs)
    }
}

/// A statement or a message without its constants and what is quoted.
fn shape(sql: &str) -> String {
    let mut shape = String::with_capacity(sql.len());
    let mut quoted = false;
    for c in sql.chars() {
        match c {
            '\'' | '"' => quoted = !quoted,
            _ if quoted || c.is_ascii_digit() => {}
            c => shape.push(c),
        }
    }
    shape
}

#[expect(clippy::print_stdout, reason = "findings are what the command is for")]
fn tell(
    tables: &[String],
    place: &str,
    difference: &Difference,
    sql: &str,
    answers: &(Answer, Answer),
) {
    println!("== {difference} ({place})");
    for statement in tables {
        println!("{statement};");
    }
    println!("{sql};");
    for (who, answer) in [("reference", &answers.0), ("tested", &answers.1)] {
        print!("{}", answer.told(who, TOLD));
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_no_constants() {
        assert_eq!(shape("SELECT 12 + x3.a, 'it' FROM t0"), shape("SELECT 4 + x9.a, '' FROM t1"));
        assert_ne!(shape("SELECT a"), shape("SELECT b"));
    }
}
