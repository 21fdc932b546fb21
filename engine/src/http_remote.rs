//! [`HttpRemote`]: the server over HTTP, for programs that run on tokio. Only with the feature `http`; TLS with the feature `https`.
//!
//! Connections are kept and used again. Bodies are streamed in both the engine's and the network's time: nothing is read ahead of the
//! engine but what hyper buffers. Every wait is bounded, by the clock of tokio: for the connection, for the head of an
//! answer, and between two chunks of its body. A request is never sent twice: one that failed is the engine's affair.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::uri::{InvalidUri, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::remote::{Remote, RemoteError};

#[cfg(feature = "https")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "https"))]
type Connector = HttpConnector;

/// Why an [`HttpRemote`] could not be made, or could not finish a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpRemoteError {
    /// The base URL is none.
    #[error("`{url}` is no URL")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        source: InvalidUri,
    },
    /// The base URL has no scheme that is built in, no host, or a query.
    #[error("`{url}` cannot be a base URL: {problem}")]
    UnusableUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The token has bytes that no header may have.
    #[error("the bearer token cannot stand in a header")]
    BadToken {
        /// What is wrong with it.
        source: InvalidHeaderValue,
    },
    /// A path of the protocol could not be appended to the base URL.
    #[error("the URL of a request cannot be built")]
    BadRequest {
        /// What is wrong with it.
        source: http::Error,
    },
    /// The request or the head of its answer did not get through.
    #[error("the connection failed")]
    Connection {
        /// What the client says.
        source: hyper_util::client::legacy::Error,
    },
    /// The body broke off.
    #[error("the body of the answer broke off")]
    Body {
        /// What the connection says.
        source: hyper::Error,
    },
    /// Nothing arrived in time.
    #[error("no {awaited} within {limit:?}")]
    TimedOut {
        /// What was waited for.
        awaited: &'static str,
        /// How long.
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
    client: Client<Connector, Full<Bytes>>,
    base: Uri,
    headers: HeaderMap,
    response_timeout: Duration,
    body_idle_timeout: Duration,
}

impl HttpRemote {
    /// Begins one for the server at `base_url`: the protocol's paths are appended to it.
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

/// What an [`HttpRemote`] will be.
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
    /// A header that goes with every request, in place of an earlier one of its name.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// `authorization: Bearer …` goes with every request. The token is kept out of logs.
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.bearer_token = Some(token.into());
        self
    }

    /// How long a connection may take to be made; by default 10 seconds.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long the head of an answer may take, the connection and the request's body included; by default 60 seconds.
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// How long the next chunk of an answer's body may take; by default 30 seconds. There is no limit to the whole body.
    pub fn body_idle_timeout(mut self, limit: Duration) -> Self {
        self.body_idle_timeout = limit;
        self
    }

    /// Makes it. Nothing is connected yet.
    ///
    /// # Errors
    /// [`HttpRemoteError`] naming what is wrong with the URL or the token.
    pub fn build(self) -> Result<HttpRemote, HttpRemoteError> {
        let base = self.base_url.parse::<Uri>();
        let base = base.map_err(|source| HttpRemoteError::BadUrl { url: self.base_url.clone(), source })?;
        let unusable = |problem| HttpRemoteError::UnusableUrl { url: self.base_url.clone(), problem };
        if base.scheme() == Some(&Scheme::HTTPS) && !cfg!(feature = "https") {
            return Err(unusable("TLS needs the feature `https`"));
        }
        if !matches!(base.scheme_str(), Some("http" | "https")) || base.host().is_none() {
            return Err(unusable("it does not begin with http:// or https:// and a host"));
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
        // The client's own second tries are for requests that never left; the engine's are enough.
        let client =
            Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build(secured(connector));
        Ok(HttpRemote {
            client,
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
        let request = Request::from_parts(parts, Full::new(body));
        let limit = self.response_timeout;
        let response = timeout(limit, self.client.request(request))
            .await
            .map_err(|_| HttpRemoteError::TimedOut { awaited: "answer", limit })?
            .map_err(|source| HttpRemoteError::Connection { source })?;
        Ok(response.map(|body| HttpBody::new(body, self.body_idle_timeout)))
    }
}

/// The body of an answer, as it comes over the network.
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
        // The time in which the engine does not ask is not the network's.
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
    fn what_is_no_base_url_is_refused_by_name() {
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
}
