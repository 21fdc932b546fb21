//! The interface to the server: one request in, one status and a streamed body out.

use std::future::Future;

use bytes::Bytes;

/// The error of a transport that could not finish a request.
pub type RemoteError = Box<dyn std::error::Error + Send + Sync>;

/// Sends requests to the server. The engine passes only the path (`/sync/3/1/129`). The implementation adds
/// the base address, the authorization and the time limits.
pub trait Remote: Send + Sync {
    /// The streamed body of an answer.
    type Body: http_body::Body<Data = Bytes, Error = RemoteError> + Send + Unpin;

    /// Sends one request and waits for the answer's head.
    ///
    /// # Errors
    /// An error means that no answer arrived. The request may have taken effect.
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> impl Future<Output = Result<http::Response<Self::Body>, RemoteError>> + Send;
}
