//! `/healthz`, `/readyz` and `/metrics`.
//!
//! Healthy means that the process answers. Ready means that it has seen the cluster: every cache
//! that was announced is filled, and it leads or knows the leader. Nothing here requires authentication, so
//! nothing here shows more than names of caches and of the leader, and numbers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, TEXT_FORMAT};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::kubernetes::lease::{ElectionState, Leadership};

/// The state from which readiness is derived. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    leadership: Leadership,
    caches: Arc<Mutex<BTreeMap<&'static str, bool>>>,
}

impl Health {
    /// Not ready until at least one cache is announced and filled.
    #[must_use]
    pub fn new(leadership: Leadership) -> Self {
        Self { leadership, caches: Arc::default() }
    }

    /// Announces a cache, or says whether it is filled now.
    pub fn cache(&self, name: &'static str, primed: bool) {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).insert(name, primed);
    }

    /// Shows from now on as a metric whether the process is ready.
    ///
    /// # Errors
    /// When a family has the name of another one.
    pub fn show(&self, metrics: &Metrics) -> Result<(), prometheus::Error> {
        let gauge = IntGauge::new("firebreak_ready", "1 while /readyz says that this process is ready.")?;
        metrics.add(Ready { health: self.clone(), gauge })
    }

    /// Whether the process is ready, and the reasons, one per line.
    #[must_use]
    pub fn ready(&self) -> (bool, String) {
        let (mut ready, mut text) = match self.leadership.state() {
            ElectionState::Unknown => (false, "leadership: not known yet\n".to_owned()),
            ElectionState::Standby { holder } => (true, format!("leadership: standby for {holder:?}\n")),
            ElectionState::Leading { .. } => (true, "leadership: leading\n".to_owned()),
        };
        let caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        if caches.is_empty() {
            ready = false;
            text.push_str("caches: none yet\n");
        }
        for (name, primed) in &*caches {
            ready &= primed;
            let state = if *primed { "primed" } else { "not primed yet" };
            // Writing into a String cannot fail.
            let _ = writeln!(text, "cache {name}: {state}");
        }
        (ready, text)
    }
}

/// `firebreak_ready`.
struct Ready {
    health: Health,
    gauge: IntGauge,
}

impl Collector for Ready {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(self.health.ready().0.into());
        self.gauge.collect()
    }
}

/// Binds the address, logs it, and serves until `stop`.
///
/// Returns the bound address, which differs from the requested one if that had port 0, and the
/// server to be run.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    listen: SocketAddr,
    metrics: Arc<Metrics>,
    health: Health,
    stop: CancellationToken,
) -> io::Result<(SocketAddr, impl Future<Output = io::Result<()>> + Send)> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening for metrics and health checks");
    let routes = routes(metrics, health);
    let server = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
    Ok((address, server.into_future()))
}

fn routes(metrics: Arc<Metrics>, health: Health) -> Router {
    Router::new()
        .route("/metrics", get(numbers).with_state(metrics))
        .route("/readyz", get(readiness).with_state(health))
        .route("/healthz", get(|| async { "ok\n" }))
}

async fn numbers(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readiness(State(health): State<Health>) -> Response {
    let (ready, text) = health.ready();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn fetch(health: &Health, path: &str) -> (StatusCode, String) {
        let metrics = Arc::new(Metrics::new().unwrap());
        metrics.changes_outstanding.set(2);
        health.show(&metrics).unwrap();
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = routes(metrics, health.clone()).oneshot(request).await.unwrap();
        let code = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_process_is_ready_when_its_caches_are_primed() {
        let health = Health::new(Leadership::without_election());
        assert_eq!(fetch(&health, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        health.cache("policies", true);
        health.cache("incidents", false);
        let (code, text) = fetch(&health, "/readyz").await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "leadership: leading\ncache incidents: not primed yet\ncache policies: primed\n");
        assert!(fetch(&health, "/metrics").await.1.contains("firebreak_ready 0"));
        health.cache("incidents", true);
        assert_eq!(fetch(&health, "/readyz").await.0, StatusCode::OK);
        assert!(fetch(&health, "/metrics").await.1.contains("firebreak_ready 1"));
    }

    #[tokio::test]
    async fn numbers_and_life_are_served_without_being_ready() {
        let health = Health::new(Leadership::without_election());
        let (code, text) = fetch(&health, "/metrics").await;
        assert_eq!(code, StatusCode::OK);
        assert!(text.contains("firebreak_changes_outstanding 2"), "{text}");
        assert_eq!(fetch(&health, "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn port_zero_is_answered_with_the_port_that_was_bound() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let health = Health::new(Leadership::without_election());
        let stop = CancellationToken::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, server) = serve(any, metrics, health, stop.clone()).await.unwrap();
        assert_ne!(address.port(), 0);
        stop.cancel();
        server.await.unwrap();
    }
}
