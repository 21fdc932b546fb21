//! Records failures after which the in-memory state of the engine and the core can no longer be trusted.
//!
//! After some failures the content of a file is unknown. If a sync fails, a later sync may not make the same
//! bytes durable. If a checkpoint fails halfway, the core may rely on a WAL that no longer exists. From then
//! on the engine and all its connections fail with [`Error::Poisoned`]. Reopening the engine reads the actual
//! content of the files.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::events::event;

/// A flag that is set at most once and never reset. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Poison(Arc<OnceLock<String>>);

impl Poison {
    /// Poisons the engine. The first cause is kept.
    pub(crate) fn set(&self, cause: &dyn std::error::Error) {
        let mut text = cause.to_string();
        let mut source = cause.source();
        while let Some(deeper) = source {
            text = format!("{text}: {deeper}");
            source = deeper.source();
        }
        event!(Poisoned, cause = tracing::field::display(&text));
        self.0.get_or_init(|| text);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// # Errors
    /// [`Error::Poisoned`] with the first cause.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
        }
    }

    /// Passes a result on, and poisons the engine if it is an error.
    pub(crate) fn on_error<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|error| self.set(error))
    }
}
