//! The clients of a history, by number.

use std::ops::{Index, IndexMut};

use super::client::Client;
use super::trace::SharedTrace;
use crate::schedule::Header;

/// All clients; `clients[0]` is client 0.
pub(super) struct Clients(Vec<Client>);

impl Clients {
    /// Creates machines that have never run the engine.
    pub fn new(header: &Header, trace: &SharedTrace) -> Self {
        Self((0..header.clients).map(|number| Client::new(number, header, trace.clone())).collect())
    }

    /// All clients, in the order of their numbers.
    pub fn all(&self) -> &[Client] {
        &self.0
    }

    pub fn numbers(&self) -> std::ops::Range<u8> {
        0..self.0.len() as u8
    }

    /// The number of bytes written to each client's disk so far.
    pub fn bytes_written(&self) -> Vec<u64> {
        self.0.iter().map(|client| client.disk.totals().bytes_written).collect()
    }
}

impl Index<u8> for Clients {
    type Output = Client;

    fn index(&self, number: u8) -> &Client {
        &self.0[usize::from(number)]
    }
}

impl IndexMut<u8> for Clients {
    fn index_mut(&mut self, number: u8) -> &mut Client {
        &mut self.0[usize::from(number)]
    }
}
