//! A single suspension, so that the executor can run other tasks between two durable steps.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Suspends once and requests an immediate wake-up.
pub(crate) fn pause() -> Pause {
    Pause { suspended: false }
}

pub(crate) struct Pause {
    suspended: bool,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.suspended {
            return Poll::Ready(());
        }
        self.suspended = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
