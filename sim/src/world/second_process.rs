//! A second engine opens a client's database while the first one, or a connection of it, is still there.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use plimsoll_engine::Error;

use super::World;
use super::client::{Engine, Process};
use super::disk::SimIo;
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
        self.expect_refusal(number, client.disk.io_of_another_process())
    }

    /// Drops a client's engine but not its connections, opens a second engine in the same process, and ends the
    /// process. The second engine must be refused, because the connections can still write.
    ///
    /// # Errors
    /// A violation if the second engine goes on.
    pub(super) fn open_beside_connection(&mut self, number: u8) -> Result<(), Violation> {
        let client = &mut self.clients[number];
        if client.disk.is_down() {
            return Ok(());
        }
        let Some(process) = client.process.take() else { return Ok(()) };
        let Process { engine, connection, prepared, program, held, reader } = process;
        drop(engine);
        let io = client.disk.io();
        let refused = self.expect_refusal(number, io);
        drop((prepared, program, held, reader, connection));
        self.end_process(number);
        refused
    }

    /// Opens an engine on a directory that is in use.
    fn expect_refusal(&mut self, number: u8, io: Arc<SimIo>) -> Result<(), Violation> {
        let client = &self.clients[number];
        let (options, base) = (client.options(&self.header), client.paths.base.clone());
        let opening = Engine::open(io.clone(), io, client.mailbox.clone(), &base, options);
        let what = match pin!(opening).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(Error::InUse { .. })) => {
                self.recorder.counts.second_processes += 1;
                return Ok(());
            }
            Poll::Ready(Err(error)) => {
                format!("got another error than that: {}: when it opened", error_chain(&error))
            }
            Poll::Ready(Ok(_)) => "opened".to_owned(),
            Poll::Pending => "began to open".to_owned(),
        };
        let message = format!("while client {number}'s database was in use, a second engine {what} it");
        Err(Violation::of(ONE_PROCESS, message))
    }
}
