//! The progress of a long operation, for display.

use std::fmt;
use std::sync::Arc;

/// The progress of an operation since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The exported snapshot is being downloaded.
    Bootstrap {
        /// Bytes received.
        bytes: u64,
        /// Bytes of the whole snapshot, once known.
        bytes_total: Option<u64>,
    },
    /// A pull, or a push that must first reach the remote's end, is fetching frames of the remote's log. The
    /// total is not known before the end.
    Pull {
        /// Frames received.
        frames: u64,
        /// Bytes of these frames.
        body_bytes: u64,
        /// The generation of these frames.
        generation: u64,
    },
}

type Listener = dyn Fn(Progress) + Send + Sync;

/// The application's callback, if there is one.
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
        f.write_str(if self.0.is_some() { "a listener" } else { "no listener" })
    }
}
