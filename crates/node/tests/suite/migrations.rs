//! A thousand migrations of one statement each take less than a minute on one node.

use std::time::{Duration, Instant};

use crate::support::Cluster;

const MIGRATIONS: usize = 1_000;
const MIGRATIONS_WITHIN: Duration = Duration::from_secs(60);

/// Ten to a table.
fn migration(n: usize) -> String {
    let table = n / 10;
    let parent = table.saturating_sub(1);
    match n % 10 {
        0 => format!("CREATE TABLE m{table} (id bigserial PRIMARY KEY, a int NOT NULL)"),
        1 => format!("ALTER TABLE m{table} ADD COLUMN b text"),
        2 => format!("ALTER TABLE m{table} ADD COLUMN c int NOT NULL DEFAULT 5"),
        3 => format!("CREATE INDEX ON m{table} (a)"),
        4 => format!("CREATE UNIQUE INDEX ON m{table} (lower(b))"),
        5 => format!("ALTER TABLE m{table} ALTER COLUMN a TYPE bigint"),
        6 => format!("ALTER TABLE m{table} ADD CONSTRAINT positive CHECK (c > 0)"),
        7 => format!("ALTER TABLE m{table} RENAME COLUMN b TO bb"),
        8 => format!("ALTER TABLE m{table} ADD COLUMN up bigint REFERENCES m{parent}"),
        _ => format!("ALTER TABLE m{table} DROP COLUMN c"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_migrations_take_less_than_a_minute() {
    let cluster = Cluster::single(&[]);
    let client = cluster.nodes[0].connect().await;
    let begun = Instant::now();
    for n in 0..MIGRATIONS {
        let sql = migration(n);
        client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let took = begun.elapsed();
    let columns = "SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                   WHERE c.relkind = 'r' AND c.relname ~ '^m[0-9]+$' AND a.attnum > 0";
    let row = client.query_one(columns, &[]).await.expect("the catalog is read");
    assert_eq!(row.get::<_, i64>(0), 400, "id, a, bb and up of each table");
    assert!(took < MIGRATIONS_WITHIN, "{MIGRATIONS} migrations took {took:?}");
    println!("{MIGRATIONS} migrations took {took:?}");
}
