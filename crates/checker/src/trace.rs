//! Who wrote what, and what each transaction saw of the others.
//!
//! A transaction's own writes are taken out of what it read, so that what is left (an [`External`] read)
//! came from others. While that is done, a transaction that contradicts itself is found out:
//!
//! | after | must be seen |
//! |---|---|
//! | own append or write | it, at the end of the list or as the value |
//! | an earlier read, REPEATABLE READ and up | the same again |
//! | an earlier read of a list, READ COMMITTED | a list that begins with it |
//!
//! Reads of failed transactions are looked at too: nobody may ever see what was not committed. They give
//! no edges, because a transaction that failed has no place in the order.

use std::collections::BTreeMap;

use crate::anomaly::{Class, Report};
use crate::check::Options;
use crate::edge::Index;
use crate::history::{Action, History, HistoryError, Key, Level, Op, Outcome, Row, Txn, Value};

/// Who wrote a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer {
    pub(crate) txn: Index,
    /// Whether the transaction wrote nothing more to the key: the value is what it committed.
    pub(crate) last: bool,
}

/// What was under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen<'h> {
    List(&'h [i64]),
    Register(Option<i64>),
}

/// A read, without what the reader itself wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct External<'h> {
    pub(crate) txn: Index,
    pub(crate) key: Key,
    pub(crate) seen: Seen<'h>,
    /// Part of a scan.
    pub(crate) predicate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    List,
    Register,
}

/// A history, indexed.
pub(crate) struct Trace<'h> {
    pub(crate) history: &'h History,
    /// At which level each transaction is held to its word.
    pub(crate) levels: Vec<Level>,
    pub(crate) writers: BTreeMap<(Key, i64), Writer>,
    /// Ok, or unknown and revealed by a read.
    pub(crate) committed: Vec<bool>,
    pub(crate) reads: Vec<External<'h>>,
    shapes: BTreeMap<Key, Shape>,
}

impl<'h> Trace<'h> {
    pub(crate) fn new(
        history: &'h History,
        options: &Options,
        report: &mut Report,
    ) -> Result<Self, HistoryError> {
        let mut trace = Trace {
            history,
            levels: history.txns.iter().map(|txn| options.level_of(txn)).collect(),
            writers: BTreeMap::new(),
            committed: history.txns.iter().map(|t| t.outcome == Outcome::Ok).collect(),
            reads: Vec::new(),
            shapes: BTreeMap::new(),
        };
        for (n, txn) in history.txns.iter().enumerate() {
            trace.index(Index(n), txn)?;
        }
        for (n, txn) in history.txns.iter().enumerate() {
            Walk::new(&mut trace, report, Index(n)).run(txn);
        }
        Ok(trace)
    }

    pub(crate) fn txn(&self, index: Index) -> &'h Txn {
        &self.history.txns[index.0]
    }

    /// Whether a key holds a list.
    pub(crate) fn is_list(&self, key: Key) -> bool {
        self.shapes.get(&key) == Some(&Shape::List)
    }

    /// The committed writer of a value.
    pub(crate) fn committed_writer(&self, key: Key, value: i64) -> Option<Index> {
        let writer = self.writers.get(&(key, value))?;
        self.committed[writer.txn.0].then_some(writer.txn)
    }

    /// Counts an unknown transaction as committed, because somebody saw its write.
    pub(crate) fn reveal(&mut self, key: Key, value: i64, report: &mut Report) {
        let Some(writer) = self.writers.get(&(key, value)) else { return };
        let unknown = self.history.txns[writer.txn.0].outcome == Outcome::Unknown;
        if unknown && !self.committed[writer.txn.0] {
            self.committed[writer.txn.0] = true;
            report.revealed += 1;
        }
    }

    /// Reports a value that nobody can have committed. Answers whether it is sound.
    pub(crate) fn judge(&self, reader: Index, key: Key, value: i64, report: &mut Report) -> bool {
        let by = self.txn(reader).id;
        let Some(writer) = self.writers.get(&(key, value)) else {
            report.add_lazily(Class::Garbage, || {
                (vec![by], format!("  T{by} read {value} from {key}, which nobody wrote\n"))
            });
            return false;
        };
        let from = self.txn(writer.txn);
        if from.outcome == Outcome::Failed {
            report.add_lazily(Class::G1a, || {
                let story = format!(
                    "  T{} wrote {value} to {key} and was rolled back\n  T{by} read it\n",
                    from.id
                );
                (vec![from.id, by], story)
            });
            return false;
        }
        true
    }

    /// Reports a value that its writer replaced in the same transaction.
    pub(crate) fn judge_last(&self, reader: Index, key: Key, value: i64, report: &mut Report) {
        let Some(writer) = self.writers.get(&(key, value)) else { return };
        if writer.last || writer.txn == reader {
            return;
        }
        let (by, from) = (self.txn(reader).id, self.txn(writer.txn).id);
        report.add_lazily(Class::G1b, || {
            let story = format!(
                "  T{from} wrote {value} to {key}, and wrote to it once more\n  \
                 T{by} read the state between the two\n"
            );
            (vec![from, by], story)
        });
    }

    fn index(&mut self, index: Index, txn: &Txn) -> Result<(), HistoryError> {
        let mut last: BTreeMap<Key, i64> = BTreeMap::new();
        for op in &txn.ops {
            let (key, shape, written) = match &op.action {
                Action::Append(key, value) => (*key, Shape::List, Some(*value)),
                Action::Write(key, value) => (*key, Shape::Register, Some(*value)),
                Action::List(key, _) => (*key, Shape::List, None),
                Action::Read(key, _) => (*key, Shape::Register, None),
                Action::Scan(scan) => {
                    for Row(key, value) in &scan.rows {
                        let list = matches!(value, Value::List(_));
                        self.shape(txn, *key, if list { Shape::List } else { Shape::Register })?;
                    }
                    continue;
                }
            };
            self.shape(txn, key, shape)?;
            let Some(value) = written else { continue };
            if let Some(before) = last.insert(key, value)
                && let Some(writer) = self.writers.get_mut(&(key, before))
            {
                writer.last = false;
            }
            let writer = Writer { txn: index, last: true };
            if let Some(first) = self.writers.insert((key, value), writer) {
                let first = self.txn(first.txn).id;
                return Err(HistoryError::NotUnique { first, second: txn.id, key, value });
            }
        }
        Ok(())
    }

    fn shape(&mut self, txn: &Txn, key: Key, shape: Shape) -> Result<(), HistoryError> {
        if *self.shapes.entry(key).or_insert(shape) == shape {
            return Ok(());
        }
        Err(HistoryError::TwoKinds { txn: txn.id, key })
    }
}

/// What one transaction knows of one key.
#[derive(Debug, Default)]
struct Known<'h> {
    seen: Option<Seen<'h>>,
    own: Vec<i64>,
}

/// Goes through the operations of one transaction.
struct Walk<'t, 'h> {
    trace: &'t mut Trace<'h>,
    report: &'t mut Report,
    index: Index,
    known: BTreeMap<Key, Known<'h>>,
}

impl<'t, 'h> Walk<'t, 'h> {
    fn new(trace: &'t mut Trace<'h>, report: &'t mut Report, index: Index) -> Self {
        Walk { trace, report, index, known: BTreeMap::new() }
    }

    fn run(mut self, txn: &'h Txn) {
        for op in &txn.ops {
            match &op.action {
                Action::Append(key, value) | Action::Write(key, value) => {
                    self.known.entry(*key).or_default().own.push(*value);
                }
                Action::List(key, list) => self.read(op, *key, Seen::List(list), false),
                Action::Read(key, value) => self.read(op, *key, Seen::Register(*value), false),
                Action::Scan(scan) => self.scan(op, scan),
            }
        }
    }

    fn scan(&mut self, op: &'h Op, scan: &'h crate::history::Scan) {
        let rows: BTreeMap<Key, &Value> =
            scan.rows.iter().map(|Row(key, value)| (*key, value)).collect();
        let in_span: Vec<(Key, Shape)> = self
            .trace
            .shapes
            .range(scan.from..scan.to)
            .map(|(key, shape)| (*key, *shape))
            .collect();
        for (key, shape) in in_span {
            let seen = match (rows.get(&key), shape) {
                (Some(Value::List(list)), _) => Seen::List(list),
                (Some(Value::Number(number)), _) => Seen::Register(Some(*number)),
                (None, Shape::List) => Seen::List(&[]),
                (None, Shape::Register) => Seen::Register(None),
            };
            self.read(op, key, seen, true);
        }
    }

    fn read(&mut self, op: &Op, key: Key, seen: Seen<'h>, predicate: bool) {
        let level = self.trace.levels[self.index.0];
        let known = self.known.entry(key).or_default();
        let Some(external) = without_own(seen, &known.own) else {
            let own = format!("after it had written {:?} itself", known.own);
            return self.contradiction(op, key, seen, &own);
        };
        // Of a register that the reader wrote nothing is left.
        let Some(external) = external else { return };
        let before = known.seen.replace(external);
        let wrong = match (before, external) {
            (Some(before), _) if level >= Level::RepeatableRead => before != external,
            (Some(Seen::List(before)), Seen::List(now)) => !now.starts_with(before),
            (Some(_) | None, _) => false,
        };
        if wrong {
            let before = format!("after it had read {}", show(before.unwrap_or(external)));
            return self.contradiction(op, key, seen, &before);
        }
        if before != Some(external) || predicate {
            let txn = self.index;
            self.trace.reads.push(External { txn, key, seen: external, predicate });
        }
    }

    fn contradiction(&mut self, op: &Op, key: Key, seen: Seen<'_>, why: &str) {
        let id = self.trace.txn(self.index).id;
        let sql = op.sql.as_deref().map(|sql| format!("    {sql}\n")).unwrap_or_default();
        self.report.add_lazily(Class::Internal, || {
            (vec![id], format!("  T{id} read {} from {key} {why}\n{sql}", show(seen)))
        });
    }
}

/// What others wrote. `None`: own writes are not where they must be. `Some(None)`: nothing of others shows.
#[expect(clippy::option_option, reason = "three answers, told apart in one place")]
fn without_own<'h>(seen: Seen<'h>, own: &[i64]) -> Option<Option<Seen<'h>>> {
    match (seen, own.last()) {
        (Seen::List(list), _) => list.strip_suffix(own).map(|others| Some(Seen::List(others))),
        (Seen::Register(_), None) => Some(Some(seen)),
        (Seen::Register(value), Some(last)) => (value == Some(*last)).then_some(None),
    }
}

pub(crate) fn show(seen: Seen<'_>) -> String {
    match seen {
        Seen::List(list) => show_list(list),
        Seen::Register(Some(value)) => value.to_string(),
        Seen::Register(None) => "nothing".to_owned(),
    }
}

/// A list as people read it; of a long one the end.
pub(crate) fn show_list(list: &[i64]) -> String {
    const END: usize = 12;
    let skipped = list.len().saturating_sub(END);
    let shown: Vec<String> = list[skipped..].iter().map(i64::to_string).collect();
    let dots = if skipped > 0 { "… " } else { "" };
    format!("[{dots}{}]", shown.join(" "))
}
