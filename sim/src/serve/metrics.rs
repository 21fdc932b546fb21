//! The server's metrics, in Prometheus' text format.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::answer::problem;
use super::router::State as Shared;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// The numbers that the server counts.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    /// Open connections.
    pub connections: Gauge,
    /// Connections beyond the limit.
    pub refused_connections: Counter,
    bodies_bytes: Gauge,
    generation: Gauge,
    frames: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("plimsoll");
        let seconds: Family<Route, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(histogram as fn() -> Histogram);
        let metrics = Self {
            requests: Family::default(),
            seconds,
            connections: Gauge::default(),
            refused_connections: Counter::default(),
            bodies_bytes: Gauge::default(),
            generation: Gauge::default(),
            frames: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Answered requests", metrics.requests.clone());
        let help = "Time from a request's head to the head of its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, metrics.seconds.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register(
            "refused_connections",
            "Connections beyond the limit",
            metrics.refused_connections.clone(),
        );
        let help = "Memory of the bodies of requests in progress";
        registry.register_with_unit("bodies", help, Unit::Bytes, metrics.bodies_bytes.clone());
        registry.register("generation", "Number of the current generation", metrics.generation.clone());
        registry.register("frames", "Frames in the current generation", metrics.frames.clone());
        Self { registry, ..metrics }
    }

    fn count(&self, method: &Method, route: &'static str, status: StatusCode, took: Duration) {
        let answered =
            Answered { method: method.to_string(), route: route.to_owned(), status: status.as_u16() };
        self.requests.get_or_create(&answered).inc();
        self.seconds.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }
}

fn histogram() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0])
}

/// Counts requests and measures their time.
#[expect(clippy::disallowed_methods, reason = "a served remote runs in real time")]
pub(super) async fn measure(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let begin = std::time::Instant::now();
    let route = route_of(request.uri().path());
    // A client can invent methods, and each would be a row of its own.
    let method = match *request.method() {
        Method::GET => Method::GET,
        Method::POST => Method::POST,
        _ => Method::OPTIONS,
    };
    let response = next.run(request).await;
    shared.metrics.count(&method, route, response.status(), begin.elapsed());
    response
}

/// The first part of a known path. All others are one route.
fn route_of(path: &str) -> &'static str {
    match path.trim_start_matches('/').split('/').next() {
        Some("info") => "/info",
        Some("export") => "/export",
        Some("sync") => "/sync",
        Some("v2") => "/v2/pipeline",
        Some("healthz") => "/healthz",
        Some("metrics") => "/metrics",
        _ => "other",
    }
}

/// `GET /metrics`.
pub(super) async fn export(State(shared): State<Shared>) -> Response {
    let store = shared.store.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let archive = store.archive.archive();
        (archive.remote().generation(), archive.remote().frame_count())
    });
    let Ok((generation, frames)) = looked.await else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "the remote cannot be looked at");
    };
    let metrics = &shared.metrics;
    metrics.generation.set(generation as i64);
    metrics.frames.set(frames as i64);
    metrics.bodies_bytes.set(shared.bodies.used_bytes() as i64);
    let mut text = String::new();
    if encode(&mut text, &metrics.registry).is_err() {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded");
    }
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(CONTENT_TYPE, content_type)], text).into_response()
}
