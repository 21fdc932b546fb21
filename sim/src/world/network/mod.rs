//! The network between the clients and the remote.
//!
//! [`mailbox`] takes an engine's requests and returns their answers. `late` holds requests that are still in
//! transit although their sender has given up. Nothing here moves on its own: while the engine is suspended,
//! the world takes a request out of the mailbox, decides what happens to it, lets the remote serve it, and
//! puts the answer back.

pub(super) mod late;
pub mod mailbox;

pub use mailbox::{Answer, ChunkedBody, Mailbox};

/// The message was lost: it never arrives.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost")]
pub struct Lost;
