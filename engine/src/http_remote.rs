//! [`HttpRemote`]: the server over HTTP, for programs that run on tokio. Requires the feature `http`; TLS
//! requires the feature `https`.
//!
//! Connections are kept and reused. Bodies are streamed with back-pressure: only hyper's own buffer reads
//! ahead of the engine. Every wait has a time limit on tokio's clock: connecting, each part of a request's
//! body, the head of the answer, and each chunk of its body.
//!
//! A request is sent a second time only if that is safe: if the server has closed a kept connection before
//! anything was sent on it, or if a GET found the connection closed without an answer. The engine decides
//! about all other retries.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::uri::{InvalidUri, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use crate::remote::{Remote, RemoteError};

#[cfg(feature = "https")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "https"))]
type Connector = HttpConnector;

/// The reason why an [`HttpRemote`] could not be built, or could not finish a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpRemoteError {
    /// The base URL cannot be parsed.
    #[error("`{url}` is not a URL")]
    BadUrl {
        /// The base URL as given.
        url: String,
        /// The error of the parser.
        source: InvalidUri,
    },
    /// The base URL has an unsupported scheme, no host, or a query.
    #[error("`{url}` cannot be a base URL: {problem}")]
    UnusableUrl {
        /// The base URL as given.
        url: String,
        /// The reason.
        problem: &'static str,
    },
    /// The token contains bytes that a header must not contain.
    #[error("the bearer token has characters that a header must not contain")]
    BadToken {
        /// The error of the header's parser.
        source: InvalidHeaderValue,
    },
    /// A path of the protocol could not be appended to the base URL.
    #[error("cannot build the URL of a request")]
    BadRequest {
        /// The reason.
        source: http::Error,
    },
    /// The connection failed before the head of the answer arrived.
    #[error("the connection failed")]
    Connection {
        /// The HTTP client's error.
        source: hyper_util::client::legacy::Error,
    },
    /// The body ended early.
    #[error("the body of the answer ended early")]
    Body {
        /// The connection's error.
        source: hyper::Error,
    },
    /// The time limit expired.
    #[error("no {awaited} within {limit:?}")]
    TimedOut {
        /// The expected part of the answer.
        awaited: &'static str,
        /// The time limit.
        limit: Duration,
    },
}

/// A server that is reached over HTTP/1.1.
///
/// ```no_run
/// use std::{sync::Arc, time::Duration};
/// use plimsoll_engine::{HttpRemote, LocalStorage, Options, SyncEngine};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let remote = HttpRemote::builder("http://127.0.0.1:8080/tenant-1")
///     .bearer_token("secret")
///     .response_timeout(Duration::from_secs(20))
///     .build()?;
/// let io = Arc::new(turso_core::PlatformIO::new()?);
/// let engine =
///     SyncEngine::open(io, Arc::new(LocalStorage), remote, "notes.db", Options::new("laptop")).await?;
/// engine.sync().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HttpRemote {
    client: Client<Connector, Upload>,
    /// Keeps no connection: each of its requests has a new one.
    fresh: Client<Connector, Upload>,
    base: Uri,
    headers: HeaderMap,
    response_timeout: Duration,
    body_idle_timeout: Duration,
}

impl HttpRemote {
    /// Starts to build a remote for the server at `base_url`. The protocol's paths are appended to it.
    pub fn builder(base_url: impl Into<String>) -> HttpRemoteBuilder {
        HttpRemoteBuilder {
            base_url: base_url.into(),
            headers: HeaderMap::new(),
            bearer_token: None,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(30),
        }
    }

    fn url(&self, path: &str) -> Result<Uri, http::Error> {
        let prefix = self.base.path().trim_end_matches('/');
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(format!("{prefix}{path}"))?);
        Ok(Uri::from_parts(parts)?)
    }
}

impl fmt::Debug for HttpRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRemote").field("base", &self.base).finish_non_exhaustive()
    }
}

/// Builds an [`HttpRemote`].
#[must_use]
pub struct HttpRemoteBuilder {
    base_url: String,
    headers: HeaderMap,
    bearer_token: Option<String>,
    connect_timeout: Duration,
    response_timeout: Duration,
    body_idle_timeout: Duration,
}

impl HttpRemoteBuilder {
    /// Adds a header to every request. It replaces an earlier header of the same name.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds `authorization: Bearer …` to every request. The token does not appear in logs.
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.bearer_token = Some(token.into());
        self
    }

    /// The time limit for connecting; default 10 seconds.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The time limit for the head of an answer, counted from the last progress of the request; default 60
    /// seconds. Connecting counts, and so does every wait for the network to take more of the request's body:
    /// a slow upload is no error, one that stands still is.
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// The time limit for each chunk of an answer's body; default 30 seconds. The whole body has no limit.
    pub fn body_idle_timeout(mut self, limit: Duration) -> Self {
        self.body_idle_timeout = limit;
        self
    }

    /// Builds the remote without connecting.
    ///
    /// # Errors
    /// [`HttpRemoteError`] if the URL or the token is invalid.
    pub fn build(self) -> Result<HttpRemote, HttpRemoteError> {
        let base = self.base_url.parse::<Uri>();
        let base = base.map_err(|source| HttpRemoteError::BadUrl { url: self.base_url.clone(), source })?;
        let unusable = |problem| HttpRemoteError::UnusableUrl { url: self.base_url.clone(), problem };
        if base.scheme() == Some(&Scheme::HTTPS) && !cfg!(feature = "https") {
            return Err(unusable("TLS needs the feature `https`"));
        }
        if !matches!(base.scheme_str(), Some("http" | "https")) || base.host().is_none() {
            return Err(unusable("it does not start with http:// or https:// and a host"));
        }
        if base.query().is_some() {
            return Err(unusable("paths cannot be appended to a query"));
        }
        let mut headers = self.headers;
        if let Some(token) = self.bearer_token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|source| HttpRemoteError::BadToken { source })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(self.connect_timeout));
        connector.set_nodelay(true);
        // What waits in a buffer counts as sent. Small buffers let the progress of an upload be seen.
        connector.set_send_buffer_size(Some(SEND_BUFFER_BYTES));
        let connector = secured(connector);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http1_max_buf_size(SEND_BUFFER_BYTES);
        // Only requests of which nothing was sent.
        builder.retry_canceled_requests(true);
        let client = builder.build(connector.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(connector);
        Ok(HttpRemote {
            client,
            fresh,
            base,
            headers,
            response_timeout: self.response_timeout,
            body_idle_timeout: self.body_idle_timeout,
        })
    }
}

#[cfg(not(feature = "https"))]
fn secured(connector: HttpConnector) -> Connector {
    connector
}

#[cfg(feature = "https")]
fn secured(mut connector: HttpConnector) -> Connector {
    connector.enforce_http(false);
    hyper_rustls::HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector)
}

impl Remote for HttpRemote {
    type Body = HttpBody;

    async fn send(&self, request: Request<Bytes>) -> Result<Response<HttpBody>, RemoteError> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        parts.uri = self.url(path).map_err(|source| HttpRemoteError::BadRequest { source })?;
        for (name, value) in &self.headers {
            parts.headers.insert(name, value.clone());
        }
        let response = match self.try_once(&self.client, parts.clone(), body.clone()).await {
            // The server may have closed a kept connection while this request was on its way.
            Err(HttpRemoteError::Connection { source })
                if parts.method == Method::GET && !source.is_connect() =>
            {
                self.try_once(&self.fresh, parts, body).await?
            }
            outcome => outcome?,
        };
        Ok(response.map(|body| HttpBody::new(body, self.body_idle_timeout)))
    }
}

impl HttpRemote {
    async fn try_once(
        &self,
        client: &Client<Connector, Upload>,
        parts: http::request::Parts,
        body: Bytes,
    ) -> Result<Response<Incoming>, HttpRemoteError> {
        let progress = UploadProgress::begin();
        let request = Request::from_parts(parts, Upload { rest: body, progress: progress.clone() });
        let limit = self.response_timeout;
        match with_progress(client.request(request), &progress, limit).await {
            Some(outcome) => outcome.map_err(|source| HttpRemoteError::Connection { source }),
            None => Err(HttpRemoteError::TimedOut { awaited: "answer", limit }),
        }
    }
}

/// Waits for `answer`; `None` if there was no progress for as long as `limit`.
#[expect(clippy::disallowed_methods, reason = "a transport over a real network has real time limits")]
async fn with_progress<T>(
    answer: impl Future<Output = T>,
    progress: &UploadProgress,
    limit: Duration,
) -> Option<T> {
    let mut answer = pin!(answer);
    loop {
        if let Ok(output) = timeout_at(progress.deadline(limit), &mut answer).await {
            return Some(output);
        }
        if progress.deadline(limit) <= Instant::now() {
            return None;
        }
    }
}

/// The size of the buffers between a request's body and the network, in bytes. Larger ones would be faster where
/// a round trip takes long: an upload sends at most about two of them per round trip.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// The size of the parts in which a request's body is handed to the network, in bytes.
const UPLOAD_PART_BYTES: usize = 16 * 1024;

/// The time when a request began, or when the network last took a part of its body.
#[derive(Clone)]
struct UploadProgress(Arc<Mutex<Instant>>);

#[expect(clippy::disallowed_methods, reason = "a transport over a real network has real time limits")]
impl UploadProgress {
    fn begin() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn note(&self) {
        *self.last() = Instant::now();
    }

    /// The time at which the request has stood still for as long as `limit`.
    fn deadline(&self, limit: Duration) -> Instant {
        *self.last() + limit
    }

    fn last(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a request, in parts.
struct Upload {
    rest: Bytes,
    progress: UploadProgress,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.progress.note();
        let length = self.rest.len().min(UPLOAD_PART_BYTES);
        let part = self.rest.split_to(length);
        Poll::Ready((!part.is_empty()).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// The body of an answer, streamed from the network.
pub struct HttpBody {
    incoming: Incoming,
    idle_limit: Duration,
    deadline: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl HttpBody {
    fn new(incoming: Incoming, idle_limit: Duration) -> Self {
        Self { incoming, idle_limit, deadline: Box::pin(sleep(idle_limit)), is_waiting: false }
    }
}

impl Body for HttpBody {
    type Data = Bytes;
    type Error = RemoteError;

    #[expect(clippy::disallowed_methods, reason = "a transport over a real network has real time limits")]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RemoteError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = pin!(&mut this.incoming).poll_frame(context) {
            this.is_waiting = false;
            let frame = frame.map(|frame| frame.map_err(|source| HttpRemoteError::Body { source }.into()));
            return Poll::Ready(frame);
        }
        // The limit counts only the time in which the engine waits for the network.
        if !this.is_waiting {
            this.is_waiting = true;
            this.deadline.as_mut().reset(Instant::now() + this.idle_limit);
        }
        ready!(this.deadline.as_mut().poll(context));
        let timed_out =
            HttpRemoteError::TimedOut { awaited: "more of the answer's body", limit: this.idle_limit };
        Poll::Ready(Some(Err(timed_out.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_appended_to_the_base_url() {
        for (base, url) in [
            ("http://localhost:80", "http://localhost:80/info"),
            ("http://localhost/", "http://localhost/info"),
            ("http://localhost/a/b/", "http://localhost/a/b/info"),
        ] {
            let remote = HttpRemote::builder(base).build().unwrap();
            assert_eq!(remote.url("/info").unwrap(), url);
        }
    }

    #[test]
    fn an_invalid_base_url_is_refused_and_named_in_the_error() {
        for url in ["", "localhost", "ftp://localhost", "http://", "http://localhost/?a=b", "http://a b"] {
            let error = HttpRemote::builder(url).build().unwrap_err();
            assert!(error.to_string().contains(&format!("`{url}`")), "{error}");
        }
    }

    #[test]
    fn a_token_stays_out_of_debug_output() {
        let remote = HttpRemote::builder("http://localhost").bearer_token("secret").build().unwrap();
        assert!(!format!("{remote:?} {:?}", remote.headers).contains("secret"));
    }

    #[test]
    fn each_part_of_a_request_body_puts_the_deadline_off() {
        let mut upload = Upload { rest: vec![7; 40_000].into(), progress: UploadProgress::begin() };
        let deadline = |upload: &Upload| upload.progress.deadline(Duration::from_secs(1));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let (mut lengths, mut last) = (Vec::new(), deadline(&upload));
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut upload).poll_frame(&mut context) {
            lengths.push(frame.into_data().unwrap().len());
            assert!(deadline(&upload) > last, "a part was taken");
            last = deadline(&upload);
        }
        assert_eq!(lengths, [16384, 16384, 7232]);
        assert!(upload.is_end_stream());
    }
}
