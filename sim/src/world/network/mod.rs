//! The network between the clients and the remote.
//!
//! [`mailbox`] is where an engine's requests go and where their answers come from; `late` holds requests that are still under way although
//! their sender has given up. Nothing moves here by itself: the world takes a request out of the mailbox, decides what happens to it, lets
//! the remote serve it and puts the answer back, all while the engine is suspended.

pub(super) mod late;
pub mod mailbox;

pub use mailbox::{Answer, ChunkedBody, Mailbox};

/// The message never arrives.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost")]
pub struct Lost;
