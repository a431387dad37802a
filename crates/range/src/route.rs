//! Whether the keys of a request lie in the range.

use base::KeyRange;
use bytes::Bytes;
use proto::kv::range_request::Request;
use proto::kv::{RangeRequest, Span};

/// Whether all that a request touches is inside `span`. A primary key named for settlement may lie
/// anywhere, so it is not looked at where it is only remembered.
pub(crate) fn is_inside(span: &KeyRange, request: &RangeRequest) -> bool {
    let keys = |keys: &[Bytes]| keys.iter().all(|key| span.contains(key));
    let spans = |spans: &[Span]| spans.iter().all(|s| contains(span, s));
    let Some(request) = &request.request else { return true };
    match request {
        Request::Get(get) => keys(&get.keys),
        Request::Scan(scan) => scan.span.as_ref().is_none_or(|s| contains(span, s)),
        Request::LockKeys(lock) => keys(&lock.keys),
        Request::LockSpans(lock) => spans(&lock.spans),
        Request::CommitOnePhase(commit) => {
            commit.writes.iter().all(|write| span.contains(&write.key))
                && spans(&commit.read_spans)
                && keys(&commit.locked)
                && commit.locked_span.as_ref().is_none_or(|s| contains(span, s))
        }
        Request::Prewrite(prewrite) => {
            prewrite.writes.iter().all(|write| span.contains(&write.key))
        }
        Request::Resolve(resolve) => keys(&resolve.keys),
        Request::EndTxn(end) => span.contains(&end.primary),
        Request::QueryTxn(query) => span.contains(&query.primary),
        Request::CheckKeys(check) => keys(&check.keys),
        Request::Refresh(refresh) => spans(&refresh.spans),
        Request::ReleaseLocks(release) => keys(&release.keys) && spans(&release.spans),
        Request::Load(load) => load.rows.iter().all(|row| span.contains(&row.key)),
        Request::Clear(clear) => clear.span.as_ref().is_some_and(|s| contains(span, s)),
        Request::Heartbeat(heartbeat) => span.contains(&heartbeat.primary),
        Request::Split(split) => keys(&split.keys),
        Request::ChangeReplicas(_)
        | Request::TransferLeader(_)
        | Request::Oracle(_)
        | Request::SystemCommand(_)
        | Request::SystemQuery(_)
        | Request::RangeStatus(_)
        | Request::Inspect(_)
        | Request::Collect(_) => true,
    }
}

fn contains(span: &KeyRange, asked: &Span) -> bool {
    let asked = KeyRange::new(asked.start.clone(), asked.end.clone());
    span.contains_range(&asked)
}
