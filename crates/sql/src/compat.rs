//! What of PostgreSQL 15 there is: `conclave.pg_compat`, and the tables of docs/sql.md.
//!
//! One list (`compat.txt`) feeds the view, the document and the test (`tests/suite/compat.rs`), which runs
//! every example: what works must work, what is refused must be refused with 0A000, and the document must
//! say the same.

use std::sync::LazyLock;

/// What is to be said of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As in PostgreSQL 15.
    Works,
    /// 0A000, naming it.
    Refused,
    /// It is there and does something else; the detail says what.
    Differs,
}

impl Status {
    /// As the view has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Works => "works",
            Status::Refused => "refused",
            Status::Differs => "differs",
        }
    }
}

/// One feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// The chapter it belongs to.
    pub area: &'static str,
    /// What it is called.
    pub name: String,
    /// What is to be said of it.
    pub status: Status,
    /// How it differs, what of it there is.
    pub detail: &'static str,
    /// Statements that show it.
    pub example: String,
}

/// The features that are described one by one.
static LISTED: LazyLock<Vec<Feature>> = LazyLock::new(|| {
    let mut all: Vec<Feature> = Vec::new();
    let mut area = "";
    for line in include_str!("compat.txt").lines().filter(|line| !line.starts_with('#')) {
        let status = |word: &str| match word {
            "works" => Some(Status::Works),
            "refused" => Some(Status::Refused),
            "differs" => Some(Status::Differs),
            _ => None,
        };
        if let Some(name) = line.strip_prefix("= ") {
            area = name;
        } else if let Some(example) = line.strip_prefix("  > ") {
            all.last_mut().expect("a feature comes first").example = example.to_owned();
        } else if let Some(detail) = line.strip_prefix("  ") {
            all.last_mut().expect("a feature comes first").detail = detail;
        } else if let Some((word, name)) = line.split_once(' ') {
            let status = status(word).expect("works, refused or differs");
            let (name, example) = (name.to_owned(), String::new());
            all.push(Feature { area, name, status, detail: "", example });
        }
    }
    all
});

/// Everything there is to say, in the order of the chapters.
#[must_use]
pub fn features() -> Vec<Feature> {
    let mut all = LISTED.clone();
    let absent = |area, what, name: &&str, example| Feature {
        area,
        name: format!("{what} {name}"),
        status: Status::Refused,
        detail: "",
        example,
    };
    let types = pgtypes::registry::absent_types().iter();
    all.extend(types.map(|t| absent("types", "type", t, format!("SELECT NULL::{t}"))));
    let functions = pgtypes::registry::absent_functions().iter();
    all.extend(functions.map(|f| absent("functions", "function", f, format!("SELECT \"{f}\"()"))));
    all
}

/// The tables of docs/sql.md, one for each chapter, and what is refused by name.
#[must_use]
pub fn document() -> String {
    let mut out = String::new();
    for area in ["types", "expressions", "functions", "statements"] {
        let title = area[..1].to_uppercase() + &area[1..];
        out.push_str(&format!("## {title}\n\n| feature | | |\n|---|---|---|\n"));
        for feature in LISTED.iter().filter(|feature| feature.area == area) {
            let Feature { name, status, detail, .. } = feature;
            let cell = |text: &str| text.replace('|', "\\|");
            out.push_str(&format!("| {} | {} | {} |\n", cell(name), status.as_str(), cell(detail)));
        }
        out.push('\n');
    }
    let list = |names: &[&str]| wrapped(&names.join(", "));
    out.push_str("## Refused by name\n\nTypes:\n\n");
    out.push_str(&list(pgtypes::registry::absent_types()));
    out.push_str("\nFunctions:\n\n");
    out.push_str(&list(pgtypes::registry::absent_functions()));
    out
}

fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        if width > 0 && width + word.len() + 1 > 110 {
            out.push('\n');
            width = 0;
        }
        if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += word.len();
    }
    out.push('\n');
    out
}
