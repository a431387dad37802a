//! What limits does the gateway keep, and what does it count?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::auth::Security;

/// Limits of a gateway. The default is fit for use.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The node, so that process ids of sessions differ from those of other nodes.
    pub node_id: u64,
    /// Sessions at the same time. The next one is refused with 53300.
    pub connections_max: usize,
    /// Connections that have not finished their start at the same time. The next one is closed.
    pub startups_max: usize,
    /// How long a client may take to introduce itself.
    pub startup_timeout: Duration,
    /// How long running statements and open transactions may go on after the shutdown signal.
    pub drain_timeout: Duration,
    /// The largest message that is read into memory. A larger one is skipped and refused with
    /// 54000.
    pub message_bytes_max: usize,
    /// Output that may come together before a running statement sends some of it.
    pub held_bytes_max: usize,
    /// TLS and passwords; `None`: whoever connects is believed.
    pub security: Option<Security>,
    /// What is counted.
    pub metrics: Arc<GatewayMetrics>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            node_id: 0,
            connections_max: 1000,
            startups_max: 256,
            startup_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
            message_bytes_max: 64 << 20,
            held_bytes_max: 256 << 10,
            security: None,
            metrics: Arc::default(),
        }
    }
}

/// Counters of the gateway.
#[derive(Debug, Default)]
pub struct GatewayMetrics {
    /// Sessions now.
    pub(crate) sessions: AtomicU64,
    /// Connections accepted since the start.
    pub(crate) accepted: AtomicU64,
    /// Connections refused for want of a slot.
    pub(crate) refused: AtomicU64,
    /// Cancel requests received.
    pub(crate) cancels: AtomicU64,
    /// Connections ended because they broke the protocol.
    pub(crate) violations: AtomicU64,
    /// Bytes received.
    pub(crate) received_bytes: AtomicU64,
    /// Bytes sent.
    pub(crate) sent_bytes: AtomicU64,
}

impl GatewayMetrics {
    /// Name, whether it only grows, and value of each.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, bool, u64)> {
        let get = |value: &AtomicU64| value.load(Ordering::Relaxed);
        vec![
            ("sql_sessions", false, get(&self.sessions)),
            ("sql_connections_accepted", true, get(&self.accepted)),
            ("sql_connections_refused", true, get(&self.refused)),
            ("sql_cancel_requests", true, get(&self.cancels)),
            ("sql_protocol_violations", true, get(&self.violations)),
            ("sql_received_bytes", true, get(&self.received_bytes)),
            ("sql_sent_bytes", true, get(&self.sent_bytes)),
        ]
    }
}

pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}
