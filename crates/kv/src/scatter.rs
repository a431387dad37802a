//! Sends the parts of one operation to the ranges that hold them, in parallel.
//!
//! When one range holds everything, the usual case, nothing is spawned, joined or sorted.

use std::sync::Arc;

use base::{Key, KeyRange};
use futures::future::join_all;
use proto::kv;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;

use crate::directory::Route;
use crate::error::KvError;
use crate::router::{Refusal, Replay, Router};

/// Something that lies at a key or over a span, and can be cut at a range's border.
pub(crate) trait Piece: Sized {
    fn anchor(&self) -> &[u8];
    /// The part inside `span`, which holds the anchor, and what is left beyond it.
    fn cut(self, span: &KeyRange) -> (Self, Option<Self>);
}

impl Piece for Key {
    fn anchor(&self) -> &[u8] {
        self.as_bytes()
    }

    fn cut(self, _: &KeyRange) -> (Self, Option<Self>) {
        (self, None)
    }
}

/// A key with its place in the caller's list.
impl Piece for (usize, Key) {
    fn anchor(&self) -> &[u8] {
        self.1.as_bytes()
    }

    fn cut(self, _: &KeyRange) -> (Self, Option<Self>) {
        (self, None)
    }
}

impl Piece for KeyRange {
    fn anchor(&self) -> &[u8] {
        self.start.as_bytes()
    }

    fn cut(self, span: &KeyRange) -> (Self, Option<Self>) {
        if span.contains_range(&self) {
            return (self, None);
        }
        let rest = KeyRange { start: span.end.clone(), end: self.end };
        (KeyRange { start: self.start, end: span.end.clone() }, Some(rest))
    }
}

/// The pieces that lie in one range.
pub(crate) struct Group<T> {
    pub(crate) route: Arc<Route>,
    pub(crate) items: Vec<T>,
}

/// Sorts pieces by the range that holds them, keeping their order within each.
pub(crate) async fn group<T: Piece>(
    router: &Router,
    items: Vec<T>,
) -> Result<Vec<Group<T>>, KvError> {
    let mut groups: Vec<Group<T>> = Vec::with_capacity(1);
    for item in items {
        let mut left = Some(item);
        while let Some(item) = left.take() {
            let found = match groups.iter().rposition(|g| g.route.span.contains(item.anchor())) {
                Some(found) => found,
                None => {
                    let route = router.route(item.anchor()).await?;
                    groups.push(Group { route, items: Vec::new() });
                    groups.len() - 1
                }
            };
            let (inside, rest) = item.cut(&groups[found].route.span);
            groups[found].items.push(inside);
            left = rest;
        }
    }
    Ok(groups)
}

/// Sends each group its request and gathers every final answer, in no particular order. Groups
/// whose range has changed meanwhile are cut anew and sent again.
pub(crate) async fn scatter<T: Piece>(
    router: &Router,
    txn: Option<&kv::TxnMeta>,
    replay: Replay<'_>,
    items: Vec<T>,
    build: impl Fn(&[T]) -> Request,
) -> Result<Vec<(Vec<T>, Result<Response, Refusal>)>, KvError> {
    let mut answers = Vec::with_capacity(1);
    let mut left = items;
    let mut patience = None;
    loop {
        let mut groups = group(router, std::mem::take(&mut left)).await?;
        let build = &build;
        let send = |group: Group<T>| async move {
            let request = || (txn.cloned(), build(&group.items));
            let answer = router.call(&group.route, replay, request).await;
            (group.items, answer)
        };
        let round = match groups.len() {
            0 => return Ok(answers),
            1 => vec![send(groups.remove(0)).await],
            _ => join_all(groups.into_iter().map(send)).await,
        };
        for (items, answer) in round {
            match answer {
                Err(Refusal::Moved) => left.extend(items),
                final_answer => answers.push((items, final_answer)),
            }
        }
        let Some(first) = left.first() else { return Ok(answers) };
        let patience = patience.get_or_insert_with(|| router.patience());
        let key = first.anchor().to_vec();
        router.pause(patience, &key, "the range keeps moving").await?;
    }
}
