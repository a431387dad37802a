//! Runs the golden scripts under `scripts/`. `UPDATE_GOLDENFILES=1 cargo test -p txn --test scripts`
//! rewrites them.

#[path = "scripts/coordinator.rs"]
mod coordinator;
#[path = "scripts/deadlock.rs"]
mod deadlock;
#[path = "scripts/lock_table.rs"]
mod lock_table;
#[path = "scripts/settle.rs"]
mod settle;

use std::error::Error;
use std::path::Path;

use base::{Key, NodeId, Timestamp, TxnId};
use goldenscript::{ArgumentConsumer, Runner};
use txn::Owner;

fn run_all<R: Runner>(folder: &str, new: impl Fn() -> R) {
    let folder = Path::new("scripts").join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    for path in paths {
        goldenscript::run(&mut new(), &path).expect("the script runs");
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Box<dyn Error>>
where
    T::Err: Error + 'static,
{
    Ok(text.parse()?)
}

/// `t12`: started at 12, coordinated by node 1; `t12@n3`: by node 3.
fn owner(text: &str) -> Result<Owner, Box<dyn Error>> {
    let (txn, node) = text.split_once('@').unwrap_or((text, "n1"));
    let id: u64 = parse(txn.trim_start_matches('t'))?;
    let node: u64 = parse(node.trim_start_matches('n'))?;
    Ok(Owner { txn: TxnId(id), start: Timestamp(id), coordinator: NodeId(node), incarnation: 1 })
}

fn next<'a>(args: &mut ArgumentConsumer<'a>, what: &str) -> Result<&'a str, Box<dyn Error>> {
    args.next_pos().ok_or_else(|| format!("{what} not given").into())
}

fn key(text: &str) -> Key {
    Key::from(text.as_bytes().to_vec())
}

fn ts(text: &str) -> Result<Timestamp, Box<dyn Error>> {
    Ok(Timestamp(parse(text)?))
}
