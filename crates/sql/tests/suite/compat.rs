//! What `conclave.pg_compat` and docs/sql.md say of each feature is so.

use sql::compat::{Status, document, features};

use crate::support::{connect, engine, run};

/// Statements of an example that are to fail, or to work, are run in one session each: one that fails leaves
/// things behind.
#[tokio::test]
async fn each_example_does_what_is_said_of_it() {
    let engine = engine();
    let mut wrong = Vec::new();
    for feature in features() {
        let mut session = connect(&engine).await;
        let told = run(&mut session, &feature.example).await;
        let refused = told.contains("ERROR 0A000");
        let right = match feature.status {
            Status::Works | Status::Differs => !told.contains("ERROR"),
            Status::Refused => refused,
        };
        if !right {
            wrong.push(format!(
                "{:?} {}: {}\n{told}",
                feature.status, feature.name, feature.example
            ));
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// The same in the view.
#[tokio::test]
async fn the_view_lists_what_is_known() {
    let mut session = connect(&engine()).await;
    let counts = run(
        &mut session,
        "SELECT count(*), count(*) FILTER (WHERE status = 'refused') FROM conclave.pg_compat",
    )
    .await;
    let refused = features().iter().filter(|feature| feature.status == Status::Refused).count();
    assert_eq!(counts, format!("{}|{refused}\n-- SELECT 1", features().len()));
}

/// Rewrites the document with `CONCLAVE_WRITE_DOCS=1`.
#[test]
fn the_document_says_the_same() {
    let path = "../../docs/sql.md";
    let text = std::fs::read_to_string(path).expect("docs/sql.md");
    let begin = "<!-- from crates/sql/src/compat.rs -->\n";
    let (head, body) = text.split_once(begin).expect("where the tables begin");
    let wanted = document();
    if std::env::var_os("CONCLAVE_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{head}{begin}\n{wanted}")).expect("docs/sql.md");
        return;
    }
    assert_eq!(body.trim_start(), wanted, "run with CONCLAVE_WRITE_DOCS=1 to write it anew");
}
