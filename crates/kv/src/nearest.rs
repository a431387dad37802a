//! Reads of the past: from this node's own replica, where it knows enough.
//!
//! Snapshot reads of nobody's ([`crate::TxnOptions::as_of`]) may be answered by any replica that knows the
//! range's past to be settled that far. This node's own is asked first; then the leader, as for any request;
//! and when none answers the router goes through all replicas anyhow.

use std::sync::Arc;

use proto::kv;
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;

use crate::directory::Route;
use crate::router::{Refusal, Router};

impl Router {
    /// A read of the past, put to this node's own replica although another leads. Nothing, if it can't
    /// tell, or if this is no such read.
    pub(crate) async fn call_nearest(
        &self,
        route: &Arc<Route>,
        build: &mut impl FnMut() -> (Option<kv::TxnMeta>, Request),
    ) -> Option<Result<Response, Refusal>> {
        let local = self.transport.local_node().0;
        if route.leader() == Some(local) || !route.descriptor.has_replica(local) {
            return None;
        }
        let (txn, request) = build();
        let request = kv::RangeRequest { range_id: route.id.0, txn, request: Some(request) };
        if !reads_the_past(&request) {
            return None;
        }
        let answer =
            match self.transport.send(local, request).await {
                Ok(kv::RangeResponse { response: Some(response), error: None }) => Ok(response),
                Ok(kv::RangeResponse {
                    error: Some(kv::KvError { error: Some(error) }), ..
                }) if matches!(error, RangeError::BelowGc(_)) => Err(Refusal::Range(error)),
                Ok(_) | Err(_) => return None,
            };
        self.note_call(route, true);
        self.metrics.follower_reads.inc();
        Some(answer)
    }
}

/// Whether it is a snapshot read on no transaction's behalf.
pub(crate) fn reads_the_past(request: &kv::RangeRequest) -> bool {
    request.txn.is_none() && matches!(request.request, Some(Request::Get(_) | Request::Scan(_)))
}
