//! The routes of the server and the layers around them, from the outside to the inside:
//!
//! 1. `cache-control: no-store`, the access log, the metrics
//! 2. the host, the token, pages of other sites, the content type
//! 3. the time limits of the request and of its body
//! 4. the routes: `/healthz`, `/metrics`, and all others, which the remote answers

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extracted;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower_http::csrf::CsrfLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};
use tower_http::trace::{DefaultMakeSpan, DefaultOnResponse, TraceLayer};
use tracing::Level;

use super::access::{Token, require_host, require_small_head, require_token, require_type};
use super::answer::{body, problem};
use super::limits::Limits;
use super::metrics::{self, Metrics};
use super::receive::{Bodies, Received};
use super::store::Store;
use super::watch::{Ending, RequestWatch};
use super::{Settings, WorkError, large_stack};
use crate::world::remote::Watch;
use crate::world::remote::archive::{ArchivedRemote, ServedArchive};
use crate::world::remote::content::Content;

/// The path of the health check. It goes without the token.
pub(super) const HEALTH: &str = "/healthz";

/// What the handlers share.
#[derive(Clone)]
pub(super) struct State(Arc<Inner>);

pub(super) struct Inner {
    pub store: Arc<Store>,
    pub metrics: Metrics,
    pub bodies: Bodies,
    pub token: Option<Token>,
    pub hosts: Vec<String>,
    pub ending: Ending,
    pub limits: Limits,
    /// Requests that run SQL, and requests that append frames: a slow statement must not hold up a push.
    sql: Arc<Semaphore>,
    appends: Arc<Semaphore>,
}

impl std::ops::Deref for State {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl State {
    pub fn new(store: Store, settings: Settings) -> Self {
        let limits = settings.limits;
        Self(Arc::new(Inner {
            store: Arc::new(store),
            metrics: Metrics::new(),
            bodies: Bodies::new(limits.body_bytes, limits.bodies_bytes),
            token: settings.token,
            hosts: settings.hosts,
            ending: Ending::default(),
            sql: Arc::new(Semaphore::new(limits.requests_at_once.max(1))),
            appends: Arc::new(Semaphore::new(limits.requests_at_once.max(1))),
            limits,
        }))
    }

    /// Answers a request whose body has arrived.
    async fn answer(&self, request: Request<Bytes>, received: impl Send + 'static) -> Response {
        let store = self.store.clone();
        if !ServedArchive::is_work(&request) {
            // Reading a file blocks.
            let looked = tokio::task::spawn_blocking(move || store.look_up(&request));
            return looked.await.map_or_else(|_| broken(), |answer| self.respond(answer));
        }
        let queue = if ArchivedRemote::runs_sql(&request) { &self.sql } else { &self.appends };
        // It is never closed.
        let Ok(permit) = queue.clone().acquire_owned().await else { return broken() };
        let limits = self.limits.statements.clone();
        let watch = Arc::new(RequestWatch::begin(&self.limits, self.ending.clone()));
        let watched: Arc<dyn Watch> = watch.clone();
        let work = large_stack::run(move || {
            let _held = (permit, received);
            store.answer(&request, &limits, &watched)
        });
        match watch.over(work).await {
            Ok(response) => self.respond(response),
            Err(WorkError::Panicked) => broken(),
            Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    /// Bytes count as a body in memory until they are sent. Files are read while they are sent.
    fn respond(&self, answer: Response<Content>) -> Response {
        let (head, content) = answer.into_parts();
        match content {
            Content::Bytes(bytes) => self.bodies.hold(Response::from_parts(head, bytes)),
            Content::File { .. } => Response::from_parts(head, body(content, self.store.archive.io())),
        }
    }
}

/// The service for all connections.
pub(super) fn router(state: State) -> Router {
    let limits = &state.limits;
    let log = TraceLayer::new_for_http()
        .make_span_with(DefaultMakeSpan::new().level(Level::INFO))
        .on_response(DefaultOnResponse::new().level(Level::INFO));
    let layers = ServiceBuilder::new()
        .layer(SetResponseHeaderLayer::overriding(CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(log)
        .layer(from_fn_with_state(state.clone(), metrics::measure))
        .layer(from_fn_with_state(state.clone(), require_small_head))
        .layer(from_fn_with_state(state.clone(), require_host))
        .layer(from_fn_with_state(state.clone(), require_token))
        .layer(CsrfLayer::new())
        .layer(from_fn(require_type))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limits.request_time))
        .layer(RequestBodyTimeoutLayer::new(limits.body_idle_time));
    Router::new()
        .route(HEALTH, get(health))
        .route("/metrics", get(metrics::export))
        .fallback(answer)
        .layer(layers)
        .with_state(state)
}

async fn health(Extracted(state): Extracted<State>) -> Response {
    match state.store.archive.check_health() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => problem(StatusCode::SERVICE_UNAVAILABLE, &reason.to_string()),
    }
}

async fn answer(Extracted(state): Extracted<State>, request: axum::extract::Request) -> Response {
    let (head, body) = request.into_parts();
    match state.bodies.receive(body).await {
        Ok(Received { bytes, memory }) => state.answer(Request::from_parts(head, bytes), memory).await,
        Err(response) => response,
    }
}

fn broken() -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "the server failed on this request; see its log")
}
