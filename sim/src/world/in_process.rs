//! A remote in the same process, without a simulated network: for tests on real files, benchmarks and
//! examples.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use plimsoll_engine::RemoteError;

use crate::fault::Route;
use crate::lock::lock;
use crate::world::network::{ChunkedBody, Lost};
use crate::world::remote::Remote;

/// A connection to a remote in this process. Every request arrives and is answered at once.
#[derive(Clone)]
pub struct InProcess {
    remote: Arc<Mutex<Remote>>,
    chunk_bytes: usize,
    hold: Arc<Mutex<Hold>>,
}

/// Whether the next pipeline request is to be held back, and the request that was held back.
#[derive(Default)]
struct Hold {
    is_armed: bool,
    request: Option<Request<Bytes>>,
}

/// A request whose sender has given up and that has not arrived yet.
pub struct LateRequest {
    to: InProcess,
}

impl LateRequest {
    /// Delivers the request now. The answer is dropped.
    ///
    /// # Panics
    /// If no request was held back.
    pub fn deliver(self) {
        let request = lock(&self.to.hold).request.take().expect("a request was held back");
        drop(self.to.with_remote(|remote| remote.serve(&request)));
    }
}

impl InProcess {
    /// Connects to `remote`. Bodies arrive in chunks of `chunk_bytes`.
    pub fn new(remote: Remote, chunk_bytes: usize) -> Self {
        Self { remote: Arc::new(Mutex::new(remote)), chunk_bytes: chunk_bytes.max(1), hold: Arc::default() }
    }

    /// Holds back the next request to `/v2/pipeline`. Its sender gets the error that the connection was lost.
    pub fn hold_next_pipeline(&self) -> LateRequest {
        lock(&self.hold).is_armed = true;
        LateRequest { to: self.clone() }
    }

    /// Calls `work` with the remote.
    pub fn with_remote<T>(&self, work: impl FnOnce(&mut Remote) -> T) -> T {
        work(&mut lock(&self.remote))
    }
}

impl plimsoll_engine::Remote for InProcess {
    type Body = ChunkedBody;

    async fn send(&self, request: Request<Bytes>) -> Result<Response<ChunkedBody>, RemoteError> {
        {
            let mut hold = lock(&self.hold);
            if hold.is_armed && Route::of(&request) == Some(Route::Pipeline) {
                *hold = Hold { is_armed: false, request: Some(request) };
                return Err(Lost.into());
            }
        }
        let response = self.with_remote(|remote| remote.serve(&request));
        Ok(response.map(|body| ChunkedBody::new(body, self.chunk_bytes)))
    }
}

/// Polls a future until it is ready. The engine needs no executor: it makes progress whenever it is polled.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
