//! Waiting for those who still use a table as it was.
//!
//! A courtesy: who is not waited for has to run again, or is told so ([`catalog::succession`]). Every node
//! lists its transactions with what they have used of the catalog; one that does not answer is not waited
//! for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use catalog::{TableId, store};
use kv::{Db, Inspection};

use crate::session::Engine;

/// The first pause between two looks, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// Waits until nobody is left who has written one of the tables under a version of the catalog before this
/// one, and for so long at most. Whether nobody is.
pub(in crate::ddl) async fn until_unused(
    engine: &Engine,
    tables: &[TableId],
    version: u64,
    patience: Duration,
) -> bool {
    let (mut pause, began) = (PAUSE.0, engine.db.clock());
    while is_used(&engine.db, tables, version).await {
        if engine.db.clock().saturating_sub(began) >= patience {
            return false;
        }
        engine.db.sleep(pause.min(patience)).await;
        pause = (pause * 2).min(PAUSE.1);
    }
    true
}

/// Whether somebody has written one of the tables under a version before this one, and has not ended.
pub(in crate::ddl) async fn is_used(db: &Db, tables: &[TableId], version: u64) -> bool {
    if tables.is_empty() {
        return false;
    }
    let nodes = db.inspect(Inspection::Txns).await;
    let mut txns = nodes.into_iter().flat_map(|(_, answer)| answer.unwrap_or_default().txns);
    txns.any(|txn| uses(&txn, tables, version))
}

fn uses(txn: &proto::kv::TxnInfo, tables: &[TableId], version: u64) -> bool {
    let mut uses = txn.uses.iter();
    uses.any(|used| used.written && used.version < version && tables.contains(&used.relation))
}

/// A session: its node, and which of that node's. A transaction of none stands for itself, on no node.
pub(crate) type Party = (u64, u64);

/// Whether somebody who has written one of the tables waits for a session to go on, perhaps by way of
/// others; or whoever wants to change the catalog does.
pub(in crate::ddl) async fn is_needed(db: &Db, tables: &[TableId], session: Party) -> bool {
    let asked = (db.inspect(Inspection::Txns), db.inspect(Inspection::Locks));
    let (txns, locks) = futures::future::join(asked.0, asked.1).await;
    let (mut parties, mut reached) = (BTreeMap::new(), Vec::new());
    for (node, answer) in txns {
        for txn in answer.unwrap_or_default().txns {
            let id = txn.txn.map_or(0, |meta| meta.id);
            let party = txn.activity.as_ref().map_or((0, id), |a| (node.0, a.session));
            parties.insert(id, party);
            if uses(&txn, tables, u64::MAX) {
                reached.push(party);
            }
        }
    }
    let party = |txn: Option<&proto::kv::TxnMeta>| {
        let id = txn.map_or(0, |meta| meta.id);
        parties.get(&id).copied().unwrap_or((0, id))
    };
    let mut behind: BTreeMap<Party, BTreeSet<Party>> = BTreeMap::new();
    let locks = locks.into_iter().flat_map(|(_, answer)| answer.unwrap_or_default().locks);
    for lock in locks.filter(|lock| !lock.granted) {
        let waiter = party(lock.txn.as_ref());
        let ahead = lock.behind.iter().map(|ahead| party(ahead.txn.as_ref()));
        behind.entry(waiter).or_default().extend(ahead);
        if lock.key == store::version_key().0 {
            reached.push(waiter);
        }
    }
    let mut seen = BTreeSet::new();
    while let Some(party) = reached.pop() {
        if party == session {
            return true;
        }
        if seen.insert(party) {
            reached.extend(behind.get(&party).into_iter().flatten());
        }
    }
    false
}
