//! A remote whose answers are changed before the engine sees them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use plimsoll_engine::{Remote, RemoteError};
use plimsoll_sim::world::in_process::InProcess;
use plimsoll_sim::world::network::ChunkedBody;

/// Changes an answer, given the request's path and the server's answer. `None` means no answer.
pub type Lie = Box<dyn FnMut(&str, Response<Bytes>) -> Option<Response<Bytes>> + Send>;

/// A connection to a remote in this process, which changes the answers.
#[derive(Clone)]
pub struct Lying {
    remote: InProcess,
    lie: Arc<Mutex<Lie>>,
}

impl Lying {
    /// Wraps a remote. No answer is changed at first.
    pub fn to(remote: &InProcess) -> Self {
        Self { remote: remote.clone(), lie: Arc::new(Mutex::new(Box::new(|_, answer| Some(answer)))) }
    }

    /// From now on, changes every answer with `lie`.
    ///
    /// # Panics
    /// If an earlier lie has panicked.
    pub fn answer_with(
        &self,
        lie: impl FnMut(&str, Response<Bytes>) -> Option<Response<Bytes>> + Send + 'static,
    ) {
        *self.lie.lock().expect("no lie panics") = Box::new(lie);
    }

    /// Stops changing answers.
    pub fn tell_the_truth(&self) {
        self.answer_with(|_, answer| Some(answer));
    }
}

impl Remote for Lying {
    type Body = ChunkedBody;

    async fn send(&self, request: Request<Bytes>) -> Result<Response<ChunkedBody>, RemoteError> {
        const CHUNK_BYTES: usize = 1000;
        let answer = self.remote.with_remote(|remote| remote.serve(&request));
        let lied = (*self.lie.lock().expect("no lie panics"))(request.uri().path(), answer);
        match lied {
            Some(answer) => Ok(answer.map(|body| ChunkedBody::new(body, CHUNK_BYTES))),
            None => Err("no answer".into()),
        }
    }
}
