//! Waiting for those who still use a table as it was.
//!
//! A courtesy: who is not waited for has to run again, or is told so ([`catalog::succession`]). Every node
//! lists its transactions with what they have used of the catalog; one that does not answer is not waited
//! for.

use std::time::Duration;

use catalog::TableId;
use kv::{Db, Inspection};

use crate::session::Engine;

/// The first pause between two looks, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// Waits until nobody is left who has written one of the tables under a version of the catalog before this
/// one; no longer than the engine has patience.
pub(super) async fn until_unused(engine: &Engine, tables: &[TableId], version: u64) {
    let (mut pause, mut waited) = (PAUSE.0, Duration::ZERO);
    while waited < engine.patience && is_used(&engine.db, tables, version).await {
        engine.db.sleep(pause).await;
        waited += pause;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Whether somebody has written one of the tables under a version before this one, and has not ended.
pub(super) async fn is_used(db: &Db, tables: &[TableId], version: u64) -> bool {
    if tables.is_empty() {
        return false;
    }
    let nodes = db.inspect(Inspection::Txns).await;
    let mut uses = nodes
        .into_iter()
        .flat_map(|(_, answer)| answer.unwrap_or_default().txns)
        .flat_map(|txn| txn.uses);
    uses.any(|used| used.written && used.version < version && tables.contains(&used.relation))
}
