//! Whether what the engine and the core hold in memory may still be trusted.
//!
//! After some failures nobody knows what a file holds: a sync that failed says nothing about what a later one makes durable, and a
//! checkpoint that broke off may leave the core with a WAL in mind that is not there. Then the engine and all its connections refuse
//! to go on ([`Error::Poisoned`]); opening it anew reads the files as they are.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::events::event;

/// Set once, for good; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Poison(Arc<OnceLock<String>>);

impl Poison {
    /// From here on nothing goes on. The first cause is kept.
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
    /// [`Error::Poisoned`], naming what went wrong.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
        }
    }

    /// Passes a result on; its error poisons.
    pub(crate) fn on_error<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|error| self.set(error))
    }
}
