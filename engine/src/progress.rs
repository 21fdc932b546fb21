//! How far a long operation has come, for whoever shows it to somebody.

use std::fmt;
use std::sync::Arc;

/// How far an operation has come since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The exported snapshot is being downloaded.
    Bootstrap {
        /// Bytes of it that have arrived.
        bytes: u64,
        /// Bytes that it has, once that is known.
        bytes_total: Option<u64>,
    },
    /// Frames of the remote's history are being fetched, by a pull or by a push that has to know where the remote is. How many there are is
    /// not known before the end.
    Pull {
        /// Frames that have arrived.
        frames: u64,
        /// Bytes that they have.
        body_bytes: u64,
        /// The generation that they are of.
        generation: u64,
    },
}

type Listener = dyn Fn(Progress) + Send + Sync;

/// Who wants to know.
#[derive(Clone, Default)]
pub(crate) struct ProgressListener(Option<Arc<Listener>>);

impl ProgressListener {
    pub(crate) fn new(listener: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn report(&self, progress: Progress) {
        if let Some(listener) = &self.0 {
            listener(progress);
        }
    }
}

impl fmt::Debug for ProgressListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a listener" } else { "nobody" })
    }
}
