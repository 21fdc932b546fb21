//! Decides which requests are served at all: by the size of their head, their host, token and content type. The layer
//! [`CsrfLayer`](tower_http::csrf::CsrfLayer) refuses the pages of other sites.

use std::net::IpAddr;
use std::path::Path;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::answer::{object, problem};
use super::router::{HEALTH, State as Shared};

/// A token that every request has to carry.
#[derive(Clone)]
pub struct Token(Vec<u8>);

/// The reason why a token cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    #[error("cannot read the token in {path}")]
    File { path: String, source: std::io::Error },
    #[error("the token in {path} has {bytes} bytes; it needs at least {}", Token::BYTES_MIN)]
    TooShort { path: String, bytes: usize },
    #[error("the token in {path} has characters that a header must not contain")]
    Characters { path: String },
}

impl Token {
    const BYTES_MIN: usize = 16;

    /// Reads the token from a file. White space around it is ignored.
    ///
    /// # Errors
    /// [`TokenError`].
    #[expect(clippy::disallowed_methods, reason = "a served remote uses real files")]
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| TokenError::File { path: name.clone(), source })?;
        let token = bytes.trim_ascii().to_vec();
        if token.len() < Self::BYTES_MIN {
            return Err(TokenError::TooShort { path: name, bytes: token.len() });
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Characters { path: name });
        }
        Ok(Self(token))
    }

    /// Compares in a time that does not depend on the position of a difference.
    fn allows(&self, authorization: Option<&HeaderValue>) -> bool {
        let given = authorization.and_then(|value| {
            let (scheme, token) = value.as_bytes().split_first_chunk::<7>()?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        given.is_some_and(|given| bool::from(given.ct_eq(&self.0)))
    }
}

/// Requires the token, if the server has one. Only the health check goes without.
pub(super) async fn require_token(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    match &shared.token {
        Some(token)
            if request.uri().path() != HEALTH && !token.allows(request.headers().get(AUTHORIZATION)) =>
        {
            let mut response = problem(StatusCode::UNAUTHORIZED, "this server needs its bearer token");
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, scheme);
            response
        }
        _ => next.run(request).await,
    }
}

/// Refuses a request whose head is longer than the limit. The connection's buffer is larger, because bodies go through it
/// too.
pub(super) async fn require_small_head(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    /// What stands between a header's name and its value, and behind it.
    const SEPARATORS: usize = ": \r\n".len();
    let headers = request.headers().iter();
    let of_headers: usize = headers.map(|(name, value)| name.as_str().len() + value.len() + SEPARATORS).sum();
    let uri = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    let limit = shared.limits.head_bytes;
    if uri + of_headers <= limit {
        return next.run(request).await;
    }
    let text = format!("the head of the request has more than {limit} bytes");
    object(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        &serde_json::json!({ "error": text, "limit_bytes": limit }),
    )
}

/// Refuses a request for another host's name. A page of another site can make its own name lead to this
/// server, but it cannot choose which name the browser sends.
pub(super) async fn require_host(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, more) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next());
    let named = [host, request.uri().authority().map(Authority::as_str)];
    if host.is_none() || more.is_some() {
        return problem(StatusCode::BAD_REQUEST, "a request needs one host header");
    }
    let foreign = named.into_iter().flatten().find(|host| !is_own(host, &shared.hosts));
    if let Some(foreign) = foreign {
        let text = format!("this server is not `{foreign}`; if it is, start it with --allow-host");
        return problem(StatusCode::MISDIRECTED_REQUEST, &text);
    }
    next.run(request).await
}

/// Whether a host is an address, `localhost`, or an allowed name.
fn is_own(host: &str, allowed: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
}

/// Refuses a body of another type. A request without a type passes: the engine sends none, and a browser that
/// sends none names its origin.
pub(super) async fn require_type(request: Request, next: Next) -> Response {
    let expected = if request.uri().path().starts_with("/sync/") {
        "application/octet-stream"
    } else {
        "application/json"
    };
    let given = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence = given.map(|given| given.split(';').next().unwrap_or_default().trim());
    if request.method() == Method::POST && essence.is_some_and(|given| !given.eq_ignore_ascii_case(expected))
    {
        let text = format!("the content type of this route is {expected}");
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text);
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_own_names_are_hosts() {
        let allowed = ["db.example".to_owned()];
        for host in ["127.0.0.1:8080", "[::1]:80", "localhost", "LOCALHOST:1", "10.0.0.7", "db.example:443"] {
            assert!(is_own(host, &allowed), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "a b"] {
            assert!(!is_own(host, &allowed), "{host}");
        }
    }

    #[test]
    fn only_the_token_itself_is_allowed() {
        let token = Token(b"0123456789abcdef".to_vec());
        let allows = |value: &'static str| token.allows(Some(&HeaderValue::from_static(value)));
        assert!(allows("Bearer 0123456789abcdef") && allows("bearer 0123456789abcdef"));
        for value in ["Bearer 0123456789abcde", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef", ""] {
            assert!(!allows(value), "{value}");
        }
        assert!(!token.allows(None));
    }
}
