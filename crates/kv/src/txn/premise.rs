//! A key that a transaction goes by without reading rows of it: the version of the catalog.
//!
//! Whoever changes it changes what others rely on, mostly something they never looked at. So where the commit
//! (or a snapshot that moves) finds a newer version, it asks a [`Judge`] whether all that the transaction has
//! done is still right under it, and goes on from that version if so. At every level: the weaker ones verify
//! nothing else that they read, but nothing is ever written under a premise that is gone.

use std::fmt::Debug;
use std::sync::Arc;

use base::{Key, KeyRange, Timestamp};
use futures::future::BoxFuture;

use super::refresh::{NotRefreshed, Verified};
use super::{Inner, Txn};

/// Knows what a transaction has made of the premise.
pub trait Judge: Send + Sync + Debug {
    /// Whether the transaction may commit with the key as it is at `at`. When in doubt: no, and the
    /// transaction has to run again.
    fn stands(&self, at: Timestamp) -> BoxFuture<'_, bool>;

    /// What has been made of it, for those who wait until nobody uses it any more.
    fn uses(&self) -> Vec<proto::kv::SchemaUse>;
}

/// The premise of one transaction.
#[derive(Debug, Clone)]
pub(crate) struct Premise {
    pub(super) key: Key,
    judge: Arc<dyn Judge>,
    /// What the transaction goes by is the key as it was here; none before it has read it.
    since: Option<Timestamp>,
    /// SERIALIZABLE: it was read in the snapshot, and so holds there.
    in_snapshot: bool,
}

impl Txn {
    /// Makes the commit fail, unless `judge` lets it pass, if `key` has changed since the transaction first
    /// reads it. To be said before anything is read; a read-only transaction has no use for it.
    pub fn rely_on(&self, key: Key, judge: Arc<dyn Judge>) {
        if self.inner.options.read_only {
            return;
        }
        let premise = Premise { key, judge, since: None, in_snapshot: false };
        self.inner.state.lock().premise = Some(premise);
    }

    /// The transaction goes by that key as it was at `since`, when somebody else has read it. Costs nothing
    /// extra if the key lies in the one range that is written ([`crate::Db::in_one_range`]).
    pub fn relies_since(&self, since: Timestamp) {
        if let Some(premise) = &mut self.inner.state.lock().premise {
            premise.note(since, false);
        }
    }
}

impl Premise {
    /// It was read at `at`.
    pub(super) fn note(&mut self, at: Timestamp, in_snapshot: bool) {
        self.since = Some(self.since.map_or(at, |since| since.min(at)));
        self.in_snapshot |= in_snapshot;
    }

    /// What has been made of it, if anything relies on it.
    pub(super) fn uses(&self) -> Vec<proto::kv::SchemaUse> {
        self.since.map(|_| self.judge.uses()).unwrap_or_default()
    }

    /// Nothing relies on it any more, as the transaction begins anew.
    pub(super) fn forget(&mut self) {
        (self.since, self.in_snapshot) = (None, false);
    }

    /// What the commit has to verify, if anything relies on it.
    pub(super) fn verified(&self) -> Option<Verified> {
        let span = || KeyRange::point(self.key.clone());
        self.since.map(|from| Verified { from, span: span(), may_change: false })
    }

    /// Whether anything relies on it.
    pub(super) fn is_relied_on(&self) -> bool {
        self.since.is_some()
    }

    /// Whether it holds at the snapshot without being verified.
    pub(super) fn holds_at_snapshot(&self) -> bool {
        self.in_snapshot
    }
}

impl Inner {
    /// [`Inner::refresh`] of spans and of the premise. Whatever became of it, the premise moves on to the
    /// newest version that does no harm.
    pub(super) async fn refresh_with(
        &self,
        spans: impl Fn() -> Vec<Verified>,
        premise: &mut Option<Premise>,
        to: Timestamp,
    ) -> Result<(), NotRefreshed> {
        loop {
            let mut all = spans();
            all.extend(premise.as_ref().and_then(Premise::verified));
            match self.refresh(all, to).await {
                Err(NotRefreshed::Changed { key, version, .. })
                    if self.stands(premise, &key, version).await => {}
                result => return result,
            }
        }
    }

    /// After `key` was found to have a version: whether it is the premise, and that does no harm. The
    /// premise is that version then.
    pub(super) async fn stands(
        &self,
        premise: &mut Option<Premise>,
        key: &Key,
        version: Timestamp,
    ) -> bool {
        let Some(premise) = premise.as_mut().filter(|premise| premise.key == *key) else {
            return false;
        };
        let newer = premise.since.is_some_and(|since| version > since);
        if !newer || !premise.judge.stands(version).await {
            return false;
        }
        premise.since = Some(version);
        self.shared.router.metrics.premises_kept.inc();
        true
    }
}
