//! Rules about the tree that no compiler checks: crates depend downwards, heavy dependencies stay
//! where they belong, files open with what they are for, lines stay readable.

use std::fs;
use std::path::{Path, PathBuf};

/// Rows of docs/architecture.md: a crate depends on crates in lower rows only.
const ROWS: &[(&str, u32)] = &[
    ("base", 0),
    ("certs", 0),
    ("checker", 0),
    ("proto", 1),
    ("storage", 1),
    ("txn", 1),
    ("rocks", 2),
    ("consensus", 2),
    ("meta", 2),
    ("range", 3),
    ("kv", 3),
    ("sim", 4),
    ("pgtypes", 4),
    ("catalog", 5),
    ("sql", 6),
    ("gateway", 7),
    ("shell", 7),
    ("workload", 7),
    ("node", 8),
];

/// Heavy dependencies and the crates that may name them.
const CONFINED: [(&str, &[&str]); 10] = [
    ("rocksdb", &["rocks"]),
    ("raft", &["consensus"]),
    ("datafusion", &["sql"]),
    ("sqlparser", &["sql"]),
    ("pgwire", &["gateway"]),
    ("axum", &["node"]),
    ("arrow", &["pgtypes", "sql"]),
    ("rustyline", &["shell"]),
    ("rcgen", &["certs"]),
    ("rustls", &["certs"]),
];

/// Columns of a line, at most.
const COLUMNS: usize = 110;
/// The same in tests, where statements and answers stand on lines of their own.
const COLUMNS_IN_TESTS: usize = 150;

fn root() -> PathBuf {
    PathBuf::from("../..")
}

fn row(name: &str) -> Option<u32> {
    ROWS.iter().find(|(n, _)| *n == name).map(|(_, row)| *row)
}

fn crates() -> Vec<(String, String)> {
    let folder = fs::read_dir(root().join("crates")).expect("a folder of crates");
    folder
        .map(|entry| {
            let entry = entry.expect("an entry");
            let manifest = fs::read_to_string(entry.path().join("Cargo.toml")).expect("a manifest");
            (entry.file_name().to_string_lossy().into_owned(), manifest)
        })
        .collect()
}

fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        }
        let (name, _) = line.split_once('=')?;
        inside.then(|| name.trim().trim_end_matches(".workspace"))
    })
}

#[test]
fn crates_depend_downwards_and_heavy_dependencies_stay_confined() {
    let mut wrong = Vec::new();
    for (name, manifest) in crates() {
        let own = row(&name).unwrap_or_else(|| panic!("{name} has no row in this test"));
        for dependency in dependencies(&manifest) {
            // storage is the one crate of row 1 that others of its row need not wait for.
            if row(dependency).is_some_and(|row| row >= own) {
                wrong.push(format!("{name} depends on {dependency}, which is not below it"));
            }
            let confined = CONFINED.iter().find(|(d, _)| *d == dependency);
            if confined.is_some_and(|(_, allowed)| !allowed.contains(&name.as_str())) {
                wrong.push(format!("{name} names {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_say_what_they_are_for_and_lines_stay_readable() {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a text file");
        if !text.starts_with("//!") {
            wrong.push(format!("{}: no header", file.display()));
        }
        let in_tests = file.components().any(|part| part.as_os_str() == "tests");
        let columns = if in_tests { COLUMNS_IN_TESTS } else { COLUMNS };
        for (n, line) in text.lines().enumerate() {
            if line.chars().count() > columns {
                wrong.push(format!("{}:{}: too long", file.display(), n + 1));
            }
            // Spelled so that this line does not find itself.
            if line.contains(concat!("TO", "DO")) || line.contains(concat!("FIX", "ME")) {
                wrong.push(format!("{}:{}: a leftover reminder", file.display(), n + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
