//! Health, readiness and metrics over HTTP, for load balancers, orchestrators and Prometheus.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use certs::rustls::ServerConfig;
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::tls::SecureListener;

/// What the pages tell.
pub(crate) trait Observed: Send + Sync + 'static {
    /// Why the node does not serve SQL yet (or any more), or `None` when it does.
    fn not_ready(&self) -> Option<String>;
    /// The metrics, brought up to date.
    fn metrics(&self) -> &Metrics;
}

/// Serves until `stop` completes.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    node: Arc<dyn Observed>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/health", get(ready))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node);
    match tls {
        None => axum::serve(listener, router).with_graceful_shutdown(stop).await,
        Some(tls) => {
            let listener = SecureListener::new(listener, tls)?;
            axum::serve(listener, router).with_graceful_shutdown(stop).await
        }
    }
}

async fn ready(State(node): State<Arc<dyn Observed>>) -> impl IntoResponse {
    match node.not_ready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(node): State<Arc<dyn Observed>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], node.metrics().render())
}
