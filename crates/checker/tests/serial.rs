//! Histories made by an executor that runs one transaction after another are valid at every level,
//! whatever clients know of them; with one thing falsified they are not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use checker::{
    Action, Class, History, Key, Level, Op, Options, Outcome, Row, Scan, Snapshot, Txn, Value,
    check,
};
use proptest::prelude::*;

const LISTS: i64 = 4;
const KEYS: i64 = 8;
/// Between the commit points of two transactions.
const STEP: u64 = 100;

/// What one transaction will do, before it is known what it sees.
#[derive(Debug, Clone)]
enum Plan {
    Add(i64),
    Read(i64),
    Scan,
}

#[derive(Debug, Clone)]
struct Planned {
    plans: Vec<Plan>,
    /// How long before and after its commit point its client knew it to run.
    around: (u64, u64),
    /// 0 failed, 1 unknown but done, 2 unknown and not done, others ok.
    fate: u8,
    snapshot: bool,
}

fn planned() -> impl Strategy<Value = Planned> {
    let plan = prop_oneof![
        3 => (0..KEYS).prop_map(Plan::Add),
        3 => (0..KEYS).prop_map(Plan::Read),
        1 => Just(Plan::Scan),
    ];
    let plans = prop::collection::vec(plan, 1..5);
    let around = (1..5 * STEP, 1..5 * STEP);
    (plans, around, 0..20u8, prop::bool::weighted(0.1))
        .prop_map(|(plans, around, fate, snapshot)| Planned { plans, around, fate, snapshot })
}

/// The database: lists under even keys, registers under odd ones.
#[derive(Default, Clone)]
struct Model {
    values: BTreeMap<Key, Value>,
    next: i64,
}

impl Model {
    fn run(&mut self, plan: &Plan) -> Action {
        match *plan {
            Plan::Add(key) => {
                self.next += 1;
                let (key, value) = (Key(key), self.next);
                if key.0 < LISTS {
                    let list = self.values.entry(key).or_insert(Value::List(Vec::new()));
                    if let Value::List(list) = list {
                        list.push(value);
                    }
                    Action::Append(key, value)
                } else {
                    self.values.insert(key, Value::Number(value));
                    Action::Write(key, value)
                }
            }
            Plan::Read(key) => match self.values.get(&Key(key)) {
                Some(Value::List(list)) => Action::List(Key(key), list.clone()),
                Some(Value::Number(number)) => Action::Read(Key(key), Some(*number)),
                None if key < LISTS => Action::List(Key(key), Vec::new()),
                None => Action::Read(Key(key), None),
            },
            Plan::Scan => Action::Scan(Scan {
                from: Key(0),
                to: Key(KEYS),
                rows: self.values.iter().map(|(key, value)| Row(*key, value.clone())).collect(),
            }),
        }
    }
}

fn execute(planned: &[Planned], level: Level) -> History {
    let mut model = Model::default();
    let mut txns = Vec::new();
    for (n, plan) in planned.iter().enumerate() {
        let point = 10 * STEP + u64::try_from(n).expect("small") * STEP;
        let mut after = model.clone();
        let reads_only = plan.plans.iter().all(|p| !matches!(p, Plan::Add(_)));
        let ops = plan.plans.iter().map(|p| Op::from(after.run(p))).collect();
        let outcome = match plan.fate {
            0 => Outcome::Failed,
            1 | 2 => Outcome::Unknown,
            _ => Outcome::Ok,
        };
        if matches!(plan.fate, 0 | 2) {
            model.next = after.next;
        } else {
            model = after;
        }
        txns.push(Txn {
            id: u64::try_from(n).expect("small"),
            process: 0,
            invoked: point - plan.around.0,
            completed: point + plan.around.1,
            outcome,
            level,
            snapshot: (plan.snapshot && reads_only).then_some(Snapshot::Now),
            commit_ts: Some(point),
            ops,
        });
    }
    // Somebody reads everything in the end, twice.
    for _ in 0..2 {
        let n = u64::try_from(txns.len()).expect("small");
        let at = 20 * STEP + n * STEP;
        let plans = (0..KEYS).map(Plan::Read).chain([Plan::Scan]);
        let ops = plans.map(|plan| Op::from(model.run(&plan))).collect();
        txns.push(Txn {
            id: n,
            process: 0,
            invoked: at,
            completed: at + 1,
            outcome: Outcome::Ok,
            level,
            snapshot: None,
            commit_ts: Some(at),
            ops,
        });
    }
    History { txns }
}

fn classes(history: &History, level: Level) -> Vec<Class> {
    let report = check(history, &Options::at(level)).expect("values are unique");
    report.counts.keys().copied().collect()
}

/// The last transaction's read of a list with at least `len` elements, all of them acknowledged.
fn final_list(history: &mut History, len: usize) -> Option<&mut Vec<i64>> {
    let ok: Vec<i64> = history
        .txns
        .iter()
        .filter(|txn| txn.outcome == Outcome::Ok)
        .flat_map(|txn| &txn.ops)
        .filter_map(|op| match op.action {
            Action::Append(_, value) => Some(value),
            _ => None,
        })
        .collect();
    let last = history.txns.last_mut().expect("somebody reads in the end");
    // The scan would tell on the list before any other transaction does.
    last.ops.pop();
    last.ops.iter_mut().find_map(|op| match &mut op.action {
        Action::List(_, list) if list.len() >= len && list.iter().all(|v| ok.contains(v)) => {
            Some(list)
        }
        _ => None,
    })
}

proptest! {
    #[test]
    fn serial_histories_are_valid(planned in prop::collection::vec(planned(), 0..60)) {
        for level in [Level::ReadCommitted, Level::RepeatableRead, Level::Serializable] {
            let history = execute(&planned, level);
            for trust_timestamps in [false, true] {
                let options = Options { level: None, trust_timestamps };
                let report = check(&history, &options).expect("values are unique");
                prop_assert!(report.valid(), "{level}: {:#?}", report.anomalies);
            }
        }
    }

    #[test]
    fn one_falsehood_is_found(planned in prop::collection::vec(planned(), 10..60)) {
        for level in [Level::ReadCommitted, Level::RepeatableRead, Level::Serializable] {
            let history = execute(&planned, level);

            let mut swapped = history.clone();
            if let Some(list) = final_list(&mut swapped, 2) {
                list.swap(0, 1);
                prop_assert!(classes(&swapped, level).contains(&Class::IncompatibleOrder));
            }
            let mut repeated = history.clone();
            if let Some(list) = final_list(&mut repeated, 1) {
                list.push(list[0]);
                prop_assert!(classes(&repeated, level).contains(&Class::DuplicateAppend));
            }
            let mut invented = history.clone();
            if let Some(list) = final_list(&mut invented, 0) {
                list.push(-1);
                prop_assert!(classes(&invented, level).contains(&Class::Garbage));
            }
            let mut lost = history.clone();
            if let Some(list) = final_list(&mut lost, 1) {
                list.pop();
                prop_assert!(!classes(&lost, level).is_empty(), "a stale read at {level}");
            }
            let mut rolled_back = history.clone();
            if let Some(list) = final_list(&mut rolled_back, 1) {
                let seen = list[0];
                let writer = rolled_back.txns.iter_mut().find(|txn| {
                    txn.ops.iter().any(|op| matches!(op.action, Action::Append(_, v) if v == seen))
                });
                writer.expect("somebody wrote it").outcome = Outcome::Failed;
                prop_assert!(classes(&rolled_back, level).contains(&Class::G1a));
            }
        }
    }

    /// A register of the last reader shows an older acknowledged value, or nothing.
    #[test]
    fn an_old_value_of_a_register_is_found(planned in prop::collection::vec(planned(), 10..60)) {
        for level in [Level::ReadCommitted, Level::RepeatableRead, Level::Serializable] {
            let mut history = execute(&planned, level);
            let writes: Vec<(Key, i64)> = history
                .txns
                .iter()
                .filter(|txn| txn.outcome == Outcome::Ok)
                .flat_map(|txn| txn.ops.iter())
                .filter_map(|op| match op.action {
                    Action::Write(key, value) => Some((key, value)),
                    _ => None,
                })
                .collect();
            let last = history.txns.last_mut().expect("somebody reads in the end");
            last.ops.pop();
            let stale = last.ops.iter_mut().find_map(|op| match &mut op.action {
                Action::Read(key, seen @ Some(_)) if writes.contains(&(*key, seen.expect("some"))) => {
                    Some(seen)
                }
                _ => None,
            });
            if let Some(seen) = stale {
                *seen = None;
                prop_assert!(!classes(&history, level).is_empty(), "a stale read at {level}");
            }
        }
    }
}

/// Deterministic and large: what a run of an hour leaves behind is checked while one waits.
#[test]
fn a_hundred_thousand_transactions_take_seconds() {
    let mut state = 88_172_645_463_325_252u64;
    let mut pick = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut txns = Vec::new();
    let mut lists: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for n in 0..100_000u64 {
        let point = 10_000 + n * STEP;
        // Lists of about fifty: later transactions use later keys.
        let base = i64::try_from(n / 400).expect("small") * 10;
        let ops = (0..4)
            .map(|_| {
                let key = base + i64::try_from(pick(10)).expect("small");
                let list = lists.entry(key).or_default();
                if pick(2) == 0 {
                    list.push(i64::try_from(list.len()).expect("small"));
                    Op::from(Action::Append(Key(key), *list.last().expect("pushed")))
                } else {
                    Op::from(Action::List(Key(key), list.clone()))
                }
            })
            .collect();
        txns.push(Txn {
            id: n,
            process: 0,
            invoked: point - pick(20 * STEP),
            completed: point + pick(20 * STEP),
            outcome: Outcome::Ok,
            level: Level::Serializable,
            snapshot: None,
            commit_ts: None,
            ops,
        });
    }
    let mut history = History { txns };
    let start = Instant::now();
    let report = check(&history, &Options::default()).expect("values are unique");
    assert!(report.valid(), "{:?}", report.anomalies);
    // And one stale read among them, across most of the run.
    let (key, at) = history
        .txns
        .iter()
        .find_map(|txn| {
            let appended = txn.ops.iter().find_map(|op| match op.action {
                Action::Append(key, _) => Some(key),
                _ => None,
            });
            appended.map(|key| (key, txn.completed))
        })
        .expect("half of all operations append");
    let late = history.txns.iter_mut().rev().find(|txn| txn.invoked > at).expect("a long run");
    late.ops.push(Op::from(Action::List(key, Vec::new())));
    let report = check(&history, &Options::default()).expect("values are unique");
    assert_eq!(report.anomalies.len(), 1, "{:?}", report.counts);
    assert_eq!(report.anomalies[0].txns.len(), 2, "{}", report.anomalies[0]);
    let elapsed = start.elapsed();
    eprintln!("two checks of 100,000 transactions in {elapsed:?}");
    assert!(elapsed < Duration::from_secs(60), "{elapsed:?}");
}
