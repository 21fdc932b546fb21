//! A second process opens the database of a running client.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use plimsoll_engine::Error;

use super::World;
use super::client::Engine;
use crate::judge::verdict::{ONE_PROCESS, Violation};
use crate::text::error_chain;

impl World {
    /// Opens a second engine on a client's directory while the client's process is running. The engine must
    /// refuse at once, before it reads or requests anything.
    ///
    /// # Errors
    /// A violation if the second engine goes on.
    pub(super) fn open_second_process(&mut self, number: u8) -> Result<(), Violation> {
        let client = &self.clients[number];
        if !client.is_running() || client.disk.is_down() {
            return Ok(());
        }
        let io = client.disk.io_of_another_process();
        let (options, base) = (client.options(&self.header), client.paths.base.clone());
        let opening = Engine::open(io.clone(), io, client.mailbox.clone(), &base, options);
        let what = match pin!(opening).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(Error::InUse { .. })) => {
                self.recorder.counts.second_processes += 1;
                return Ok(());
            }
            Poll::Ready(Err(error)) => format!("got an error that does not say so: {}", error_chain(&error)),
            Poll::Ready(Ok(_)) => "opened".to_owned(),
            Poll::Pending => "began to open".to_owned(),
        };
        let message =
            format!("while client {number}'s process was running, a second one {what} its database");
        Err(Violation::of(ONE_PROCESS, message))
    }
}
