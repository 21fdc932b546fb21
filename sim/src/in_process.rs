//! The remote reached without a simulated network: for tests on real files, benchmarks and examples.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use plimsoll_engine::RemoteError;

use crate::lock::lock;
use crate::network::ChunkedBody;
use crate::remote::Remote;

/// A way to a remote in this process. Every request arrives and is answered at once.
#[derive(Clone)]
pub struct InProcess {
    remote: Arc<Mutex<Remote>>,
    chunk_bytes: usize,
}

impl InProcess {
    /// A way to `remote`, on which bodies come in chunks of `chunk_bytes`.
    pub fn new(remote: Remote, chunk_bytes: usize) -> Self {
        Self { remote: Arc::new(Mutex::new(remote)), chunk_bytes: chunk_bytes.max(1) }
    }

    /// Does something with the remote itself.
    pub fn with_remote<T>(&self, work: impl FnOnce(&mut Remote) -> T) -> T {
        work(&mut lock(&self.remote))
    }
}

impl plimsoll_engine::Remote for InProcess {
    type Body = ChunkedBody;

    async fn send(&self, request: Request<Bytes>) -> Result<Response<ChunkedBody>, RemoteError> {
        let response = self.with_remote(|remote| remote.serve(&request));
        Ok(response.map(|body| ChunkedBody::new(body, self.chunk_bytes)))
    }
}

/// Polls a future until it is ready. The engine never waits for anything but what it is polled for.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
