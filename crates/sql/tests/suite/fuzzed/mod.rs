//! Statements and COPY data that nobody meant: what the fuzz targets in
//! `crates/gateway/fuzz/` do without end, for a moment.
//!
//! Statements are those of `sql-tests/`, changed here and there: words taken out, doubled, swapped with
//! words of others. A change is two numbers, so that proptest makes a failure small.

pub(crate) mod drive;

use std::cell::RefCell;

use drive::{Driver, Format};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

thread_local! {
    static DRIVER: RefCell<Driver> = RefCell::new(Driver::new());
}

/// Words that are likely to meet somewhere.
const WORDS: &[&str] = &[
    "(",
    ")",
    ",",
    ".",
    "*",
    "::",
    "$1",
    "$2",
    "[",
    "]",
    ";",
    "'x'",
    "'1'",
    "1",
    "-1",
    "1.5",
    "NULL",
    "t",
    "t.a",
    "u",
    "s",
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "OVER ()",
    "FILTER (WHERE true)",
    "count(*)",
    "LATERAL",
    "WITH x AS",
    "UNION ALL",
    "INSERT INTO t",
    "VALUES",
    "RETURNING",
    "ON CONFLICT",
    "DO UPDATE SET",
    "EXCLUDED.a",
    "ANY",
    "ALL",
    "EXISTS",
    "IN",
    "BETWEEN",
    "CASE WHEN",
    "END",
    "ARRAY[",
    "ROW(",
    "(t).a",
    "CAST",
    "AS int",
    "=",
    "<>",
    "||",
    "->>",
    "@>",
    "IS DISTINCT FROM",
    "NOT",
    "generate_series",
    "DISTINCT",
    "ROLLUP",
    "FOR UPDATE",
    "COLLATE \"C\"",
    "INTERVAL '1 day'",
    "E'\\'",
    "$$",
    "\"",
    "--",
    "/*",
    "\u{e9}",
];

fn corpus() -> Vec<String> {
    let mut statements = Vec::new();
    for entry in std::fs::read_dir("../../sql-tests").expect("a folder") {
        let path = entry.expect("an entry").path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let records = text.split("\n\n").filter_map(|record| {
            let body = record
                .split_once('\n')
                .filter(|(head, _)| head.starts_with("query") || head.starts_with("statement"))?;
            Some(body.1.split("\n----").next().unwrap_or_default().to_owned())
        });
        statements.extend(records);
    }
    statements.sort();
    assert!(statements.len() > 1_000, "the corpus has gone");
    statements
}

/// A statement with some of its words changed.
fn changed(corpus: &[String], which: usize, changes: &[(usize, usize)]) -> String {
    let words =
        |of: usize| corpus[of % corpus.len()].split_inclusive(|c: char| !c.is_alphanumeric());
    let mut text: Vec<&str> = words(which).collect();
    for &(at, how) in changes {
        let place = at % (text.len() + 1);
        match how % 5 {
            0 if place < text.len() => drop(text.remove(place)),
            1 if place < text.len() => text.insert(place, text[place]),
            2 if place < text.len() => {
                let other = how / 5 % text.len();
                text.swap(place, other);
            }
            3 => {
                let others: Vec<&str> = words(how / 5).collect();
                let from = at % others.len().max(1);
                let some = others.into_iter().skip(from).take(how / 7 % 12).collect::<Vec<_>>();
                text.splice(place..place, some);
            }
            _ => {
                text.insert(place, " ");
                text.insert(place, WORDS[how / 5 % WORDS.len()]);
                text.insert(place, " ");
            }
        }
    }
    text.concat()
}

fn runner(cases: u32) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases);
    TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

#[test]
fn any_statement_is_bound_or_refused() {
    let corpus = corpus();
    let changes = vec((any::<usize>(), any::<usize>()), 0..8);
    runner(2_000)
        .run(&(any::<usize>(), changes), |(which, changes)| {
            let text = changed(&corpus, which, &changes);
            DRIVER.with_borrow_mut(|driver| drop(driver.bind(&text)));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn any_words_are_bound_or_refused() {
    let words = vec((0..WORDS.len()).prop_map(|at| WORDS[at]), 0..24);
    runner(2_000)
        .run(&words, |words| {
            let text = words.join(" ");
            DRIVER.with_borrow_mut(|driver| drop(driver.bind(&text)));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Pieces of COPY data: what means something in some format, and bytes.
fn copy_data() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"1\tx\t1.5\t{1,2}\tt\n".to_vec()),
        Just(b"1,\"x\"\"y\",1.5,\"{1,2}\",t\n".to_vec()),
        Just(b"a;b;c;f;g\n1;'x\\'y';2;'{}';f\n".to_vec()),
        Just(b"\\N\t".to_vec()),
        Just(b"\\.\n".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"'".to_vec()),
        Just(b"\t".to_vec()),
        Just(b",".to_vec()),
        Just(b"\\x41\\101\\b".to_vec()),
        Just(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec()),
        Just(
            b"\0\x05\0\0\0\x04\0\0\0\x01\0\0\0\x01x\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x01\x01"
                .to_vec()
        ),
        Just(b"\xff\xff".to_vec()),
        Just(b"\0\0\0\x04".to_vec()),
        Just(b"\x7f\xff\xff\xff".to_vec()),
        vec(any::<u8>(), 0..6),
        "[0-9a-z]{0,4}".prop_map(String::into_bytes),
    ];
    vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

/// Where a client cuts its data into messages makes no difference.
#[test]
fn any_copy_data_is_read_or_refused_alike_in_any_pieces() {
    let input = (0..Format::ALL.len(), copy_data(), vec(0..200_usize, 0..6));
    runner(1_500)
        .run(&input, |(format, data, mut cuts)| {
            cuts.sort_unstable();
            let format = Format::ALL[format];
            DRIVER.with_borrow_mut(|driver| {
                let shown = |result: Result<Vec<String>, sql::SqlError>| match result {
                    Ok(rows) => rows.join("\n"),
                    Err(error) => format!("{} {}", error.fields().code, error.fields().message),
                };
                let whole = shown(driver.copy(format, &data, &[]));
                let parts = shown(driver.copy(format, &data, &cuts));
                prop_assert_eq!(whole, parts, "{:?} {} {:?}", format, data.escape_ascii(), cuts);
                Ok(())
            })
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
