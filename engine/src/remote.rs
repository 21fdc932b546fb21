//! The server, as the engine sees it: one request in, one status and a streamed body out.

use std::future::Future;

use bytes::Bytes;

/// Whatever a transport has to say about a request that it could not finish.
pub type RemoteError = Box<dyn std::error::Error + Send + Sync>;

/// A way to the server. The engine gives the path only (`/sync/3/1/129`); base address, authorization and time limits are the
/// implementation's.
pub trait Remote: Send + Sync {
    /// The streamed body of an answer.
    type Body: http_body::Body<Data = Bytes, Error = RemoteError> + Send + Unpin;

    /// Sends one request and waits for the answer's head.
    ///
    /// # Errors
    /// When no answer arrived. The request may have taken effect all the same.
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> impl Future<Output = Result<http::Response<Self::Body>, RemoteError>> + Send;
}
